use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;

const NOW: UnixMs = UnixMs(1_795_341_460_000);

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (name.parse::<HeaderName>().expect("a name"), HeaderValue::from_str(value).expect("a value"))
        })
        .collect()
}

/// Name, scope, used percent, milliseconds until the reset.
fn seen(windows: &[QuotaWindow]) -> Vec<(String, Scope, i64, Option<i64>)> {
    windows
        .iter()
        .map(|window| {
            let used = (window.used.get() * 1000.0).round() as i64;
            (window.name.clone(), window.scope.clone(), used, window.resets_at.map(|at| at.0 - NOW.0))
        })
        .collect()
}

fn read(pairs: &[(&str, &str)]) -> Vec<(String, Scope, i64, Option<i64>)> {
    let mut windows = seen(&from_headers(&headers(pairs), Some("gpt-x"), NOW));
    windows.sort();
    windows
}

#[test]
fn recorded_headers_give_both_windows() {
    let recorded = super::super::fixtures::answer_headers(include_str!("../../fixtures/codex_usage_limit.json"), 0);
    let mut windows = seen(&from_headers(&recorded, None, NOW));
    windows.sort();
    assert_eq!(
        windows,
        [
            ("5h".into(), Scope::Account, 1000, Some(1_795_345_227_000 - NOW.0)),
            ("week".into(), Scope::Account, 400, Some(1_795_428_027_000 - NOW.0)),
        ]
    );
}

#[test]
fn a_window_is_named_by_its_length_not_by_its_place() {
    let week = [
        ("x-codex-primary-used-percent", "7.5"),
        ("x-codex-primary-window-minutes", "10080"),
        ("x-codex-primary-reset-at", ""),
        ("x-codex-primary-reset-after-seconds", "60"),
        ("x-codex-secondary-used-percent", "0"),
        ("x-codex-secondary-window-minutes", "0"),
    ];
    assert_eq!(read(&week), [("week".into(), Scope::Account, 75, Some(60_000))]);
}

#[test]
fn other_families_limit_their_own_models() {
    let family =
        [("x-codex-bengalfox-primary-used-percent", "104"), ("x-codex-bengalfox-primary-window-minutes", "300")];
    assert_eq!(read(&family), [("5h".into(), Scope::Family("codex_bengalfox".into()), 1000, None)]);
}

#[test]
fn nonsense_is_no_reading() {
    for pairs in [
        &[("x-codex-primary-used-percent", "NaN"), ("x-codex-primary-window-minutes", "300")][..],
        &[("x-codex-primary-used-percent", "-3"), ("x-codex-primary-window-minutes", "300")],
        &[("x-codex-primary-used-percent", "much"), ("x-codex-primary-window-minutes", "300")],
        &[("x-codex-primary-used-percent", "5")],
        &[("x-codex-primary-window-minutes", "300")],
        &[("x-primary-used-percent", "5")],
        &[("x-ratelimit-limit-requests", "0"), ("x-ratelimit-remaining-requests", "0")],
        &[("x-ratelimit-limit-requests", "10")],
    ] {
        assert_eq!(read(pairs), [], "{pairs:?}");
    }
    // A reset that cannot be is left out, not believed.
    for at in ["1795341460000", "-1", "inf"] {
        let pairs = [
            ("x-codex-primary-used-percent", "5"),
            ("x-codex-primary-window-minutes", "300"),
            ("x-codex-primary-reset-at", at),
        ];
        assert_eq!(read(&pairs), [("5h".into(), Scope::Account, 50, None)], "{at}");
    }
}

#[test]
fn an_api_key_tells_its_limits_for_the_model() {
    let pairs = [
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", "499"),
        ("x-ratelimit-reset-requests", "120ms"),
        ("x-ratelimit-limit-tokens", "30000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    let model = Scope::Family("model:gpt-x".into());
    assert_eq!(
        read(&pairs),
        [("requests".into(), model.clone(), 2, Some(120)), ("tokens".into(), model, 1000, Some(360_000))]
    );
}

#[test]
fn durations_are_read_as_sent() {
    for (text, millis) in [
        ("6m0s", 360_000),
        ("120ms", 120),
        ("1h2m3.5s", 3_723_500),
        ("1d", 86_400_000),
        ("17.28s", 17_280),
        ("2", 2000),
    ] {
        assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "s", "5x", "1.2.3s", "-1s", "1e400", "99999999999999999999d"] {
        assert_eq!(duration(text), None, "{text}");
    }
}

#[test]
fn the_usage_answer_tells_all_windows() {
    let usage: Usage = serde_json::from_value(json!({
        "plan_type": "plus",
        "rate_limit": {"allowed": true, "limit_reached": false,
            "primary_window": {"used_percent": 42, "limit_window_seconds": 17_999, "reset_after_seconds": 900, "reset_at": null},
            "secondary_window": {"used_percent": 3, "limit_window_seconds": 604_800, "reset_at": 1_795_341_520}},
        "credits": {"has_credits": true, "unlimited": false, "balance": "5"},
        "additional_rate_limits": [{"limit_name": "Fox", "metered_feature": "codex_bengalfox",
            "rate_limit": {"primary_window": {"used_percent": 99.5, "limit_window_seconds": 86_400}, "secondary_window": null}}],
        "something_new": [1, 2]
    }))
    .expect("readable");
    assert_eq!(
        seen(&usage.windows(NOW)),
        [
            ("5h".into(), Scope::Account, 420, Some(900_000)),
            ("week".into(), Scope::Account, 30, Some(60_000)),
            ("day".into(), Scope::Family("codex_bengalfox".into()), 995, None),
        ]
    );
    assert!(usage.has_credit());
    let bare: Usage = serde_json::from_value(json!({"plan_type": "free"})).expect("readable");
    assert_eq!((bare.windows(NOW).len(), bare.has_credit()), (0, false));
}

#[test]
fn the_event_tells_its_windows() {
    let limits =
        json!({"primary": {"used_percent": 42, "window_minutes": 300, "reset_at": 1_795_341_520}, "secondary": null});
    assert_eq!(
        seen(&from_event(limits.to_string().as_bytes(), None, NOW)),
        [("5h".into(), Scope::Account, 420, Some(60_000))]
    );
    let limits = json!({"primary": null, "secondary": {"used_percent": 1, "window_minutes": 10_080}});
    assert_eq!(
        seen(&from_event(limits.to_string().as_bytes(), Some("codex_bengalfox"), NOW)),
        [("week".into(), Scope::Family("codex_bengalfox".into()), 10, None)]
    );
    for nothing in ["not JSON", "null", "{}", "[]", "{\"primary\": 5}"] {
        assert_eq!(from_event(nothing.as_bytes(), None, NOW), [], "{nothing}");
    }
}
