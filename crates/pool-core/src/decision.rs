//! The story of one choice, compact enough to be kept with its request.

use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::policy::{Score, Why};
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
