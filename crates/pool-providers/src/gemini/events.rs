//! Reading answers: the public API's and Code Assist's, as event streams, JSON arrays of chunks, or plain JSON.
//!
//! There is no terminal event: an answer is complete when a chunk told a `finishReason` (or why the prompt was blocked)
//! and the stream then came to a clean end.

use std::sync::LazyLock;

use http::{HeaderMap, StatusCode};
use memchr::{memchr, memmem};
use pool_core::scan::json::{Finder, Found, Paths, string};
use pool_core::scan::sse::Scanner;
use pool_core::{Demand, TokenCounts, UnixMs};
use serde_json::Value;

use super::judge;
use crate::reply::{News, Reader, Stage};

/// Each twice: public, and inside Code Assist's `response`.
static PATHS: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "candidates",
        "response.candidates",
        "usageMetadata",
        "response.usageMetadata",
        "modelVersion",
        "response.modelVersion",
        "promptFeedback",
        "response.promptFeedback",
        "error",
    ])
});

/// The longest value that is kept: usage and errors are far smaller, candidates are only asked whether there are any.
const CAP: usize = 16 * 1024;

/// In valid JSON these bytes are a key: in a string the quotes would be escaped.
const FINISH: &[u8] = b"\"finishReason\"";

pub(super) struct AnswerReader {
    form: Form,
    demand: Demand,
    now: UnixMs,
    tidings: Tidings,
    /// The end of the bytes before, in which a [`FINISH`] may have begun.
    tail: Vec<u8>,
    finish_seen: bool,
    ended: bool,
}

enum Form {
    Sse {
        scanner: Box<Scanner>,
        bare: Bare,
    },
    /// `chunks`: an answer to a generating call, so its candidates are what counts.
    Json {
        finder: Box<Finder>,
        chunks: bool,
    },
}

/// What the chunks told so far.
#[derive(Default)]
struct Tidings {
    meaningful: bool,
    blocked: bool,
    usage: Option<TokenCounts>,
    model: Option<String>,
    /// Raw error objects not yet judged.
    error: Option<Vec<u8>>,
}

impl AnswerReader {
    /// `chunks`: the route is a generating one.
    pub(super) fn new(demand: &Demand, stream: bool, chunks: bool, now: UnixMs) -> Self {
        let form = if stream {
            Form::Sse { scanner: Box::new(Scanner::new(&PATHS, CAP)), bare: Bare::new() }
        } else {
            Form::Json { finder: Box::new(Finder::new(&PATHS, CAP)), chunks }
        };
        Self {
            form,
            demand: demand.clone(),
            now,
            tidings: Tidings::default(),
            tail: Vec::new(),
            finish_seen: false,
            ended: false,
        }
    }

    fn look_for_finish(&mut self, bytes: &[u8]) {
        if self.finish_seen {
            return;
        }
        // A needle across the seam is found in the old tail and the new beginning.
        let keep = FINISH.len() - 1;
        self.tail.extend_from_slice(&bytes[..bytes.len().min(keep)]);
        self.finish_seen = memmem::find(&self.tail, FINISH).is_some() || memmem::find(bytes, FINISH).is_some();
        if bytes.len() >= keep {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - keep..]);
        } else {
            let surplus = self.tail.len().saturating_sub(keep);
            self.tail.drain(..surplus);
        }
    }

    /// The error of the stream, judged as the same body with that status would be.
    fn news(&mut self) -> News {
        let Some(error) = self.tidings.error.take() else { return News::default() };
        let body = [b"{\"error\":", error.as_slice(), b"}"].concat();
        let code = super::status::Status::read(&body).and_then(|status| status.code).unwrap_or(500);
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let failure = judge::judge(None, &self.demand, status, &HeaderMap::new(), &body, self.now);
        News { failure: Some(failure), ..News::default() }
    }
}

impl Tidings {
    fn take(&mut self, found: &Found) {
        let raw = found.raw.as_deref();
        match found.path {
            0 | 1 => self.meaningful |= raw.is_none_or(|raw| !is_empty_list(raw)),
            2 | 3 => self.usage = raw.and_then(read_usage).or(self.usage),
            4 | 5 => {
                if let Some(model) = raw.and_then(string) {
                    self.model = Some(model.into_owned());
                }
            }
            6 | 7 => {
                let blocked = raw.is_none_or(|raw| memmem::find(raw, b"\"blockReason\"").is_some());
                self.blocked |= blocked;
                self.meaningful |= blocked;
            }
            _ => self.error = Some(raw.unwrap_or(b"{}").to_vec()).filter(|error| error.first() == Some(&b'{')),
        }
    }
}

impl Reader for AnswerReader {
    fn feed(&mut self, bytes: &[u8]) -> News {
        self.look_for_finish(bytes);
        let tidings = &mut self.tidings;
        match &mut self.form {
            Form::Sse { scanner, bare } => {
                scanner.feed(bytes, |event| event.found.iter().for_each(|found| tidings.take(found)));
                bare.feed(bytes, tidings);
            }
            Form::Json { finder, chunks } => {
                finder.feed(bytes);
                take_all(finder, tidings);
                tidings.meaningful |= !*chunks && !bytes.is_empty();
            }
        }
        self.news()
    }

    fn finish(&mut self) -> News {
        let tidings = &mut self.tidings;
        match &mut self.form {
            Form::Sse { scanner, .. } => {
                scanner.finish(true, |event| event.found.iter().for_each(|found| tidings.take(found)));
                self.ended = self.finish_seen || tidings.blocked;
            }
            Form::Json { finder, .. } => self.ended = finder.finish(),
        }
        self.news()
    }

    fn stage(&self) -> Stage {
        match (self.ended, self.tidings.meaningful) {
            (true, _) => Stage::Ended,
            (false, true) => Stage::Meaningful,
            (false, false) => Stage::Preamble,
        }
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.tidings.usage
    }

    fn model(&self) -> Option<&str> {
        self.tidings.model.as_deref()
    }
}

fn take_all(finder: &mut Finder, tidings: &mut Tidings) {
    for path in 0..PATHS.len() {
        if let Some(found) = finder.take(path) {
            tidings.take(&found);
        }
    }
}

/// An error that stands between the events without `data:`: Google writes it so when a stream fails (both official SDKs
/// look for it).
struct Bare {
    finder: Box<Finder>,
    open: bool,
    at_line_start: bool,
}

impl Bare {
    fn new() -> Self {
        Self { finder: Box::new(Finder::new(&PATHS, CAP)), open: false, at_line_start: true }
    }

    fn feed(&mut self, bytes: &[u8], tidings: &mut Tidings) {
        let mut rest = bytes;
        while !self.open {
            if rest.is_empty() {
                return;
            }
            if self.at_line_start && rest[0] == b'{' {
                self.open = true;
            } else if let Some(end) = memchr(b'\n', rest) {
                rest = &rest[end + 1..];
                self.at_line_start = true;
            } else {
                self.at_line_start = false;
                return;
            }
        }
        self.finder.feed(rest);
        take_all(&mut self.finder, tidings);
    }
}

fn is_empty_list(raw: &[u8]) -> bool {
    raw == b"null" || raw.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start() == b"]")
}

/// `usageMetadata`: the prompt includes what came from the cache, the candidates exclude the thoughts, and what tools put
/// into the prompt is counted apart (`UsageMetadata` of the Gemini API).
fn read_usage(raw: &[u8]) -> Option<TokenCounts> {
    let usage: Value = serde_json::from_slice(raw).ok()?;
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let cached = count("cachedContentTokenCount").unwrap_or(0);
    let fresh = count("promptTokenCount")?.saturating_sub(cached);
    Some(TokenCounts {
        input: fresh.saturating_add(count("toolUsePromptTokenCount").unwrap_or(0)),
        cache_read: cached,
        output: count("candidatesTokenCount").unwrap_or(0),
        reasoning: count("thoughtsTokenCount").unwrap_or(0),
        ..TokenCounts::default()
    })
}
