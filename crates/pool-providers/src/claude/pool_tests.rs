use pool_core::{Fraction, Span};

use super::super::testing::{NOW, exchanges, headers, recorded_headers};
use super::*;

fn window(name: &str, class: Option<&str>, used: f64, resets_in: Option<u64>) -> StandingWindow {
    StandingWindow {
        name: name.into(),
        scope: class.map_or(Scope::Account, |class| Scope::Family(class.into())),
        span: None,
        used: Fraction::new(used).expect("a number"),
        resets_at: resets_in.map(|secs| NOW + Span::from_secs(secs)),
    }
}

fn standing(ready: usize, windows: Vec<StandingWindow>) -> Standing {
    Standing { accounts: 3, ready, windows, own: None }
}

/// The unified headers, sorted, without their common beginning.
fn told(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix(UNIFIED)?, value.to_str().ok()?)))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.sort();
    lines
}

fn spoken(standing: &Standing) -> Vec<String> {
    let mut headers = HeaderMap::new();
    speak_of_pool(&mut headers, standing, NOW);
    told(&headers)
}

#[test]
fn nothing_of_the_serving_account_is_left() {
    let response = &exchanges(include_str!("../../fixtures/claude_oauth_env.json"))[0]["response"];
    let mut headers = recorded_headers(response);
    headers.insert("retry-after", HeaderValue::from_static("5"));
    headers.insert("set-cookie", HeaderValue::from_static("a=b"));
    headers.insert("x-should-retry", HeaderValue::from_static("true"));
    headers.insert("anthropic-priority-input-tokens-limit", HeaderValue::from_static("5"));
    headers.insert("anthropic-fast-output-tokens-limit", HeaderValue::from_static("5"));
    speak_of_pool(&mut headers, &Standing::default(), NOW);
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-type", "request-id", "transfer-encoding"]);
}

#[test]
fn a_wait_that_is_not_about_limits_stays() {
    let mut map = headers(&[("retry-after", "5")]);
    speak_of_pool(&mut map, &Standing::default(), NOW);
    assert!(map.contains_key("retry-after"));
}

#[test]
fn the_pool_s_windows_are_told_as_a_plan_s() {
    let calm = standing(
        3,
        vec![
            window("5h", None, 0.123_456, Some(600)),
            window("requests", Some("opus"), 0.5, None),
            window("week", None, 0.4, None),
            window("week", Some("fable"), 0.95, Some(0)),
        ],
    );
    assert_eq!(
        spoken(&calm),
        [
            "5h-reset: 1786147800",
            "5h-status: allowed",
            "5h-utilization: 0.1235",
            "7d-status: allowed",
            "7d-utilization: 0.4",
            "7d_oi-status: allowed_warning",
            "7d_oi-surpassed-threshold: 0.9",
            "7d_oi-utilization: 0.95",
            "representative-claim: seven_day_overage_included",
            "status: allowed_warning",
        ]
    );
    let several = [("fable", 0.95), ("opus", 1.0)].map(|(class, used)| window("week", Some(class), used, None));
    let unknown_model = standing(3, [vec![window("5h", None, 0.5, None)], several.into()].concat());
    assert!(spoken(&unknown_model).contains(&"representative-claim: five_hour".to_owned()));
    assert_eq!(spoken(&standing(3, vec![window("requests", Some("opus"), 0.5, None)])), Vec::<String>::new());
}

#[test]
fn a_spent_window_is_a_refusal_only_if_nobody_is_left() {
    let status = |ready| {
        let lines = spoken(&standing(ready, vec![window("5h", None, 1.0, None)]));
        lines.into_iter().find(|line| line.starts_with("status")).expect("a status")
    };
    assert_eq!(status(1), "status: allowed_warning");
    assert_eq!(status(0), "status: rejected");
}

#[test]
fn the_usage_answer_has_the_provider_s_shape() {
    let pool = standing(
        3,
        vec![
            window("5h", None, 0.375, Some(3600)),
            window("week", Some("opus"), 0.95, None),
            window("tokens", Some("opus"), 0.1, None),
        ],
    );
    let usage = usage(&pool, NOW);
    assert_eq!(usage["five_hour"], json!({"utilization": 37.5, "resets_at": "2026-08-08T01:00:00Z"}));
    assert_eq!(usage["seven_day"], Value::Null);
    assert_eq!(usage["seven_day_opus"], json!({"utilization": 95.0, "resets_at": null}));
    let rows = usage["limits"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["kind"], "session");
    assert_eq!((&rows[1]["kind"], &rows[1]["severity"]), (&json!("weekly_scoped"), &json!("warning")));
    assert_eq!(rows[1]["scope"], json!({"model": {"display_name": "Opus"}}));
}

#[test]
fn a_limit_of_the_callers_own_takes_the_bar_of_its_length() {
    let pool = standing(3, vec![window("5h", None, 0.1, None), window("week", None, 0.2, None)]);
    for (hours, bars) in [(24, (60.0, 20.0)), (168, (10.0, 60.0)), (720, (10.0, 60.0))] {
        let own = StandingWindow { span: Some(Span::from_hours(hours)), ..window("own", None, 0.6, Some(60)) };
        let pool = Standing { own: Some(own), ..pool.clone() };
        let usage = usage(&pool, NOW);
        let told = ["five_hour", "seven_day"].map(|bar| usage[bar]["utilization"].as_f64().expect("a number"));
        assert_eq!((told[0], told[1]), bars, "{hours}");
        let rows = usage["limits"].as_array().expect("rows");
        let kinds: Vec<_> = rows.iter().map(|row| (row["kind"].as_str(), row["percent"].as_f64())).collect();
        assert_eq!(kinds.len(), 2, "{kinds:?}");
        assert!(
            kinds.contains(&(Some("session"), Some(bars.0))) && kinds.contains(&(Some("weekly_all"), Some(bars.1)))
        );
        let claim = if hours < 168 { "five_hour" } else { "seven_day" };
        assert!(spoken(&pool).contains(&format!("representative-claim: {claim}")), "{hours}");
    }
}
