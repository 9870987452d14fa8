//! A decision in words: the one place where reasons become sentences.
//!
//! What the terminal and the pages say of a request is made here, from its [`Trail`]. Names of accounts and times as people read
//! them come from the caller; everything else is in the story. A new reason or number is a new arm in one of the functions here,
//! and the compiler asks for it.

use crate::account::AccountId;
use crate::decision::{Cached, Considered, Decision, Finding};
use crate::policy::{Part, Score, Why};
use crate::quota::Scope;
use crate::standing::{Ineligible, RefusalWhy};
use crate::time::UnixMs;
use crate::trail::{Attempt, Refused, Trail};
use crate::usage::Ending;
use crate::verdict::Cause;

/// What a story does not know: how people call its accounts, and how they read its times.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    pub name: &'a dyn Fn(&AccountId) -> String,
    /// A moment on a person's clock, with the weekday: `Sun 17:46`.
    pub clock: &'a dyn Fn(UnixMs) -> String,
}

impl std::fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words").finish_non_exhaustive()
    }
}

/// One request in one sentence. `ending` and `status` are its record's.
pub fn request(trail: &Trail, ending: Ending, status: u16, words: &Words<'_>) -> String {
    let Some((last, before)) = trail.attempts.split_last() else {
        return match &trail.refused {
            Some(refused) => format!("Nobody could take it: {}.", refusal(refused, words)),
            None => "How it was decided is not known.".into(),
        };
    };
    if let Some(refused) = &trail.refused {
        let tried = failures(&trail.attempts, trail.left_out);
        return format!("Nobody could take it: {}. Tried before: {tried}.", refusal(refused, words));
    }
    if !last.reason.is_empty() {
        let tried = failures(&trail.attempts, trail.left_out);
        return format!("Nobody could serve it, and no other account was asked: {tried}.");
    }
    let name = &last.name;
    let served = match ending {
        Ending::Complete => format!("{name} served it"),
        Ending::Incomplete => format!("{name} began to serve it, and the answer broke off"),
        Ending::Aborted if last.status.is_none() => format!("The client left before {name} answered"),
        Ending::Aborted => format!("{name} was serving it when the client left"),
        Ending::Failed if status < 400 => format!("{name} served it, and the answer turned into an error"),
        Ending::Failed => format!("{name} answered with {status}, which was passed on"),
    };
    let after = match before {
        [] => String::new(),
        before => format!(" after {}", failures(before, trail.left_out)),
    };
    match trail.decision() {
        Some(decision) => format!("{served}{after}: {}.", why(decision, words)),
        None => format!("{served}{after}."),
    }
}

/// Where the next request would go, in one sentence.
pub fn next(found: Result<&Decision, &Refused>, words: &Words<'_>) -> String {
    match found {
        Ok(decision) => format!("{} would serve it: {}.", (words.name)(&decision.chosen), why(decision, words)),
        Err(refused) => format!("Nobody could take it now: {}.", refusal(refused, words)),
    }
}

/// Tries that failed: whose, and of what.
fn failures(attempts: &[Attempt], left_out: usize) -> String {
    const TOLD: usize = 3;
    let of = |attempt: &Attempt| {
        let why = failure(attempt);
        // The first sentence of the provider's says what; the rest is advice to its client.
        let first = why.split_once(". ").map_or(why.as_str(), |(first, _)| first);
        format!("{} failed ({})", attempt.name, first.trim_end_matches('.'))
    };
    let told: Vec<String> = attempts.iter().take(TOLD).map(of).collect();
    match attempts.len() + left_out - told.len() {
        0 => told.join(" and "),
        more => format!("{} and {more} more tries failed", told.join(", ")),
    }
}

/// What a try failed of, as `429 usage_limit_reached`.
pub fn failure(attempt: &Attempt) -> String {
    match attempt.status {
        // The provider's text often begins with the status.
        Some(status) if attempt.reason.starts_with(&status.to_string()) => attempt.reason.clone(),
        Some(status) => format!("{status} {}", attempt.reason),
        None => attempt.reason.clone(),
    }
}

/// Why an account was chosen, as a clause.
pub fn why(decision: &Decision, words: &Words<'_>) -> String {
    let cache = || cache(decision.cached, decision.at);
    let pinned = |else_say: &str| decision.pinned.as_ref().map_or_else(|| else_say.to_owned(), |id| (words.name)(id));
    match decision.why {
        Why::Only => "this is the only account that can".into(),
        Why::Best => format!("no account holds the conversation yet, and {}", best(decision, words)),
        Why::Parent => {
            "it begins beside the conversation that it is a part of, whose cache is warm there and which has room"
                .into()
        }
        Why::Kept => format!("the conversation stays where its cache is ({})", cache()),
        Why::Cold => {
            let left = pinned("the account that it was on");
            format!(
                "the conversation leaves {left}, where its cache has gone cold, so that a move costs nothing; {}",
                best(decision, words)
            )
        }
        Why::PinUnable => match (&decision.pinned, pin_trouble(decision)) {
            (None, _) => format!("the account that the conversation was on is gone; {}", best(decision, words)),
            // The failed try is told already.
            (Some(_), Some(Ineligible::Tried)) => best(decision, words),
            (Some(id), trouble) => {
                let trouble =
                    trouble.map_or_else(String::new, |why| format!(" ({})", ineligible(why).told(decision.at, words)));
                format!("the conversation had to leave {}{trouble}; {}", (words.name)(id), best(decision, words))
            }
        },
        Why::Cheaper => {
            format!("the conversation comes back from {}, whose kind of account goes last", pinned("another account"))
        }
    }
}

/// What keeps the account out that the conversation is pinned to.
fn pin_trouble(decision: &Decision) -> Option<&Ineligible> {
    let pinned = decision.pinned.as_ref()?;
    decision.considered.iter().find(|other| other.account == *pinned).and_then(|other| match &other.finding {
        Finding::Able(_) => None,
        Finding::Unable(why) => Some(why),
    })
}

/// The chosen one among those that could, with its numbers.
fn best(decision: &Decision, words: &Words<'_>) -> String {
    let able = decision.considered.iter().filter(|other| matches!(other.finding, Finding::Able(_))).count();
    let score = decision.considered.iter().find_map(|other| match &other.finding {
        Finding::Able(Some(score)) if other.account == decision.chosen => Some(score),
        _ => None,
    });
    let numbers = score.map_or_else(String::new, |score| format!(" ({})", numbers(score)));
    match able {
        0 | 1 => format!("this is the only account that can{numbers}"),
        able => format!("this is the best of {able} that can{numbers}{}", passed_over(decision, words)),
    }
}

/// Accounts with a higher score than the chosen one's: something else goes before scores.
pub fn comes_later(considered: &Considered, decision: &Decision) -> bool {
    let value = |finding: &Finding| match finding {
        Finding::Able(Some(score)) => Some(score.value),
        _ => None,
    };
    let chosen = decision.considered.iter().find(|other| other.account == decision.chosen);
    let chosen = chosen.and_then(|chosen| value(&chosen.finding));
    value(&considered.finding).zip(chosen).is_some_and(|(its, chosen)| its > chosen)
}

fn passed_over(decision: &Decision, words: &Words<'_>) -> String {
    let mut higher = decision.considered.iter().filter(|other| comes_later(other, decision));
    let Some(first) = higher.next() else { return String::new() };
    let name = (words.name)(&first.account);
    let who = match higher.count() {
        0 => format!("{name} comes"),
        more => format!("{name} and {more} more come"),
    };
    format!(", since {who} later by the operator's order or after trouble just now")
}

fn numbers(score: &Score) -> String {
    score.parts.iter().map(|(name, value)| part(*name, *value).phrase).collect::<Vec<_>>().join(", ")
}

fn cache(cached: Option<Cached>, now: UnixMs) -> String {
    match cached {
        None => "how much of it is not known".into(),
        Some(Cached { tokens, until }) if now < until => {
            format!("{} tokens, warm for {} more", count(tokens), until.since(now))
        }
        Some(Cached { tokens, until }) => format!("{} tokens, cold for {}", count(tokens), now.since(until)),
    }
}

/// `980`, `118k`, `1.2M`.
pub fn count(tokens: u64) -> String {
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..999_500 => format!("{}k", (tokens + 500) / 1000),
        _ => format!("{:.1}M", tokens as f64 / 1e6),
    }
}

/// A number of a score as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Over its column, which numbers of the same heading share.
    pub heading: &'static str,
    pub cell: String,
    /// In a sentence.
    pub phrase: String,
}

pub fn part(part: Part, value: f64) -> Shown {
    match part {
        Part::Headroom => {
            let percent = value * 100.0;
            // Nearly nothing is not nothing, and nearly all is not all.
            let shown = match percent.round() {
                0.0 if percent >= 0.5 => 1.0,
                100.0 if percent < 99.995 => 99.0,
                rounded => rounded,
            };
            Shown {
                heading: "LEFT",
                cell: format!("{shown}% left"),
                phrase: format!("{shown}% left of its scarcest window"),
            }
        }
        Part::AssumedHeadroom => Shown {
            heading: "LEFT",
            cell: "not known".into(),
            phrase: format!("what is left of it is not known, taken for {:.0}%", value * 100.0),
        },
        Part::InFlight => {
            let requests = if (value - 1.0).abs() < 1e-9 { "request" } else { "requests" };
            Shown { heading: "RUNNING", cell: format!("{value}"), phrase: format!("{value} {requests} under way") }
        }
        Part::Pace => {
            let cell = format!("{value:.2}");
            Shown { heading: "PACE", phrase: format!("{cell} times as much of its week left as time"), cell }
        }
        Part::Fit => {
            let cell = format!("{:.0}%", value * 100.0);
            Shown { heading: "FIT", phrase: format!("one more conversation fits with {cell}"), cell }
        }
        Part::Live => {
            let talks = if (value - 1.0).abs() < 1e-9 { "conversation" } else { "conversations" };
            Shown { heading: "LIVE", cell: format!("{value}"), phrase: format!("{value} {talks} warm there") }
        }
        Part::Trust => {
            let cell = format!("{:.0}%", value * 100.0);
            Shown { heading: "TRUST", phrase: format!("{cell} of its share while it recovers from trouble"), cell }
        }
        Part::Weight => {
            Shown { heading: "WEIGHT", cell: format!("{value}"), phrase: format!("the operator's weight {value}") }
        }
    }
}

/// When what keeps an account out ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    At(UnixMs),
    /// It does by itself, but the provider did not say when.
    Untold,
    /// By what is said in the reason, if at all.
    No,
}

/// Why an account could not take a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One or two words, for a column.
    pub word: &'static str,
    pub reason: String,
    pub ends: Ends,
}

impl Verdict {
    /// The reason with its end.
    pub fn told(&self, now: UnixMs, words: &Words<'_>) -> String {
        match self.ends {
            Ends::At(until) => format!("{}, until {}", self.reason, moment(until, now, words)),
            Ends::Untold => format!("{}, until when is not known", self.reason),
            Ends::No => self.reason.clone(),
        }
    }
}

pub fn ineligible(why: &Ineligible) -> Verdict {
    let told = |time: &Option<UnixMs>| time.map_or(Ends::Untold, Ends::At);
    let (word, reason, ends) = match why {
        Ineligible::Kind => ("other kind", "its kind of account does not serve this client here".into(), Ends::No),
        Ineligible::Paused => ("paused", "paused by hand".into(), Ends::No),
        Ineligible::NeedsLogin { why } => ("sign in", why.clone(), Ends::No),
        Ineligible::Cooling { cause, scope, until } => {
            let reason = match scope {
                Scope::Account => cause.to_string(),
                Scope::Family(family) => format!("{}: {cause}", family.strip_prefix("model:").unwrap_or(family)),
            };
            ("cooling", reason, Ends::At(*until))
        }
        Ineligible::WindowSpent { window, resets_at, .. } => {
            ("out", format!("its {window} window is spent"), told(resets_at))
        }
        Ineligible::Tried => ("tried", "it was tried for this request".into(), Ends::No),
        Ineligible::BoundElsewhere => {
            ("not bound", "the conversation leans on state that another account holds".into(), Ends::No)
        }
        Ineligible::NotForCaller => ("not theirs", "this caller may use other accounts only".into(), Ends::No),
        Ineligible::ModelNotAllowed => {
            ("other models", "the operator lets it serve other models only".into(), Ends::No)
        }
        Ineligible::Reserved { window, resets_at, .. } => {
            ("reserved", format!("what is left of its {window} window is kept for the owner"), told(resets_at))
        }
        Ineligible::KeptForOthers { window, resets_at, .. } => {
            let reason = format!("what is left of its {window} window is kept for people who have used less");
            ("shared out", reason, told(resets_at))
        }
        Ineligible::SpendCap { until } => ("out", "it has cost as much today as it may".into(), Ends::At(*until)),
        Ineligible::Busy => ("busy", "it has as many requests under way as it may".into(), Ends::No),
    };
    Verdict { word, reason, ends }
}

/// Why nobody can take a request, as a clause.
pub fn refusal(refused: &Refused, words: &Words<'_>) -> String {
    let now = refused.at;
    match &refused.why {
        RefusalWhy::NoAccounts => "there is no account of this provider".into(),
        RefusalWhy::NoneOfThisKind => "no account is of a kind that may serve this client here".into(),
        RefusalWhy::NeedsPerson => match only(refused, words) {
            Some(reason) => format!("the one account there is waits for a person ({reason})"),
            None => "every account that may serve it waits for a person".into(),
        },
        RefusalWhy::AllSpent { resets_at: None, .. } => {
            "every account that may serve it is out, until when is not known".into()
        }
        RefusalWhy::AllSpent { resets_at: Some(reset), window, .. } => {
            let first = refused.considered.iter().find(|other| ends(&other.finding) == Some(*reset));
            let name = first.map_or_else(|| "the first".to_owned(), |other| (words.name)(&other.account));
            let window = window.as_ref().map_or_else(String::new, |window| format!(" ({window})"));
            format!(
                "every account that may serve it is out; {name} is back first{window}: {}",
                moment(*reset, now, words)
            )
        }
        RefusalWhy::Busy => "every account that may serve it has as many requests under way as it may".into(),
        RefusalWhy::Trouble { until, cause } => trouble(*until, *cause, now, words),
        RefusalWhy::OwnLimit(over) => match over.until() {
            Some(until) => format!("its user's own limit is reached ({over}), until {}", moment(until, now, words)),
            None => format!("its user's own limit does not allow it ({over})"),
        },
    }
}

fn trouble(until: Option<UnixMs>, cause: Cause, now: UnixMs, words: &Words<'_>) -> String {
    match until {
        Some(until) => {
            format!(
                "every account that may serve it is in trouble ({cause}); the first is asked again at {}",
                moment(until, now, words)
            )
        }
        None => format!("every account that may serve it was tried ({cause})"),
    }
}

/// What keeps the only account out.
fn only(refused: &Refused, words: &Words<'_>) -> Option<String> {
    match refused.considered.as_slice() {
        [one] => match &one.finding {
            Finding::Unable(why) => {
                Some(format!("{}: {}", (words.name)(&one.account), ineligible(why).told(refused.at, words)))
            }
            Finding::Able(_) => None,
        },
        _ => None,
    }
}

fn ends(finding: &Finding) -> Option<UnixMs> {
    match finding {
        Finding::Unable(why) => match ineligible(why).ends {
            Ends::At(until) => Some(until),
            Ends::Untold | Ends::No => None,
        },
        Finding::Able(_) => None,
    }
}

/// `Sun 17:46, in 40 min`, seen from `now`.
pub fn moment(at: UnixMs, now: UnixMs, words: &Words<'_>) -> String {
    let clock = (words.clock)(at);
    if at > now { format!("{clock}, in {}", at.since(now)) } else { clock }
}

/// How a request ended, in a word or two.
pub fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Incomplete => "broken off",
        Ending::Aborted => "the client left",
        Ending::Failed => "failed",
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
