//! A request for one of our pages, as the page sees it: who asks, what stands in the path, and a small body.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use pool_core::people::{Role, User, UserId};
use pool_providers::request::Head;
use serde::de::DeserializeOwned;

use super::reply::Fault;
use crate::admit::Caller;
use crate::app::App;
use crate::relay::path;

/// What our pages are told is small.
const BODY_CAP: usize = 64 << 10;

/// `W` says who asks: `()` nobody in particular, a [`Caller`], [`Oneself`] or the [`Operator`].
#[derive(Debug)]
pub struct Visit<W> {
    pub app: Arc<App>,
    /// The TCP peer.
    pub peer: SocketAddr,
    pub who: W,
    pub parts: http::request::Parts,
    pub(super) body: Incoming,
    pub(super) holes: Vec<String>,
}

/// The operator, and how they came in. Made by the table only.
#[derive(Debug)]
pub struct Operator(pub(super) Caller);

/// Somebody who asks about themself, or the operator asking about them. Made by the table only.
#[derive(Debug)]
pub struct Oneself {
    pub(super) caller: Caller,
    /// Whom it is about.
    pub user: Arc<User>,
}

impl Operator {
    pub fn caller(&self) -> &Caller {
        &self.0
    }

    /// Who it is, for the log.
    pub fn name(&self) -> &str {
        self.0.user().map_or(self.0.scope(), |user| &user.name)
    }
}

impl Oneself {
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Visit<()> {
    pub fn of<W>(self, who: W) -> Visit<W> {
        let Self { app, peer, who: (), parts, body, holes } = self;
        Visit { app, peer, who, parts, body, holes }
    }
}

impl<W> Visit<W> {
    pub fn head(&self) -> Head<'_> {
        path::head(&self.parts)
    }

    /// Where it comes from, as far as that can be believed.
    pub fn origin(&self) -> IpAddr {
        self.app.origin(self.peer, &self.parts.headers)
    }

    /// What stands in the path's hole number `at`, decoded; never empty.
    pub fn hole(&self, at: usize) -> &str {
        self.holes.get(at).map_or("", String::as_str)
    }

    /// The query. A key that is not known is refused, with those that are; one without a value counts as absent.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let mut fields = serde_json::Map::new();
        // A credential may stand there too, and is none of the question.
        for (name, value) in self.head().query_pairs().filter(|(name, value)| name != "key" && !value.is_empty()) {
            if fields.insert(name.to_string(), value.into()).is_some() {
                return Err(Fault::new(StatusCode::BAD_REQUEST, format!("the query names {name:?} twice")));
            }
        }
        serde_json::from_value(fields.into())
            .map_err(|error| Fault::new(StatusCode::BAD_REQUEST, format!("the query is wrong: {error}")))
    }

    /// The body, whatever it is. Small.
    pub async fn bytes(&mut self) -> Result<Bytes, Fault> {
        let patience = self.app.config.timeouts.body_progress;
        let whole = Limited::new(&mut self.body, BODY_CAP).collect();
        match tokio::time::timeout(patience, whole).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => {
                let message = format!("the body broke off or is longer than {} KiB: {error}", BODY_CAP >> 10);
                Err(Fault::new(StatusCode::BAD_REQUEST, message))
            }
            Err(_) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
        }
    }

    /// Was it sent by a form of a page? Forms of other web pages have been refused by their origin.
    pub fn is_form(&self) -> bool {
        self.kind() == "application/x-www-form-urlencoded"
    }

    /// What was sent, by a form or as JSON. A form's values are texts.
    pub async fn sent<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        if !self.is_form() {
            return self.json().await;
        }
        let body = self.bytes().await?;
        serde_json::from_value(fields(&body))
            .map_err(|error| Fault::new(StatusCode::BAD_REQUEST, unsaid(&error.to_string())))
    }

    fn kind(&self) -> String {
        let kind = self.head().header("content-type").unwrap_or_default().to_ascii_lowercase();
        kind.split(';').next().unwrap_or_default().trim().to_owned()
    }

    /// The body, which must be JSON and say so: no form of another web page can.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        if self.kind() != "application/json" {
            let mend = format!("send JSON, with the header {}: application/json", header::CONTENT_TYPE);
            return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, mend));
        }
        let body = self.bytes().await?;
        // Where it is wrong, not what it says there: it may hold a password.
        serde_json::from_slice(&body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let what = if error.is_data() { unsaid(&error.to_string()) } else { "this is no JSON".into() };
            Fault::new(StatusCode::BAD_REQUEST, format!("{what} (line {line}, column {column})"))
        })
    }
}

/// A form's fields. Of two with one name the last counts.
fn fields(body: &[u8]) -> serde_json::Value {
    let text = |part: &[u8]| {
        let spaced: Vec<u8> = part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_encoding::percent_decode(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let cut = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (text(&pair[..cut]), serde_json::Value::String(text(pair.get(cut + 1..).unwrap_or_default())))
    });
    serde_json::Value::Object(pairs.collect())
}

/// What serde says of the shape, without the value it found.
fn unsaid(error: &str) -> String {
    let shape = error.rsplit_once(" at line ").map_or(error, |(shape, _)| shape);
    match shape.rsplit_once(", expected ") {
        Some((_, expected)) if !shape.starts_with("unknown field") => format!("wrong, expected {expected}"),
        _ => shape.to_owned(),
    }
}

/// Whom the path's `{user}` names, if the caller may ask about them.
pub(super) fn oneself(app: &App, caller: Caller, pattern: &str, holes: &[String]) -> Option<Oneself> {
    let at = pattern.split('/').filter(|segment| is_hole(segment)).position(|segment| segment == "{user}")?;
    let id = holes.get(at)?;
    let own = caller.user().cloned();
    let user = match own {
        Some(own) if id == "me" || **id == *own.id.0 => own,
        _ if caller.role() == Role::Operator => {
            app.people.read(|people| people.user(&UserId(id.as_str().into())).cloned())?
        }
        _ => return None,
    };
    Some(Oneself { caller, user })
}

/// What stands in the holes of a path, decoded. `None`: the path is another one.
///
/// A name that could be read as more than one segment, or that would disturb a terminal, fits no hole.
pub(super) fn holes(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut ours, mut theirs) = (pattern.split('/'), path.split('/'));
    let mut holes = Vec::new();
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Some(holes),
            (Some(hole), Some(text)) if is_hole(hole) => {
                let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
                let plain = !text.is_empty() && !text.contains(|letter: char| letter == '/' || letter.is_control());
                holes.push(plain.then(|| text.into_owned())?);
            }
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}

fn is_hole(segment: &str) -> bool {
    segment.starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_in_one_way_only() {
        for (pattern, path, found) in [
            ("/", "/", Some(vec![])),
            ("/api/status", "/api/status", Some(vec![])),
            ("/api/status", "/api/status/", None),
            ("/api/status", "//api/status", None),
            ("/api/status", "/api/%73tatus", None),
            ("/api/status", "/api/x/../status", None),
            ("/a/{one}/b/{two}", "/a/x/b/y%20z", Some(vec!["x", "y z"])),
            ("/a/{one}", "/a/", None),
            ("/a/{one}", "/a/x%2Fy", None),
            ("/a/{one}", "/a/x%0Ay", None),
            ("/a/{one}", "/a/%ff", None),
        ] {
            let found = found.map(|found| found.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(holes(pattern, path), found, "{pattern} {path}");
        }
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let read = fields(b"name=Mira+K.&code=a%26b%3Dc%2B&empty=&bare&name=Nadia&bad=%ff%");
        assert_eq!(
            read,
            serde_json::json!({ "name": "Nadia", "code": "a&b=c+", "empty": "", "bare": "", "bad": "\u{fffd}%" })
        );
        assert_eq!(fields(b""), serde_json::json!({}));
    }

    #[test]
    fn what_was_sent_is_not_repeated() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            #[expect(dead_code, reason = "only its shape matters")]
            password: u8,
        }
        for sent in [r#"{"password":"canary"}"#, r#"{"password":"canary, expected x"}"#, r#"{"password":1.5}"#] {
            let error = serde_json::from_str::<Form>(sent).expect_err(sent);
            assert!(!unsaid(&error.to_string()).contains("canary"), "{}", unsaid(&error.to_string()));
        }
        let error = serde_json::from_str::<Form>(r#"{"pasword":1}"#).expect_err("unknown").to_string();
        assert_eq!(unsaid(&error), "unknown field `pasword`, expected `password`");
    }
}
