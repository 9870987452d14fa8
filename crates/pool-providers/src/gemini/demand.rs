//! What a request asks of an account: model, conversation, what it is bound to.

use std::sync::LazyLock;

use pool_core::scan::json::{Matches, Paths, find};
use pool_core::{AccountKind, Binding, Client, Demand, Span, TokenCounts};

use super::ID;
use super::quota::family;
use super::routes::{Ask, Surface};
use crate::objects::KEEPING;
use crate::opening::{Opening, Roleless, has_text};
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
        parent: None,
        binding: binding(&found, &body.bytes),
        keep: None,
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
    let mut opening = Opening::default();
    // Gemini CLI's own calls in one session (routing classifier, main agent) differ in their system instruction. Its opening
    // says in which folder and on which day, and what was asked.
    if client == Client::Other
        && let Some(system) = SYSTEM.iter().find_map(|path| found.raw(*path))
    {
        opening.system(system);
    }
    opening.turns(found.beginning(CONTENTS)?, Roleless::User);
    opening.name()
}

/// A foreign thought signature is refused by Google, and the client has to see that; so is another project's cached content.
fn binding(found: &Matches<'_>, body: &[u8]) -> Binding {
    match () {
        () if CACHED.iter().any(|path| found.raw(*path).is_some_and(|raw| raw != b"null")) => Binding::CachedContent,
        () if has_text(body, "thoughtSignature", "") => Binding::SignedThinking,
        () => Binding::Cache,
    }
}

/// Implicit caching takes prompts of 1024 tokens and more (4096 on some models). How long it holds them Google does not say,
/// only that requests should come "in a short amount of time" (<https://ai.google.dev/gemini-api/docs/caching>, November
/// 2026): taken for 5 minutes, as the shortest of the others.
pub(super) fn cache_life(tokens: &TokenCounts) -> Span {
    if tokens.total() < 1024 { Span::ZERO } else { Span::from_mins(5) }
}
