//! A client's request as providers see it, and the outbound request they make of it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pool_core::{Account, Credentials};

/// The head of a client's request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
}

impl Head<'_> {
    /// A header as text; `None` if absent or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a query key, percent-decoded.
    pub fn query_value(&self, key: &str) -> Option<Cow<'_, str>> {
        self.query?.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == key).then(|| percent_encoding::percent_decode_str(value).decode_utf8_lossy())
        })
    }

    /// The query's keys and values, both percent-decoded.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let decoded = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        let pairs = self.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs.map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
    }
}

/// What can be seen of a request's body: decoded (a zstd body is looked into), perhaps only its beginning.
#[derive(Clone, Debug)]
pub struct Body {
    /// Decoded bytes, up to the replay cap.
    pub bytes: Bytes,
    /// Nothing follows after `bytes`.
    pub whole: bool,
}

/// Replace `range` of the decoded body by `with`. Edits of one request are sorted and do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub with: Bytes,
}

/// Where the upstream calls of every provider go. Built from the settings; each base has no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bases {
    pub responses: String,
    pub wham: String,
    pub refresh: String,
    pub openai: String,
    pub claude: String,
    pub claude_refresh: String,
    pub gemini: String,
    pub gemini_api: String,
    pub google_token: String,
}

impl Default for Bases {
    fn default() -> Self {
        Self {
            responses: "https://chatgpt.com/backend-api/codex".into(),
            wham: "https://chatgpt.com/backend-api".into(),
            refresh: "https://auth.openai.com".into(),
            openai: "https://api.openai.com/v1".into(),
            claude: "https://api.anthropic.com".into(),
            claude_refresh: "https://platform.claude.com".into(),
            gemini: "https://cloudcode-pa.googleapis.com".into(),
            gemini_api: "https://generativelanguage.googleapis.com".into(),
            google_token: "https://oauth2.googleapis.com".into(),
        }
    }
}

/// The account that a request goes out on.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    pub account: &'a Account,
    pub credentials: &'a Credentials,
    pub bases: &'a Bases,
    pub carry: Carry,
    /// The model to ask for in place of the alias that the client names.
    pub model: Option<&'a str>,
}

/// How much of the state that accounts hold for a conversation goes along with its next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carry {
    /// All that the client sends.
    #[default]
    All,
    /// This account has refused what another has sealed: that stays behind.
    Bare,
}

/// How a client's request goes out on an account: only what differs from what the client sent.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// Absolute, with query.
    pub url: String,
    /// Set (replacing every value of that name). Credential headers are marked sensitive.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed, beyond what the relay always removes (hop-by-hop, forwarding headers, every client credential header,
    /// `accept-encoding`, `host`).
    pub remove: Vec<HeaderName>,
    /// Empty: the body goes as received.
    pub edits: Vec<Edit>,
    /// The upstream is not known to take compressed request bodies: send it decoded.
    pub decoded: bool,
    /// What the answer must be wrapped in before the client can read it.
    pub wrap: Wrap,
}

/// The change of shape that an answer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrap {
    #[default]
    None,
    /// Put before and after each JSON document: of every `data:` line in a stream, of the whole in a plain answer.
    /// Errors (status 400 and above) are not wrapped.
    Around { before: &'static str, after: &'static str },
}

/// A call of our own (refresh, probe): complete. Its body may hold a refresh token, so `Debug` shows only where it goes.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} {})", self.method, self.url)
    }
}
