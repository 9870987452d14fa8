//! What a Claude request asks for: read from its head and from a few keys of its body.

use std::fmt;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pool_core::scan::json::{Paths, find};
use pool_core::{AccountKind, Client, Demand};
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::metadata::Metadata;
use super::routes::is_about_kept;
use super::{CLAUDE, models};
use crate::objects::KEEPING;
use crate::request::{Body, Head};
use crate::routes::{Kind, Route};

const MODEL: usize = 0;
const USER_ID: usize = 1;
const SYSTEM: usize = 2;
const MESSAGES: usize = 3;
const CONTAINER: usize = 4;
const CONTAINER_ID: usize = 5;

static WANTED: LazyLock<Paths> =
    LazyLock::new(|| Paths::new(&["model", "metadata.user_id", "system", "messages", "container", "container.id"]));

/// A conversation id longer than this is nobody's.
const LONGEST_ID: usize = 256;

/// Claude Code, by its user agent (`claude-cli/2.1.330 (external, cli)`; some side calls say `claude-code/…`).
pub(super) fn client(head: &Head<'_>) -> Client {
    let agent = head.header("user-agent").unwrap_or_default();
    if agent.starts_with("claude-cli/") || agent.starts_with("claude-code/") { Client::OwnCli } else { Client::Other }
}

pub(super) fn demand(route: &Route, head: &Head<'_>, body: &Body) -> Demand {
    let found = find(&body.bytes, &WANTED);
    let model = found.string(MODEL).map(std::borrow::Cow::into_owned);
    let kept = is_about_kept(route);
    let session = head
        .header("x-claude-code-session-id")
        .filter(|id| is_id(id))
        .map(str::to_owned)
        .or_else(|| Metadata::read(found.raw(USER_ID)?)?.session().filter(|id| is_id(id)).map(str::to_owned))
        .or_else(|| opening(found.raw(SYSTEM), found.raw(MESSAGES)?));
    Demand {
        provider: CLAUDE,
        client: client(head),
        families: model.as_deref().map(models::families).unwrap_or_default(),
        model,
        session: if route.objects.creates() { Some(KEEPING.into()) } else { session },
        bound: found.string(CONTAINER).is_some() || found.string(CONTAINER_ID).is_some() || names_a_file(&body.bytes),
        light: matches!(route.kind, Kind::Relay { light: true }),
        kinds: if kept { &[AccountKind::ApiKey] } else { &[] },
    }
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
}

/// Does the body name an uploaded file (`"file_id": "file_…"`)? Such files belong to one organisation. Inside a text the
/// quotes would be escaped, so it does not match.
fn names_a_file(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"file_id\"";
    memchr::memmem::find_iter(body, KEY).any(|at| {
        let after = body[at + KEY.len()..].trim_ascii_start();
        after.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\"file_"))
    })
}

/// An id for a conversation whose client sends none: the hash of its opening, that is of the system text and the first user
/// message. Only text is hashed: cache markers move from turn to turn, the opening's words do not.
fn opening(system: Option<&[u8]>, messages: &[u8]) -> Option<String> {
    let mut hash = Sha256::new();
    if let Some(system) = system.and_then(|raw| serde_json::from_slice::<Texts>(raw).ok()) {
        system.hash(&mut hash);
    }
    let first = first_user_message(messages)?;
    if first.0.is_empty() {
        return None;
    }
    first.hash(&mut hash);
    Some(format!("opening-{}", URL_SAFE_NO_PAD.encode(&hash.finalize()[..16])))
}

/// Reads `messages` no further than needed: a long conversation is megabytes.
fn first_user_message(messages: &[u8]) -> Option<Texts> {
    let mut first = None;
    let mut json = serde_json::Deserializer::from_slice(messages);
    // The error is how reading stops early.
    let _ = FirstUser(&mut first).deserialize(&mut json);
    first
}

struct FirstUser<'a>(&'a mut Option<Texts>);

impl<'de> DeserializeSeed<'de> for FirstUser<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for FirstUser<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        while let Some(message) = messages.next_element::<Message>()? {
            if message.role == "user" {
                *self.0 = Some(message.content);
                return Err(A::Error::custom("found"));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: Texts,
}

/// The texts of a message or system prompt, which is one text or a list of blocks.
#[derive(Default)]
struct Texts(Vec<String>);

impl Texts {
    fn hash(&self, hash: &mut Sha256) {
        for text in &self.0 {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        // What follows is another part.
        hash.update(u64::MAX.to_be_bytes());
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Text(String),
            Blocks(Vec<Block>),
            Other(serde::de::IgnoredAny),
        }
        #[derive(Deserialize)]
        struct Block {
            text: Option<String>,
        }
        Ok(Self(match Shape::deserialize(json)? {
            Shape::Text(text) => vec![text],
            Shape::Blocks(blocks) => blocks.into_iter().filter_map(|block| block.text).collect(),
            Shape::Other(_) => Vec::new(),
        }))
    }
}

#[cfg(test)]
#[path = "demand_tests.rs"]
mod tests;
