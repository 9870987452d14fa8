//! What a request asks for: client, model, conversation, and whether it leans on state of one account.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use pool_core::scan::json::{self, Matches, Paths};
use pool_core::{Binding, Client, Demand, Span};

use super::quota::model_family;
use super::routes::about;
use super::{ID, KEY_ONLY, turn_state};
use crate::alias::rename;
use crate::objects::KEEPING;
use crate::opening::{Opening, Roleless, has_text};
use crate::request::{Body, Edit, Head};
use crate::routes::{Kind, Route};

/// Headers that name the conversation, most telling first: threads of one session (the title's, a sub-agent's) have prompt
/// caches of their own. Older clients wrote them with `_`. Measured on Codex CLI 0.169.0: all hold the thread's id.
const SESSION_HEADERS: [&str; 4] = ["thread-id", "session-id", "session_id", "conversation_id"];

/// Names the thread that a sub-agent works for (`codex-rs/codex-api/src/requests/headers.rs`).
const PARENT_HEADER: &str = "x-codex-parent-thread-id";

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
    Parent = "client_metadata.x-codex-parent-thread-id",
    TurnState = "client_metadata.x-codex-turn-state",
    Retention = "prompt_cache_retention",
    CacheLife = "prompt_cache_options.ttl",
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
    let keeps = route.objects.told.is_some() && about != "responses";
    let model = name(&found, At::Model).or_else(|| form_model(head, &body.bytes).filter(|_| !keeps));
    let in_query = || head.query_value("model").filter(|model| !model.is_empty() && model.len() <= LONGEST_NAME);
    let asked = (route.kind == Kind::Tunnel).then(in_query).flatten().map(Cow::into_owned);
    let model = model.or(asked);
    let session = if keeps { Some(KEEPING.into()) } else { session(about, head, &found) };
    Demand {
        provider: ID,
        client: client(head),
        families: model.iter().map(|model| model_family(model)).collect(),
        model,
        parent: parent(about, head, &found, session.as_deref()),
        session,
        binding: binding(head, &found, &body.bytes),
        keep: keep(&found),
        light: matches!(route.kind, Kind::Relay { light: true }),
        kinds: if is_key_only(about) { KEY_ONLY } else { &[] },
    }
}

/// What ChatGPT's backend does not have.
fn is_key_only(about: &str) -> bool {
    const SHARED: [&str; 9] = [
        "responses",
        "responses socket",
        "compact",
        "search",
        "memories",
        "images",
        "image edits",
        "realtime",
        "realtime calls",
    ];
    !SHARED.contains(&about)
}

fn name(found: &Matches<'_>, at: At) -> Option<String> {
    let text = found.string(at as usize)?;
    (!text.is_empty() && text.len() <= LONGEST_NAME).then(|| text.into_owned())
}

fn session(about: &str, head: &Head<'_>, found: &Matches<'_>) -> Option<String> {
    let by_header = || SESSION_HEADERS.iter().find_map(|name| header(head, name));
    let others = || [At::Session, At::Conversation, At::ConversationId].into_iter().find_map(|at| name(found, at));
    let by_body = || name(found, At::Thread).or_else(|| cache_key(head, found)).or_else(others);
    // The head of a socket is its handshake's; its messages speak for themselves.
    let named = match about {
        "responses socket" => by_body().or_else(by_header),
        _ => by_header().or_else(by_body),
    };
    let converses = matches!(about, "responses" | "responses socket" | "chat completions");
    named.or_else(|| converses.then(|| opening(found))?)
}

/// Codex's is its thread's id. Programs give one key to all conversations that begin alike, as OpenAI's guide tells them to, so
/// that theirs are told apart by their opening.
fn cache_key(head: &Head<'_>, found: &Matches<'_>) -> Option<String> {
    let key = name(found, At::CacheKey)?;
    match opening(found).filter(|_| client(head) == Client::Other) {
        Some(opening) => Some(format!("{key}/{opening}")),
        None => Some(key),
    }
}

/// The thread that this one is a part of. A sub-agent names it; where it does not, it shares its parent's session
/// (`codex-rs/core/src/client.rs`: on a socket the same names stand in `client_metadata`).
fn parent(about: &str, head: &Head<'_>, found: &Matches<'_>, session: Option<&str>) -> Option<String> {
    let (in_head, in_body) = (|| header(head, PARENT_HEADER), || name(found, At::Parent));
    let parent = match about {
        "responses socket" => in_body().or_else(in_head),
        _ => in_head().or_else(in_body),
    };
    let root = || header(head, "session-id").or_else(|| name(found, At::Session));
    parent.or_else(root).filter(|parent| Some(parent.as_str()) != session)
}

fn header(head: &Head<'_>, name: &str) -> Option<String> {
    head.header(name).filter(|id| !id.is_empty() && id.len() <= LONGEST_NAME).map(str::to_owned)
}

/// `None`: it continues a stored response, so its opening is not here.
fn opening(found: &Matches<'_>) -> Option<String> {
    if is_set(found, At::Previous) {
        return None;
    }
    let mut opening = Opening::default();
    if let Some(instructions) = found.raw(At::Instructions as usize) {
        opening.system(instructions);
    }
    let turns = [At::Input, At::Messages].into_iter().find_map(|at| found.beginning(at as usize))?;
    opening.turns(turns, Roleless::Nobody);
    opening.name()
}

fn is_set(found: &Matches<'_>, at: At) -> bool {
    found.raw(at as usize).is_some_and(|raw| raw != b"null")
}

fn binding(head: &Head<'_>, found: &Matches<'_>, body: &[u8]) -> Binding {
    match () {
        () if is_set(found, At::Previous) => Binding::StoredAnswer,
        () if is_set(found, At::Conversation) => Binding::Conversation,
        () if has_text(body, "encrypted_content", "") => Binding::SealedReasoning,
        () if head.headers.contains_key(turn_state::HEADER) || is_set(found, At::TurnState) => Binding::TurnState,
        () => Binding::Cache,
    }
}

/// What the request asks of the prompt cache: `24h`, or a time to live as `30m`.
fn keep(found: &Matches<'_>) -> Option<Span> {
    let asked = [At::Retention, At::CacheLife].into_iter().find_map(|at| found.string(at as usize))?;
    let (number, unit) = asked.split_at_checked(asked.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "m" => Some(Span::from_mins(number)),
        "h" => Some(Span::from_hours(number)),
        _ => None,
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
