//! The recorded exchanges, for tests: what Codex CLI and the SDKs sent and what they were answered.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::request::{Body, Head};

/// One recorded request.
pub(super) struct Recorded {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    pub(super) body: Value,
}

impl Recorded {
    pub(super) fn head(&self) -> Head<'_> {
        Head { method: &self.method, path: &self.path, query: self.query.as_deref(), headers: &self.headers }
    }

    pub(super) fn body(&self) -> Body {
        Body { bytes: self.body.to_string().into(), whole: true }
    }
}

fn exchanges(recording: &str) -> Vec<Value> {
    let recording: Value = serde_json::from_str(recording).expect("JSON");
    recording["exchanges"].as_array().expect("exchanges").clone()
}

/// The HTTP requests of a recording that came to the proxy (not those to other hosts), in order.
pub(super) fn requests(recording: &str) -> Vec<Recorded> {
    let own = |exchange: &Value| exchange["request"]["url"].as_str().is_some_and(|url| url.starts_with('/'));
    exchanges(recording)
        .iter()
        .filter(|exchange| own(exchange))
        .map(|exchange| {
            let request = &exchange["request"];
            let url = request["url"].as_str().expect("url");
            let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query.to_owned())));
            Recorded {
                method: request["method"].as_str().expect("method").parse().expect("a method"),
                path: path.to_owned(),
                query,
                headers: headers(&request["headers"]),
                body: request["body"].clone(),
            }
        })
        .collect()
}

/// The headers of the `nth` answer.
pub(super) fn answer_headers(recording: &str, nth: usize) -> HeaderMap {
    headers(&exchanges(recording)[nth]["response"]["headers"])
}

/// The body of the `nth` answer.
pub(super) fn answer_body(recording: &str, nth: usize) -> Value {
    exchanges(recording)[nth]["response"]["body"].clone()
}

fn headers(pairs: &Value) -> HeaderMap {
    let pairs = pairs.as_array().expect("headers");
    pairs
        .iter()
        .map(|pair| {
            let (name, value) = (pair[0].as_str().expect("name"), pair[1].as_str().expect("value"));
            let name: HeaderName = name.to_ascii_lowercase().parse().expect("a name");
            // Recordings cut long values with `…`: such a value is bytes, not text.
            (name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
        })
        .collect()
}
