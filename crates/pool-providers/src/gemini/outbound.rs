//! How a request goes out on an account.
//!
//! | request | on a Google login | on an API key |
//! |---|---|---|
//! | Code Assist (`/v1internal:…`) | as it is, `project` replaced by the account's own | the public API's request is cut out of the body, the answer is wrapped |
//! | public API | never | as it is |

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pool_core::scan::json::{Paths, find};
use pool_core::{AccountKind, Credentials};

use super::PROJECT;
use super::demand::bare;
use super::quota::sensitive;
use super::routes::{Ask, Surface, is_about_models, is_model};
use crate::alias::rename;
use crate::reply::Failure;
use crate::request::{Bases, Body, Edit, Head, Outbound, Serving, Wrap};
use crate::routes::Route;

/// The answer of the public API, as Code Assist gives it (`packages/core/src/code_assist/converter.ts`).
const WRAP: Wrap = Wrap::Around { before: "{\"response\":", after: "}" };

/// Query keys that hold a credential: the client's is the pool's.
const CREDENTIAL_KEYS: [&str; 3] = ["key", "access_token", "oauth_token"];

pub(super) fn outbound(
    route: &Route,
    head: &Head<'_>,
    body: &Body,
    // Nothing is left behind after a move (`carry`): a foreign thought signature or cached content is refused by Google, and
    // the client has to see that.
    serving: &Serving<'_>,
) -> Result<Outbound, Failure> {
    let Serving { account, credentials, bases, carry: _, model } = *serving;
    let kind = account.kind;
    if Surface::of(route) != Surface::CodeAssist && !is_about_models(route) {
        return beside_models(head, kind, credentials, bases);
    }
    let mut ask = Ask::read(route, head.path).ok_or_else(|| bad("the model's name in the path is not one"))?;
    if ask.model.is_some() {
        ask.model = model.or(ask.model);
    }
    let mut outbound = match (ask.surface, kind) {
        (Surface::CodeAssist, AccountKind::Subscription) => code_assist(&ask, head, body, credentials, bases)?,
        (Surface::CodeAssist, AccountKind::ApiKey) => unwrapped(&ask, head, body, bases, model)?,
        (Surface::Public { version }, AccountKind::ApiKey) => public(&ask, version, head, bases),
        (Surface::Public { .. }, AccountKind::Subscription) => return Err(keys_only()),
    };
    // Where the body is cut down to its request, the model stands in the path only.
    let cut_down = ask.surface == Surface::CodeAssist && kind == AccountKind::ApiKey;
    if let Some(model) = model.filter(|_| !cut_down) {
        outbound.edits.extend(renamed(&body.bytes, model));
        outbound.edits.sort_by_key(|edit| edit.range.start);
    }
    authorize(&mut outbound, kind, credentials);
    outbound.decoded = true;
    Ok(outbound)
}

/// Files, caches, batches, the Live API: as they are, on an API key.
fn beside_models(
    head: &Head<'_>,
    kind: AccountKind,
    credentials: &Credentials,
    bases: &Bases,
) -> Result<Outbound, Failure> {
    if kind != AccountKind::ApiKey {
        return Err(keys_only());
    }
    let url = format!("{}{}{}", bases.gemini_api, head.path, query(head));
    let mut outbound = Outbound { url, ..Outbound::default() };
    authorize(&mut outbound, kind, credentials);
    Ok(outbound)
}

fn keys_only() -> Failure {
    Failure::NotServed {
        message: "a Google login serves Gemini CLI's Code Assist requests only, not the Gemini API".into(),
    }
}

fn authorize(outbound: &mut Outbound, kind: AccountKind, credentials: &Credentials) {
    let (name, value) = match kind {
        AccountKind::Subscription => (header::AUTHORIZATION, format!("Bearer {}", credentials.access.expose())),
        AccountKind::ApiKey => (HeaderName::from_static("x-goog-api-key"), credentials.access.expose().to_owned()),
    };
    // The file reader lets no credential through that a header cannot hold.
    let value = sensitive(&value).unwrap_or_else(|| HeaderValue::from_static(""));
    outbound.set.push((name, value));
    // It would bill a project that is the client's, not the account's.
    outbound.remove.push(HeaderName::from_static("x-goog-user-project"));
}

/// Does this pair of a query hold a credential?
pub(super) fn is_credential(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    CREDENTIAL_KEYS.contains(&percent_encoding::percent_decode_str(name).decode_utf8_lossy().as_ref())
}

fn bad(message: impl Into<String>) -> Failure {
    Failure::BadRequest { status: StatusCode::BAD_REQUEST, message: message.into() }
}

/// An edit needs the whole body.
fn whole(body: &Body) -> Result<&[u8], Failure> {
    if body.whole {
        return Ok(&body.bytes);
    }
    Err(Failure::BadRequest {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        message: "the request is too large to be carried over to the account's own project".into(),
    })
}

/// The client's query without credentials, with its question mark.
fn query(head: &Head<'_>) -> String {
    let mut text = String::new();
    for pair in head.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        if !is_credential(pair) {
            let sign = if text.is_empty() { '?' } else { '&' };
            let _ = write!(text, "{sign}{pair}");
        }
    }
    text
}

/// The body asks for this model instead, wherever it names one: with `models/` before it where that was so.
fn renamed(body: &[u8], model: &str) -> Vec<Edit> {
    static PATHS: LazyLock<Paths> =
        LazyLock::new(|| Paths::new(&["model", "request.model", "generateContentRequest.model"]));
    let found = find(body, &PATHS);
    let edit = |path| {
        let prefix = if found.string(path)?.starts_with("models/") { "models/" } else { "" };
        Some(rename(found.range(path)?, &format!("{prefix}{model}")))
    };
    (0..PATHS.len()).filter_map(edit).collect()
}

fn public(ask: &Ask<'_>, version: &str, head: &Head<'_>, bases: &Bases) -> Outbound {
    let mut url = format!("{}/{version}/models", bases.gemini_api);
    if let Some(model) = ask.model {
        let _ = write!(url, "/{model}");
    }
    if !ask.method.is_empty() {
        let _ = write!(url, ":{}", ask.method);
    }
    Outbound { url: url + &query(head), ..Outbound::default() }
}

fn code_assist(
    ask: &Ask<'_>,
    head: &Head<'_>,
    body: &Body,
    credentials: &Credentials,
    bases: &Bases,
) -> Result<Outbound, Failure> {
    static PROJECT_PATH: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["project"]));
    let url = format!("{}/v1internal:{}{}", bases.gemini, ask.method, query(head));
    let found = find(&body.bytes, &PROJECT_PATH);
    let place = found.range(0);
    // Token counting names no project, and Google refuses members that it does not know.
    if place.is_none() && ask.method == "countTokens" {
        return Ok(Outbound { url, ..Outbound::default() });
    }
    let Some(project) = credentials.bound.get(PROJECT) else {
        return Err(Failure::UpstreamDown {
            message: "the project of this Google account is not known yet".into(),
            retry_after: Duration::from_secs(2),
        });
    };
    let value = serde_json::Value::from(project.as_str()).to_string();
    let edit = if let Some(range) = place {
        Edit { range, with: Bytes::from(value) }
    } else {
        // In the part that is not seen there might be one.
        whole(body)?;
        let start = found.root_start().ok_or_else(|| bad("the body is not a JSON object"))?;
        Edit { range: start.at..start.at, with: Bytes::from(start.member("project", value.as_bytes())) }
    };
    Ok(Outbound { url, edits: vec![edit], ..Outbound::default() })
}

/// A Code Assist request for an API key: `request` alone, without the members that the public API does not know.
fn unwrapped(
    ask: &Ask<'_>,
    head: &Head<'_>,
    body: &Body,
    bases: &Bases,
    instead: Option<&str>,
) -> Result<Outbound, Failure> {
    static PATHS: LazyLock<Paths> =
        LazyLock::new(|| Paths::new(&["model", "request", "request.model", "request.session_id", "request.labels"]));
    const UNKNOWN_TO_PUBLIC: [usize; 3] = [2, 3, 4];
    let bytes = whole(body)?;
    let found = find(bytes, &PATHS);
    let request = found.range(1).filter(|range| bytes[range.start] == b'{');
    let request = request.ok_or_else(|| bad("a Code Assist request needs an object `request`"))?;
    let model =
        found.string(0).or_else(|| found.string(2)).ok_or_else(|| bad("a Code Assist request needs a `model`"))?;
    let model = instead.map_or_else(|| bare(&model), str::to_owned);
    if !is_model(&model) {
        return Err(bad("`model` is not a model's name"));
    }
    let query = query(head);
    if ask.method == "streamGenerateContent" && head.query_value("alt").as_deref() != Some("sse") {
        return Err(bad("without `alt=sse` this stream can only be served by a Google login, not by an API key"));
    }
    let cut = |range: Range<usize>| (!range.is_empty()).then(|| Edit { range, with: Bytes::new() });
    let inside = found.removals(&UNKNOWN_TO_PUBLIC).into_iter();
    let (before, after) = (0..request.start, request.end..bytes.len());
    let edits = std::iter::once(before).chain(inside).chain(std::iter::once(after)).filter_map(cut);
    Ok(Outbound {
        url: format!("{}/v1beta/models/{model}:{}{query}", bases.gemini_api, ask.method),
        edits: edits.collect(),
        // Both APIs answer a token count alike.
        wrap: if ask.method == "countTokens" { Wrap::None } else { WRAP },
        ..Outbound::default()
    })
}
