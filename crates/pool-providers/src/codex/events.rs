//! Reading answers beside their delivery: event streams of the Responses API and of chat completions, and plain JSON.
//!
//! Source of the event names and of what may come before the first thing of substance: `codex-rs/codex-api/src/sse/responses.rs`
//! and the API's reference of streaming events.

use std::ops::Range;
use std::sync::LazyLock;

use pool_core::scan::json::{self, Finder, Paths};
use pool_core::scan::sse::{Event, Scanner};
use pool_core::{Client, Demand, Judgement, TokenCounts, UnixMs, Verdict};
use serde_json::json;

use super::errors::{self, Asked, Told};
use super::routes::about;
use super::{quota, usage};
use crate::reply::{News, Reader, Stage};
use crate::routes::Route;

/// The longest value that is kept of an event: those that we want are small.
const CAP: usize = 16 * 1024;
/// An event that has come this far without telling its type is not a limit event.
const LONGEST_LIMIT_EVENT: u64 = 16 * 1024;
const LONGEST_MODEL: usize = 256;

pub(super) const LIMITS: &str = "codex.rate_limits";

/// What can come before the first thing that a client can see or act on. An account can still be changed after these.
const PREAMBLE: [&str; 8] = [
    "keepalive",
    "response.created",
    "response.in_progress",
    "response.queued",
    LIMITS,
    "response.metadata",
    "codex.response.metadata",
    "responsesapi.websocket_timing",
];

/// The good ends, of Responses, images, transcriptions and speech. (Chat completions end with the word `[DONE]`.)
const ENDS: [&str; 6] = [
    "response.completed",
    "response.incomplete",
    "image_generation.completed",
    "image_edit.completed",
    "transcript.text.done",
    "speech.audio.done",
];

/// The values wanted of an event, and where they stand.
#[derive(Clone, Copy)]
enum At {
    Type,
    ResponseUsage,
    ResponseModel,
    ResponseError,
    Error,
    Code,
    Message,
    Usage,
    Model,
    Choices,
    Limits,
    Family,
    FamilyName,
}

static EVENT_PATHS: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "type",
        "response.usage",
        "response.model",
        "response.error",
        "error",
        "code",
        "message",
        "usage",
        "model",
        "choices",
        "rate_limits",
        "metered_limit_name",
        "limit_name",
    ])
});

pub(super) fn reader(route: &Route, demand: &Demand, stream: bool, now: UnixMs) -> Box<dyn Reader> {
    let told = Gathered::new(demand.model.clone(), now);
    if stream {
        Box::new(Stream {
            scanner: Scanner::new(&EVENT_PATHS, CAP),
            state: State { told, stage: Stage::Preamble, hides: about(route) == "responses", hidden: Vec::new() },
        })
    } else {
        Box::new(Whole { finder: Finder::new(&PLAIN_PATHS, CAP), told, first: None, stage: Stage::Preamble })
    }
}

/// Codex gives up after 300 s without an event, and a comment is none to it; events of an unknown type it counts and passes
/// over (`codex-rs/codex-api/src/sse/responses.rs`, `process_sse`). This one OpenAI itself sends in long silences, unannounced
/// enough that readers other than Codex have failed on it (openai/openai-node#1964): they get a comment.
pub(super) fn keep_alive(route: &Route, client: Client) -> Option<&'static [u8]> {
    match (about(route), client) {
        ("responses", Client::OwnCli) => Some(b"event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n"),
        ("responses" | "chat completions" | "completions", _) => Some(b": keep-alive\n\n"),
        _ => None,
    }
}

/// What an answer has told.
struct Gathered {
    asked_model: Option<String>,
    now: UnixMs,
    model: Option<String>,
    usage: Option<TokenCounts>,
}

impl Gathered {
    fn new(asked_model: Option<String>, now: UnixMs) -> Self {
        Self { asked_model, now, model: None, usage: None }
    }

    fn usage(&mut self, raw: Option<&[u8]>) {
        self.usage = raw.and_then(usage::read).or(self.usage);
    }

    fn model(&mut self, raw: Option<&[u8]>) {
        let model = raw.and_then(json::string).filter(|model| !model.is_empty() && model.len() <= LONGEST_MODEL);
        if let Some(model) = model.filter(|model| self.model.as_deref() != Some(model)) {
            self.model = Some(model.into_owned());
        }
    }

    fn judge(&self, error: &Told) -> Judgement {
        errors::judge_event(Asked { kind: None, model: self.asked_model.as_deref(), now: self.now }, error)
    }
}

/// Reads a `text/event-stream`.
struct Stream {
    scanner: Scanner,
    state: State,
}

struct State {
    told: Gathered,
    stage: Stage,
    /// Limit events do not reach the client.
    hides: bool,
    hidden: Vec<Range<u64>>,
}

impl State {
    fn on(&mut self, event: &Event<'_>, news: &mut News) {
        let raw = |at: At| event.raw(at as usize).filter(|raw| *raw != b"null");
        self.told.usage(raw(At::ResponseUsage).or(raw(At::Usage)));
        self.told.model(raw(At::ResponseModel).or(raw(At::Model)));
        if event.data_is(b"[DONE]") {
            self.stage = Stage::Ended;
            return;
        }
        let kind = kind(event).unwrap_or_default();
        if let Some(error) = failure(&kind, event) {
            self.fail(&error, news);
        } else if kind == LIMITS {
            let family = event.string(At::Family as usize).or_else(|| event.string(At::FamilyName as usize));
            let limits = raw(At::Limits).unwrap_or_default();
            news.windows.extend(quota::from_event(limits, family.as_deref(), self.told.now));
            if self.hides && is_limit_event(event) == Some(true) {
                self.hidden.push(event.start..event.end);
            }
        } else if ENDS.contains(&kind.as_ref()) {
            self.stage = Stage::Ended;
        } else if is_substance(&kind, event) {
            self.reach(Stage::Meaningful);
        }
    }

    fn reach(&mut self, stage: Stage) {
        self.stage = self.stage.max(stage);
    }

    fn fail(&mut self, error: &Told, news: &mut News) {
        let judgement = self.told.judge(error);
        self.settle(&judgement);
        news.failure.get_or_insert(judgement);
    }

    /// A failure that another try may not have leaves the answer where it is: at its preamble, if nothing of substance came
    /// before.
    fn settle(&mut self, judgement: &Judgement) {
        if matches!(judgement.verdict, Verdict::Fatal | Verdict::Deliver) || self.stage != Stage::Preamble {
            self.stage = Stage::Ended;
        }
    }
}

/// Reads events that come one by one, each a message of its own.
pub(super) struct Messages {
    finder: Finder,
    state: State,
}

impl Messages {
    pub(super) fn new(asked_model: Option<String>, now: UnixMs) -> Self {
        let told = Gathered::new(asked_model, now);
        let state = State { told, stage: Stage::Preamble, hides: true, hidden: Vec::new() };
        Self { finder: Finder::new(&EVENT_PATHS, CAP), state }
    }

    /// Reads a whole message, and tells whether it is about limits. `judge` has the first word on an error.
    pub(super) fn read(
        &mut self,
        message: &[u8],
        now: UnixMs,
        judge: impl FnOnce() -> Option<Judgement>,
    ) -> (News, bool) {
        let mut news = News::default();
        self.state.told.now = now;
        self.finder.reset();
        self.finder.feed(message);
        let event = Event::alone(self.finder.found(), message.len() as u64);
        let kind = kind(&event).unwrap_or_default();
        match if kind == "error" { judge() } else { None } {
            Some(judgement) => {
                self.state.settle(&judgement);
                news.failure = Some(judgement);
            }
            None => self.state.on(&event, &mut news),
        }
        self.state.hidden.clear();
        (news, kind == LIMITS)
    }

    pub(super) fn stage(&self) -> Stage {
        self.state.stage
    }

    pub(super) fn usage(&self) -> Option<TokenCounts> {
        self.state.told.usage
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.state.told.model.as_deref()
    }
}

/// The type in its data, else its name.
fn kind<'a>(event: &Event<'a>) -> Option<std::borrow::Cow<'a, str>> {
    event.string(At::Type as usize).or_else(|| event.name.map(Into::into))
}

/// Is there anything in it that a client can see? Events without a type are chunks of a chat completion.
fn is_substance(kind: &str, event: &Event<'_>) -> bool {
    let has_choice = || {
        let choices = event.found.iter().any(|found| found.path == At::Choices as usize);
        choices && event.raw(At::Choices as usize) != Some(b"[]")
    };
    match kind {
        "" | "message" => has_choice(),
        kind => !PREAMBLE.contains(&kind),
    }
}

/// The error that an event is about: `response.failed`, `error`, or a chunk that holds an `error`.
fn failure(kind: &str, event: &Event<'_>) -> Option<Told> {
    let object = |at: At| event.raw(at as usize).filter(|raw| raw.starts_with(b"{")).map(Told::of_object);
    match kind {
        "response.failed" => Some(object(At::ResponseError).unwrap_or_default()),
        "error" => Some(object(At::Error).unwrap_or_else(|| {
            let (code, message) = (event.string(At::Code as usize), event.string(At::Message as usize));
            Told::of_object(json!({ "code": code, "message": message }).to_string().as_bytes())
        })),
        "" | "message" => object(At::Error),
        _ => None,
    }
}

/// Does the event tell limits? `None`: it has not come far enough to say.
fn is_limit_event(event: &Event<'_>) -> Option<bool> {
    if event.end - event.start > LONGEST_LIMIT_EVENT {
        return Some(false);
    }
    match event.name {
        Some(name) if name != "message" => Some(name == LIMITS),
        _ => event.string(At::Type as usize).map(|kind| kind == LIMITS),
    }
}

impl Reader for Stream {
    fn feed(&mut self, bytes: &[u8]) -> News {
        let mut news = News::default();
        let Self { scanner, state } = self;
        scanner.feed(bytes, |event| state.on(event, &mut news));
        // An event may be megabytes long: what it is can be known before it ends.
        if state.stage == Stage::Preamble
            && news.failure.is_none()
            && let Some(event) = scanner.current()
        {
            let kind = kind(&event).unwrap_or_default();
            let may_fail = matches!(kind.as_ref(), "" | "message" | "error" | "response.failed");
            if !may_fail && is_substance(&kind, &event) {
                state.reach(Stage::Meaningful);
            }
        }
        news
    }

    fn finish(&mut self) -> News {
        let mut news = News::default();
        let Self { scanner, state } = self;
        scanner.finish(false, |event| state.on(event, &mut news));
        news
    }

    fn stage(&self) -> Stage {
        self.state.stage
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.state.told.usage
    }

    fn model(&self) -> Option<&str> {
        self.state.told.model.as_deref()
    }

    fn hidden(&mut self) -> (Vec<Range<u64>>, u64) {
        if !self.state.hides {
            return (Vec::new(), u64::MAX);
        }
        let decided = match self.scanner.current() {
            Some(event) if is_limit_event(&event) == Some(false) => event.end,
            _ => self.scanner.undecided_from(),
        };
        (std::mem::take(&mut self.state.hidden), decided)
    }
}

static PLAIN_PATHS: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["usage", "model", "error"]));

/// Reads a plain answer: JSON, or something else (speech, a transcript), of which only the end is known.
struct Whole {
    finder: Finder,
    told: Gathered,
    /// The first byte that is no space.
    first: Option<u8>,
    stage: Stage,
}

impl Reader for Whole {
    fn feed(&mut self, bytes: &[u8]) -> News {
        if self.first.is_none() {
            self.first = bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        }
        if self.first.is_some() {
            self.stage = self.stage.max(Stage::Meaningful);
        }
        if self.is_json() {
            self.finder.feed(bytes);
            self.told.usage(self.finder.raw(0));
            self.told.model(self.finder.raw(1));
        }
        News::default()
    }

    fn finish(&mut self) -> News {
        if !self.is_json() || self.finder.finish() {
            self.stage = Stage::Ended;
        }
        // A stored or unstreamed response can fail inside a 200. It has been delivered, but the account may have to rest.
        let error = self.finder.raw(2).filter(|raw| raw.starts_with(b"{")).map(Told::of_object);
        let judgement = error.map(|error| self.told.judge(&error));
        News { failure: judgement.filter(|judgement| judgement.verdict == Verdict::Elsewhere), ..News::default() }
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.told.usage
    }

    fn model(&self) -> Option<&str> {
        self.told.model.as_deref()
    }
}

impl Whole {
    fn is_json(&self) -> bool {
        matches!(self.first, Some(b'{' | b'['))
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
