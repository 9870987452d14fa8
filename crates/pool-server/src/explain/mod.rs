//! What `/api/explain` answers and `codex-pool explain` prints: one request, or the next one, told with its reasons.
//!
//! The facts come from the ledger or from the pool ([`answer`]). They become words by [`tell`], in the zone of whoever reads them,
//! with the sentences of [`pool_core::explain`]; [`render`] draws them.

pub mod answer;
mod render;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use pool_core::decision::{Considered, Decision, Finding};
use pool_core::explain::{self, Ends, Words};
use pool_core::trail::Refused;
use pool_core::usage::Ending;
use pool_core::{AccountId, Client, Span, Trail, UnixMs, UsageRecord};
use serde::{Deserialize, Serialize};

pub use answer::Missing;
pub use render::render;

/// The answer: facts, and the same in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExplainPage {
    #[serde(flatten)]
    pub told: Told,
    #[serde(flatten)]
    pub facts: Facts,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = StoryFacts)]
pub struct Facts {
    /// The server's clock, milliseconds since the Unix epoch.
    pub now_ms: i64,
    pub subject: Subject,
    /// What the accounts are called now, by id. Those that are gone are not in it.
    pub names: BTreeMap<AccountId, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StorySubject)]
pub enum Subject {
    /// One that came.
    Request {
        record: Box<UsageRecord>,
        /// `None`: no longer kept.
        trail: Option<Trail>,
    },
    /// One that might come.
    Next {
        provider: String,
        client: Client,
        model: Option<String>,
        /// Where it would go; `None`: nowhere, see `refused`.
        decision: Option<Decision>,
        refused: Option<Refused>,
    },
}

/// The facts in words. Sentences name times in the zone that they were told for; `until_ms` and `at_ms` are for those who
/// show times themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ToldStory)]
pub struct Told {
    pub sentence: String,
    /// Every account that was considered by the decision that the request stood by, the chosen one first.
    pub accounts: Vec<AccountRow>,
    /// So many more were considered.
    pub more: usize,
    pub steps: Vec<Step>,
}

/// One account and what was found of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ConsideredAccount)]
pub struct AccountRow {
    pub id: AccountId,
    pub name: String,
    /// `chosen`, `could`, `comes later` (its score is higher, but something else goes before scores), or why not in a word or two.
    pub verdict: String,
    /// Why it could not, or was not compared.
    pub reason: Option<String>,
    /// When that ends, as far as anybody knows.
    pub until_ms: Option<i64>,
    /// It ends by itself, but nobody knows when.
    pub until_unknown: bool,
    pub numbers: Vec<Number>,
    /// Higher is better. `None`: it was not compared.
    pub score: Option<f64>,
}

/// A number of the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ScoreNumber)]
pub struct Number {
    pub heading: String,
    pub cell: String,
    pub value: f64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = StoryStep)]
pub struct Step {
    pub at_ms: i64,
    pub text: String,
}

impl ExplainPage {
    pub fn new(facts: Facts, zone: &TimeZone) -> Self {
        Self { told: tell(&facts, zone), facts }
    }
}

/// Puts the facts into words.
pub fn tell(facts: &Facts, zone: &TimeZone) -> Told {
    let name = |id: &AccountId| facts.name(id);
    let clock = |at: UnixMs| clock(at, UnixMs(facts.now_ms), zone);
    let words = Words { name: &name, clock: &clock };
    match &facts.subject {
        Subject::Request { record, trail } => {
            let Some(trail) = trail else {
                let sentence = "How this request was decided is no longer kept.".into();
                return Told { sentence, accounts: Vec::new(), more: 0, steps: ends(record) };
            };
            let sentence = explain::request(trail, record.ending, record.status, &words);
            let (accounts, more) = accounts(trail.decision(), trail.refused.as_ref(), facts);
            Told { sentence, accounts, more, steps: steps(trail, record, &words) }
        }
        Subject::Next { decision, refused, .. } => {
            let sentence = match (decision, refused) {
                (Some(decision), _) => explain::next(Ok(decision), &words),
                (None, Some(refused)) => explain::next(Err(refused), &words),
                (None, None) => "Nothing is known.".into(),
            };
            let (accounts, more) = accounts(decision.as_ref(), refused.as_ref(), facts);
            Told { sentence, accounts, more, steps: Vec::new() }
        }
    }
}

impl Facts {
    /// The account's name; its id if it is gone and nobody has kept its name.
    fn name(&self, id: &AccountId) -> String {
        let then = || match &self.subject {
            Subject::Request { trail: Some(trail), .. } => {
                trail.attempts.iter().find(|attempt| attempt.account == *id).map(|attempt| attempt.name.clone())
            }
            _ => None,
        };
        self.names.get(id).cloned().or_else(then).unwrap_or_else(|| id.to_string())
    }

    /// When the accounts were looked at.
    fn looked_at(&self) -> UnixMs {
        match &self.subject {
            Subject::Request { record, trail } => {
                let trail = trail.as_ref();
                let refused = trail.and_then(|trail| trail.refused.as_ref()).map(|refused| refused.at);
                let decided = trail.and_then(Trail::decision).map(|decision| decision.at);
                refused.or(decided).unwrap_or(record.at)
            }
            Subject::Next { .. } => UnixMs(self.now_ms),
        }
    }
}

/// Who was considered: at the refusal if there was one, else by the decision.
fn accounts(decision: Option<&Decision>, refused: Option<&Refused>, facts: &Facts) -> (Vec<AccountRow>, usize) {
    match (refused, decision) {
        (Some(refused), _) => {
            let row = |one: &Considered| account(one, "could", facts);
            (refused.considered.iter().map(row).collect(), refused.more)
        }
        (None, Some(decision)) => {
            let row = |one: &Considered| match one {
                one if one.account == decision.chosen => account(one, "chosen", facts),
                one if explain::comes_later(one, decision) => account(one, "comes later", facts),
                one => account(one, "could", facts),
            };
            (decision.considered.iter().map(row).collect(), decision.more)
        }
        (None, None) => (Vec::new(), 0),
    }
}

fn account(considered: &Considered, able: &str, facts: &Facts) -> AccountRow {
    let row = AccountRow {
        id: considered.account.clone(),
        name: facts.name(&considered.account),
        verdict: able.into(),
        reason: None,
        until_ms: None,
        until_unknown: false,
        numbers: Vec::new(),
        score: None,
    };
    match &considered.finding {
        Finding::Able(None) if able == "chosen" => row,
        Finding::Able(None) => AccountRow { reason: Some("not compared".into()), ..row },
        Finding::Able(Some(score)) => {
            let number = |(part, value): &(_, f64)| {
                let shown = explain::part(*part, *value);
                Number { heading: shown.heading.into(), cell: shown.cell, value: *value }
            };
            AccountRow { numbers: score.parts.iter().map(number).collect(), score: Some(score.value), ..row }
        }
        Finding::Unable(why) => {
            let explain::Verdict { word, reason, ends } = explain::ineligible(why);
            let until_ms = if let Ends::At(until) = ends { Some(until.0) } else { None };
            let until_unknown = ends == Ends::Untold;
            AccountRow { verdict: word.into(), reason: Some(reason), until_ms, until_unknown, ..row }
        }
    }
}

/// What happened, in order.
fn steps(trail: &Trail, record: &UsageRecord, words: &Words<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |at: UnixMs, text: String| steps.push(Step { at_ms: at.0, text });
    let half = trail.attempts.len() / 2;
    // The sentence tells why the one that served was chosen.
    let told =
        trail.attempts.iter().rposition(|attempt| attempt.decision.is_some()).filter(|_| !record.account.is_nobody());
    for (index, attempt) in trail.attempts.iter().enumerate() {
        let name = &attempt.name;
        if trail.left_out > 0 && index == half {
            step(attempt.at, format!("({} more tries are not kept)", trail.left_out));
        }
        match &attempt.decision {
            Some(decision) if told == Some(index) => step(decision.at, format!("{name} is chosen")),
            Some(decision) => step(decision.at, format!("{name} is chosen: {}", explain::why(decision, words))),
            None if index > 0 => step(attempt.at, format!("{name} is tried again")),
            None => {}
        }
        match (attempt.reason.as_str(), attempt.status) {
            ("", Some(status)) => step(attempt.at, format!("{name} answers: {status}")),
            // The client left first, which the end tells.
            ("", None) => {}
            _ => step(attempt.at, format!("{name} fails: {}", explain::failure(attempt))),
        }
    }
    if let Some(refused) = &trail.refused {
        step(refused.at, format!("nobody can take it: {}", explain::refusal(refused, words)));
    }
    steps.extend(ends(record));
    steps
}

/// What the record itself tells.
fn ends(record: &UsageRecord) -> Vec<Step> {
    let after = |ms: u64| (record.at + Span::from_millis(ms)).0;
    let told = explain::ending(record.ending);
    let ended = match record.tokens {
        _ if record.account.is_nobody() && record.ending == Ending::Aborted => told.to_owned(),
        _ if record.account.is_nobody() => format!("the client is told: {}", record.status),
        Some(tokens) => format!("the end: {told}, {} tokens", explain::count(tokens.total())),
        None => format!("the end: {told}, tokens not known"),
    };
    let end = Step { at_ms: after(record.total_ms), text: ended };
    let first = Step { at_ms: after(record.first_byte_ms), text: "the client gets the first byte".into() };
    if record.first_byte_ms < record.total_ms { vec![first, end] } else { vec![end] }
}

/// With its weekday; beyond a week with its date.
fn clock(at: UnixMs, now: UnixMs, zone: &TimeZone) -> String {
    let near = at.since(now).max(now.since(at)) < Span::from_hours(6 * 24);
    stamp(at, zone, if near { "%a %H:%M" } else { "%a %-d %b %H:%M" })
}

fn stamp(at: UnixMs, zone: &TimeZone, format: &str) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(stamp) => stamp.to_zoned(zone.clone()).strftime(format).to_string(),
        Err(_) => "a time out of reach".into(),
    }
}
