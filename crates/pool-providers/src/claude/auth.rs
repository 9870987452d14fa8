//! Renewing a Claude login, and how to sign in anew.
//!
//! Endpoint, client id and fields as measured on Claude Code 2.1.330.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pool_core::{Credentials, Secret, Span, UnixMs};
use serde_json::{Value, json};

use super::errors::quote;
use super::files::bound;
use crate::provider::{Login, Refreshed};
use crate::request::{Bases, Call};

/// Claude Code's public OAuth client.
const CLIENT_ID: &str = "9d1c250a-e61b-44d9-88ed-5944d1962f5e";

/// After these only a new sign-in helps.
const DEAD: [&str; 3] = ["invalid_grant", "invalid_client", "unauthorized_client"];

/// No token lives longer than ten years; a larger number is nonsense.
const LONGEST_SECS: u64 = 10 * 366 * 86_400;

pub(super) const LOGIN: Login = Login {
    program: "claude",
    args: &["auth", "login", "--claudeai"],
    home_env: "CLAUDE_CONFIG_DIR",
    writes: ".credentials.json",
};

/// No `scope` is sent: without it the new token has the scopes of the old one (RFC 6749 §6), so there is none to be refused.
pub(super) fn refresh_call(credentials: &Credentials, bases: &Bases) -> Option<Call> {
    let refresh = credentials.refresh.as_ref()?;
    let client = credentials.bound.get(bound::CLIENT).map_or(CLIENT_ID, String::as_str);
    let body = json!({
        "grant_type": "refresh_token",
        "refresh_token": refresh.expose(),
        "client_id": client,
    });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Some(Call {
        method: Method::POST,
        url: format!("{}/v1/oauth/token", bases.claude_refresh),
        headers,
        body: Bytes::from(body.to_string()),
    })
}

pub(super) fn read_refresh(old: &Credentials, status: StatusCode, body: &[u8], now: UnixMs) -> Refreshed {
    let answer: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_success() { renewed(old, &answer, now) } else { refused(status, &answer) }
}

fn renewed(old: &Credentials, answer: &Value, now: UnixMs) -> Refreshed {
    let Some(access) = token(answer, "access_token") else {
        return Refreshed::Later { why: "the sign-in service answered without an access token".into() };
    };
    let end = |key: &str| {
        let secs = answer.get(key)?.as_u64().filter(|secs| *secs <= LONGEST_SECS)?;
        Some(now + Span::from_secs(secs))
    };
    let mut credentials = Credentials {
        access,
        // The refresh token rotates; none in the answer means that the old one stays good.
        refresh: token(answer, "refresh_token").or_else(|| old.refresh.clone()),
        expires_at: end("expires_in"),
        refreshed_at: Some(now),
        bound: old.bound.clone(),
    };
    let learned = [
        (bound::ACCOUNT, text(&answer["account"]["uuid"])),
        (bound::ORGANIZATION, text(&answer["organization"]["uuid"])),
        (bound::SCOPES, text(&answer["scope"])),
        (bound::REFRESH_ENDS, end("refresh_token_expires_in").map(|end| end.0.to_string())),
    ];
    credentials.bound.extend(learned.into_iter().filter_map(|(key, value)| Some((key, value?))));
    Refreshed::Renewed(credentials)
}

fn refused(status: StatusCode, answer: &Value) -> Refreshed {
    // OAuth's own shape (`error`, `error_description`), or the API's (`error.type`, `error.message`).
    let error = &answer["error"];
    let code = [error, &error["type"], &error["code"]].into_iter().find_map(Value::as_str).unwrap_or_default();
    let message = [&answer["error_description"], &error["message"]].into_iter().find_map(Value::as_str);
    let said = match (code, message) {
        ("", None) => format!("HTTP {}", status.as_u16()),
        (code, None) => quote(code),
        ("", Some(message)) => format!("HTTP {}: {}", status.as_u16(), quote(message)),
        (code, Some(message)) => format!("{}: {}", quote(code), quote(message)),
    };
    if status.is_client_error() && DEAD.contains(&code) {
        Refreshed::Dead { why: format!("Anthropic's sign-in service refused to renew the login ({said})") }
    } else {
        Refreshed::Later { why: format!("the login could not be renewed now ({said})") }
    }
}

fn token(answer: &Value, key: &str) -> Option<Secret> {
    let token = answer.get(key)?.as_str()?;
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Secret::new(token))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: UnixMs = UnixMs(1_786_147_200_000);

    fn old() -> Credentials {
        Credentials {
            access: Secret::new("old-access"),
            refresh: Some(Secret::new("old-refresh")),
            expires_at: Some(NOW),
            refreshed_at: None,
            bound: BTreeMap::from([(bound::ACCOUNT, "acc".to_owned())]),
        }
    }

    fn read(status: u16, body: &str) -> Refreshed {
        read_refresh(&old(), StatusCode::from_u16(status).expect("a status"), body.as_bytes(), NOW)
    }

    #[test]
    fn the_call_is_what_claude_code_sends_but_for_the_scope() {
        let recorded: Value =
            serde_json::from_str(include_str!("../../fixtures/claude_credentials_expired.json")).expect("JSON");
        let request = &recorded["exchanges"][0]["request"];
        let refresh = Some(Secret::new("sk-ant-ort01-fake-local"));
        let call = refresh_call(&Credentials { refresh, ..old() }, &Bases::default()).expect("renewable");
        assert_eq!(call.url, request["url"].as_str().expect("a URL"));
        let mut wanted = request["body"].clone();
        wanted.as_object_mut().expect("an object").remove("scope");
        assert_eq!(serde_json::from_slice::<Value>(&call.body).expect("JSON"), wanted);
        assert!(refresh_call(&Credentials { refresh: None, ..old() }, &Bases::default()).is_none());
    }

    #[test]
    fn the_recorded_answer_renews() {
        let recorded: Value =
            serde_json::from_str(include_str!("../../fixtures/claude_credentials_expired.json")).expect("JSON");
        let body = recorded["exchanges"][0]["response"]["body"].to_string();
        let Refreshed::Renewed(new) = read(200, &body) else { panic!("renewed") };
        assert_eq!(new.access.expose(), "sk-ant-oat01-fake-ffe92e");
        assert_eq!(new.refresh.expect("rotated").expose(), "sk-ant-ort01-fake-ffe92e");
        assert_eq!(new.expires_at, Some(NOW + Span::from_secs(28_800)));
        assert_eq!(new.bound[bound::ACCOUNT], "u");
        assert_eq!(new.bound[bound::SCOPES], "user:inference user:profile");
    }

    #[test]
    fn what_the_answer_does_not_tell_is_kept() {
        let Refreshed::Renewed(new) = read(200, r#"{"access_token":"new","expires_in":1e30}"#) else {
            panic!("renewed")
        };
        assert_eq!(new.refresh.expect("kept").expose(), "old-refresh");
        assert_eq!(new.bound[bound::ACCOUNT], "acc");
        assert_eq!(new.expires_at, None, "an absurd length is not believed");
    }

    #[test]
    fn only_the_known_codes_end_a_login() {
        for (status, body, dead) in [
            (400, r#"{"error":"invalid_grant","error_description":"Refresh token expired"}"#, true),
            (401, r#"{"error":"invalid_client"}"#, true),
            (400, r#"{"type":"error","error":{"type":"unauthorized_client","message":"no"}}"#, true),
            (400, r#"{"error":"invalid_scope"}"#, false),
            (400, r#"{"error":"invalid_request"}"#, false),
            (401, "", false),
            (403, "<html>blocked</html>", false),
            (429, r#"{"error":{"type":"rate_limit_error","message":"slow"}}"#, false),
            (500, r#"{"error":"invalid_grant"}"#, false),
            (200, "{}", false),
            (200, r#"{"access_token":"a b"}"#, false),
        ] {
            match read(status, body) {
                Refreshed::Dead { why } => assert!(dead && !why.is_empty(), "{status} {body}"),
                Refreshed::Later { why } => assert!(!dead && !why.is_empty(), "{status} {body}"),
                Refreshed::Renewed(_) => panic!("{status} {body}"),
            }
        }
    }
}
