//! Replies: an upstream's, as providers read them, and our own.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pool_core::quota::QuotaWindow;
use pool_core::{Judgement, TokenCounts};

/// An answer of our own making.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// `content-type` included.
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        Self { status, headers, body: Bytes::from(body.to_string()) }
    }

    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// What a request failed of when it did not come to an upstream's answer, or to none worth passing on.
#[derive(Clone, Debug)]
pub enum Failure {
    /// No account can take it.
    Refused(pool_core::standing::Refusal),
    /// The pool credential is missing, wrong or revoked.
    BadCredential { message: String },
    /// The request itself cannot be read or is too large: the status says which (400, 413, 415).
    BadRequest { status: StatusCode, message: String },
    /// Every try failed upstream; `retry_after` is a guess for the client.
    UpstreamDown { message: String, retry_after: Duration },
    /// Upstream did not answer in time.
    Timeout { message: String },
    /// It names something that is not there, or not for this caller. `addressed`: in its path or query.
    NotThere { id: String, addressed: bool },
    /// Not something this pool forwards.
    NotServed { message: String },
}

/// What one piece of an answer means for the relay. See [`Reader`].
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Quota readings found.
    pub windows: Vec<QuotaWindow>,
    /// The answer turned into an error. Before the first meaningful event the relay may try elsewhere.
    pub failure: Option<Judgement>,
    /// Ids told of things that live on the account from now on, as the answer writes them.
    pub created: Vec<String>,
}

impl News {
    /// What came later. Of several failures the first counts.
    pub fn add(&mut self, later: Self) {
        self.windows.extend(later.windows);
        self.created.extend(later.created);
        self.failure = self.failure.take().or(later.failure);
    }
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing of substance yet: the account can still be changed without the client seeing it.
    Preamble,
    /// Something that the client can see or act on.
    Meaningful,
    /// The provider's own terminal event has been read.
    Ended,
}

/// Reads one answer beside its delivery. Cannot fail: what it does not understand it skips.
///
/// `feed` takes the decoded bytes of the body in any chunking; `stage` and `usage` tell the state after them.
pub trait Reader: Send {
    fn feed(&mut self, bytes: &[u8]) -> News;

    /// The body came to a clean end. Only here a plain JSON answer is known to be whole.
    fn finish(&mut self) -> News;

    fn stage(&self) -> Stage;

    /// Tokens told so far; `None`: none told.
    fn usage(&self) -> Option<TokenCounts>;

    /// The model that answered, if the answer names it.
    fn model(&self) -> Option<&str>;

    /// Byte ranges (offsets from the first byte ever fed) of whole events that must not reach the client because they speak
    /// of one account's limits, and the offset up to which the bytes are decided: bytes from there on belong to an event
    /// that may yet turn out to be one. Readers without such events answer `(vec![], u64::MAX)`.
    fn hidden(&mut self) -> (Vec<std::ops::Range<u64>>, u64) {
        (Vec::new(), u64::MAX)
    }
}
