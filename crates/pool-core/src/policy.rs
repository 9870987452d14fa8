//! Which of the accounts that could take a request does: the question, the answer with its reasons, and who answers.
//!
//! [`crate::Pool`] finds out who is eligible and asks its policy to choose. The simulator asks others than ours the same questions.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::demand::{Demand, SessionKey};
use crate::outlook::Outlook;
use crate::pins::Pin;
use crate::pool::Slot;
use crate::time::UnixMs;
use crate::wishes::KindOrder;

/// A rule for choosing. Deterministic: the same questions in the same order get the same answers.
pub trait Policy: Debug + Send + Sync {
    /// As `simulate --policy` names it.
    fn name(&self) -> &'static str;

    fn choose(&mut self, question: &Question<'_>) -> Choice;

    /// Does a conversation stay on the account that it is pinned to, whatever the others have to offer? Then nobody looks at them.
    fn keeps(&self, pin: &Pin, slot: &Slot, demand: &Demand, kinds: KindOrder, now: UnixMs) -> bool {
        let _ = (pin, slot, demand, kinds, now);
        false
    }
}

/// A request that needs an account.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub demand: &'a Demand,
    pub session: Option<SessionKey>,
    /// Where the conversation was last. Its account may be none of the candidates.
    pub pin: Option<&'a Pin>,
    /// The operator's order of the kinds of accounts.
    pub kinds: KindOrder,
    /// Every account that can serve now, ordered by id; at least one.
    pub candidates: &'a [&'a Slot],
    pub outlook: &'a Outlook,
    pub now: UnixMs,
}

impl<'a> Question<'a> {
    /// The candidate that the conversation is pinned to.
    pub fn pinned(&self) -> Option<(usize, &'a Slot)> {
        let pin = self.pin?;
        let index = self.candidates.iter().position(|slot| slot.account.id == pin.account)?;
        Some((index, *self.candidates.get(index)?))
    }
}

/// A policy's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Into [`Question::candidates`].
    pub index: usize,
    pub why: Why,
    /// What each candidate was worth, in their order. Empty: they were not compared.
    pub scores: Vec<Score>,
}

/// What an account was worth for a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Score {
    /// Higher is better.
    pub value: f64,
    /// The numbers that it was made of, named for people.
    pub parts: Vec<(Part, f64)>,
}

/// A number in a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ScorePart)]
pub enum Part {
    /// Share left of the long window over the share left of its time: above 1 quota will expire unused.
    Pace,
    /// Share left of the scarcest short window, after what live conversations will draw.
    Headroom,
    /// The chance that one more conversation fits into what is left.
    Fit,
    /// Conversations whose cache is warm there.
    Live,
    /// Rises to 1 after trouble.
    Trust,
    /// The operator's.
    Weight,
    /// The share that is taken to be left, because nobody has told.
    AssumedHeadroom,
    /// Requests under way.
    InFlight,
}

/// Why an account was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WhyChosen)]
pub enum Why {
    /// Nobody else could serve.
    Only,
    /// A conversation without a pin: the best.
    Best,
    /// A sub-agent begins where its parent is, whose cache holds what both open with.
    Parent,
    /// The conversation stays where its cache is.
    Kept,
    /// Its cache has gone cold, so that a move costs nothing: another account is better.
    Cold,
    /// The pinned account cannot serve now.
    PinUnable,
    /// The conversation was on a kind of account that comes later in the operator's order (a paid key, say), and one of an
    /// earlier kind (a plan) can serve again.
    Cheaper,
}
