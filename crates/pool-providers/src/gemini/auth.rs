//! Renewing a Google login.
//!
//! Google's refresh tokens do not rotate; one that is refused with `invalid_grant` is of no use any more.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pool_core::{Credentials, Secret, Span, UnixMs};
use serde_json::Value;

use crate::provider::Refreshed;
use crate::quote::quote;
use crate::request::{Bases, Call};

/// Gemini CLI's own client, an "installed application" (`OAUTH_CLIENT_ID` in its `packages/core/src/code_assist/oauth2.ts`).
const CLIENT_ID: &str = "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com";

pub(super) const NO_SECRET: &str = "the login cannot be renewed: set GEMINI_OAUTH_CLIENT_SECRET to the client secret \
     that Gemini CLI publishes in its source (OAUTH_CLIENT_SECRET in packages/core/src/code_assist/oauth2.ts)";

/// The OAuth client that the logins belong to: Gemini CLI's, unless another one is configured
/// (`GEMINI_OAUTH_CLIENT_ID`, `GEMINI_OAUTH_CLIENT_SECRET`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    pub id: String,
    /// Google asks for it even of installed applications, whose "secret" is public. `None`: logins cannot be renewed.
    pub secret: Option<Secret>,
}

impl Default for OauthClient {
    fn default() -> Self {
        Self { id: CLIENT_ID.into(), secret: None }
    }
}

impl OauthClient {
    /// The pair as it stands in the program text of an installed Gemini CLI (a file of its `bundle` folder, or of
    /// `gemini-cli-core`'s `dist`): `OAUTH_CLIENT_ID = "…"` and `OAUTH_CLIENT_SECRET = "…"`.
    pub fn find_in(program: &str) -> Option<Self> {
        let value = |name: &str| {
            program.match_indices(name).find_map(|(at, _)| {
                let rest = program[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
                let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
                let text = rest[1..].split(quote).next()?;
                let plain = (8..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
                plain.then_some(text)
            })
        };
        let secret = value("OAUTH_CLIENT_SECRET")?;
        Some(Self { id: value("OAUTH_CLIENT_ID")?.to_owned(), secret: Some(Secret::new(secret)) })
    }
}

/// Everything but the characters that RFC 3986 leaves unreserved.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn call(client: &OauthClient, credentials: &Credentials, bases: &Bases) -> Option<Call> {
    let refresh = credentials.refresh.as_ref()?;
    let secret = client.secret.as_ref().map(|secret| ("client_secret", secret.expose()));
    let fields = [("refresh_token", refresh.expose()), ("client_id", client.id.as_str())]
        .into_iter()
        .chain(secret)
        .chain([("grant_type", "refresh_token")]);
    let form: Vec<String> =
        fields.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, FORM))).collect();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded;charset=UTF-8"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    Some(Call {
        method: Method::POST,
        url: format!("{}/token", bases.google_token),
        headers,
        body: Bytes::from(form.join("&")),
    })
}

pub(super) fn read(old: &Credentials, status: StatusCode, body: &[u8], now: UnixMs) -> Refreshed {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if status.is_success() {
        let Some(access) = text("access_token") else {
            return Refreshed::Later { why: "Google's answer to the refresh holds no access_token".into() };
        };
        let lifetime =
            answer.get("expires_in").and_then(Value::as_f64).map(|secs| Span::from_secs(secs.max(0.0) as u64));
        return Refreshed::Renewed(Credentials {
            access: Secret::new(access),
            refresh: text("refresh_token").map(Secret::new).or_else(|| old.refresh.clone()),
            expires_at: lifetime.map(|lifetime| now + lifetime),
            refreshed_at: Some(now),
            bound: old.bound.clone(),
        });
    }
    let code = text("error").unwrap_or_default();
    let said = quote(text("error_description").unwrap_or(code), 160);
    match code {
        "invalid_grant" => Refreshed::Dead { why: format!("Google no longer takes this login ({code}: {said})") },
        "unauthorized_client" => Refreshed::Dead {
            why: format!("this login was not made with Gemini CLI ({code}: {said}), so it cannot be renewed as one"),
        },
        "invalid_client" | "deleted_client" => Refreshed::Later {
            why: format!(
                "Google does not know our OAuth client ({code}: {said}): check GEMINI_OAUTH_CLIENT_ID and \
                 GEMINI_OAUTH_CLIENT_SECRET"
            ),
        },
        "invalid_request" if said.contains("client_secret") => Refreshed::Later { why: NO_SECRET.into() },
        "" => Refreshed::Later { why: format!("Google's token service answered {}", status.as_u16()) },
        _ => Refreshed::Later { why: format!("Google's token service answered {} ({code}: {said})", status.as_u16()) },
    }
}
