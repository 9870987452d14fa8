//! What a person may use of the pool, and how far they are.

use serde::{Deserialize, Serialize};

/// Limits of one person. `None` and empty: no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub requests_per_minute: Option<u32>,
    /// Requests under way at one time.
    pub streams: Option<u32>,
    pub budgets: Vec<Budget>,
    /// Patterns with `*`; empty: every model.
    pub models: Vec<String>,
    /// Names of providers; empty: every one.
    pub providers: Vec<String>,
}

/// So much in so long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    pub period: Period,
    pub amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    Week,
    Month,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// All classes together.
    Tokens(u64),
    /// What it would have cost by the provider's price list, in millionths of a dollar.
    MicroDollars(u64),
    /// A share (0 to 1) of what all accounts that they may use hold in their longest window.
    WindowShare(f64),
}
