//! What a request asks of an account: model, conversation, what it is bound to.

use std::sync::LazyLock;

use pool_core::scan::json::{Matches, Paths, find};
use pool_core::{AccountKind, Client, Demand};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::ID;
use super::quota::family;
use super::routes::{Ask, Surface};
use crate::objects::KEEPING;
use crate::request::{Body, Head};
use crate::routes::{Kind, Route};

/// Where the public API's own request stands in the body, as prefix of its paths.
const WANTED: [&str; 7] =
    ["model", "session_id", "cachedContent", "cached_content", "contents", "systemInstruction", "system_instruction"];
const MODEL: usize = 0;
const SESSION: usize = 1;
const CACHED: [usize; 2] = [2, 3];
const CONTENTS: usize = 4;
const SYSTEM: [usize; 2] = [5, 6];

static PUBLIC: LazyLock<Paths> = LazyLock::new(|| Paths::new(&WANTED));

/// The same inside `request`, and the model beside it.
static CODE_ASSIST: LazyLock<Paths> = LazyLock::new(|| {
    let inside = WANTED.map(|name| format!("request.{name}"));
    Paths::new(&inside.iter().map(String::as_str).chain([WANTED[MODEL]]).collect::<Vec<_>>())
});
const OUTER_MODEL: usize = WANTED.len();

/// Gemini CLI says `GeminiCLI/0.61.0/…` or `GeminiCLI-tui/0.61.0/…` (measured on 0.61.0).
pub(super) fn client(head: &Head<'_>) -> Client {
    match head.header("user-agent") {
        Some(agent) if agent.starts_with("GeminiCLI") => Client::OwnCli,
        _ => Client::Other,
    }
}

pub(super) fn demand(route: &Route, head: &Head<'_>, body: &Body) -> Demand {
    let client = client(head);
    let ask = Ask::read(route, head.path);
    let method = ask.map(|ask| ask.method).unwrap_or_default();
    let is_code_assist = Surface::of(route) == Surface::CodeAssist;
    let found = find(&body.bytes, if is_code_assist { &CODE_ASSIST } else { &PUBLIC });
    let model = match ask.and_then(|ask| ask.model) {
        Some(model) => Some(model.to_owned()),
        None if is_code_assist => found.string(OUTER_MODEL).or_else(|| found.string(MODEL)).map(|model| bare(&model)),
        None => None,
    };
    let converses = matches!(method, "generateContent" | "streamGenerateContent" | "countTokens");
    Demand {
        provider: ID,
        client,
        families: model.iter().map(|model| family(model)).collect(),
        model,
        session: match () {
            () if route.objects.creates() => Some(KEEPING.into()),
            () if converses => session(&found, client),
            () => None,
        },
        bound: CACHED.iter().any(|path| found.raw(*path).is_some_and(|raw| raw != b"null")),
        light: matches!(route.kind, Kind::Relay { light: true }),
        // A Google login is good for Code Assist alone.
        kinds: if is_code_assist { &[] } else { &[AccountKind::ApiKey] },
    }
}

/// Without the `models/` that Code Assist's token counting puts before a name.
pub(super) fn bare(model: &str) -> String {
    model.strip_prefix("models/").unwrap_or(model).to_owned()
}

/// Code Assist's own session id, else the opening of the conversation: the public API has no such id.
fn session(found: &Matches<'_>, client: Client) -> Option<String> {
    if let Some(id) = found.string(SESSION).filter(|id| !id.is_empty()) {
        return Some(id.into_owned());
    }
    let opening = first_element(found.raw(CONTENTS)?)?.get();
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    match client {
        // The first part is the session's context (directory, date, …). What follows it, and the system instruction, differ
        // between the CLI's own calls (routing classifier, main agent) of one session.
        Client::OwnCli => add(first_part(opening).unwrap_or(opening)),
        // Programs often open all their conversations with the same words, so all of the opening counts.
        Client::Other => {
            let system = SYSTEM.iter().find_map(|path| found.raw(*path)).unwrap_or_default();
            add(&String::from_utf8_lossy(system));
            add(opening);
        }
    }
    let digest = hash.finalize();
    let short = digest.first_chunk::<16>().copied().map(u128::from_be_bytes)?;
    Some(format!("opening-{short:032x}"))
}

/// The first element of a raw JSON array; the rest is not looked at.
fn first_element(array: &[u8]) -> Option<&RawValue> {
    let inside = array.strip_prefix(b"[")?;
    serde_json::Deserializer::from_slice(inside).into_iter().next()?.ok()
}

fn first_part(content: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        parts: Vec<&'a RawValue>,
    }
    let content: Content<'_> = serde_json::from_str(content).ok()?;
    content.parts.first().map(|part| part.get())
}
