//! The story of one choice, compact enough to be kept with its request.

use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::policy::{Choice, Score, Why};
use crate::pool::Slot;
use crate::standing::Ineligible;

/// How an account came to be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub chosen: AccountId,
    pub why: Why,
    /// Where the conversation was before.
    pub pinned: Option<AccountId>,
    /// The chosen one first, then the best of the others, then those that could not serve.
    pub considered: Vec<Considered>,
    /// So many more were considered than `considered` tells.
    pub more: usize,
}

/// One account that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    pub account: AccountId,
    pub finding: Finding,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The conversation stays; so many others were not looked at.
    pub(crate) fn kept(id: &AccountId, others: usize) -> Self {
        Self {
            chosen: id.clone(),
            why: Why::Kept,
            pinned: Some(id.clone()),
            considered: vec![Considered { account: id.clone(), finding: Finding::Able(None) }],
            more: others,
        }
    }

    pub(crate) fn of(
        chosen: &Slot,
        choice: &Choice,
        pinned: Option<AccountId>,
        candidates: &[&Slot],
        unable: Vec<(AccountId, Ineligible)>,
    ) -> Self {
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
        let unable = unable.into_iter().map(|(account, why)| Considered { account, finding: Finding::Unable(why) });
        let considered: Vec<Considered> = able.chain(unable).take(MOST_CONSIDERED).collect();
        Self {
            chosen: chosen.account.id.clone(),
            why: choice.why,
            pinned,
            more: (candidates.len() + unable_count).saturating_sub(considered.len()),
            considered,
        }
    }
}
