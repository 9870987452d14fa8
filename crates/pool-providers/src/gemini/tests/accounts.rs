//! Files, refreshes, probes.

use http::{HeaderMap, StatusCode};
use pool_core::{AccountKind, Scope, Secret, UnixMs, Verdict};
use serde_json::{Value, json};

use super::{NOW, account, credentials, gemini, recorded};
use crate::gemini::{Gemini, OauthClient};
use crate::provider::{Provider as _, Refreshed};
use crate::request::Bases;

/// `{"sub": "1098", "email": "maria@example.com"}`
const ID_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMDk4IiwiZW1haWwiOiJtYXJpYUBleGFtcGxlLmNvbSJ9.c2ln";

fn fault(text: &str) -> String {
    gemini().read_file("gemini/a.json", text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn reads_a_login() {
    let text = format!(
        r#"{{"access_token": "ya29.made-up", "refresh_token": "1//made-up", "scope": "s", "token_type": "Bearer",
             "id_token": "{ID_TOKEN}", "expiry_date": 1795363200000,
             "name": "Maria", "priority": 5, "share": false, "disabled": true}}"#
    );
    let content = gemini().read_file("gemini/a.json", text.as_bytes()).expect("a login");
    assert_eq!(content.kind, AccountKind::Subscription);
    assert_eq!(content.identity, Some(("1098".into(), String::new())));
    assert_eq!(content.email.as_deref(), Some("m…@example.com"));
    assert_eq!(content.credentials.access.expose(), "ya29.made-up");
    assert_eq!(content.credentials.refresh, Some(Secret::new("1//made-up")));
    assert_eq!(content.credentials.expires_at, Some(UnixMs(1_795_363_200_000)));
    assert_eq!(content.warning, None);
    let settings = content.settings;
    assert_eq!((settings.name.as_deref(), settings.priority), (Some("Maria"), 5));
    assert_eq!((settings.share, settings.disabled), (Some(false), true));
}

#[test]
fn the_project_of_the_file_belongs_to_the_identity() {
    let read = |project: &str| {
        let text = format!(r#"{{"refresh_token": "1//x", "id_token": "{ID_TOKEN}"{project}}}"#);
        let content = gemini().read_file("a.json", text.as_bytes()).expect("a login");
        (content.identity.expect("an identity").1, content.credentials.bound.get("project").cloned())
    };
    assert_eq!(read(""), (String::new(), None));
    assert_eq!(read(r#", "project": "p-1""#), ("p-1".into(), Some("p-1".into())));
    assert_eq!(read(r#", "project_id": "p-2""#), ("p-2".into(), Some("p-2".into())));
}

#[test]
fn a_login_without_access_token_is_renewed_at_once_and_one_that_cannot_be_says_so() {
    let content = gemini().read_file("a.json", br#"{"refresh_token": "1//x"}"#).expect("a login");
    assert!(content.credentials.is_expired(NOW));
    assert_eq!(content.identity, None);

    let content = gemini().read_file("a.json", br#"{"access_token": "ya29.x"}"#).expect("a login");
    assert!(content.warning.expect("a warning").contains("no refresh_token"));

    let content = Gemini::default().read_file("a.json", br#"{"refresh_token": "1//x"}"#).expect("a login");
    assert!(content.warning.expect("a warning").contains("GEMINI_OAUTH_CLIENT_SECRET"));
}

#[test]
fn reads_an_api_key_under_any_of_its_names() {
    for name in ["api_key", "GEMINI_API_KEY", "GOOGLE_API_KEY"] {
        let content = gemini().read_file("a.json", format!(r#"{{"{name}": " made-up-key\n"}}"#).as_bytes());
        let content = content.expect("a key");
        assert_eq!(content.kind, AccountKind::ApiKey);
        assert_eq!(content.credentials.access.expose(), "made-up-key");
        assert_eq!((content.identity, content.credentials.expires_at, content.warning), (None, None, None));
    }
    let file = gemini().api_key_file(&Secret::new(" made-up-key ")).expect("a file");
    let content = gemini().read_file("a.json", &file).expect("what we wrote");
    assert_eq!(content.credentials.access.expose(), "made-up-key");
    assert!(gemini().api_key_file(&Secret::new("two words")).is_err());
}

#[test]
fn a_bad_file_says_what_it_is_and_how_to_mend_it() {
    let cases = [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        (r#"{"access_token": "ya29.x", "#, "breaks off (line 1"),
        ("{access_token}", "not JSON (line 1, column 2)"),
        ("[]", "not an object"),
        ("AIzaMadeUp", r#"write it as {"api_key""#),
        ("{}", "neither a login"),
        (r#"{"api_key": ""}"#, "neither a login"),
        (r#"{"api_key": 5}"#, "`api_key` must be a text"),
        (r#"{"api_key": "x", "refresh_token": "y"}"#, "make two files"),
        (r#"{"api_key": "sk-ant-made-up"}"#, "pool/claude/"),
        (r#"{"api_key": "sk-made-up"}"#, "pool/codex/"),
        (r#"{"tokens": {"access_token": "x"}}"#, "Codex's auth.json"),
        (r#"{"OPENAI_API_KEY": "sk-made-up"}"#, "Codex's auth.json"),
        (r#"{"claudeAiOauth": {}}"#, "Claude Code's .credentials.json"),
        (r#"{"type": "service_account", "project_id": "p"}"#, "service account"),
        (r#"{"installed": {"client_id": "x"}}"#, "OAuth client"),
        (r#"{"access_token": "ya29.pool-made-up"}"#, "handed out"),
        (r#"{"access_token": "a b"}"#, "holds spaces"),
        (r#"{"access_token": "x", "expiry_date": "soon"}"#, "`expiry_date` must be a number"),
        (r#"{"api_key": "x", "name": 5}"#, "`name` is not a text"),
        (r#"{"api_key": "x", "disabled": "yes"}"#, "`disabled` is not true or false"),
        (r#"{"api_key": "x", "priority": 1.5}"#, "`priority` is not a whole number"),
        (r#"{"api_key": "x", "share": 1}"#, "`share` is not true or false"),
    ];
    for (text, says) in cases {
        let fault = fault(text);
        assert!(fault.contains(says), "{text}: {fault}");
        assert!(!fault.contains("made-up") && !fault.contains("MadeUp"), "{text}: {fault}");
    }
}

#[test]
fn write_back_changes_the_tokens_and_nothing_else() {
    let mut renewed = credentials("ya29.new\"quoted", Some("learned"));
    renewed.expires_at = Some(UnixMs(1_795_363_199_000));
    let cases = [
        (
            "{\n\t\"x\": [1,  2], \"access_token\" : \"old\",\n \"refresh_token\":\"r\", \"expiry_date\": 1.0,\"z\":{\"access_token\":\"o\"} }\n",
            "{\n\t\"x\": [1,  2], \"access_token\" : \"ya29.new\\\"quoted\",\n \"refresh_token\":\"1//made-up+refresh\", \"expiry_date\": 1795363199000,\"z\":{\"access_token\":\"o\"} }\n",
        ),
        (
            r#"{"refresh_token": "r"}"#,
            r#"{"access_token":"ya29.new\"quoted","expiry_date":1795363199000,"refresh_token": "1//made-up+refresh"}"#,
        ),
    ];
    for (before, after) in cases {
        let written = gemini().write_back(before.as_bytes(), &renewed, NOW).expect("a file");
        assert_eq!(String::from_utf8_lossy(&written), after);
        let read = gemini().read_file("a.json", &written).expect("a login").credentials;
        assert_eq!((read.access, read.refresh), (renewed.access.clone(), renewed.refresh.clone()));
        assert_eq!(read.expires_at, renewed.expires_at);
    }
    for broken in ["", "{", "[]", "null"] {
        assert!(gemini().write_back(broken.as_bytes(), &renewed, NOW).is_err(), "{broken:?}");
    }
}

#[test]
fn the_refresh_call_is_the_clis_own() {
    let call = gemini().refresh_call(&credentials("old", None), &Bases::default()).expect("a call");
    let recorded = &recorded(include_str!("../../../fixtures/gemini_oauth_expired.json"))[0]["request"];
    assert_eq!(call.url, recorded["url"].as_str().expect("a URL"));
    assert_eq!(call.method.as_str(), recorded["method"]);
    let wanted = recorded["body"].as_str().expect("a form");
    let wanted = wanted.replace("%2Fpool_fake", "%2Fmade-up%2Brefresh").replace("MASKED", "made-up%20secret");
    assert_eq!(String::from_utf8_lossy(&call.body), wanted);

    let key = pool_core::Credentials { refresh: None, ..credentials("key", None) };
    assert!(gemini().refresh_call(&key, &Bases::default()).is_none());
}

#[test]
fn a_refresh_keeps_what_the_answer_does_not_tell() {
    let old = credentials("old", Some("p-1"));
    let recorded = &recorded(include_str!("../../../fixtures/gemini_oauth_expired.json"))[0]["response"]["body"];
    let body = recorded.to_string();
    let read = gemini().read_refresh(&old, StatusCode::OK, &HeaderMap::new(), body.as_bytes(), NOW);
    let Refreshed::Renewed(new) = read else { panic!("{read:?}") };
    assert_eq!(new.access.expose(), recorded["access_token"].as_str().expect("a token"));
    assert_eq!((new.refresh, new.bound), (old.refresh, old.bound));
    assert_eq!(new.expires_at, Some(UnixMs(NOW.0 + 3_599_000)));
}

#[test]
fn a_refused_refresh_is_dead_or_comes_again() {
    let cases = [
        (
            400,
            r#"{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}"#,
            "dead",
            "revoked",
        ),
        (400, r#"{"error": "invalid_grant", "error_subtype": "invalid_rapt"}"#, "dead", "invalid_grant"),
        (401, r#"{"error": "unauthorized_client"}"#, "dead", "not made with Gemini CLI"),
        (401, r#"{"error": "invalid_client"}"#, "later", "GEMINI_OAUTH_CLIENT_ID"),
        (
            400,
            r#"{"error": "invalid_request", "error_description": "client_secret is missing."}"#,
            "later",
            "set GEMINI_OAUTH_CLIENT_SECRET",
        ),
        (400, r#"{"error": "something_new"}"#, "later", "something_new"),
        (500, "<html>", "later", "500"),
        (200, "{}", "later", "no access_token"),
    ];
    for (status, body, outcome, says) in cases {
        let status = StatusCode::from_u16(status).expect("a status");
        let read = gemini().read_refresh(&credentials("old", None), status, &HeaderMap::new(), body.as_bytes(), NOW);
        let (got, why) = match read {
            Refreshed::Dead { why } => ("dead", why),
            Refreshed::Later { why } => ("later", why),
            Refreshed::Renewed(_) => ("renewed", String::new()),
        };
        assert_eq!(got, outcome, "{body}");
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn the_client_pair_is_found_in_an_installed_cli() {
    let program =
        "use(OAUTH_CLIENT_SECRET);\nvar OAUTH_CLIENT_ID = \"made-up-client\";\nvar OAUTH_CLIENT_SECRET='made-up-word';";
    let found = OauthClient::find_in(program).expect("a pair");
    assert_eq!((found.id.as_str(), found.secret), ("made-up-client", Some(Secret::new("made-up-word"))));
    assert_eq!(OauthClient::find_in("OAUTH_CLIENT_ID = \"made-up-client\""), None);
}

#[test]
fn a_probe_asks_for_the_project_then_for_the_quota() {
    let login = account(AccountKind::Subscription);
    let gemini = gemini();
    let bases = Bases::default();
    let (unknown, known) = (credentials("ya29.x", None), credentials("ya29.x", Some("p-1")));
    assert!(gemini.needs_probe(&login, &unknown));
    assert!(!gemini.needs_probe(&login, &known));
    assert!(!gemini.needs_probe(&account(AccountKind::ApiKey), &unknown));

    let call = gemini.probe_call(&login, &unknown, &bases).expect("a call");
    assert_eq!(call.url, "https://cloudcode-pa.googleapis.com/v1internal:loadCodeAssist");
    assert!(call.headers["authorization"].is_sensitive());
    let call = gemini.probe_call(&login, &known, &bases).expect("a call");
    assert_eq!(call.url, "https://cloudcode-pa.googleapis.com/v1internal:retrieveUserQuota");
    assert_eq!(&call.body[..], br#"{"project":"p-1"}"#);
    let call = gemini.probe_call(&account(AccountKind::ApiKey), &unknown, &bases).expect("a call");
    assert_eq!(call.url, "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1");
    assert_eq!(call.headers["x-goog-api-key"], "ya29.x");
}

fn probe(kind: AccountKind, status: u16, body: &Value) -> crate::provider::Probed {
    let status = StatusCode::from_u16(status).expect("a status");
    gemini().read_probe(&account(kind), status, &HeaderMap::new(), body.to_string().as_bytes(), NOW)
}

#[test]
fn the_recorded_probes_tell_project_plan_and_windows() {
    for exchange in recorded(include_str!("../../../fixtures/gemini_oauth.json")) {
        let body = &exchange["response"]["body"];
        let url = exchange["request"]["url"].as_str().expect("a URL");
        let probed = probe(AccountKind::Subscription, 200, body);
        assert!(probed.judgement.is_none(), "{url}");
        if url.ends_with("loadCodeAssist") {
            assert_eq!(probed.bound, [("project", "fake-project-1".to_owned())]);
            assert_eq!(probed.plan.as_deref(), Some("g1-pro-tier"));
        } else if url.ends_with("retrieveUserQuota") {
            assert_eq!(probed.windows.len(), 3);
            let window = &probed.windows[0];
            assert_eq!(window.scope, Scope::Family("model:gemini-2.5-pro".into()));
            assert!((window.used.get() - 0.12).abs() < 1e-9, "remaining 0.88 is used 0.12");
            assert_eq!(window.resets_at, Some(UnixMs(1_893_456_000_000)));
        } else {
            assert!(probed.windows.is_empty() && probed.bound.is_empty(), "{url}");
        }
    }
}

#[test]
fn a_bucket_without_a_fraction_is_unknown_and_zero_is_a_value() {
    let body = json!({"buckets": [
        {"modelId": "a"}, {"modelId": "b", "remainingFraction": 0}, {"remainingFraction": 1}, {"modelId": "c", "remainingFraction": "x"},
    ]});
    let windows = probe(AccountKind::Subscription, 200, &body).windows;
    assert_eq!(windows.len(), 1);
    assert!(windows[0].is_exhausted(NOW));
    assert_eq!(windows[0].scope, Scope::Family("model:b".into()));
}

#[test]
fn an_account_that_is_not_served_is_parked_with_googles_own_words() {
    let gone = "This client is no longer supported for Gemini Code Assist for individuals";
    let cases = [
        (json!({"ineligibleTiers": [{"reasonCode": "UNSUPPORTED_CLIENT", "reasonMessage": gone}]}), gone),
        (
            json!({"ineligibleTiers": [{"reasonCode": "VALIDATION_REQUIRED", "reasonMessage": "Verify your account",
                    "validationUrl": "https://example.com/verify"}]}),
            "Verify your account (https://example.com/verify)",
        ),
        (json!({"currentTier": {"id": "standard-tier"}}), "no Google Cloud project"),
        (json!({"allowedTiers": [{"id": "free-tier", "isDefault": true}]}), "run `gemini` with it once"),
    ];
    for (body, says) in cases {
        let probed = probe(AccountKind::Subscription, 200, &body);
        let park = probed.judgement.and_then(|judgement| judgement.park).expect("parked");
        assert!(park.contains(says), "{park}");
        assert!(probed.bound.is_empty());
    }
}

#[test]
fn a_refused_probe_speaks_only_of_the_account() {
    let error = |code: u16, reason: &str| {
        json!({"error": {"code": code, "message": "m", "status": "X", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"},
        ]}})
    };
    for (kind, status, reason, verdict) in [
        (AccountKind::Subscription, 429, "QUOTA_EXHAUSTED", None),
        (AccountKind::Subscription, 503, "", None),
        (AccountKind::Subscription, 500, "", None),
        (AccountKind::Subscription, 401, "", Some(Verdict::RefreshThenSame)),
        (AccountKind::Subscription, 403, "VALIDATION_REQUIRED", Some(Verdict::Elsewhere)),
        (AccountKind::ApiKey, 400, "API_KEY_INVALID", Some(Verdict::Elsewhere)),
        (AccountKind::ApiKey, 429, "RATE_LIMIT_EXCEEDED", None),
    ] {
        let probed = probe(kind, status, &error(status, reason));
        assert_eq!(probed.judgement.map(|judgement| judgement.verdict), verdict, "{status} {reason}");
    }
}
