//! Reading Claude's answers: how far they have come, what they cost, whether they turned into an error.
//!
//! A stream goes `message_start` (input and caches), content, `message_delta` (cumulative counts), `message_stop`; `ping` may
//! come anywhere, `error` ends it. A plain answer is one message object; an answer to token counting has no usage.

use std::sync::LazyLock;

use pool_core::scan::json::{Finder, Found, Paths, string};
use pool_core::scan::sse::{Event, Scanner};
use pool_core::{Demand, TokenCounts};

use super::errors::judge_event;
use crate::reply::{News, Reader, Stage};

/// The longest value kept; counts, names and messages are shorter.
const CAP: usize = 2048;
/// No request has this many tokens; a larger number is nonsense.
const MOST_TOKENS: u64 = 1_000_000_000;
/// A plain answer that says nothing of its kind in its first bytes is no error.
const PLAIN_PREAMBLE: u64 = 1024;

const TYPE: usize = 0;
const ERROR_TYPE: usize = 1;
const ERROR_MESSAGE: usize = 2;
const MODEL: usize = 3;
const COUNTS: usize = 4;

const COUNT_KEYS: [&str; 7] = [
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation.ephemeral_5m_input_tokens",
    "cache_creation.ephemeral_1h_input_tokens",
    "output_tokens",
    "output_tokens_details.thinking_tokens",
];

fn paths(model: &str, usages: &[&str]) -> Paths {
    let counts = usages.iter().flat_map(|usage| COUNT_KEYS.iter().map(move |key| format!("{usage}.{key}")));
    let all: Vec<String> =
        ["type", "error.type", "error.message", model].map(str::to_owned).into_iter().chain(counts).collect();
    Paths::new(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

static IN_EVENTS: LazyLock<Paths> = LazyLock::new(|| paths("message.model", &["message.usage", "usage"]));
static IN_MESSAGE: LazyLock<Paths> = LazyLock::new(|| paths("model", &["usage"]));

/// What the answer has told so far.
#[derive(Debug)]
struct Told {
    demand: Demand,
    stage: Stage,
    model: Option<String>,
    /// In the order of [`COUNT_KEYS`]; later ones replace earlier ones, they are never added.
    counts: [Option<u64>; COUNT_KEYS.len()],
}

impl Told {
    fn new(demand: &Demand) -> Self {
        Self { demand: demand.clone(), stage: Stage::Preamble, model: None, counts: [None; COUNT_KEYS.len()] }
    }

    fn reach(&mut self, stage: Stage) {
        self.stage = self.stage.max(stage);
    }

    fn learn(&mut self, found: &[Found]) {
        for value in found {
            let Some(raw) = value.raw.as_deref() else { continue };
            if value.path == MODEL {
                self.model = string(raw).map(|model| model.chars().take(128).collect()).or(self.model.take());
            } else if let Some(index) = value.path.checked_sub(COUNTS) {
                let slot = &mut self.counts[index % COUNT_KEYS.len()];
                *slot = count(raw).or(*slot);
            }
        }
    }

    fn usage(&self) -> Option<TokenCounts> {
        let [input, read, write, write_5m, write_1h, output, thinking] = self.counts;
        self.counts.iter().any(Option::is_some).then(|| {
            let write_1h = write_1h.unwrap_or(0);
            let output = output.unwrap_or(0);
            let reasoning = thinking.unwrap_or(0).min(output);
            TokenCounts {
                input: input.unwrap_or(0),
                cache_read: read.unwrap_or(0),
                // What the answer does not split was written for five minutes, the default.
                cache_write_5m: write_5m.unwrap_or(0).max(write.unwrap_or(0).saturating_sub(write_1h)),
                cache_write_1h: write_1h,
                output: output - reasoning,
                reasoning,
            }
        })
    }

    fn failure(&self, kind: Option<&str>, message: Option<&str>) -> News {
        let judgement = judge_event(kind.unwrap_or("error"), message.unwrap_or_default(), &self.demand);
        News { failure: Some(judgement), ..News::default() }
    }
}

/// A count of tokens; `None`: none, or an absurd one.
fn count(raw: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(raw).ok()?;
    let whole = text.parse::<u64>().ok();
    let count =
        whole.or_else(|| text.parse::<f64>().ok().filter(|number| *number >= 0.0).map(|number| number as u64))?;
    (count <= MOST_TOKENS).then_some(count)
}

/// Reads `text/event-stream`.
pub(super) struct Events {
    scanner: Scanner,
    told: Told,
}

impl Events {
    pub(super) fn new(demand: &Demand) -> Self {
        Self { scanner: Scanner::new(&IN_EVENTS, CAP), told: Told::new(demand) }
    }
}

fn read_event(told: &mut Told, event: &Event<'_>, news: &mut News) {
    let kind = event.string(TYPE);
    match kind.as_deref().or(event.name).unwrap_or_default() {
        "ping" => {}
        "message_start" => told.learn(event.found),
        "message_delta" => {
            told.learn(event.found);
            told.reach(Stage::Meaningful);
        }
        "message_stop" => told.reach(Stage::Ended),
        "error" => *news = told.failure(event.string(ERROR_TYPE).as_deref(), event.string(ERROR_MESSAGE).as_deref()),
        // Content, or an event that we do not know: the client may act on it.
        _ => told.reach(Stage::Meaningful),
    }
}

impl Reader for Events {
    fn feed(&mut self, bytes: &[u8]) -> News {
        let mut news = News::default();
        let told = &mut self.told;
        self.scanner.feed(bytes, |event| read_event(told, event, &mut news));
        // A huge event is recognised by its name, before its end.
        let arriving = self.scanner.current();
        if arriving.and_then(|event| event.name).is_some_and(|name| name.starts_with("content_block")) {
            self.told.reach(Stage::Meaningful);
        }
        news
    }

    fn finish(&mut self) -> News {
        let mut news = News::default();
        let told = &mut self.told;
        // An event without its blank line is none: no client would take it for one.
        self.scanner.finish(false, |event| read_event(told, event, &mut news));
        news
    }

    fn stage(&self) -> Stage {
        self.told.stage
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.told.usage()
    }

    fn model(&self) -> Option<&str> {
        self.told.model.as_deref()
    }
}

/// Reads a plain JSON answer.
pub(super) struct Plain {
    finder: Finder,
    fed: u64,
    told: Told,
}

impl Plain {
    pub(super) fn new(demand: &Demand) -> Self {
        Self { finder: Finder::new(&IN_MESSAGE, CAP), fed: 0, told: Told::new(demand) }
    }

    fn text(&self, path: usize) -> Option<std::borrow::Cow<'_, str>> {
        string(self.finder.raw(path)?)
    }

    fn is_error(&self) -> Option<bool> {
        Some(self.text(TYPE)? == "error")
    }
}

impl Reader for Plain {
    fn feed(&mut self, bytes: &[u8]) -> News {
        self.finder.feed(bytes);
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        self.told.learn(self.finder.found());
        if self.is_error().map_or(self.fed >= PLAIN_PREAMBLE, |error| !error) {
            self.told.reach(Stage::Meaningful);
        }
        News::default()
    }

    fn finish(&mut self) -> News {
        let whole = self.finder.finish();
        if self.is_error() == Some(true) {
            return self.told.failure(self.text(ERROR_TYPE).as_deref(), self.text(ERROR_MESSAGE).as_deref());
        }
        self.told.reach(if whole { Stage::Ended } else { Stage::Meaningful });
        News::default()
    }

    fn stage(&self) -> Stage {
        self.told.stage
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.told.usage()
    }

    fn model(&self) -> Option<&str> {
        self.told.model.as_deref()
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
