//! The books: what each account was asked, what it cost, and every request as it arrived.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::sse;
use crate::tokens::hex;

/// Tokens in classes that do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenCounts {
    /// Prompt tokens from no cache.
    pub input: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    /// Without reasoning, where the provider tells it apart (Claude does not).
    pub output: u64,
    pub reasoning: u64,
}

impl TokenCounts {
    pub fn total(&self) -> u64 {
        self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.output + self.reasoning
    }

    /// What a quota window is charged.
    pub(crate) fn weighted(&self) -> f64 {
        self.input as f64
            + self.cache_read as f64 * 0.1
            + self.cache_write_5m as f64 * 1.25
            + self.cache_write_1h as f64 * 2.0
            + (self.output + self.reasoning) as f64 * 5.0
    }
}

impl std::ops::AddAssign for TokenCounts {
    fn add_assign(&mut self, more: Self) {
        self.input += more.input;
        self.cache_read += more.cache_read;
        self.cache_write_5m += more.cache_write_5m;
        self.cache_write_1h += more.cache_write_1h;
        self.output += more.output;
        self.reasoning += more.reasoning;
    }
}

/// One account's page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccountBooks {
    /// Model requests that were let in on it, whatever became of them.
    pub requests: u64,
    /// Of these, answered to the end.
    pub completed: u64,
    /// Tokens of the completed answers.
    pub tokens: TokenCounts,
    /// Usage and quota reads.
    pub probes: u64,
    /// Calls of the token endpoint, and those that presented a token used before.
    pub refresh_calls: u64,
    pub refresh_reused: u64,
}

/// How the answer to a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Still going.
    Open,
    /// Sent whole.
    Whole,
    /// The peer closed its connection first.
    PeerLeft,
    /// A fault of ours broke it off.
    Broken,
}

/// A request as it arrived, and what became of it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Counts from 1. The answer carries it: `request-id: req_fake_7`.
    pub id: u64,
    pub at: SystemTime,
    /// The peer's port: one value per connection.
    pub connection: u16,
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// As received, perhaps compressed. Empty if it was dropped to save memory: see `body_len`.
    pub body: Bytes,
    pub body_len: usize,
    pub body_sha256: String,
    /// The account whose credential it carried.
    pub account: Option<String>,
    /// Is it a request to a model (rather than a list, a probe or a refresh)?
    pub inference: bool,
    pub model: Option<String>,
    /// The conversation as its own ids or its first user text name it.
    pub conversation: Option<String>,
    pub fault: Option<&'static str>,
    pub status: Option<u16>,
    /// Tokens told by the answer; counted in the books once it is `Whole`.
    pub tokens: Option<TokenCounts>,
    /// See [`payload_sha256`]; `None` for answers that a fault distorts.
    pub payload_sha256: Option<String>,
    pub ended: Ended,
    /// Time from arrival to the end of the answer.
    pub took: Option<Duration>,
}

impl Logged {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Something that a provider would take amiss though it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The request's id in the log.
    pub request: u64,
    pub what: String,
}

/// A copy of all books at one moment.
#[derive(Clone, Debug, Default)]
pub struct Books {
    pub accounts: BTreeMap<String, AccountBooks>,
    pub violations: Vec<Violation>,
    pub log: Vec<Logged>,
}

/// What was said on an account's sockets, one message or event of the connection each.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub account: String,
    /// Said by the pool, or to it.
    pub from_pool: bool,
    /// A message, or (a text) what happened: `upgrade`, the status of its answer, `close`, `cut`, `reset`.
    pub what: Value,
}

impl Books {
    /// An account's page; an empty one if there is no such account.
    pub fn account(&self, name: &str) -> AccountBooks {
        self.accounts.get(name).cloned().unwrap_or_default()
    }

    pub fn total(&self) -> TokenCounts {
        let mut sum = TokenCounts::default();
        self.accounts.values().for_each(|page| sum += page.tokens);
        sum
    }

    /// Requests to a model, in the order of arrival.
    pub fn inference(&self) -> impl Iterator<Item = &Logged> {
        self.log.iter().filter(|request| request.inference)
    }

    /// Conversations that were seen on more than one account.
    pub fn wandering(&self) -> Vec<(String, Vec<String>)> {
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for request in self.inference() {
            if let (Some(conversation), Some(account)) = (&request.conversation, &request.account) {
                let accounts = seen.entry(conversation.clone()).or_default();
                if !accounts.contains(account) {
                    accounts.push(account.clone());
                }
            }
        }
        seen.into_iter().filter(|(_, accounts)| accounts.len() > 1).collect()
    }
}

/// SHA-256 over the data of every event of a `text/event-stream` body, each followed by a line feed; over the body itself if
/// it holds no event. Limit events and comments, which a pool may take out or put in, do not count.
pub fn payload_sha256(body: &[u8]) -> String {
    let mut hash = Sha256::new();
    let mut any = false;
    for event in sse::events(body) {
        any = true;
        if event.name != "codex.rate_limits" {
            hash.update(&event.data);
            hash.update(b"\n");
        }
    }
    if !any {
        hash.update(body);
    }
    hex(&hash.finalize())
}

/// How many requests the log holds, and how many bytes of their bodies, before the oldest go.
const LOG_ENTRIES: usize = 50_000;
const LOG_BODY_BYTES: usize = 64 << 20;

/// The running log: bounded in entries and in the bytes of bodies that it holds.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Logged>,
    first_id: u64,
    body_bytes: usize,
    /// The first entry that may still hold its body.
    first_body: usize,
}

impl Log {
    pub(crate) fn push(&mut self, mut entry: Logged) -> u64 {
        if self.entries.is_empty() && self.first_id == 0 {
            self.first_id = 1;
        }
        let id = self.first_id + self.entries.len() as u64;
        entry.id = id;
        self.body_bytes += entry.body.len();
        self.entries.push_back(entry);
        while self.body_bytes > LOG_BODY_BYTES && self.first_body < self.entries.len() {
            let body = std::mem::take(&mut self.entries[self.first_body].body);
            self.body_bytes -= body.len();
            self.first_body += 1;
        }
        if self.entries.len() > LOG_ENTRIES
            && let Some(gone) = self.entries.pop_front()
        {
            self.body_bytes -= gone.body.len();
            self.first_id += 1;
            self.first_body = self.first_body.saturating_sub(1);
        }
        id
    }

    pub(crate) fn get(&mut self, id: u64) -> Option<&mut Logged> {
        self.entries.get_mut(usize::try_from(id.checked_sub(self.first_id)?).ok()?)
    }

    /// Empties it; ids go on counting.
    pub(crate) fn forget(&mut self) {
        self.first_id = (self.first_id + self.entries.len() as u64).max(1);
        self.entries.clear();
        (self.body_bytes, self.first_body) = (0, 0);
    }

    pub(crate) fn newest(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        self.entries.iter().rev()
    }

    pub(crate) fn all(&self) -> Vec<Logged> {
        self.entries.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_of_the_same_stream_hash_alike() {
        let plain = b"event: a\ndata: {\"x\":1}\n\ndata: two\n\n";
        let dressed = b": hello\r\nevent: a\r\ndata: {\"x\":1}\r\n\r\nevent: codex.rate_limits\r\ndata: {}\r\n\r\ndata: two\r\n\r\n";
        assert_eq!(payload_sha256(plain), payload_sha256(dressed));
        assert_ne!(payload_sha256(plain), payload_sha256(b"data: {\"x\":1}\n\n"));
        assert_ne!(payload_sha256(b"{\"a\":1}"), payload_sha256(b"{\"a\":2}"));
    }
}
