//! When a request fails here: the reply in the words that Codex CLI and OpenAI's SDKs understand.
//!
//! One JSON shape serves both. They differ in statuses: Codex repeats a 401, 403 or 404 up to 18 times and shows a 400 at
//! once (measured on Codex CLI 0.169.0), the SDKs know each status by its meaning.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use pool_core::limits::{Budget, Over};
use pool_core::standing::{Ineligible, Refusal, RefusalWhy};
use pool_core::verdict::Cause;
use pool_core::{Client, Span, UnixMs};
use serde_json::{Value, json};

use super::demand;
use super::routes::{about, why_refused};
use super::standing::set_window;
use crate::own;
use crate::reply::{Failure, Reply};
use crate::request::Head;
use crate::routes::{Kind, Route};

/// The wait that a client is told when nobody knows a better one.
const SOON: Span = Span::from_secs(5);
/// A shortage as short as this is sat out: Codex repeats a 503 for about 25 seconds (measured).
const PATIENCE: Span = Span::from_secs(20);
/// Codex waits inside a stream for as long as it is told, showing nothing: not longer than this.
const LONGEST_WAIT: Span = Span::from_secs(60);

/// A failure in the terms of the reply.
struct Told {
    status: StatusCode,
    r#type: &'static str,
    code: Option<&'static str>,
    message: String,
    wait: Option<Span>,
    /// Of a spent pool: the first reset, and the length of the window that it frees.
    resets_at: Option<UnixMs>,
    window: Option<Span>,
    /// What Codex CLI puts between "You've hit your usage limit." and the time of the reset: it shows no `message` there
    /// (`codex-rs/protocol/src/error.rs`, `UsageLimitReachedError`).
    promo: Option<String>,
    /// Trying again can only fail the same way.
    final_: bool,
}

impl Told {
    fn new(status: StatusCode, r#type: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            r#type,
            code: None,
            message,
            wait: None,
            resets_at: None,
            window: None,
            promo: None,
            final_: true,
        }
    }

    fn passing(status: StatusCode, message: impl Into<String>, wait: Span) -> Self {
        Self { wait: Some(wait), final_: false, ..Self::new(status, "server_error", message) }
    }

    fn error(&self, now: UnixMs) -> Value {
        let mut error = json!({ "message": self.message, "type": self.r#type, "param": null, "code": self.code });
        if let Some(reset) = self.resets_at {
            error["resets_at"] = reset.as_secs_ceil().into();
            error["resets_in_seconds"] = reset.since(now).as_secs_ceil().into();
        }
        error
    }
}

pub(super) fn reply(route: Option<&Route>, head: &Head<'_>, failure: &Failure, now: UnixMs) -> Reply {
    let client = demand::client(head);
    let mut told = told(route, client, failure, now);
    if client == Client::OwnCli && matches!(failure, Failure::BadCredential { .. }) && !has_credential(head) {
        told.message.push_str(
            ". Codex sent no credential: if you use an auth.json, its id_token is missing or cannot be read, and Codex then \
             sends none",
        );
    }
    let mut reply = Reply::json(told.status, &json!({ "error": told.error(now) }));
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            reply.headers.insert(name, value);
        }
    };
    if let Some(wait) = told.wait.or_else(|| told.resets_at.map(|reset| reset.since(now))) {
        set(RETRY_AFTER, wait.as_secs_ceil().max(1).to_string());
    }
    if told.final_ {
        set(HeaderName::from_static("x-should-retry"), "false".into());
    }
    if let Some(promo) = told.promo {
        set(HeaderName::from_static("x-codex-promo-message"), promo);
    }
    if let Some(span) = told.window {
        set_window(&mut reply.headers, "primary", 100.0, span, told.resets_at, now);
    }
    reply
}

fn has_credential(head: &Head<'_>) -> bool {
    head.headers.contains_key(AUTHORIZATION)
}

fn told(route: Option<&Route>, client: Client, failure: &Failure, now: UnixMs) -> Told {
    match failure {
        Failure::Refused(refusal) => refused(refusal, client, now),
        Failure::BadCredential { message } => Told {
            code: Some("invalid_api_key"),
            ..Told::new(told_at_once(client, StatusCode::UNAUTHORIZED), "invalid_request_error", message)
        },
        Failure::BadRequest { status, message } => Told::new(*status, "invalid_request_error", message),
        Failure::UpstreamDown { message, retry_after } => {
            Told::passing(StatusCode::SERVICE_UNAVAILABLE, message, from_std(*retry_after))
        }
        Failure::Timeout { message } => Told::passing(StatusCode::GATEWAY_TIMEOUT, message, SOON),
        Failure::NotThere { id, addressed } => not_there(id, *addressed),
        Failure::NotServed { message } => {
            let message = match route {
                Some(route) if route.kind == Kind::Refused => why_refused(route),
                _ => message,
            };
            Told::new(StatusCode::NOT_FOUND, "not_found_error", message)
        }
    }
}

/// In OpenAI's words for an id that it does not know.
fn not_there(id: &str, addressed: bool) -> Told {
    if id.starts_with("resp_") && !addressed {
        let message = format!("Previous response with id '{id}' not found.");
        let told = Told::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        return Told { code: Some("previous_response_not_found"), ..told };
    }
    let message = match id.split(['_', '-']).next() {
        Some("resp") => format!("Response with id '{id}' not found."),
        Some("file") => format!("No such File object: {id}"),
        Some("rtc") => "No session found for the provided call_id".to_owned(),
        _ => format!("No object found with id '{id}'."),
    };
    Told::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
}

/// Codex shows a 400 at once, whatever it is about.
fn told_at_once(client: Client, other: StatusCode) -> StatusCode {
    if client == Client::OwnCli { StatusCode::BAD_REQUEST } else { other }
}

fn from_std(wait: Duration) -> Span {
    Span::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

fn refused(refusal: &Refusal, client: Client, now: UnixMs) -> Told {
    let of_model = refusal.model.as_deref().map(|model| format!(" for {model}")).unwrap_or_default();
    let forbidden =
        |message: String| Told::new(told_at_once(client, StatusCode::FORBIDDEN), "permission_error", message);
    match &refusal.why {
        RefusalWhy::AllSpent { resets_at: Some(reset), .. } if reset.since(now) <= PATIENCE => {
            short_of(&format!("All pooled Codex accounts are at their limit{of_model}"), reset.since(now), client)
        }
        RefusalWhy::Busy => short_of(&format!("All pooled Codex accounts are busy{of_model}"), SOON, client),
        RefusalWhy::AllSpent { resets_at, window, span } => spent(&of_model, *resets_at, window.as_deref(), *span, now),
        // Longer than anybody waits: to the client it is a limit.
        RefusalWhy::Trouble { until: Some(until), cause: Cause::Throttled } if until.since(now) > LONGEST_WAIT => {
            spent(&of_model, Some(*until), None, None, now)
        }
        RefusalWhy::Trouble { until, cause } => {
            let wait = until.map_or(SOON, |until| until.since(now)).max(Span::from_secs(1));
            let message = format!("The pooled Codex accounts{of_model} are cooling down: {cause}; try again in {wait}");
            Told::passing(StatusCode::SERVICE_UNAVAILABLE, message, wait)
        }
        RefusalWhy::NoAccounts => forbidden(
            "codex-pool has no Codex account. Put an auth.json or an API key into the pool folder \
             (`codex-pool accounts add FILE`)"
                .into(),
        ),
        RefusalWhy::NoneOfThisKind => forbidden(
            "codex-pool has no OpenAI API-key account, and a ChatGPT subscription serves Codex itself only. Add a key \
             (`codex-pool accounts add --api-key`)"
                .into(),
        ),
        RefusalWhy::NeedsPerson => forbidden(format!(
            "No pooled Codex account can serve this{of_model}: {}. See `codex-pool status`",
            reasons(&refusal.considered)
        )),
        RefusalWhy::OwnLimit(over) => {
            let message = own::words(over, refusal.model.as_deref(), now);
            match (over, own::wait(over, now)) {
                (Over::Budget { budget, until }, _) => own_budget(budget, *until, message, now),
                (_, Some(wait)) => passing_limit(client, message, wait),
                (_, None) => forbidden(message),
            }
        }
    }
}

/// A person's own budget is used up.
fn own_budget(budget: &Budget, until: UnixMs, message: String, now: UnixMs) -> Told {
    let (begins, ends) = budget.period.around(now);
    let promo = format!("It is your own limit in this pool, {budget}: ask the pool's operator for more");
    let told = Told::new(StatusCode::TOO_MANY_REQUESTS, "usage_limit_reached", message);
    let window = Some(ends.since(begins));
    Told { code: Some("usage_limit_reached"), resets_at: Some(until), window, promo: Some(promo), ..told }
}

/// A shortage that is over so soon that the client itself can wait.
fn short_of(message: &str, wait: Span, client: Client) -> Told {
    let wait = wait.max(Span::from_secs(1));
    passing_limit(client, format!("{message}; try again in {wait}"), wait)
}

fn passing_limit(client: Client, message: String, wait: Span) -> Told {
    // A 429 would stop Codex at once, but it repeats a 503 for long enough.
    let own = client == Client::OwnCli;
    let status = if own { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::TOO_MANY_REQUESTS };
    Told { r#type: "rate_limit_error", ..Told::passing(status, message, wait) }
}

fn spent(of_model: &str, resets_at: Option<UnixMs>, window: Option<&str>, span: Option<Span>, now: UnixMs) -> Told {
    let resets_at = resets_at.filter(|reset| *reset > now);
    let mut message = format!("All pooled Codex accounts are at their limit{of_model}");
    if let Some(reset) = resets_at {
        let window = window.map(|name| format!(" ({name} window)")).unwrap_or_default();
        let _ = write!(message, " · resets {}{window}", own::moment(reset, now));
    }
    // No `plan_type`: for plans that it knows, Codex would add advice to buy a bigger one.
    let told = Told::new(StatusCode::TOO_MANY_REQUESTS, "usage_limit_reached", message);
    Told { code: Some("usage_limit_reached"), resets_at, window: span, ..told }
}

/// `2 need a new sign-in, 1 is paused`: counts only, no names.
fn reasons(considered: &[(pool_core::AccountId, Ineligible)]) -> String {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for (_, why) in considered {
        let why = match why {
            Ineligible::Kind => "of a kind that does not serve this client",
            Ineligible::Paused => "paused",
            Ineligible::NeedsLogin { .. } => "waiting for a new sign-in or another remedy",
            Ineligible::Cooling { cause: Cause::ModelRefused, .. } => "on a plan without this model",
            Ineligible::Cooling { cause: Cause::OutOfCredit, .. } => "out of credit",
            Ineligible::Cooling { .. } => "cooling down",
            Ineligible::WindowSpent { .. } | Ineligible::Reserved { .. } | Ineligible::SpendCap { .. } => {
                "at their limit"
            }
            Ineligible::KeptForOthers { .. } => "kept for users who have used less",
            Ineligible::Busy => "busy",
            Ineligible::NotForCaller => "not open to this user",
            Ineligible::ModelNotAllowed => "kept for other models",
            Ineligible::Tried => "tried in vain",
            Ineligible::BoundElsewhere => "without the state that this conversation leans on",
        };
        match counts.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => counts.push((why, 1)),
        }
    }
    if counts.is_empty() {
        return "none is usable".into();
    }
    counts.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ")
}

/// The last event of a stream whose head went out before the failure was known.
///
/// Codex repeats the request on `rate_limit_exceeded`, after the wait that the message names, and on codes that it does not
/// know: then it meets our reply's own status, and shows that (`codex-rs/codex-api/src/sse/responses.rs`).
pub(super) fn event(route: &Route, failure: &Failure, now: UnixMs) -> Option<Bytes> {
    let told = told(Some(route), Client::OwnCli, failure, now);
    match about(route) {
        "responses" => {
            let (code, message) = match told.wait {
                Some(wait) => {
                    let wait = wait.min(LONGEST_WAIT).as_secs_ceil().max(1);
                    ("rate_limit_exceeded", format!("{}. Please try again in {wait}s.", told.message))
                }
                None => (told.code.unwrap_or(told.r#type), told.message),
            };
            let event = json!({
                "type": "response.failed",
                "sequence_number": 0,
                "response": {
                    "id": "resp_pool",
                    "object": "response",
                    "status": "failed",
                    "output": [],
                    "error": { "code": code, "message": message },
                    "usage": null,
                },
            });
            Some(Bytes::from(format!("event: response.failed\ndata: {event}\n\n")))
        }
        "chat completions" | "completions" => {
            Some(Bytes::from(format!("data: {}\n\n", json!({ "error": told.error(now) }))))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
