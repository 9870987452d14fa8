//! What came of a run.

use pool_core::TokenCounts;
use serde::Serialize;

/// One policy's run, in the names that `simulate --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    pub name: &'static str,
    /// Steps that were begun before the end.
    pub steps: u64,
    /// Steps that had to wait because no account could take them.
    pub blocked_steps: u64,
    /// The sum of their waiting over all conversations.
    pub blocked_hours: f64,
    /// Cost above that of the same steps with every prefix that was warm in time read from its cache.
    pub extra_tokens_pct: f64,
    /// Steps that were served by another account than the step before.
    pub moves: u64,
    /// Of them: those that left a warm cache behind.
    pub warm_moves: u64,
    /// Tries that the provider refused: the pool did not know that the account was spent or revoked.
    pub refused_upstream: u64,
    /// Of the quota of the weeks that ended within the run: the part that nobody had used.
    pub wasted_pct: f64,
    #[serde(skip)]
    pub ledger: Ledger,
    /// Every step, in the order of their beginnings.
    #[serde(skip)]
    pub served: Vec<Served>,
}

/// A step and the account that served it, as their places in the scenario's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub session: usize,
    pub step: usize,
    pub account: usize,
    pub tokens: TokenCounts,
}

/// The sums that must agree: what steps cost, and what accounts have given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ledger {
    pub cost: f64,
    /// The same steps with every prefix that was warm in time read from its cache.
    pub least_cost: f64,
    pub drawn_inside: f64,
    pub drawn_outside: f64,
    /// Requests that the pool still counts when all have ended: none.
    pub left_in_flight: u32,
}

/// To the third decimal: more is noise, and prints badly.
pub(crate) fn rounded(value: f64) -> f64 {
    // Adding zero turns a negative zero into a plain one.
    (value * 1000.0).round() / 1000.0 + 0.0
}
