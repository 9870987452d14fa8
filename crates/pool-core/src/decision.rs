//! The story of one choice, compact enough to be kept with its request.

use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::policy::{Score, Why};
use crate::standing::Ineligible;
use crate::time::UnixMs;

/// How an account came to be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    pub tokens: u64,
    /// From then on the cache is cold.
    pub until: UnixMs,
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
