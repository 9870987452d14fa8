//! `google.rpc.Status`: the error body of every Google service, read for what the verdict needs.
//!
//! Shapes and readings follow Gemini CLI's own (packages/core/src/utils/googleErrors.ts and googleQuotaErrors.ts).

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use pool_core::{Span, UnixMs};
use serde_json::Value;

use crate::quote::quote;

/// One error as Google tells it. What is missing is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: Option<u16>,
    /// `RESOURCE_EXHAUSTED`, `PERMISSION_DENIED`, …
    pub(super) name: String,
    pub(super) message: String,
    /// Of the first `ErrorInfo`: `RATE_LIMIT_EXCEEDED`, `API_KEY_INVALID`, …
    pub(super) reason: String,
    /// `metadata.model`, else the model dimension of a quota violation.
    pub(super) model: Option<String>,
    /// `metadata.quotaResetTimeStamp`.
    pub(super) resets_at: Option<UnixMs>,
    /// `metadata.quotaResetDelay`.
    pub(super) resets_in: Option<Span>,
    /// `RetryInfo.retryDelay`, else "Please retry in …" of the message.
    pub(super) retry_in: Option<Span>,
    /// Names of the limits that were passed: `quotaId` of the violations, `metadata.quota_limit`.
    pub(super) limits: Vec<String>,
    /// The limit that was passed is zero: the plan has none of this.
    pub(super) limit_is_zero: bool,
    /// Where a person can mend it.
    pub(super) link: Option<String>,
}

impl Status {
    /// Reads `{"error": {…}}`, and the same in an array (streams without SSE). `None`: it is something else.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let error = match &answer {
            Value::Array(documents) => documents.first()?.get("error")?,
            document => document.get("error")?,
        };
        error.is_object().then(|| Self::of(error))
    }

    fn of(error: &Value) -> Self {
        let mut status = Self {
            code: error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()),
            name: text(error, "status"),
            message: text(error, "message"),
            ..Self::default()
        };
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            match text(detail, "@type").rsplit('.').next() {
                Some("ErrorInfo") => status.take_info(detail),
                Some("RetryInfo") => status.retry_in = status.retry_in.or(duration(&text(detail, "retryDelay"))),
                Some("QuotaFailure") => status.take_violations(detail),
                Some("Help") => {
                    let link = detail.pointer("/links/0/url").and_then(Value::as_str);
                    status.link = link.map(str::to_owned).or(status.link);
                }
                _ => {}
            }
        }
        status.retry_in = status.retry_in.or_else(|| said_delay(&status.message));
        status.limit_is_zero |= says_limit_zero(&status.message);
        status
    }

    fn take_info(&mut self, detail: &Value) {
        if self.reason.is_empty() {
            self.reason = text(detail, "reason");
        }
        let Some(metadata) = detail.get("metadata") else { return };
        let of = |key: &str| Some(text(metadata, key)).filter(|value| !value.is_empty());
        self.model = of("model").or(self.model.take());
        self.resets_at = of("quotaResetTimeStamp").and_then(|stamp| time(&stamp)).or(self.resets_at);
        self.resets_in = of("quotaResetDelay").and_then(|delay| duration(&delay)).or(self.resets_in);
        self.limits.extend(of("quota_limit"));
        self.limit_is_zero |= of("quota_limit_value").as_deref() == Some("0");
        let links = ["validation_url", "validation_link", "validationUrl", "activationUrl"];
        self.link = self.link.take().or_else(|| links.iter().find_map(|key| of(key)));
    }

    fn take_violations(&mut self, detail: &Value) {
        for violation in detail.get("violations").and_then(Value::as_array).into_iter().flatten() {
            let id = text(violation, "quotaId");
            self.limits.extend(Some(id).filter(|id| !id.is_empty()));
            self.limit_is_zero |= text(violation, "quotaValue") == "0";
            let model = violation.pointer("/quotaDimensions/model").and_then(Value::as_str);
            self.model = self.model.take().or(model.map(str::to_owned));
        }
    }

    pub(super) fn has_limit(&self, parts: &[&str]) -> bool {
        self.limits.iter().any(|limit| parts.iter().any(|part| limit.contains(part)))
    }

    /// One line for logs and people: code, reason and message, without keys.
    pub(super) fn line(&self, status: u16) -> String {
        let reason = if self.reason.is_empty() { &self.name } else { &self.reason };
        let head = if reason.is_empty() { status.to_string() } else { format!("{status} {reason}") };
        if self.message.is_empty() { head } else { format!("{head}: {}", quote(&self.message, 240)) }
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A moment as RFC 3339 tells it.
pub(super) fn time(text: &str) -> Option<UnixMs> {
    text.parse::<Timestamp>().ok().map(|stamp| UnixMs(stamp.as_millisecond()))
}

/// A duration as Google writes it: `34.07s`, `900ms`, `161h39m41.3s`. Rounded up to the millisecond.
pub(super) fn duration(text: &str) -> Option<Span> {
    let mut rest = text.trim();
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |at| digits + at);
        let millis = match &rest[digits..unit_end] {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            "d" => 86_400e3,
            "us" => 1e-3,
            "ns" => 1e-6,
            _ => return None,
        };
        total += number * millis;
        rest = &rest[unit_end..];
    }
    // A wait longer than a year is a mistake, not a wait.
    (total.is_finite() && total < 366.0 * 86_400e3).then(|| Span::from_millis(total.ceil() as u64))
}

/// "Please retry in 34.07s."
fn said_delay(message: &str) -> Option<Span> {
    let (_, rest) = message.split_once("Please retry in ")?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
    duration(rest[..end].trim_end_matches('.'))
}

/// "Quota exceeded for metric: …, limit: 0, model: …"
fn says_limit_zero(message: &str) -> bool {
    message
        .match_indices("limit: 0")
        .any(|(at, found)| !message[at + found.len()..].starts_with(|next: char| next.is_ascii_digit() || next == '.'))
}

/// The next midnight in California, when Google's daily quotas begin anew (<https://ai.google.dev/gemini-api/docs/rate-limits>).
///
/// The time zone's rule is written out, since the machine's time zone files may be absent and this crate reads no files.
pub(super) fn next_pacific_midnight(now: UnixMs) -> Option<UnixMs> {
    let zone = TimeZone::posix("PST8PDT,M3.2.0,M11.1.0").ok()?;
    let here = Timestamp::from_millisecond(now.0).ok()?.to_zoned(zone);
    let midnight = here.start_of_day().ok()?.checked_add(1.day()).ok()?.start_of_day().ok()?;
    Some(UnixMs(midnight.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_all_of_googles_manners() {
        let cases = [
            ("34.07s", Some(34_070)),
            ("33740.9s", Some(33_740_900)),
            ("161h39m41.3s", Some(581_981_300)),
            ("900ms", Some(900)),
            ("3600s", Some(3_600_000)),
            ("0s", Some(0)),
            ("0.0001s", Some(1)),
            ("", None),
            ("12", None),
            ("s", None),
            ("1.2.3s", None),
            ("5 minutes", None),
            ("99999999999999999h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), millis.map(Span::from_millis), "{text}");
        }
    }

    #[test]
    fn the_message_alone_tells_delay_and_missing_quota() {
        assert_eq!(said_delay("Quota exceeded. Please retry in 34.07s."), Some(Span::from_millis(34_070)));
        assert_eq!(said_delay("Please retry in 812.5ms. Then"), Some(Span::from_millis(813)));
        assert_eq!(said_delay("Try again later."), None);
        for (message, zero) in [
            ("* Quota exceeded for metric: x/free_tier_requests, limit: 0, model: gemini-3.1-pro", true),
            ("limit: 0", true),
            ("limit: 05", false),
            ("limit: 20, model: gemini-2.5-pro", false),
        ] {
            assert_eq!(says_limit_zero(message), zero, "{message}");
        }
    }

    #[test]
    fn midnight_is_californias_in_summer_and_in_winter() {
        for (now, midnight) in [
            ("2026-11-22T15:00:00Z", "2026-11-23T08:00:00Z"),
            ("2026-11-23T07:59:59Z", "2026-11-23T08:00:00Z"),
            ("2026-11-23T08:00:00Z", "2026-11-24T08:00:00Z"),
            ("2026-07-01T12:00:00Z", "2026-07-02T07:00:00Z"),
            // The days of the changes themselves.
            ("2026-03-08T09:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-11-01T08:00:00Z", "2026-11-02T08:00:00Z"),
        ] {
            assert_eq!(next_pacific_midnight(time(now).expect("a time")), time(midnight), "{now}");
        }
    }
}
