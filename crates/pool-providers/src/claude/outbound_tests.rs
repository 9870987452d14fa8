use http::Method;
use pool_core::scan::splice::apply;
use serde_json::Value;

use crate::request::{Bases, Carry};

use super::super::testing::{account, credentials, exchanges, headers, recorded_headers};
use super::*;

const PLAN: AccountKind = AccountKind::Subscription;
const KEY: AccountKind = AccountKind::ApiKey;

fn send(kind: AccountKind, headers: &HeaderMap, query: Option<&str>, body: &[u8], uuid: Option<&str>) -> Outbound {
    let head = Head { method: &Method::POST, path: "/v1/messages", query, headers };
    let body = Body { bytes: Bytes::copy_from_slice(body), whole: true };
    let bound: Vec<_> = uuid.into_iter().map(|uuid| (bound::ACCOUNT, uuid)).collect();
    out(&head, &body, kind, &credentials(&bound), None).expect("can go out")
}

fn out(
    head: &Head<'_>,
    body: &Body,
    kind: AccountKind,
    credentials: &Credentials,
    model: Option<&str>,
) -> Result<Outbound, Failure> {
    let (account, bases) = (account(kind), Bases::default());
    outbound(head, body, &Serving { account: &account, credentials, bases: &bases, carry: Carry::All, model })
}

#[test]
fn an_alias_goes_out_as_the_model_behind_it_and_nothing_else_changes() {
    let body = r#"{ "metadata": {"user_id": "{\"account_uuid\":\"acc-client\"}"}, "model" : "b\u0065st", "x": 1.50}"#;
    let head = Head { method: &Method::POST, path: "/v1/messages", query: None, headers: &HeaderMap::new() };
    let seen = Body { bytes: Bytes::from(body), whole: true };
    let model = Some("claude-opus-5-5");
    let sent = out(&head, &seen, PLAN, &credentials(&[]), model).expect("can go out");
    let expected = body.replace(r#""b\u0065st""#, r#""claude-opus-5-5""#).replace("acc-client", "");
    assert_eq!(edited(body.as_bytes(), &sent), expected);
    let list = Body { bytes: Bytes::new(), whole: true };
    assert!(out(&head, &list, PLAN, &credentials(&[]), model).expect("can go out").edits.is_empty());
}

fn value(out: &Outbound, name: &str) -> Option<String> {
    let (_, value) = out.set.iter().find(|(key, _)| key == name)?;
    Some(value.to_str().expect("text").to_owned())
}

fn edited(body: &[u8], out: &Outbound) -> String {
    let edits: Vec<_> = out.edits.iter().map(|edit| (edit.range.clone(), &edit.with[..])).collect();
    String::from_utf8(apply(body, edits).expect("fits")).expect("text")
}

#[test]
fn the_credential_is_the_account_s_and_hidden() {
    let out = send(PLAN, &headers(&[("authorization", "Bearer pool"), ("x-api-key", "pool")]), None, b"{}", None);
    assert_eq!(value(&out, "authorization").as_deref(), Some("Bearer made-up"));
    assert_eq!(value(&out, "x-api-key"), None);
    let out = send(KEY, &HeaderMap::new(), None, b"{}", None);
    assert_eq!(value(&out, "x-api-key").as_deref(), Some("made-up"));
    assert_eq!(value(&out, "authorization"), None);
    assert!(!format!("{out:?}").contains("made-up"));
}

#[test]
fn the_oauth_beta_goes_with_a_login_and_only_with_it() {
    let beta = |kind, lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("anthropic-beta", *line)).collect();
        let out = send(kind, &headers(&lines), None, b"{}", None);
        let removed = out.remove.contains(&BETA);
        value(&out, "anthropic-beta").unwrap_or_else(|| if removed { "removed" } else { "as it is" }.into())
    };
    assert_eq!(beta(PLAN, &[]), "oauth-2025-04-20");
    assert_eq!(beta(PLAN, &["b-1, a-2", "c-3"]), "b-1,a-2,c-3,oauth-2025-04-20");
    assert_eq!(beta(PLAN, &["b-1,oauth-2025-04-20,a-2"]), "as it is");
    assert_eq!(beta(KEY, &["b-1,a-2"]), "as it is");
    assert_eq!(beta(KEY, &["b-1, oauth-2025-04-20", "a-2"]), "b-1,a-2");
    assert_eq!(beta(KEY, &["oauth-2025-04-20"]), "removed");
    assert_eq!(beta(KEY, &[]), "as it is");
}

#[test]
fn the_query_is_kept_but_for_credentials() {
    for (query, wanted) in [
        (None, "https://api.anthropic.com/v1/messages"),
        (Some("beta=true"), "https://api.anthropic.com/v1/messages?beta=true"),
        (Some("key=pool&beta=true&Access_Token=x&x=%26"), "https://api.anthropic.com/v1/messages?beta=true&x=%26"),
        (Some("key=pool"), "https://api.anthropic.com/v1/messages"),
    ] {
        assert_eq!(send(KEY, &HeaderMap::new(), query, b"{}", None).url, wanted);
    }
}

#[test]
fn a_foreign_account_id_becomes_the_serving_account_s_and_nothing_else_changes() {
    let body = |id: &str| {
        format!(
            r#"{{"a":"account_uuid","metadata":{{"x":1,"user_id":"{{\"device_id\":\"é\",\"account_uuid\":\"{id}\",\"session_id\":\"s\"}}"}},"z":[1.0]}}"#
        )
    };
    for (theirs, ours, wanted) in [
        ("acc-client", Some("acc-serving"), "acc-serving"),
        ("acc-client", None, ""),
        ("acc-client", Some("not\"plain"), ""),
        ("acc-serving", Some("acc-serving"), "acc-serving"),
        ("", Some("acc-serving"), ""),
    ] {
        let sent = body(theirs);
        let out = send(PLAN, &HeaderMap::new(), None, sent.as_bytes(), ours);
        assert_eq!(edited(sent.as_bytes(), &out), body(wanted), "{theirs} {ours:?}");
        assert_eq!(out.edits.is_empty(), theirs == wanted);
    }
    let old = r#"{"metadata":{"user_id":"user_ab_account_acc-client_session_s"}}"#;
    let out = send(PLAN, &HeaderMap::new(), None, old.as_bytes(), Some("acc-serving"));
    assert_eq!(edited(old.as_bytes(), &out), old.replace("acc-client", "acc-serving"));
    for untouched in [&b""[..], b"{", br#"{"metadata":{"user_id":"customer-5"}}"#, br#"{"metadata":{"user_id":5}}"#] {
        assert!(send(PLAN, &HeaderMap::new(), None, untouched, Some("acc-serving")).edits.is_empty());
    }
}

#[test]
fn recorded_requests_go_out_unchanged_but_for_the_credential() {
    for exchange in exchanges(include_str!("../../fixtures/claude_oauth_env.json")) {
        let request: &Value = &exchange["request"];
        let headers = recorded_headers(request);
        let body = request["body"].to_string();
        let out = send(PLAN, &headers, Some("beta=true"), body.as_bytes(), Some("acc-serving"));
        assert_eq!(out.edits, []);
        assert_eq!(out.set.len(), 1, "its beta header already has what is needed");
    }
}

#[test]
fn a_credential_that_no_header_can_hold_is_a_failure_not_a_panic() {
    let head = Head { method: &Method::POST, path: "/v1/messages", query: None, headers: &HeaderMap::new() };
    let body = Body { bytes: Bytes::new(), whole: true };
    let broken = Credentials { access: Secret::new("a\nb"), ..credentials(&[]) };
    for kind in [PLAN, KEY] {
        let failed = out(&head, &body, kind, &broken, None).expect_err("fails");
        assert!(!format!("{failed:?}").contains("a\\nb"));
    }
}
