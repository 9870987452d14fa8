//! Quota readings: headers of any reply, `/wham/usage`, and the `codex.rate_limits` event.
//!
//! Two kinds of accounts, two kinds of readings. A subscription tells windows in percent
//! (`codex-rs/codex-api/src/rate_limits.rs`): primary and secondary are positions, not lengths, so a window is named by the
//! length that it tells (a free plan's primary is a week). An API key tells what is left of a minute's requests and tokens,
//! for each model on its own.
//!
//! Windows of the family `codex` limit the whole account. Other families belong to single models; which model falls in which
//! family is not told beforehand, so their windows are kept for display under the family's own name, while a refusal cools
//! (account, requested model): see [`super::errors`].

use std::time::Duration;

use http::HeaderMap;
use pool_core::{Fraction, QuotaWindow, Scope, Source, Span, UnixMs};
use serde::Deserialize;

/// The family that limits the whole account.
pub(super) const DEFAULT_FAMILY: &str = "codex";

/// A reset farther away than this is a mistake (milliseconds for seconds, or noise).
const FARTHEST_RESET: Span = Span::from_hours(400 * 24);

/// More families in one reply than a provider would send.
const MAX_FAMILIES: usize = 16;

/// The family of a requested model, in [`pool_core::Demand::families`].
pub(super) fn model_family(model: &str) -> String {
    format!("model:{model}")
}

/// A family as `/wham/usage` writes it; headers write `-` for `_`.
pub(super) fn family_scope(family: &str) -> Scope {
    let family = family.trim().to_ascii_lowercase().replace('-', "_");
    if family.is_empty() || family == DEFAULT_FAMILY { Scope::Account } else { Scope::Family(family) }
}

/// A time of reset that can be believed.
pub(super) fn reset_at_secs(secs: f64, now: UnixMs) -> Option<UnixMs> {
    if !(1.0..1e11).contains(&secs) {
        return None;
    }
    let at = UnixMs((secs * 1000.0) as i64);
    (at.since(now) <= FARTHEST_RESET).then_some(at)
}

pub(super) fn reset_after_secs(secs: f64, now: UnixMs) -> Option<UnixMs> {
    let after = Span::from_millis((secs.max(0.0) * 1000.0) as u64);
    (secs.is_finite() && secs >= 0.0 && after <= FARTHEST_RESET).then(|| now + after)
}

/// One window as told, whatever the place.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    used_percent: Option<f64>,
    /// `Some(ZERO)`: there is no such window.
    span: Option<Span>,
    resets_at: Option<UnixMs>,
}

impl Told {
    fn window(self, position: &str, scope: Scope, source: Source, now: UnixMs) -> Option<QuotaWindow> {
        let used = self.used_percent.filter(|percent| *percent >= 0.0)?;
        let name = match self.span {
            Some(Span::ZERO) => return None,
            Some(span) => QuotaWindow::name_of(span),
            // Neither length nor end: nothing would ever free it.
            None => self.resets_at.map(|_| position.to_owned())?,
        };
        Some(QuotaWindow {
            name,
            scope,
            used: Fraction::from_percent(used)?,
            resets_at: self.resets_at,
            span: self.span,
            source,
            seen_at: now,
        })
    }
}

/// Minutes as told; not more than ten years.
fn minutes(minutes: f64) -> Option<Span> {
    (0.0..=5_256_000.0).contains(&minutes).then(|| Span::from_mins(minutes as u64))
}

// Headers

/// All readings in a reply's headers. `model` is the requested one: an API key's limits are per model.
pub(super) fn from_headers(headers: &HeaderMap, model: Option<&str>, now: UnixMs) -> Vec<QuotaWindow> {
    let mut windows = Vec::new();
    for (family, position) in positions(headers) {
        let value = |suffix: &str| number(headers, &format!("x-{family}-{position}-{suffix}"));
        let told = Told {
            used_percent: value("used-percent"),
            span: value("window-minutes").and_then(minutes),
            // Live headers may carry an empty `reset-at` beside a good `reset-after-seconds`.
            resets_at: value("reset-at")
                .and_then(|secs| reset_at_secs(secs, now))
                .or_else(|| value("reset-after-seconds").and_then(|secs| reset_after_secs(secs, now))),
        };
        windows.extend(told.window(position, family_scope(family), Source::Headers, now));
    }
    windows.extend(["requests", "tokens"].into_iter().filter_map(|unit| key_window(headers, unit, model, now)));
    windows
}

/// The families and positions that the headers speak of.
fn positions(headers: &HeaderMap) -> impl Iterator<Item = (&str, &'static str)> {
    let families = headers.keys().filter_map(|name| {
        let family = name.as_str().strip_prefix("x-")?;
        ["primary", "secondary"].into_iter().find_map(|position| {
            let family = family.strip_suffix("-used-percent")?.strip_suffix(position)?.strip_suffix('-')?;
            Some((family, position))
        })
    });
    families.take(2 * MAX_FAMILIES)
}

/// What is left to an API key: a bucket that fills up again, told as a limit, a rest and the time until it is full.
fn key_window(headers: &HeaderMap, unit: &str, model: Option<&str>, now: UnixMs) -> Option<QuotaWindow> {
    let limit = number(headers, &format!("x-ratelimit-limit-{unit}")).filter(|limit| *limit > 0.0)?;
    let remaining = number(headers, &format!("x-ratelimit-remaining-{unit}"))?;
    let full_in = text(headers, &format!("x-ratelimit-reset-{unit}")).and_then(duration);
    Some(QuotaWindow {
        name: unit.to_owned(),
        scope: model.map_or(Scope::Account, |model| Scope::Family(model_family(model))),
        used: Fraction::new(1.0 - remaining.max(0.0) / limit)?,
        resets_at: full_in.and_then(|wait| reset_after_secs(wait.as_secs_f64(), now)),
        span: None,
        source: Source::Headers,
        seen_at: now,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    text(headers, name)?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// `6m0s`, `120ms`, `1h2m3.5s`, `1d`: the durations of `x-ratelimit-reset-*`. A bare number is seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Ok(secs) = rest.parse::<f64>() {
        return Duration::try_from_secs_f64(secs).ok();
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(digits);
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let secs = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(value.parse::<f64>().ok()? * secs).ok()?)?;
        rest = next;
    }
    (!text.trim().is_empty()).then_some(total)
}

// `/wham/usage` (codex-rs/codex-backend-openapi-models). Everything may be missing or null.

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    pub(super) plan_type: Option<String>,
    pub(super) rate_limit: Option<UsageLimit>,
    pub(super) credits: Option<Credits>,
    additional_rate_limits: Option<Vec<FamilyLimit>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageLimit {
    pub(super) limit_reached: Option<bool>,
    primary_window: Option<UsageWindow>,
    secondary_window: Option<UsageWindow>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsageWindow {
    used_percent: Option<f64>,
    limit_window_seconds: Option<f64>,
    reset_after_seconds: Option<f64>,
    reset_at: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FamilyLimit {
    limit_name: Option<String>,
    metered_feature: Option<String>,
    rate_limit: Option<UsageLimit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Credits {
    pub(super) has_credits: Option<bool>,
    pub(super) unlimited: Option<bool>,
}

impl Usage {
    /// The windows tell what the plan has left. A spent window stays spent even where credits would let requests through: what
    /// the account may still buy is not its quota.
    pub(super) fn windows(&self, now: UnixMs) -> Vec<QuotaWindow> {
        let mut windows = Vec::new();
        let mut take = |limit: Option<&UsageLimit>, scope: &Scope| {
            let Some(limit) = limit else { return };
            for (position, window) in [("primary", &limit.primary_window), ("secondary", &limit.secondary_window)] {
                let told = window.as_ref().map(|window| window.told(now)).unwrap_or_default();
                windows.extend(told.window(position, scope.clone(), Source::Probe, now));
            }
        };
        take(self.rate_limit.as_ref(), &Scope::Account);
        for family in self.additional_rate_limits.iter().flatten().take(MAX_FAMILIES) {
            if let Some(id) = family.metered_feature.as_deref().or(family.limit_name.as_deref()) {
                take(family.rate_limit.as_ref(), &family_scope(id));
            }
        }
        windows
    }

    /// Can the account buy more than its plan gives?
    pub(super) fn has_credit(&self) -> bool {
        self.credits
            .as_ref()
            .is_some_and(|credits| credits.has_credits == Some(true) || credits.unlimited == Some(true))
    }
}

impl UsageWindow {
    fn told(&self, now: UnixMs) -> Told {
        Told {
            used_percent: self.used_percent,
            // Whole minutes, rounded up, as the CLI counts them.
            span: self.limit_window_seconds.and_then(|secs| minutes(((secs + 59.0) / 60.0).floor())),
            resets_at: self
                .reset_at
                .and_then(|secs| reset_at_secs(secs, now))
                .or_else(|| self.reset_after_seconds.and_then(|secs| reset_after_secs(secs, now))),
        }
    }
}

// `{"type":"codex.rate_limits","rate_limits":{…},"metered_limit_name":"…", …}` inside an answer stream.

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventLimits {
    primary: Option<EventWindow>,
    secondary: Option<EventWindow>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventWindow {
    used_percent: Option<f64>,
    window_minutes: Option<f64>,
    reset_at: Option<f64>,
    reset_after_seconds: Option<f64>,
}

/// The readings of one `codex.rate_limits` event: its `rate_limits` object, raw, and the family that it names, if any.
/// Whatever it says, the stream goes on: an event that tells a reached limit can be followed by a whole answer.
pub(super) fn from_event(rate_limits: &[u8], family: Option<&str>, now: UnixMs) -> Vec<QuotaWindow> {
    let limits = serde_json::from_slice::<Option<EventLimits>>(rate_limits).ok().flatten().unwrap_or_default();
    let scope = family_scope(family.unwrap_or(DEFAULT_FAMILY));
    [("primary", limits.primary), ("secondary", limits.secondary)]
        .into_iter()
        .filter_map(|(position, window)| {
            let window = window?;
            let told = Told {
                used_percent: window.used_percent,
                span: window.window_minutes.and_then(minutes),
                resets_at: window
                    .reset_at
                    .and_then(|secs| reset_at_secs(secs, now))
                    .or_else(|| window.reset_after_seconds.and_then(|secs| reset_after_secs(secs, now))),
            };
            told.window(position, scope.clone(), Source::StreamEvent, now)
        })
        .collect()
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
