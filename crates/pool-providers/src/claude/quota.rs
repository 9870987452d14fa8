//! Claude's quota windows: in the headers of every reply, and in the answer to `/api/oauth/usage`.
//!
//! Units differ by place: the unified headers tell fractions (which can pass 1) and epoch seconds, the usage answer percent
//! and ISO times, the API-key headers absolute counts and RFC 3339. Names as in Claude Code 2.1.330.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pool_core::{
    Account, AccountKind, Credentials, Demand, Fraction, Judgement, QuotaWindow, Scope, Source, Span, UnixMs,
};
use serde_json::Value;

use super::files::bound;
use super::outbound::{OAUTH_BETA, secret_value};
use super::{errors, models};
use crate::provider::Probed;
use crate::request::{Bases, Call};

pub(super) const UNIFIED: &str = "anthropic-ratelimit-unified-";
const LIMIT: &str = "anthropic-ratelimit-";

const FIVE_HOURS: Span = Span::from_hours(5);
pub(super) const WEEK: Span = Span::from_hours(7 * 24);

/// One of the plan's windows: how headers abbreviate it, what a claim and the usage answer call it.
pub(super) struct PlanWindow {
    pub(super) short: &'static str,
    pub(super) claim: &'static str,
    pub(super) name: &'static str,
    pub(super) span: Span,
    /// The model class that it limits; `None`: all of the account.
    pub(super) class: Option<&'static str>,
}

impl PlanWindow {
    pub(super) fn scope(&self) -> Scope {
        self.class.map_or(Scope::Account, |class| Scope::Family(class.into()))
    }
}

/// `7d_oi` is what Claude Code shows as the Fable limit. The short forms of Opus and Sonnet were not seen in headers yet.
pub(super) const PLAN_WINDOWS: [PlanWindow; 5] = [
    PlanWindow { short: "5h", claim: "five_hour", name: "5h", span: FIVE_HOURS, class: None },
    PlanWindow { short: "7d", claim: "seven_day", name: "week", span: WEEK, class: None },
    PlanWindow { short: "7d_oi", claim: "seven_day_overage_included", name: "week", span: WEEK, class: Some("fable") },
    PlanWindow { short: "7d_opus", claim: "seven_day_opus", name: "week", span: WEEK, class: Some("opus") },
    PlanWindow { short: "7d_sonnet", claim: "seven_day_sonnet", name: "week", span: WEEK, class: Some("sonnet") },
];

pub(super) fn header_windows(account: &Account, demand: &Demand, headers: &HeaderMap, now: UnixMs) -> Vec<QuotaWindow> {
    match account.kind {
        AccountKind::Subscription => plan_windows(headers, now),
        AccountKind::ApiKey => key_windows(demand, headers, now),
    }
}

/// A header of the unified limits, by what follows the common beginning.
pub(super) fn unified<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(format!("{UNIFIED}{name}"))?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

/// Epoch seconds.
pub(super) fn epoch(text: &str) -> Option<UnixMs> {
    let secs: f64 = text.parse().ok()?;
    // Until the year 5138: beyond it the number is nonsense (or milliseconds).
    (1.0..1e11).contains(&secs).then(|| UnixMs::from_secs(secs as i64))
}

fn plan_windows(headers: &HeaderMap, now: UnixMs) -> Vec<QuotaWindow> {
    let claim = unified(headers, "representative-claim");
    let rejected = unified(headers, "status") == Some("rejected");
    let read = |window: &PlanWindow| {
        let get = |what: &str| unified(headers, &format!("{}-{what}", window.short));
        // The claim that a refusal rests on is spent, whether or not it has headers of its own.
        let claimed = rejected && claim == Some(window.claim);
        let used = if claimed || get("status") == Some("rejected") {
            Fraction::ONE
        } else {
            Fraction::new(get("utilization")?.parse().ok()?)?
        };
        let reset = get("reset").or_else(|| unified(headers, "reset").filter(|_| claim == Some(window.claim)));
        Some(QuotaWindow {
            name: window.name.into(),
            scope: window.scope(),
            used,
            resets_at: reset.and_then(epoch),
            span: Some(window.span),
            source: Source::Headers,
            seen_at: now,
        })
    };
    PLAN_WINDOWS.iter().filter_map(read).collect()
}

/// An API key's limits hold per model class.
fn key_windows(demand: &Demand, headers: &HeaderMap, now: UnixMs) -> Vec<QuotaWindow> {
    let scope = match demand.model.as_deref().and_then(models::class) {
        Some(class) => Scope::Family(class),
        None => return Vec::new(),
    };
    let read = |(short, name): (&str, &str)| {
        let get = |what: &str| headers.get(format!("{LIMIT}{short}-{what}"))?.to_str().ok();
        let (limit, remaining): (f64, f64) = (get("limit")?.parse().ok()?, get("remaining")?.parse().ok()?);
        let used = if limit > 0.0 { Fraction::new(1.0 - remaining / limit)? } else { Fraction::ONE };
        Some(QuotaWindow {
            name: name.into(),
            scope: scope.clone(),
            used,
            resets_at: get("reset").and_then(iso),
            span: None,
            source: Source::Headers,
            seen_at: now,
        })
    };
    [
        ("requests", "requests"),
        ("tokens", "tokens"),
        ("input-tokens", "input tokens"),
        ("output-tokens", "output tokens"),
    ]
    .into_iter()
    .filter_map(read)
    .collect()
}

/// ISO 8601 with an offset.
pub(super) fn iso(text: &str) -> Option<UnixMs> {
    text.trim().parse::<jiff::Timestamp>().ok().map(|time| UnixMs(time.as_millisecond()))
}

/// A login that may read its profile is asked for its usage; an API key for one model, which costs nothing and shows that the
/// key works. A setup token can do neither.
pub(super) fn probe_call(account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let path = match account.kind {
        AccountKind::Subscription => {
            let scopes = credentials.bound.get(bound::SCOPES);
            let may = scopes.map_or(credentials.refresh.is_some(), |scopes| {
                scopes.split_whitespace().any(|scope| scope == "user:profile")
            });
            if !may {
                return None;
            }
            headers.insert(AUTHORIZATION, secret_value("Bearer ", &credentials.access)?);
            headers.insert(HeaderName::from_static("anthropic-beta"), HeaderValue::from_static(OAUTH_BETA));
            "/api/oauth/usage"
        }
        AccountKind::ApiKey => {
            headers.insert(HeaderName::from_static("x-api-key"), secret_value("", &credentials.access)?);
            headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
            "/v1/models?limit=1"
        }
    };
    Some(Call { method: Method::GET, url: format!("{}{path}", bases.claude), headers, body: Bytes::new() })
}

pub(super) fn read_probe(
    account: &Account,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: UnixMs,
) -> Probed {
    if status == StatusCode::TOO_MANY_REQUESTS {
        // The usage endpoint has tight limits of its own.
        return Probed::default();
    }
    if !status.is_success() {
        // What a side endpoint refuses keeps nobody from sending messages; only the credential's own trouble counts.
        let judgement = Judgement { penalty: None, ..errors::judge(account, None, status, headers, body, now) };
        return Probed { judgement: Some(judgement), ..Probed::default() };
    }
    match account.kind {
        AccountKind::Subscription => Probed { windows: usage_windows(body, now), ..Probed::default() },
        AccountKind::ApiKey => Probed::default(),
    }
}

/// The windows of `/api/oauth/usage`: named ones at the top, and a list that also has those of single models.
fn usage_windows(body: &[u8], now: UnixMs) -> Vec<QuotaWindow> {
    let usage: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let window = |name: &str, scope: Scope, span: Option<Span>, percent: &Value, reset: &Value| {
        Some(QuotaWindow {
            name: name.into(),
            scope,
            used: Fraction::from_percent(percent.as_f64()?)?,
            resets_at: reset.as_str().and_then(iso),
            span,
            source: Source::Probe,
            seen_at: now,
        })
    };
    let mut windows: Vec<QuotaWindow> = Vec::new();
    for known in &PLAN_WINDOWS {
        let told = &usage[known.claim];
        windows.extend(window(known.name, known.scope(), Some(known.span), &told["utilization"], &told["resets_at"]));
    }
    for row in usage["limits"].as_array().map_or(&[][..], Vec::as_slice).iter().take(32) {
        let (name, span) = match (row["kind"].as_str(), row["group"].as_str()) {
            (Some("session"), _) => ("5h", FIVE_HOURS),
            (Some(kind), _) if kind.starts_with("weekly") => ("week", WEEK),
            (_, Some("session")) => ("5h", FIVE_HOURS),
            (_, Some("weekly")) => ("week", WEEK),
            _ => continue,
        };
        let model = &row["scope"]["model"];
        let scope = match model["display_name"].as_str() {
            Some(model) => match models::class(model) {
                Some(class) => Scope::Family(class),
                None => continue,
            },
            // A limit of something else than a model (a surface, say) is not for us to guess.
            None if !row["scope"].is_null() && row["kind"] != "session" && row["kind"] != "weekly_all" => continue,
            None => Scope::Account,
        };
        if !windows.iter().any(|known| known.name == name && known.scope == scope) {
            windows.extend(window(name, scope, Some(span), &row["percent"], &row["resets_at"]));
        }
    }
    windows
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
