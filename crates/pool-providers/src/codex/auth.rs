//! Renewing a ChatGPT login, and the headers that carry a credential.
//!
//! Source: `codex-rs/login/src/auth/manager.rs`. Refresh tokens rotate: each can be used once.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pool_core::{Credentials, Secret, UnixMs};
use serde::Deserialize;
use serde_json::{Value, json};

use super::claims::Claims;
use super::errors::looks_like_html;
use super::files::{FEDRAMP, ID_TOKEN, LIFE_WITHOUT_EXP, WORKSPACE};
use crate::provider::Refreshed;
use crate::request::{Bases, Call};

pub(super) const WORKSPACE_HEADER: HeaderName = HeaderName::from_static("chatgpt-account-id");
pub(super) const FEDRAMP_HEADER: HeaderName = HeaderName::from_static("x-openai-fedramp");

/// The public client id of Codex CLI: a refresh token is only good with the client that it was issued to.
const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// The headers that say who pays, and for which workspace.
pub(super) fn credential_headers(credentials: &Credentials) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(3);
    // A credential file with other bytes is refused, so this is a header value.
    if let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {}", credentials.access.expose())) {
        bearer.set_sensitive(true);
        headers.push((AUTHORIZATION, bearer));
    }
    if let Some(Ok(workspace)) = credentials.bound.get(WORKSPACE).map(HeaderValue::try_from) {
        headers.push((WORKSPACE_HEADER, workspace));
    }
    if credentials.bound.contains_key(FEDRAMP) {
        headers.push((FEDRAMP_HEADER, HeaderValue::from_static("true")));
    }
    headers
}

pub(super) fn refresh_call(credentials: &Credentials, bases: &Bases) -> Option<Call> {
    let refresh = credentials.refresh.as_ref()?;
    let body = json!({
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": refresh.expose(),
    });
    let json = HeaderValue::from_static("application/json");
    Some(Call {
        method: Method::POST,
        url: format!("{}/oauth/token", bases.refresh),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)]),
        body: body.to_string().into(),
    })
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(rename = "access_token")]
    access: Option<String>,
    #[serde(rename = "refresh_token")]
    refresh: Option<String>,
    #[serde(rename = "id_token")]
    id: Option<String>,
}

pub(super) fn read_refresh(
    old: &Credentials,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: UnixMs,
) -> Refreshed {
    if !status.is_success() {
        return refused(status, headers, body);
    }
    let Ok(tokens) = serde_json::from_slice::<Tokens>(body) else {
        return Refreshed::Later { why: format!("the sign-in service answered {status} without tokens") };
    };
    let usable = |token: Option<String>| {
        token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
    };
    let (access, refresh) = (usable(tokens.access), usable(tokens.refresh));
    if access.is_none() && refresh.is_none() {
        return Refreshed::Later { why: format!("the sign-in service answered {status} without tokens") };
    }
    let mut new = old.clone();
    // A rotated refresh token must not be lost, even if nothing else came with it.
    if let Some(refresh) = refresh {
        new.refresh = Some(Secret::new(refresh));
    }
    if let Some(access) = access {
        new.expires_at = Some(Claims::of(&access).expires_at.unwrap_or(now + LIFE_WITHOUT_EXP));
        new.refreshed_at = Some(now);
        new.access = Secret::new(access);
    }
    if let Some(id_token) = usable(tokens.id) {
        new.bound.insert(ID_TOKEN, id_token);
    }
    Refreshed::Renewed(new)
}

/// Dead for good are three codes and any 401 (what mends it is said by whoever tells it); everything else may pass, a 400 with an unknown code included.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refreshed {
    if looks_like_html(headers, body) {
        return Refreshed::Later {
            why: format!("a web page came in place of the sign-in service's answer ({status})"),
        };
    }
    let code = error_code(body).unwrap_or_default();
    let dead = match code.as_str() {
        "refresh_token_reused" => {
            "its refresh token was already used: another program holds the same auth.json and renewed it first; set that \
             program up on the pool"
        }
        "refresh_token_expired" => "its sign-in has expired",
        "refresh_token_invalidated" => "its sign-in was revoked",
        _ if status == StatusCode::UNAUTHORIZED => "its sign-in is no longer accepted",
        "" => return Refreshed::Later { why: format!("the sign-in service answered {status}") },
        code => return Refreshed::Later { why: format!("the sign-in service answered {status}, {code}") },
    };
    Refreshed::Dead { why: dead.to_owned() }
}

/// `error.code`, else `error`, else `code`, in lower case. Anything that does not look like a code is left out: it would be
/// shown to people.
fn error_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body["error"]["code"].as_str().or(body["error"].as_str()).or(body["code"].as_str())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (code.len() <= 64 && code.bytes().all(plain)).then(|| code.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::claims::token;
    use super::*;

    const NOW: UnixMs = UnixMs(1_786_147_200_000);

    fn old() -> Credentials {
        Credentials {
            access: Secret::new("old-access"),
            refresh: Some(Secret::new("old-refresh")),
            expires_at: Some(UnixMs(1)),
            refreshed_at: None,
            bound: BTreeMap::from([(WORKSPACE, "ws-1".to_owned())]),
        }
    }

    fn read(status: u16, body: &Value) -> Refreshed {
        let status = StatusCode::from_u16(status).expect("a status");
        read_refresh(&old(), status, &HeaderMap::new(), body.to_string().as_bytes(), NOW)
    }

    fn renewed(body: &Value) -> Credentials {
        match read(200, body) {
            Refreshed::Renewed(new) => new,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_call_is_the_one_of_the_cli() {
        let call = refresh_call(&old(), &Bases::default()).expect("a call");
        assert_eq!((call.method, call.url.as_str()), (Method::POST, "https://auth.openai.com/oauth/token"));
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        assert_eq!(
            body,
            json!({"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": "old-refresh"})
        );
        assert!(refresh_call(&Credentials { refresh: None, ..old() }, &Bases::default()).is_none());
    }

    #[test]
    fn what_the_answer_does_not_tell_is_kept() {
        let access = token(&json!({"exp": 1_787_000_000}));
        let new = renewed(&json!({"access_token": access, "refresh_token": "r2", "id_token": "i2"}));
        assert_eq!(new.access.expose(), access);
        assert_eq!(new.refresh, Some(Secret::new("r2")));
        assert_eq!(new.expires_at, Some(UnixMs(1_787_000_000_000)));
        assert_eq!(new.bound.get(ID_TOKEN).map(String::as_str), Some("i2"));
        assert_eq!(new.bound.get(WORKSPACE).map(String::as_str), Some("ws-1"));

        let new = renewed(&json!({"access_token": "opaque", "refresh_token": null}));
        assert_eq!(new.refresh, old().refresh);
        assert_eq!(new.expires_at, Some(NOW + LIFE_WITHOUT_EXP));

        // A rotated refresh token alone is still news that must be written down.
        let new = renewed(&json!({"refresh_token": "r2"}));
        assert_eq!((new.access, new.expires_at), (old().access, old().expires_at));
        assert_eq!(new.refresh, Some(Secret::new("r2")));
    }

    #[test]
    fn dead_is_told_from_later() {
        let cases = [
            (400, json!({"error": {"code": "refresh_token_reused"}}), Some("another program")),
            (400, json!({"error": "Refresh_Token_Expired"}), Some("expired")),
            (403, json!({"code": "refresh_token_invalidated"}), Some("revoked")),
            (401, json!({"error": {"code": "whatever"}}), Some("no longer accepted")),
            (401, json!("?"), Some("no longer accepted")),
            (400, json!({"error": {"code": "unknown_code"}}), None),
            (400, json!({"error": "invalid_grant"}), None),
            (403, json!({}), None),
            (429, json!({}), None),
            (503, json!({"error": {"code": "server_error"}}), None),
            (200, json!({}), None),
            (200, json!({"access_token": "two words"}), None),
            (302, json!({}), None),
        ];
        for (status, body, dead) in cases {
            match (read(status, &body), dead) {
                (Refreshed::Dead { why }, Some(part)) => assert!(why.contains(part), "{why}"),
                (Refreshed::Later { .. }, None) => {}
                (other, _) => panic!("{status} {body}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_page_of_a_firewall_kills_no_login() {
        let page = b"<html>sign in to the guest network</html>";
        let answer = read_refresh(&old(), StatusCode::UNAUTHORIZED, &HeaderMap::new(), page, NOW);
        assert!(matches!(answer, Refreshed::Later { .. }), "{answer:?}");
    }

    #[test]
    fn the_credential_is_marked_sensitive() {
        let mut credentials = old();
        credentials.bound.insert(FEDRAMP, "true".into());
        let headers = credential_headers(&credentials);
        assert!(headers[0].1.is_sensitive());
        assert_eq!(headers[0].1, "Bearer old-access");
        assert_eq!(headers[1], (WORKSPACE_HEADER, HeaderValue::from_static("ws-1")));
        assert_eq!(headers[2], (FEDRAMP_HEADER, HeaderValue::from_static("true")));
    }
}
