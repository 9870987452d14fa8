//! Our own failures in Anthropic's error shape, so that Claude Code and the SDKs show them as they show the provider's.
//!
//! Claude Code obeys `x-should-retry`; a final refusal says `false`, so that the client stops at once and shows the message
//! (measured on Claude Code 2.1.330: without it some answers are tried again for minutes).

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pool_core::limits::{Over, Period};
use pool_core::standing::{Ineligible, Refusal, RefusalWhy};
use pool_core::verdict::Cause;
use pool_core::{Scope, Span, UnixMs};
use serde_json::{Value, json};

use super::pool::put;
use super::quota::{PLAN_WINDOWS, PlanWindow};
use crate::own;
use crate::reply::{Failure, Reply};

/// Guessed where nobody named the time.
const SOON: Span = Span::from_secs(30);
/// A request that is under way ends.
const BUSY: Span = Span::from_secs(5);

/// What the client is told.
struct Answer {
    status: u16,
    kind: &'static str,
    message: String,
    retry_after: Option<Span>,
    /// The client may try again by itself.
    retry: bool,
    /// A plan limit: when it ends, and which window frees first.
    limit: Option<(Option<UnixMs>, Option<&'static PlanWindow>)>,
    /// A cap that whoever runs the pool has set for this person: when it ends, and its period.
    cap: Option<(UnixMs, &'static str)>,
}

impl Answer {
    fn last(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), retry_after: None, retry: false, limit: None, cap: None }
    }

    fn again(status: u16, kind: &'static str, message: impl Into<String>, retry_after: Span) -> Self {
        Self { retry: true, retry_after: Some(retry_after), ..Self::last(status, kind, message) }
    }

    fn body(&self) -> Value {
        json!({"type": "error", "error": {"type": self.kind, "message": self.message}})
    }
}

pub(super) fn reply(failure: &Failure, now: UnixMs) -> Reply {
    let answer = answer(failure, now);
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = Reply::json(status, &answer.body());
    let headers = &mut reply.headers;
    if !answer.retry {
        headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    }
    if let Some(wait) = answer.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_ceil().max(1)));
    }
    if let Some((reset, window)) = answer.limit {
        let reset = reset.map(|at| at.as_secs_ceil().to_string());
        put(headers, "status", "", "rejected");
        if let Some(reset) = &reset {
            put(headers, "reset", "", reset);
        }
        if let Some(window) = window {
            put(headers, "representative-claim", "", window.claim);
            put(headers, window.short, "-status", "rejected");
            put(headers, window.short, "-utilization", "1");
            if let Some(reset) = &reset {
                put(headers, window.short, "-reset", reset);
            }
        }
    }
    if let Some((until, period)) = answer.cap {
        capped(headers, &until.as_secs_ceil().to_string(), period);
    }
    reply
}

/// A gateway's own cap, as Anthropic's protocol for gateways has it ("Usage-limit headers"). With a claim or a status of the
/// overage, Claude Code would put words of its own in the place of ours.
fn capped(headers: &mut HeaderMap, reset: &str, period: &str) {
    put(headers, "status", "", "rejected");
    put(headers, "reset", "", reset);
    for (what, value) in [
        ("-reset", reset),
        ("-utilization", "1"),
        ("-surpassed-threshold", "1"),
        ("-period", period),
        ("-disabled-reason", "org_spend_cap_reached"),
    ] {
        put(headers, "overage", what, value);
    }
}

/// The last event of a stream that has begun.
pub(super) fn event(failure: &Failure, now: UnixMs) -> Bytes {
    let answer = answer(failure, now);
    Bytes::from(format!("event: error\ndata: {}\n\n", answer.body()))
}

fn answer(failure: &Failure, now: UnixMs) -> Answer {
    match failure {
        Failure::Refused(refusal) => refused(refusal, now),
        Failure::BadCredential { message } => Answer::last(401, "authentication_error", message),
        Failure::BadRequest { status, message } => {
            let kind =
                if *status == StatusCode::PAYLOAD_TOO_LARGE { "request_too_large" } else { "invalid_request_error" };
            Answer::last(status.as_u16(), kind, message)
        }
        Failure::UpstreamDown { message, retry_after } => {
            let wait = Span::from_millis(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX));
            Answer::again(529, "overloaded_error", message, wait)
        }
        Failure::Timeout { message } => Answer { retry: true, ..Answer::last(504, "timeout_error", message) },
        Failure::NotThere { id, .. } => Answer::last(404, "not_found_error", format!("Not found: {id}")),
        Failure::NotServed { message } => Answer::last(404, "not_found_error", message),
    }
}

fn refused(refusal: &Refusal, now: UnixMs) -> Answer {
    match &refusal.why {
        RefusalWhy::NoAccounts => Answer::last(
            403,
            "permission_error",
            "This pool has no Claude account yet. Whoever runs it can add one with `codex-pool accounts add` or \
             `codex-pool accounts login claude`.",
        ),
        RefusalWhy::NoneOfThisKind => Answer::last(
            403,
            "permission_error",
            "This pool has no Claude account that may serve this client: a subscription serves Claude Code only, other \
             clients need an Anthropic API key in the pool. Whoever runs it can add one with `codex-pool accounts add --api-key`.",
        ),
        RefusalWhy::NeedsPerson => {
            let message = format!(
                "No pooled Claude account can serve this until somebody looks after them{}. Whoever runs the pool sees the \
                 reasons with `codex-pool accounts list`.",
                census(refusal)
            );
            Answer::last(403, "permission_error", message)
        }
        RefusalWhy::AllSpent { resets_at, window, .. } => {
            let class = spent_class(refusal, *resets_at);
            let named = |plan: &&PlanWindow| window.as_deref().is_none_or(|name| name == plan.name);
            // Without a class the name must tell which of the account-wide windows it is.
            let known = window.is_some() || class.is_some();
            let plan = PLAN_WINDOWS.iter().filter(named).find(|plan| known && plan.class == class);
            spent(*resets_at, plan, now)
        }
        RefusalWhy::Busy => {
            let message = format!("All pooled Claude accounts are busy. Try again in {BUSY}.");
            Answer::again(429, "rate_limit_error", message, BUSY)
        }
        RefusalWhy::Trouble { until, cause } => trouble(refusal, *until, *cause, now),
        RefusalWhy::OwnLimit(over) => own_limit(over, refusal.model.as_deref(), now),
    }
}

fn own_limit(over: &Over, model: Option<&str>, now: UnixMs) -> Answer {
    let message = own::words(over, model, now);
    match (over, own::wait(over, now)) {
        (Over::Budget { budget, until }, _) => {
            let period = match budget.period {
                Period::Day => "daily",
                Period::Week => "weekly",
                Period::Month => "monthly",
            };
            let cap = Some((*until, period));
            Answer { retry_after: Some(until.since(now)), cap, ..Answer::last(429, "billing_error", message) }
        }
        (_, Some(wait)) => Answer::again(429, "rate_limit_error", message, wait),
        (_, None) => Answer::last(403, "permission_error", message),
    }
}

/// The model class whose limit frees first, if that is no limit of whole accounts.
fn spent_class(refusal: &Refusal, resets_at: Option<UnixMs>) -> Option<&str> {
    refusal.considered.iter().find_map(|(_, why)| match why {
        Ineligible::Cooling { cause: Cause::QuotaSpent, scope: Scope::Family(class), until }
            if Some(*until) == resets_at =>
        {
            Some(class.as_str())
        }
        _ => None,
    })
}

fn spent(resets_at: Option<UnixMs>, window: Option<&'static PlanWindow>, now: UnixMs) -> Answer {
    let resets_at = resets_at.filter(|at| *at > now);
    let when = resets_at.map(|at| format!(" · resets {}", own::moment(at, now))).unwrap_or_default();
    let message = format!("All pooled Claude accounts are at their limit{when}");
    Answer {
        retry_after: resets_at.map(|at| at.since(now)),
        limit: Some((resets_at, window)),
        ..Answer::last(429, "rate_limit_error", message)
    }
}

fn trouble(refusal: &Refusal, until: Option<UnixMs>, cause: Cause, now: UnixMs) -> Answer {
    let wait = until.map(|at| at.since(now)).filter(|wait| *wait > Span::ZERO).unwrap_or(SOON);
    let model = refusal.model.as_deref().unwrap_or("this model");
    match cause {
        Cause::QuotaSpent => spent(until, None, now),
        Cause::Throttled => {
            let message = format!("All pooled Claude accounts are throttled for a moment. Try again in {wait}.");
            Answer::again(429, "rate_limit_error", message, wait)
        }
        Cause::ModelOverloaded => {
            let message = format!("Anthropic has no capacity for {model} right now. Try again in {wait}.");
            Answer::again(529, "overloaded_error", message, wait)
        }
        Cause::ModelRefused => {
            let message = format!("None of the pooled Claude accounts has access to {model}.");
            Answer::last(403, "permission_error", message)
        }
        Cause::OutOfCredit => {
            let message = "All pooled Claude accounts are out of credit or at their own spend limit. Whoever runs the pool \
                           can top one up or raise its limit in Anthropic's Console.";
            Answer::last(402, "billing_error", message)
        }
        Cause::EgressBlocked => {
            let message = format!(
                "Anthropic refuses connections from this pool's address (not because of an account). Try again in {wait}."
            );
            Answer::again(529, "overloaded_error", message, wait)
        }
        Cause::UpstreamFailing => {
            let message = format!("Anthropic is failing on all pooled Claude accounts. Try again in {wait}.");
            Answer::again(529, "overloaded_error", message, wait)
        }
    }
}

/// `: 2 need signing in, 1 is paused`
fn census(refusal: &Refusal) -> String {
    let count = |is: fn(&Ineligible) -> bool| refusal.considered.iter().filter(|(_, why)| is(why)).count();
    let groups = [
        (count(|why| matches!(why, Ineligible::NeedsLogin { .. })), "needs signing in", "need signing in"),
        (count(|why| matches!(why, Ineligible::Paused)), "is paused", "are paused"),
        (
            count(|why| matches!(why, Ineligible::Cooling { cause: Cause::ModelRefused, .. })),
            "has no access to the model",
            "have no access to the model",
        ),
        (count(|why| matches!(why, Ineligible::Kind)), "may not serve this client", "may not serve this client"),
        (
            count(|why| matches!(why, Ineligible::ModelNotAllowed)),
            "is kept for other models",
            "are kept for other models",
        ),
        (count(|why| matches!(why, Ineligible::NotForCaller)), "is not open to this user", "are not open to this user"),
    ];
    let said: Vec<String> = groups
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) }
}

#[cfg(test)]
#[path = "failures_tests.rs"]
mod tests;
