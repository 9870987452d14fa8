//! What our pages answer with.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pool_providers::reply::Reply;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::relay::deliver::{self, ReplyBody};

/// Why a page is not what was asked for.
#[derive(Debug)]
pub struct Fault {
    pub status: StatusCode,
    pub message: String,
}

impl Fault {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Fault> for Response<ReplyBody> {
    fn from(fault: Fault) -> Self {
        problem(fault.status, &fault.message)
    }
}

/// What our pages answer when they do not answer what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    pub error: ProblemText,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemText {
    /// What is wrong, where, and what mends it, for a person.
    pub message: String,
}

/// An error on one of our own pages.
pub fn problem(status: StatusCode, message: &str) -> Response<ReplyBody> {
    json_page(status, &Problem { error: ProblemText { message: message.to_owned() } })
}

pub fn json_page(status: StatusCode, body: &impl Serialize) -> Response<ReplyBody> {
    guarded(deliver::reply(Reply::json(status, &json!(body))))
}

/// A page that is long and often the same: who has it already is told so. It is its reader's own.
pub fn tagged_page(asked: &HeaderMap, body: &impl Serialize) -> Response<ReplyBody> {
    let reply = Reply::json(StatusCode::OK, &json!(body));
    let tag = format!("W/\"{}\"", pool_core::hex(&Sha256::digest(&reply.body)[..12]));
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|one| one.trim() == tag);
    let reply = if is_known { Reply::empty(StatusCode::NOT_MODIFIED) } else { reply };
    let mut response = guarded(deliver::reply(reply));
    let mut set =
        |name, value: &str| HeaderValue::from_str(value).map(|value| response.headers_mut().insert(name, value));
    let _ = set(header::ETAG, &tag);
    // It may be kept, if it is asked about each time.
    let _ = set(header::CACHE_CONTROL, "private, no-cache");
    let _ = set(header::VARY, "authorization, x-api-key, cookie");
    response
}

pub fn text(status: StatusCode, body: String) -> Response<ReplyBody> {
    let mut reply = Reply::empty(status);
    reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply.body = body.into();
    guarded(deliver::reply(reply))
}

/// Does a person look at it, in a browser?
pub fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Go on there, whatever the method was.
pub fn see_other(path: &'static str) -> Response<ReplyBody> {
    let mut reply = Reply::empty(StatusCode::SEE_OTHER);
    reply.headers.insert(header::LOCATION, HeaderValue::from_static(path));
    guarded(deliver::reply(reply))
}

/// Nothing of ours may be cached, framed, sniffed or run as a script.
pub fn guarded(mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
