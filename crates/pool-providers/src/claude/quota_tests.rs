use super::super::testing::{NOW, account, credentials, demand, exchanges, headers, recorded_headers};
use super::*;

/// `name scope used reset`, the reset in seconds since `NOW`.
fn told(windows: &[QuotaWindow]) -> Vec<String> {
    let line = |window: &QuotaWindow| {
        let scope = match &window.scope {
            Scope::Account => "all",
            Scope::Family(family) => family,
        };
        let reset = window.resets_at.map_or("?".into(), |at| ((at.0 - NOW.0) / 1000).to_string());
        format!("{} {scope} {} {reset}", window.name, window.used.get())
    };
    windows.iter().map(line).collect()
}

fn of(kind: AccountKind, pairs: &[(&str, &str)]) -> Vec<String> {
    told(&header_windows(&account(kind), &demand("claude-opus-5-5"), &headers(pairs), NOW))
}

#[test]
fn plan_headers_are_fractions_and_epoch_seconds() {
    let plan = |pairs: &[(&str, &str)]| of(AccountKind::Subscription, pairs);
    // As captured from the real service.
    let captured = [
        ("anthropic-ratelimit-unified-status", "allowed_warning"),
        ("anthropic-ratelimit-unified-5h-utilization", "0.94"),
        ("anthropic-ratelimit-unified-5h-reset", "1786148200"),
        ("anthropic-ratelimit-unified-5h-surpassed-threshold", "0.9"),
        ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
        ("anthropic-ratelimit-unified-overage-status", "rejected"),
        ("anthropic-ratelimit-unified-overage-disabled-reason", "out_of_credits"),
    ];
    assert_eq!(plan(&captured), ["5h all 0.94 1000"]);
    assert_eq!(plan(&[("anthropic-ratelimit-unified-5h-utilization", "1.04")]), ["5h all 1 ?"]);
    assert_eq!(plan(&[("anthropic-ratelimit-unified-7d-utilization", "0")]), ["week all 0 ?"]);
    assert_eq!(plan(&[("anthropic-ratelimit-unified-7d_oi-utilization", "0.3")]), ["week fable 0.3 ?"]);
    for nonsense in ["", "much", "NaN", "inf"] {
        assert_eq!(
            plan(&[("anthropic-ratelimit-unified-5h-utilization", nonsense)]),
            Vec::<String>::new(),
            "{nonsense}"
        );
    }
    // Milliseconds in place of seconds are no date.
    let odd = [
        ("anthropic-ratelimit-unified-5h-utilization", "0.5"),
        ("anthropic-ratelimit-unified-5h-reset", "1786148200000"),
    ];
    assert_eq!(plan(&odd), ["5h all 0.5 ?"]);
}

#[test]
fn a_refusal_that_names_only_its_claim_is_a_spent_window() {
    let refused = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1786148200"),
        ("anthropic-ratelimit-unified-representative-claim", "seven_day_opus"),
        ("anthropic-ratelimit-unified-5h-status", "allowed"),
        ("anthropic-ratelimit-unified-5h-utilization", "0.2"),
    ];
    assert_eq!(of(AccountKind::Subscription, &refused), ["5h all 0.2 ?", "week opus 1 1000"]);
}

#[test]
fn the_recorded_replies_tell_both_windows() {
    for (recording, wanted) in [
        (include_str!("../../fixtures/claude_usage_limit.json"), ["5h all 1", "week all 0.4"]),
        (include_str!("../../fixtures/claude_oauth_env.json"), ["5h all 0.12", "week all 0.4"]),
    ] {
        let headers = recorded_headers(&exchanges(recording)[0]["response"]);
        let windows = header_windows(&account(AccountKind::Subscription), &demand("claude-sonnet-5-5"), &headers, NOW);
        for (line, wanted) in told(&windows).iter().zip(wanted) {
            assert!(line.starts_with(wanted), "{line}");
            assert!(!line.ends_with('?'), "{line}");
        }
        assert_eq!(windows.len(), 2);
    }
}

#[test]
fn key_headers_are_counts_for_a_model_class() {
    let pairs = [
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-requests-reset", "2026-08-08T00:00:02Z"),
        ("anthropic-ratelimit-input-tokens-limit", "40000"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-08-08T00:01:00Z"),
        ("anthropic-ratelimit-output-tokens-limit", "0"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-tokens-limit", "many"),
    ];
    let wanted = ["requests opus 0.020000000000000018 2", "input tokens opus 1 60", "output tokens opus 1 ?"];
    assert_eq!(of(AccountKind::ApiKey, &pairs), wanted);
    assert_eq!(of(AccountKind::Subscription, &pairs), Vec::<String>::new());
}

#[test]
fn the_usage_answer_is_read_defensively() {
    let read = |body: &str| {
        let account = account(AccountKind::Subscription);
        told(&read_probe(&account, StatusCode::OK, &HeaderMap::new(), body.as_bytes(), NOW).windows)
    };
    let body = r#"{"five_hour":{"utilization":37.0,"resets_at":"2026-08-08T01:00:00+00:00"},
        "seven_day":{"utilization":12,"resets_at":null},"seven_day_oauth_apps":null,
        "seven_day_opus":{"utilization":100.5,"resets_at":"2026-08-09T00:00:00.5Z"},"seven_day_sonnet":null,
        "limits":[
          {"kind":"session","group":"session","percent":99},
          {"kind":"weekly_scoped","group":"weekly","percent":8,"resets_at":"2026-08-09T00:00:00Z",
           "scope":{"model":{"display_name":"Fable"}}},
          {"kind":"weekly_scoped","group":"weekly","percent":8,"scope":{"surface":"web"}},
          {"kind":"monthly","percent":8}, 5, null]}"#;
    assert_eq!(read(body), ["5h all 0.37 3600", "week all 0.12 ?", "week opus 1 86400", "week fable 0.08 86400"]);
    for nonsense in ["", "[]", "{}", r#"{"five_hour":5,"limits":{}}"#, r#"{"five_hour":{"utilization":"x"}}"#] {
        assert_eq!(read(nonsense), Vec::<String>::new(), "{nonsense}");
    }
}

#[test]
fn only_what_can_be_asked_is_asked() {
    let url = |kind, credentials: &Credentials| {
        let call = probe_call(&account(kind), credentials, &Bases::default())?;
        assert!(call.headers.get(AUTHORIZATION).or(call.headers.get("x-api-key")).expect("sent").is_sensitive());
        Some(call.url)
    };
    let usage = Some("https://api.anthropic.com/api/oauth/usage".to_owned());
    let plan = AccountKind::Subscription;
    assert_eq!(url(plan, &credentials(&[(bound::SCOPES, "user:inference user:profile")])), usage);
    assert_eq!(url(plan, &credentials(&[])), usage, "a whole login whose file names no scopes");
    assert_eq!(url(plan, &credentials(&[(bound::SCOPES, "user:inference")])), None);
    assert_eq!(url(plan, &Credentials { refresh: None, ..credentials(&[]) }), None, "a setup token");
    let key = Some("https://api.anthropic.com/v1/models?limit=1".to_owned());
    assert_eq!(url(AccountKind::ApiKey, &Credentials { refresh: None, ..credentials(&[]) }), key);
}

#[test]
fn a_probe_s_own_trouble_is_not_the_account_s() {
    let read = |kind, status: u16, body: &str| {
        let status = StatusCode::from_u16(status).expect("a status");
        read_probe(&account(kind), status, &HeaderMap::new(), body.as_bytes(), NOW).judgement
    };
    assert_eq!(read(AccountKind::Subscription, 429, ""), None);
    assert_eq!(read(AccountKind::ApiKey, 200, "{}"), None);
    for status in [403, 500, 529] {
        let judgement = read(AccountKind::Subscription, status, "{}").expect("an error");
        assert_eq!((judgement.penalty, judgement.park), (None, None), "{status}");
    }
    let body = r#"{"error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
    assert!(read(AccountKind::ApiKey, 401, body).expect("an error").park.is_some());
    let verdict = read(AccountKind::Subscription, 401, body).expect("an error").verdict;
    assert_eq!(verdict, pool_core::Verdict::RefreshThenSame);
}
