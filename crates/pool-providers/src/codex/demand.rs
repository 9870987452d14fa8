//! What a request asks for: client, model, conversation, and whether it leans on state of one account.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use pool_core::scan::json::{self, Matches, Paths};
use pool_core::{Client, Demand};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::quota::model_family;
use super::routes::about;
use super::{ID, KEY_ONLY};
use crate::alias::rename;
use crate::request::{Body, Edit, Head};
use crate::routes::{Kind, Route};

/// Headers that name the conversation, most telling first: threads of one session (the title's, a sub-agent's) have prompt
/// caches of their own. Older clients wrote them with `_`. Measured on Codex CLI 0.169.0: all hold the thread's id.
const SESSION_HEADERS: [&str; 4] = ["thread-id", "session-id", "session_id", "conversation_id"];

/// Longer ids, model names and keys are not ours to keep.
const LONGEST_NAME: usize = 256;

macro_rules! paths {
    ($($name:ident = $path:literal),+ $(,)?) => {
        #[derive(Clone, Copy)]
        #[allow(clippy::upper_case_acronyms)]
        enum At { $($name),+ }
        static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths::new(&[$($path),+]));
    };
}

paths! {
    Model = "model",
    CacheKey = "prompt_cache_key",
    Thread = "client_metadata.thread_id",
    Session = "client_metadata.session_id",
    Conversation = "conversation",
    ConversationId = "conversation.id",
    Previous = "previous_response_id",
    Instructions = "instructions",
    Input = "input",
    Messages = "messages",
}

/// Is this Codex: the CLI in any of its shapes (`codex_exec`, `codex_cli_rs`, `codex-tui`, …), its editor extension or its
/// desktop application? They say so in `originator`, and where that is missing (some side calls) in the user agent.
pub(super) fn client(head: &Head<'_>) -> Client {
    let is_codex = |text: &str| text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("codex"));
    let told = head.header("originator").or_else(|| head.header("user-agent"));
    if told.is_some_and(is_codex) { Client::OwnCli } else { Client::Other }
}

pub(super) fn of(route: &Route, head: &Head<'_>, body: &Body) -> Demand {
    let found = json::find(&body.bytes, &PATHS);
    let about = about(route);
    let model = name(&found, At::Model).or_else(|| form_model(head, &body.bytes));
    let is_null = |at: At| found.raw(at as usize).is_none_or(|raw| raw == b"null");
    Demand {
        provider: ID,
        client: client(head),
        families: model.iter().map(|model| model_family(model)).collect(),
        model,
        session: session(about, head, &found),
        bound: !is_null(At::Previous) || !is_null(At::Conversation),
        light: matches!(route.kind, Kind::Relay { light: true }),
        kinds: if is_key_only(about) { KEY_ONLY } else { &[] },
    }
}

/// What ChatGPT's backend does not have.
fn is_key_only(about: &str) -> bool {
    const SHARED: [&str; 7] =
        ["responses", "responses socket", "compact", "search", "memories", "images", "image edits"];
    !SHARED.contains(&about)
}

fn name(found: &Matches<'_>, at: At) -> Option<String> {
    let text = found.string(at as usize)?;
    (!text.is_empty() && text.len() <= LONGEST_NAME).then(|| text.into_owned())
}

fn session(about: &str, head: &Head<'_>, found: &Matches<'_>) -> Option<String> {
    let header = |name: &&str| head.header(name).filter(|id| !id.is_empty() && id.len() <= LONGEST_NAME);
    if let Some(id) = SESSION_HEADERS.iter().find_map(header) {
        return Some(id.to_owned());
    }
    [At::CacheKey, At::Thread, At::Session, At::Conversation, At::ConversationId]
        .into_iter()
        .find_map(|at| name(found, at))
        .or_else(|| matches!(about, "responses" | "responses socket" | "chat completions").then(|| opening(found))?)
}

/// A name for a conversation that has none: the hash of its opening, which every later turn repeats. The opening is the
/// instructions and everything up to the first thing that the user said. `None`: it continues a stored response, so its
/// opening is not here.
fn opening(found: &Matches<'_>) -> Option<String> {
    if found.raw(At::Previous as usize).is_some_and(|raw| raw != b"null") {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(found.raw(At::Instructions as usize).unwrap_or_default());
    let turns = found.raw(At::Input as usize).or_else(|| found.raw(At::Messages as usize))?;
    if turns.starts_with(b"[") {
        let mut opening = Opening { hash: &mut hash, user_spoke: false };
        // Stopping early leaves the array unread, which serde reports as an error: what was seen is in `opening`.
        let _ = serde_json::Deserializer::from_slice(turns).deserialize_seq(&mut opening);
        if !opening.user_spoke {
            return None;
        }
    } else if turns.starts_with(b"\"") {
        // The short form of a list with one thing said: the same conversation if it goes on as a list.
        hash.update(turns);
    } else {
        return None;
    }
    Some(URL_SAFE_NO_PAD.encode(&hash.finalize()[..16]))
}

/// Hashes the items of a list until the user has spoken.
struct Opening<'h> {
    hash: &'h mut Sha256,
    user_spoke: bool,
}

impl<'de> Visitor<'de> for &mut Opening<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of turns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        #[derive(Default, Deserialize)]
        struct Item<'a> {
            #[serde(borrow)]
            role: Option<Cow<'a, str>>,
            #[serde(borrow)]
            content: Option<&'a RawValue>,
        }
        while let Some(raw) = items.next_element::<&RawValue>()? {
            let item: Item<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
            let said = item.content.unwrap_or(raw).get();
            if item.role.as_deref() == Some("user") {
                self.hash.update(said);
                self.user_spoke = true;
                return Ok(());
            }
            self.hash.update(item.role.as_deref().unwrap_or_default());
            self.hash.update(said);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// The model in a form body (audio and image uploads): the text of its `model` part.
fn form_model(head: &Head<'_>, body: &[u8]) -> Option<String> {
    let model = std::str::from_utf8(&body[form_model_place(head, body)?]).ok()?.trim();
    (!model.is_empty() && model.len() <= LONGEST_NAME).then(|| model.to_owned())
}

fn form_model_place(head: &Head<'_>, body: &[u8]) -> Option<Range<usize>> {
    if !head.header("content-type")?.starts_with("multipart/form-data") {
        return None;
    }
    let part = memchr::memmem::find(body, b"name=\"model\"")?;
    let start = part + memchr::memmem::find(&body[part..], b"\r\n\r\n")? + 4;
    let length = memchr::memmem::find(&body[start..], b"\r\n")?;
    Some(start..start + length)
}

/// The request asks for this model instead.
pub(super) fn renamed(head: &Head<'_>, body: &[u8], model: &str) -> Option<Edit> {
    if let Some(place) = json::find(body, &PATHS).range(At::Model as usize) {
        return Some(rename(place, model));
    }
    let range = form_model_place(head, body)?;
    Some(Edit { range, with: Bytes::copy_from_slice(model.as_bytes()) })
}

/// OpenAI's models by the beginnings of their names.
pub(super) fn is_own_model(model: &str) -> bool {
    const BEGINNINGS: [&str; 16] = [
        "gpt-",
        "codex-",
        "chatgpt-",
        "o1",
        "o3",
        "o4",
        "text-embedding-",
        "text-moderation-",
        "omni-",
        "whisper-",
        "tts-",
        "dall-e-",
        "computer-use-",
        "davinci-",
        "babbage-",
        "ft:",
    ];
    BEGINNINGS.iter().any(|start| model.starts_with(start))
}

#[cfg(test)]
#[path = "demand_tests.rs"]
mod tests;
