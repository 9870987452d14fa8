//! What an account has left, and whether it is served at all: probes and their answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pool_core::verdict::Fault;
use pool_core::{
    Account, AccountKind, Client, Credentials, Demand, Fraction, Judgement, QuotaWindow, Scope, Source, UnixMs,
};
use serde_json::{Value, json};

use super::{ID, PROJECT, judge, status};
use crate::provider::Probed;
use crate::request::{Bases, Call};

/// Gemini's limits are per model: each model is a family of its own.
pub(super) fn family(model: &str) -> String {
    format!("model:{}", model.strip_prefix("models/").unwrap_or(model))
}

/// The model of a family, see [`family`].
pub(super) fn model_of(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::Family(family) => family.strip_prefix("model:"),
        Scope::Account => None,
    }
}

/// A header value that logs must not show.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// One harmless read: what is left (once the project is known), which project the login has, or whether the key is good.
pub(super) fn call(account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("codex-pool/", env!("CARGO_PKG_VERSION"))));
    if account.kind == AccountKind::ApiKey {
        headers.insert("x-goog-api-key", sensitive(credentials.access.expose())?);
        let url = format!("{}/v1beta/models?pageSize=1", bases.gemini_api);
        return Some(Call { method: Method::GET, url, headers, body: Bytes::new() });
    }
    headers.insert(header::AUTHORIZATION, sensitive(&format!("Bearer {}", credentials.access.expose()))?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (method, body) = match credentials.bound.get(PROJECT) {
        Some(project) => ("retrieveUserQuota", json!({ "project": project })),
        None => (
            "loadCodeAssist",
            json!({"metadata": {
                "ideType": "IDE_UNSPECIFIED", "platform": "PLATFORM_UNSPECIFIED", "pluginType": "GEMINI",
            }}),
        ),
    };
    let url = format!("{}/v1internal:{method}", bases.gemini);
    Some(Call { method: Method::POST, url, headers, body: Bytes::from(body.to_string()) })
}

pub(super) fn read(account: &Account, http: StatusCode, headers: &HeaderMap, body: &[u8], now: UnixMs) -> Probed {
    if !http.is_success() {
        return Probed { judgement: refusal(account, http, headers, body, now), ..Probed::default() };
    }
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if answer.get("buckets").is_some() {
        return Probed { windows: windows(&answer, now), ..Probed::default() };
    }
    let tiers = ["currentTier", "allowedTiers", "ineligibleTiers", "cloudaicompanionProject"];
    if account.kind == AccountKind::Subscription && tiers.iter().any(|key| answer.get(key).is_some()) {
        return tier(&answer);
    }
    Probed::default()
}

/// What a refused probe says of the account. Its own limits and the service's troubles say nothing of model calls.
fn refusal(account: &Account, http: StatusCode, headers: &HeaderMap, body: &[u8], now: UnixMs) -> Option<Judgement> {
    let demand = Demand { light: true, ..Demand::any(ID, Client::OwnCli) };
    let judgement = judge::judge(Some(account.kind), &demand, http, headers, body, now);
    let telling = judgement.park.is_some()
        || judgement.verdict == pool_core::Verdict::RefreshThenSame
        || judgement.fault == Fault::Egress;
    (http != StatusCode::TOO_MANY_REQUESTS && telling).then_some(judgement)
}

/// `retrieveUserQuota`: one bucket a model, telling what *remains*. Buckets without a fraction are unknown, not empty.
fn windows(answer: &Value, now: UnixMs) -> Vec<QuotaWindow> {
    let buckets = answer.get("buckets").and_then(Value::as_array);
    let window = |bucket: &Value| {
        let text = |key: &str| bucket.get(key).and_then(Value::as_str);
        let remaining = Fraction::new(bucket.get("remainingFraction")?.as_f64()?)?;
        Some(QuotaWindow {
            name: text("tokenType").map_or_else(|| "requests".into(), str::to_ascii_lowercase),
            scope: Scope::Family(family(text("modelId")?)),
            used: remaining.rest(),
            resets_at: text("resetTime").and_then(status::time),
            span: None,
            source: Source::Probe,
            seen_at: now,
        })
    };
    buckets.into_iter().flatten().filter_map(window).collect()
}

/// `loadCodeAssist`: the account's tier and project, or why it has none.
fn tier(answer: &Value) -> Probed {
    let text = |path: &str| answer.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let plan = text("/paidTier/id").or(text("/currentTier/id")).map(str::to_owned);
    let project = text("/cloudaicompanionProject").or(text("/cloudaicompanionProject/id"));
    let has_tier = answer.get("currentTier").is_some_and(Value::is_object);
    if let (Some(project), true) = (project, has_tier) {
        return Probed { plan, bound: vec![(PROJECT, project.to_owned())], ..Probed::default() };
    }
    let refused = answer.pointer("/ineligibleTiers/0");
    let of = |key: &str| refused?.get(key)?.as_str().filter(|text| !text.is_empty());
    let why = match (of("reasonMessage").or(of("reasonCode")), of("validationUrl")) {
        (Some(said), Some(link)) => format!("Google says: {said} ({link})"),
        (Some(said), None) => format!("Google says: {said}"),
        (None, _) if has_tier => "this login has no Google Cloud project of its own: write \
            \"project\": \"<project id>\" into the file"
            .into(),
        (None, _) => "this login was never set up for Gemini Code Assist: run `gemini` with it once".into(),
    };
    let code = of("reasonCode").unwrap_or("no tier or project");
    let judgement = Judgement::elsewhere(Fault::Account, format!("loadCodeAssist: {code}")).parked(why);
    Probed { plan, judgement: Some(judgement), ..Probed::default() }
}
