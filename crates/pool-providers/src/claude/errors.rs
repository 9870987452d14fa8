//! What Claude's error replies mean for the account and for the request.
//!
//! Kinds and texts from Anthropic's documentation of errors and rate limits, and from Claude Code 2.1.330.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use pool_core::verdict::{Cause, Fault, Until};
use pool_core::{Account, AccountKind, Demand, Judgement, Scope, Span, UnixMs};
use serde_json::Value;

use super::models::{scope_of_class, scope_of_model};
use super::quota::{self, PLAN_WINDOWS, epoch, unified};

/// An error reply, as far as it can be read.
struct Said {
    status: u16,
    /// `error.type`; empty if there is none.
    kind: String,
    /// `error.message`.
    message: String,
    /// The same in small letters, to look for words in.
    text: String,
    /// `error.details.error_code`
    code: String,
    html: bool,
}

impl Said {
    fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let error = &json["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let message = text(&error["message"]);
        let declared = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        Self {
            status: status.as_u16(),
            kind: text(&error["type"]),
            text: message.to_ascii_lowercase(),
            message,
            code: text(&error["details"]["error_code"]),
            html: declared || (json.is_null() && body.trim_ascii_start().first() == Some(&b'<')),
        }
    }

    /// One line for logs and the trail.
    fn reason(&self) -> String {
        let kind = match (self.kind.as_str(), self.html) {
            ("", true) => " with an HTML page",
            ("", false) => "",
            (kind, _) => &format!(" {}", quote(kind)),
        };
        match self.message.as_str() {
            "" => format!("{}{kind}", self.status),
            message => format!("{}{kind}: {}", self.status, quote(message)),
        }
    }

    fn says(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    /// Anthropic answers an unknown model with "model: NAME".
    fn speaks_of_the_model(&self, model: Option<&str>) -> bool {
        self.text.starts_with("model:")
            || self.says("the model")
            || self.says("this model")
            || model.is_some_and(|model| !model.is_empty() && self.message.contains(model))
    }
}

/// Anthropic's words, fit for a log.
pub(super) fn quote(text: &str) -> String {
    crate::quote::quote(text, 200)
}

/// The reading of an error reply. `demand` is absent for probes.
pub(super) fn judge(
    account: &Account,
    demand: Option<&Demand>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: UnixMs,
) -> Judgement {
    let said = Said::new(status, headers, body);
    let model = demand.and_then(|demand| demand.model.as_deref());
    let reason = said.reason();
    if said.kind == "overloaded_error" || said.status == 529 {
        return overloaded(model, wait(headers, now), reason);
    }
    match said.status {
        413 | 501 => Judgement::fatal(reason),
        // Redirects are never followed. A page with a 5xx status is the provider's edge.
        300..=399 | 408 | 500.. => Judgement::elsewhere(Fault::Provider, reason),
        _ if said.html => Judgement::elsewhere(Fault::Egress, reason),
        400 | 422 => bad_request(&said, model, now, reason),
        401 | 403 => refused_credential(account, &said, model, reason),
        402 => out_of_credit(Until::BackOff, reason),
        404 if said.kind == "not_found_error" && said.speaks_of_the_model(model) && model.is_some() => {
            model_refused(model, reason)
        }
        429 => limited(account, &said, model, headers, now, reason),
        _ => Judgement::fatal(reason),
    }
}

/// An `error` event inside a stream that began well.
pub(super) fn judge_event(kind: &str, message: &str, demand: &Demand) -> Judgement {
    let model = demand.model.as_deref();
    let reason = format!("in the stream: {}: {}", quote(kind), quote(message));
    match kind {
        "overloaded_error" => overloaded(model, None, reason),
        "api_error" | "timeout_error" => Judgement::elsewhere(Fault::Provider, reason),
        "rate_limit_error" => Judgement::elsewhere(Fault::Account, reason).cooling(
            scope_of_class(model),
            Cause::Throttled,
            Until::BackOff,
        ),
        _ => Judgement::fatal(reason),
    }
}

/// 529 is the model's trouble, on whichever account.
fn overloaded(model: Option<&str>, wait: Option<Span>, reason: String) -> Judgement {
    let until = wait.map_or(Until::BackOff, Until::For);
    Judgement::elsewhere(Fault::Model, reason).cooling(scope_of_model(model), Cause::ModelOverloaded, until)
}

fn out_of_credit(until: Until, reason: String) -> Judgement {
    Judgement::elsewhere(Fault::Account, reason).cooling(Scope::Account, Cause::OutOfCredit, until)
}

fn model_refused(model: Option<&str>, reason: String) -> Judgement {
    Judgement::elsewhere(Fault::Account, reason).cooling(scope_of_model(model), Cause::ModelRefused, Until::BackOff)
}

/// A 400 is the client's, word for word (its recovery reads the wording), but for a few that speak of the account.
fn bad_request(said: &Said, model: Option<&str>, now: UnixMs, reason: String) -> Judgement {
    const PLAN: [&str; 7] = [
        "your plan",
        "this plan",
        "your subscription",
        "this subscription",
        "your organization",
        "your account",
        "not have access",
    ];
    if said.says("credit balance is too low") {
        out_of_credit(Until::BackOff, reason)
    } else if said.says("reached your specified api usage limits") {
        let until = regain(&said.text).filter(|time| *time > now).map_or(Until::BackOff, Until::At);
        out_of_credit(until, reason)
    } else if said.says("organization has been disabled") {
        let why = "Anthropic has disabled this account's organisation; only its owner can settle that with Anthropic";
        Judgement::elsewhere(Fault::Account, reason).parked(why)
    } else if model.is_some() && said.speaks_of_the_model(model) && PLAN.iter().any(|words| said.says(words)) {
        model_refused(model, reason)
    } else {
        Judgement::fatal(reason)
    }
}

/// "You will regain access on 2026-12-01 at 00:00 UTC."
fn regain(text: &str) -> Option<UnixMs> {
    let (_, rest) = text.split_once("regain access on ")?;
    let mut words = rest.split_whitespace();
    let (day, time) = (words.next()?, words.nth(1)?);
    quota::iso(&format!("{day}T{time}:00Z"))
}

fn refused_credential(account: &Account, said: &Said, model: Option<&str>, reason: String) -> Judgement {
    let elsewhere = |reason| Judgement::elsewhere(Fault::Account, reason);
    if said.says("not allowed for this organization") || said.says("organization has been disabled") {
        let why = "Anthropic does not allow this login for its organisation; ask the organisation's admin, or remove the file";
        elsewhere(reason).parked(why)
    } else if account.kind == AccountKind::Subscription && (said.status == 401 || said.says("token has been revoked")) {
        Judgement::refresh(reason)
    } else if said.status == 401 {
        let why = format!(
            "Anthropic refuses this API key; put a working one into {} (codex-pool accounts add --api-key writes such a file)",
            account.file
        );
        elsewhere(reason).parked(why)
    } else if said.kind == "forbidden" {
        // "Request not allowed" without a kind of the API's own: the edge does not serve this address.
        Judgement::elsewhere(Fault::Egress, reason)
    } else if model.is_some() && said.speaks_of_the_model(model) {
        model_refused(model, reason)
    } else {
        // This account may not do it; another may. Not parked: nobody said that it stays so.
        elsewhere(reason).cooling(Scope::Account, Cause::UpstreamFailing, Until::BackOff)
    }
}

fn limited(
    account: &Account,
    said: &Said,
    model: Option<&str>,
    headers: &HeaderMap,
    now: UnixMs,
    reason: String,
) -> Judgement {
    let elsewhere = Judgement::elsewhere(Fault::Account, reason.clone());
    if said.code == "enforced_spend_limit_reached" {
        return out_of_credit(Until::BackOff, reason);
    }
    if said.says("long context") {
        // Wants credits for prompts beyond 200K tokens: of this request only.
        return elsewhere;
    }
    let wait = wait(headers, now);
    match account.kind {
        AccountKind::Subscription if unified(headers, "status") == Some("rejected") => {
            let (scope, reset) = rejected(model, headers);
            let until = match (reset.filter(|reset| *reset > now), wait) {
                (Some(reset), _) => Until::At(reset),
                (None, Some(wait)) => Until::For(wait),
                (None, None) => Until::BackOff,
            };
            elsewhere.cooling(scope, Cause::QuotaSpent, until)
        }
        // Without a rejected plan limit it is a short throttle, not exhaustion.
        AccountKind::Subscription => {
            elsewhere.cooling(Scope::Account, Cause::Throttled, wait.map_or(Until::BackOff, Until::For))
        }
        AccountKind::ApiKey => {
            let until = wait.map(Until::For).or_else(|| key_reset(headers).filter(|at| *at > now).map(Until::At));
            elsewhere.cooling(scope_of_class(model), Cause::Throttled, until.unwrap_or(Until::BackOff))
        }
    }
}

/// What a refusal by plan limits keeps out, and until when: with several rejected windows, the latest of their resets.
fn rejected(model: Option<&str>, headers: &HeaderMap) -> (Scope, Option<UnixMs>) {
    let get = |short: &str, what: &str| unified(headers, &format!("{short}-{what}"));
    let claim = unified(headers, "representative-claim");
    let spent: Vec<_> = PLAN_WINDOWS
        .iter()
        .filter(|window| get(window.short, "status") == Some("rejected") || claim == Some(window.claim))
        .collect();
    // The account's own windows come first: with one of them spent, every model is refused.
    let of_account = spent.iter().any(|window| window.class.is_none());
    let scope = match spent.first() {
        Some(window) if !of_account => match scope_of_class(model) {
            // The class that was refused, which is the truth even where the provider renames its limits.
            Scope::Account => window.scope(),
            class @ Scope::Family(_) => class,
        },
        _ => Scope::Account,
    };
    let resets = spent.iter().filter(|window| window.class.is_none() == of_account).map(|window| {
        let common = || unified(headers, "reset").filter(|_| claim == Some(window.claim));
        get(window.short, "reset").or_else(common).and_then(epoch)
    });
    (scope, resets.flatten().max().or_else(|| unified(headers, "reset").and_then(epoch)))
}

/// When an API key's spent limits come back: the latest of those with nothing remaining.
fn key_reset(headers: &HeaderMap) -> Option<UnixMs> {
    let get = |name: String| headers.get(name)?.to_str().ok();
    ["requests", "tokens", "input-tokens", "output-tokens"]
        .into_iter()
        .filter(|limit| get(format!("anthropic-ratelimit-{limit}-remaining")) == Some("0"))
        .filter_map(|limit| get(format!("anthropic-ratelimit-{limit}-reset")).and_then(quota::iso))
        .max()
}

/// `retry-after`, in seconds or as a date. Zero says nothing.
fn wait(headers: &HeaderMap, now: UnixMs) -> Option<Span> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(secs) if (0.0..=31e6).contains(&secs) => Span::from_millis((secs * 1000.0) as u64),
        Ok(_) => return None,
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            UnixMs(i64::try_from(at.as_millis()).ok()?).since(now)
        }
    };
    (wait > Span::ZERO).then_some(wait)
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
