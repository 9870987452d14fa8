//! The story of one choice, compact enough to be kept with its request.

use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::pins::Pin;
use crate::policy::{Choice, Question, Score, Why};
use crate::pool::Slot;
use crate::standing::Ineligible;
use crate::time::UnixMs;

/// How an account came to be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Decision {
    pub at: UnixMs,
    pub chosen: AccountId,
    pub why: Why,
    /// Where the conversation was before.
    pub pinned: Option<AccountId>,
    /// What of the conversation that account's cache holds. `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Cached>,
    /// The chosen one first, then the best of the others, then those that could not serve, the
    /// pinned one first.
    pub considered: Vec<Considered>,
    /// So many more were considered than `considered` tells.
    pub more: usize,
}

/// A conversation in an account's prompt cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Cached {
    pub tokens: u64,
    /// From then on the cache is cold.
    pub until: UnixMs,
}

/// One account that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Considered {
    pub account: AccountId,
    pub finding: Finding,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It could serve; its score if the candidates were compared.
    Able(Option<Score>),
    /// It could not.
    Unable(Ineligible),
}

/// So many accounts a decision tells of.
pub const MOST_CONSIDERED: usize = 24;

impl Decision {
    /// The conversation stays where it is pinned; so many others were not looked at.
    pub(crate) fn kept(pin: &Pin, others: usize, now: UnixMs) -> Self {
        Self {
            at: now,
            chosen: pin.account.clone(),
            why: Why::Kept,
            pinned: Some(pin.account.clone()),
            cached: cached(pin),
            considered: vec![Considered { account: pin.account.clone(), finding: Finding::Able(None) }],
            more: others,
        }
    }

    pub(crate) fn of(
        question: &Question<'_>,
        choice: &Choice,
        chosen: &Slot,
        pinned: Option<AccountId>,
        mut unable: Vec<(AccountId, Ineligible)>,
    ) -> Self {
        let candidates = question.candidates;
        let score = |index: usize| choice.scores.get(index);
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        let value = |index: usize| score(index).map_or(f64::NEG_INFINITY, |score| score.value);
        order.sort_by(|a, b| {
            (*b == choice.index).cmp(&(*a == choice.index)).then_with(|| value(*b).total_cmp(&value(*a)))
        });
        let able = order.into_iter().map(|index| Considered {
            account: candidates[index].account.id.clone(),
            finding: Finding::Able(score(index).cloned()),
        });
        let unable_count = unable.len();
        unable.sort_by_key(|(account, _)| pinned.as_ref() != Some(account));
        let unable = unable.into_iter().map(|(account, why)| Considered { account, finding: Finding::Unable(why) });
        let considered: Vec<Considered> = able.chain(unable).take(MOST_CONSIDERED).collect();
        Self {
            chosen: chosen.account.id.clone(),
            why: choice.why,
            at: question.now,
            cached: question.pin.filter(|_| pinned.is_some()).and_then(cached),
            pinned,
            more: (candidates.len() + unable_count).saturating_sub(considered.len()),
            considered,
        }
    }
}

/// What is known to be in the cache of the pinned account.
fn cached(pin: &Pin) -> Option<Cached> {
    (pin.prefix > 0).then_some(Cached { tokens: pin.prefix, until: pin.warm_until })
}
