//! What our pages answer with.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pool_providers::reply::Reply;
use serde::Serialize;
use serde_json::json;

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

/// An error on one of our own pages.
pub fn problem(status: StatusCode, message: &str) -> Response<ReplyBody> {
    json_page(status, &json!({ "error": { "message": message } }))
}

pub fn json_page(status: StatusCode, body: &impl Serialize) -> Response<ReplyBody> {
    guarded(deliver::reply(Reply::json(status, &json!(body))))
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
