//! What an error says: of the request, the model, the account, the way out, or the provider.
//!
//! Shapes that come: `{"error":{"type","code","message",…}}` (API, limits), `{"detail":"…"}` and `{"detail":{"code","message"}}`
//! (ChatGPT's backend), web pages (a CDN in front of it). Codes: `codex-rs/codex-api/src/api_bridge.rs` and
//! `codex-rs/protocol/src/error.rs`; what is not in there was seen live.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use pool_core::verdict::{Cause, Fault, Until};
use pool_core::{AccountKind, Judgement, Scope, Span, UnixMs};
use serde::Deserialize;
use serde_json::Value;

use super::quota;
use crate::quote::quote;

/// A wait longer than this is a mistake.
const LONGEST_WAIT: Span = Span::from_hours(7 * 24);

/// An error object, from a reply's body or from an event in a stream.
///
/// Its values are read one by one: a field of an unexpected type must not hide the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    r#type: Option<Value>,
    code: Option<Value>,
    message: Option<Value>,
    resets_at: Option<Value>,
    resets_in_seconds: Option<Value>,
}

impl Told {
    /// The object that an error body holds; empty if there is none.
    pub(super) fn of_body(body: &[u8]) -> Self {
        let Ok(mut body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        for key in ["error", "detail"] {
            match body.get_mut(key).map(Value::take) {
                Some(Value::String(message)) => return Self { message: Some(message.into()), ..Self::default() },
                Some(inner @ Value::Object(_)) => return serde_json::from_value(inner).unwrap_or_default(),
                _ => {}
            }
        }
        serde_json::from_value(body).unwrap_or_default()
    }

    pub(super) fn of_object(raw: &[u8]) -> Self {
        serde_json::from_slice(raw).unwrap_or_default()
    }

    fn code(&self) -> &str {
        self.code.as_ref().and_then(Value::as_str).unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.r#type.as_ref().and_then(Value::as_str).unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.message.as_ref().and_then(Value::as_str).unwrap_or_default()
    }

    /// Is this its code, or its type? Providers are not strict about which is which.
    fn is(&self, word: &str) -> bool {
        self.code().eq_ignore_ascii_case(word) || self.kind().eq_ignore_ascii_case(word)
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    fn says(&self, part: &str) -> bool {
        self.message().to_ascii_lowercase().contains(part)
    }

    /// One line for logs: code and message, shortened.
    fn reason(&self, before: &str) -> String {
        let code = if self.code().is_empty() { self.kind() } else { self.code() };
        let parts = [Cow::Borrowed(before), Cow::Borrowed(code), Cow::Borrowed(self.message())];
        let line = parts.iter().filter(|part| !part.is_empty()).map(AsRef::as_ref).collect::<Vec<_>>().join(": ");
        quote(&line, 200)
    }

    /// The code without the message, for errors whose message quotes the credential.
    fn reason_without_message(&self, before: &str) -> String {
        Self { message: None, code: self.code.clone(), r#type: self.r#type.clone(), ..Self::default() }.reason(before)
    }

    fn reset(&self, now: UnixMs) -> Option<UnixMs> {
        let at = self.resets_at.as_ref().and_then(Value::as_f64).and_then(|secs| quota::reset_at_secs(secs, now));
        let after = self.resets_in_seconds.as_ref().and_then(Value::as_f64);
        let after = after.and_then(|secs| quota::reset_after_secs(secs, now));
        [at, after].into_iter().flatten().find(|at| *at > now)
    }

    /// `try again in 1.2s`: the one delay that Codex CLI reads out of a message (`codex-api/src/sse/responses.rs`).
    fn told_wait(&self) -> Option<Span> {
        let message = self.message().to_ascii_lowercase();
        let (_, after) = message.split_once("try again in ")?;
        let digits = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
        let (number, unit) = after.split_at(digits);
        let number: f64 = number.trim_end_matches('.').parse().ok()?;
        let unit = unit.trim_start();
        let millis = if unit.starts_with("ms") || unit.starts_with("milli") {
            number
        } else if unit.starts_with('m') {
            number * 60_000.0
        } else if unit.starts_with('h') {
            number * 3_600_000.0
        } else {
            number * 1000.0
        };
        wait(Span::from_millis(millis as u64))
    }
}

/// A wait that can be believed and that is one.
fn wait(span: Span) -> Option<Span> {
    (Span::ZERO < span && span <= LONGEST_WAIT).then_some(span)
}

/// Is the answer a page for people, not the provider's own voice?
pub(super) fn looks_like_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let html = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    html || body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

/// `retry-after` in seconds or as a date, `retry-after-ms`.
fn retry_after(headers: &HeaderMap, now: UnixMs) -> Option<Span> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return wait(Span::from_millis(millis as u64));
    }
    let told = text(RETRY_AFTER.as_str())?;
    if let Ok(secs) = told.parse::<f64>() {
        return wait(Span::from_millis((secs * 1000.0) as u64));
    }
    let date = httpdate::parse_http_date(told).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    wait(UnixMs(i64::try_from(date.as_millis()).ok()?).since(now))
}

/// What surrounds an error: who was asked, for which model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// `None`: inside a stream, where it does not matter.
    pub(super) kind: Option<AccountKind>,
    pub(super) model: Option<&'a str>,
    pub(super) now: UnixMs,
}

impl Asked<'_> {
    fn is_key(&self) -> bool {
        self.kind == Some(AccountKind::ApiKey)
    }

    fn model_scope(&self) -> Option<Scope> {
        self.model.map(|model| Scope::Family(quota::model_family(model)))
    }

    /// (Account, model) where the model is known, else the account.
    fn narrow(&self) -> Scope {
        self.model_scope().unwrap_or(Scope::Account)
    }
}

/// The reading of an error reply.
pub(super) fn judge(asked: Asked<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Judgement {
    let code = status.as_u16();
    if looks_like_html(headers, body) && code < 500 && !status.is_redirection() {
        return Judgement::elsewhere(Fault::Egress, format!("{code}: a web page in place of an answer")).cooling(
            Scope::Account,
            Cause::EgressBlocked,
            Until::BackOff,
        );
    }
    let told = Told::of_body(body);
    match code {
        300..=399 => Judgement::elsewhere(Fault::Provider, format!("{code}: a redirect, which is never followed")),
        401 => unauthorized(asked, &told),
        402 => unpaid(&told),
        403 => forbidden(asked, &told),
        407 => Judgement::elsewhere(Fault::Egress, "407: the outbound proxy wants a credential").cooling(
            Scope::Account,
            Cause::EgressBlocked,
            Until::BackOff,
        ),
        408 | 425 => Judgement::elsewhere(Fault::Provider, told.reason(status.as_str())),
        429 => limited(asked, &told, headers),
        500..=599 => failing(asked, &told, status, headers),
        _ => of_request(asked, &told, status),
    }
}

fn unauthorized(asked: Asked<'_>, told: &Told) -> Judgement {
    if !asked.is_key() {
        return Judgement::refresh(told.reason("401"));
    }
    if told.says("missing scopes") {
        return refused_model(asked, told, "401");
    }
    // The message of `invalid_api_key` quotes part of the key.
    Judgement::elsewhere(Fault::Account, told.reason_without_message("401"))
        .parked("its API key was refused: put a valid key into its file")
}

fn unpaid(told: &Told) -> Judgement {
    let judgement = Judgement::elsewhere(Fault::Account, told.reason("402"));
    if told.is("deactivated_workspace") {
        return judgement
            .parked("its workspace is deactivated: sign in with another workspace, or remove the account's file");
    }
    judgement.cooling(Scope::Account, Cause::OutOfCredit, Until::BackOff)
}

fn forbidden(asked: Asked<'_>, told: &Told) -> Judgement {
    let judgement = Judgement::elsewhere(Fault::Account, told.reason("403"));
    if told.is("invalid_workspace_selected") {
        return judgement.parked("its workspace id is not one of its user's: sign in again and choose the workspace");
    }
    if told.is("account_deactivated") {
        return judgement.parked("it was deactivated by the provider: remove its file");
    }
    if told.is("unsupported_country_region_territory") {
        return Judgement::elsewhere(Fault::Egress, told.reason("403")).cooling(
            Scope::Account,
            Cause::EgressBlocked,
            Until::BackOff,
        );
    }
    if is_model_refusal(told) || told.says("missing scopes") {
        return refused_model(asked, told, "403");
    }
    // Unknown: worth another account, but no reason to keep this one out. One bad request must not cool the whole pool.
    Judgement::elsewhere(Fault::Provider, told.reason("403"))
}

fn limited(asked: Asked<'_>, told: &Told, headers: &HeaderMap) -> Judgement {
    let reason = told.reason("429");
    if told.is("usage_limit_reached") {
        return usage_limit(asked, told, headers);
    }
    if let Some(judgement) = out_of_quota(told, &reason) {
        return judgement;
    }
    let model = asked.model.filter(|_| asked.is_key());
    let until_full = || {
        let spent = quota::from_headers(headers, model, asked.now);
        let resets = spent.into_iter().filter(|window| window.is_exhausted(asked.now)).filter_map(|w| w.resets_at);
        resets.max().map(Until::At)
    };
    let until = retry_after(headers, asked.now).or_else(|| told.told_wait()).map(Until::For);
    let until = until.or_else(|| until_full().filter(|_| asked.is_key())).unwrap_or(Until::BackOff);
    // An API key's limits are per model; a subscription's throttle is the account's.
    let scope = if asked.is_key() { asked.narrow() } else { Scope::Account };
    Judgement::elsewhere(Fault::Account, reason).cooling(scope, Cause::Throttled, until)
}

/// A spent plan: until the reset that the body names, else the latest one of the spent windows in the headers.
fn usage_limit(asked: Asked<'_>, told: &Told, headers: &HeaderMap) -> Judgement {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).unwrap_or_default();
    let family = quota::family_scope(text("x-codex-active-limit"));
    // Which models share a family is not told, so the requested one stands for it.
    let scope = if family == Scope::Account { Scope::Account } else { asked.narrow() };
    let spent = || {
        let windows = quota::from_headers(headers, None, asked.now);
        let of_family = windows.into_iter().filter(|window| window.scope == family && window.is_exhausted(asked.now));
        of_family.filter_map(|window| window.resets_at).max()
    };
    let until = told.reset(asked.now).or_else(spent).map_or(Until::BackOff, Until::At);
    let cause = if text("x-codex-rate-limit-reached-type").contains("credits_depleted") {
        Cause::OutOfCredit
    } else {
        Cause::QuotaSpent
    };
    Judgement::elsewhere(Fault::Account, told.reason("429")).cooling(scope, cause, until)
}

/// What no reset mends, and what a plan does not have: in a reply or in a stream.
fn out_of_quota(told: &Told, reason: &str) -> Option<Judgement> {
    let judgement = || Judgement::elsewhere(Fault::Account, reason);
    let credit = ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credits_depleted"];
    if told.is("usage_not_included") {
        return Some(judgement().parked("its plan does not include Codex: change the plan, or remove its file"));
    }
    let depleted = told.code().ends_with("credits_depleted") || told.kind().ends_with("credits_depleted");
    (told.is_any(&credit) || depleted).then(|| judgement().cooling(Scope::Account, Cause::OutOfCredit, Until::BackOff))
}

fn is_overload(told: &Told) -> bool {
    told.is_any(&["server_is_overloaded", "slow_down", "overloaded_error", "engine_overloaded"])
}

/// No capacity for this model: the provider's trouble, which another account seldom escapes.
fn overloaded(asked: Asked<'_>, reason: String, wait: Option<Span>) -> Judgement {
    let judgement = Judgement::elsewhere(Fault::Model, reason);
    match asked.model_scope() {
        Some(scope) => judgement.cooling(scope, Cause::ModelOverloaded, wait.map_or(Until::BackOff, Until::For)),
        None => judgement,
    }
}

fn failing(asked: Asked<'_>, told: &Told, status: StatusCode, headers: &HeaderMap) -> Judgement {
    let reason = told.reason(status.as_str());
    let wait = retry_after(headers, asked.now);
    if is_overload(told) || status.as_u16() == 529 {
        return overloaded(asked, reason, wait.or_else(|| told.told_wait()));
    }
    Judgement::elsewhere(Fault::Provider, reason).cooling(
        Scope::Account,
        Cause::UpstreamFailing,
        wait.map_or(Until::BackOff, Until::For),
    )
}

/// 400, 404 and the rest: mostly the request's own, but a plan or an organisation may refuse a model that another has.
fn of_request(asked: Asked<'_>, told: &Told, status: StatusCode) -> Judgement {
    let reason = told.reason(status.as_str());
    if let Some(judgement) = out_of_quota(told, &reason) {
        return judgement;
    }
    if told.is("invalid_encrypted_content") {
        return Judgement::strip(told.reason(status.as_str()));
    }
    if matches!(status.as_u16(), 400 | 404) && is_model_refusal(told) {
        return refused_model(asked, told, status.as_str());
    }
    Judgement::fatal(reason)
}

fn is_model_refusal(told: &Told) -> bool {
    let says = [
        "not supported when using codex with a chatgpt account",
        "does not exist or you do not have access",
        "does not have access to model",
        "must be verified to use the model",
        "not available on your plan",
    ];
    told.is_any(&["model_not_found", "model_not_available"]) || says.iter().any(|part| told.says(part))
}

fn refused_model(asked: Asked<'_>, told: &Told, status: &str) -> Judgement {
    let judgement = Judgement::elsewhere(Fault::Model, told.reason(status));
    match asked.model_scope() {
        Some(scope) => judgement.cooling(scope, Cause::ModelRefused, Until::BackOff),
        None => judgement,
    }
}

/// The reading of an error inside a stream (`response.failed`, `error`).
///
/// Only what another account can answer differently goes elsewhere. Anything else, unknown codes included, is the client's to
/// see: it knows its own codes (`context_length_exceeded`, `invalid_prompt`, `cyber_policy`, …) and retries what it can.
pub(super) fn judge_event(asked: Asked<'_>, told: &Told) -> Judgement {
    let reason = told.reason("in the stream");
    if told.is("usage_limit_reached") {
        let until = told.reset(asked.now).map_or(Until::BackOff, Until::At);
        return Judgement::elsewhere(Fault::Account, reason).cooling(Scope::Account, Cause::QuotaSpent, until);
    }
    if let Some(judgement) = out_of_quota(told, &reason) {
        return judgement;
    }
    if is_overload(told) {
        return overloaded(asked, reason, told.told_wait());
    }
    if told.is_any(&["rate_limit_exceeded", "rate_limit_error"]) {
        let until = told.told_wait().map_or(Until::BackOff, Until::For);
        return Judgement::elsewhere(Fault::Account, reason).cooling(asked.narrow(), Cause::Throttled, until);
    }
    if told.is_any(&["server_error", "internal_server_error", "internal_error"]) {
        return Judgement::elsewhere(Fault::Provider, reason).cooling(
            Scope::Account,
            Cause::UpstreamFailing,
            Until::BackOff,
        );
    }
    Judgement::fatal(reason)
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
