//! Limits in Codex's words, told of the pool: reply headers and the usage answer.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use pool_core::standing::{Standing, StandingWindow};
use pool_core::{Scope, Span, UnixMs};
use serde_json::{Value, json};

/// Headers, besides the windows of every family, that speak of the one account that served.
const OF_ONE_ACCOUNT: [&str; 4] =
    ["x-codex-plan-type", "x-codex-promo-message", "x-codex-active-limit", "x-codex-rate-limit-reached-type"];

/// The two windows that Codex shows: the shortest is its primary. A limit of the caller's own takes the place of all but the
/// fullest of the pool's.
pub(super) fn shown<'a>(standing: &'a Standing) -> impl Iterator<Item = (&'static str, &'a StandingWindow, Span)> {
    let timed = standing.windows.iter().filter(|window| window.scope == Scope::Account);
    let with_span = |window: &'a StandingWindow| Some((window, window.span.filter(|span| *span > Span::ZERO)?));
    let mut timed: Vec<_> = timed.filter_map(with_span).collect();
    timed.sort_by_key(|(_, span)| *span);
    if let Some(own) = standing.own.as_ref().and_then(with_span) {
        timed.truncate(2);
        timed.sort_by(|(a, _), (b, _)| b.used.get().total_cmp(&a.used.get()));
        timed.truncate(1);
        timed.push(own);
        timed.sort_by_key(|(_, span)| *span);
    }
    ["primary", "secondary"].into_iter().zip(timed).map(|(position, (window, span))| (position, window, span))
}

pub(super) fn speak_of_pool(headers: &mut HeaderMap, standing: &Standing, now: UnixMs) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| is_of_one_account(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    for (position, window, span) in shown(standing) {
        set_window(headers, position, window.used.get() * 100.0, span, window.resets_at, now);
    }
}

fn is_of_one_account(name: &HeaderName) -> bool {
    let text = name.as_str();
    let window = text.starts_with("x-") && (text.contains("-primary-") || text.contains("-secondary-"));
    let family = text.starts_with("x-codex-") && (text.ends_with("-limit-name") || text.starts_with("x-codex-credits"));
    window
        || family
        || text.starts_with("x-ratelimit-")
        || OF_ONE_ACCOUNT.contains(&text)
        || *name == SET_COOKIE
        || matches!(text, "openai-organization" | "openai-project" | "chatgpt-account-id")
}

/// `position`: `primary` or `secondary`.
pub(super) fn set_window(
    headers: &mut HeaderMap,
    position: &str,
    used_percent: f64,
    span: Span,
    resets_at: Option<UnixMs>,
    now: UnixMs,
) {
    let mut set = |suffix: &str, value: String| {
        let name = HeaderName::try_from(format!("x-codex-{position}-{suffix}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    set("used-percent", format!("{}", used_percent.round()));
    set("window-minutes", (span.0 / 60_000).to_string());
    if let Some(reset) = resets_at.filter(|reset| *reset > now) {
        set("reset-at", reset.as_secs_ceil().to_string());
        set("reset-after-seconds", reset.since(now).as_secs_ceil().to_string());
    }
}

/// The same as an event of an answer (`codex-rs/codex-api/src/rate_limits.rs`). `None`: nothing is known.
pub(super) fn event(standing: &Standing, now: UnixMs) -> Option<Value> {
    let mut limits = json!({ "primary": null, "secondary": null });
    let mut any = false;
    for (position, window, span) in shown(standing) {
        any = true;
        limits[position] = json!({
            "used_percent": (window.used.get() * 100.0).round(),
            "window_minutes": span.0 / 60_000,
            "reset_at": window.resets_at.filter(|reset| *reset > now).map(UnixMs::as_secs_ceil),
        });
    }
    let event = json!({
        "type": super::events::LIMITS, "plan_type": super::answers::PLAN, "rate_limits": limits, "credits": null,
    });
    any.then_some(event)
}

/// The answer to `/wham/usage`: shape of `codex-rs/codex-backend-openapi-models`, whose windows must tell a reset.
pub(super) fn usage(standing: &Standing, now: UnixMs) -> Value {
    let mut windows = [Value::Null, Value::Null];
    for (slot, (_, window, span)) in windows.iter_mut().zip(shown(standing)) {
        // A window that nobody has begun ends one length after its first use.
        let reset = window.resets_at.filter(|reset| *reset > now).unwrap_or(now + span);
        *slot = json!({
            "used_percent": (window.used.get() * 100.0).round() as i64,
            "limit_window_seconds": span.as_secs_ceil(),
            "reset_after_seconds": reset.since(now).as_secs_ceil(),
            "reset_at": reset.as_secs_ceil(),
        });
    }
    let [primary, secondary] = windows;
    let rate_limit = if primary.is_null() {
        Value::Null
    } else {
        json!({
            "allowed": standing.ready > 0,
            "limit_reached": (standing.accounts > 0 || standing.own.is_some()) && standing.ready == 0,
            "primary_window": primary,
            "secondary_window": secondary,
        })
    };
    json!({ "plan_type": super::answers::PLAN, "rate_limit": rate_limit, "credits": null, "additional_rate_limits": [] })
}

#[cfg(test)]
mod tests {
    use pool_core::Fraction;

    use super::super::fixtures;
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_341_460_000);

    fn window(name: &str, mins: Option<u64>, used: f64, resets_in: Option<u64>) -> StandingWindow {
        StandingWindow {
            name: name.into(),
            scope: Scope::Account,
            span: mins.map(Span::from_mins),
            used: Fraction::new(used).expect("a number"),
            resets_at: resets_in.map(|secs| NOW + Span::from_secs(secs)),
        }
    }

    fn standing() -> Standing {
        let family = StandingWindow { scope: Scope::Family("fox".into()), ..window("day", Some(1440), 0.9, None) };
        let windows = vec![
            window("week", Some(10_080), 0.256, None),
            family,
            window("requests", None, 0.1, None),
            window("5h", Some(300), 1.0, Some(60)),
        ];
        Standing { accounts: 2, ready: 1, windows, own: None }
    }

    #[test]
    fn the_accounts_own_limits_give_way_to_the_pools() {
        let mut headers = fixtures::answer_headers(include_str!("../../fixtures/codex_usage_limit.json"), 0);
        for name in [
            "x-codex-bengalfox-primary-used-percent",
            "x-codex-bengalfox-limit-name",
            "x-codex-primary-over-secondary-limit-percent",
            "x-codex-credits-balance",
            "x-codex-promo-message",
            "x-ratelimit-remaining-tokens",
            "openai-organization",
            "set-cookie",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        for kept in ["x-codex-turn-state", "openai-model", "x-request-id", "x-reasoning-included"] {
            headers.insert(HeaderName::from_static(kept), HeaderValue::from_static("k"));
        }
        speak_of_pool(&mut headers, &standing(), NOW);
        let mut told: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        told.retain(|line| !line.starts_with("content-"));
        told.sort();
        assert_eq!(
            told,
            [
                "openai-model: k",
                "x-codex-primary-reset-after-seconds: 60",
                "x-codex-primary-reset-at: 1795341520",
                "x-codex-primary-used-percent: 100",
                "x-codex-primary-window-minutes: 300",
                "x-codex-secondary-used-percent: 26",
                "x-codex-secondary-window-minutes: 10080",
                "x-codex-turn-state: k",
                "x-reasoning-included: k",
                "x-request-id: k",
            ]
        );
    }

    #[test]
    fn the_usage_answer_is_the_pools() {
        assert_eq!(
            usage(&standing(), NOW)["rate_limit"],
            json!({
                "allowed": true, "limit_reached": false,
                "primary_window": {"used_percent": 100, "limit_window_seconds": 18_000,
                    "reset_after_seconds": 60, "reset_at": 1_795_341_520},
                "secondary_window": {"used_percent": 26, "limit_window_seconds": 604_800,
                    "reset_after_seconds": 604_800, "reset_at": 1_795_946_260},
            })
        );
        assert_eq!(usage(&Standing::default(), NOW)["rate_limit"], Value::Null);
        let spent = Standing { ready: 0, ..standing() };
        assert_eq!(usage(&spent, NOW)["rate_limit"]["limit_reached"], true);
    }

    #[test]
    fn a_limit_of_the_callers_own_stands_beside_the_fullest_window() {
        for (mins, shown) in [(1440, [(1440, 0.5), (10_080, 0.4)]), (43_200, [(10_080, 0.4), (43_200, 0.5)])] {
            let windows = vec![window("5h", Some(300), 0.1, None), window("week", Some(10_080), 0.4, None)];
            let own = Some(window("own", Some(mins), 0.5, Some(60)));
            let standing = Standing { accounts: 1, ready: 1, windows, own };
            let told: Vec<_> =
                super::shown(&standing).map(|(_, window, span)| (span.0 / 60_000, window.used.get())).collect();
            assert_eq!(told, shown);
        }
    }
}
