//! What can be set about a run.

use pool_core::Span;

/// How real the simulated world is.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Readings are rounded to the nearest multiple of so many percent, as providers do that tell whole ones; 0: exact.
    /// (To the nearest, so that 100 is told from 99.5 % on, where the core too holds a window spent.)
    pub quantise: f64,
    /// So long after a reply the pool gets its reading.
    pub delay: Span,
    /// A reply's reading is made at its head, before the reply itself is counted, as where headers tell it; else at its end.
    pub at_head: bool,
    /// The share of each account's quota that somebody uses outside the pool.
    pub outside: f64,
    /// The pool has watched its accounts before the run, and so can know how big they are.
    pub sizes_known: bool,
    pub failures: Vec<Failure>,
    /// How long the run is.
    pub length: Span,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quantise: 0.0,
            delay: Span::ZERO,
            at_head: false,
            outside: 0.0,
            sizes_known: true,
            failures: Vec::new(),
            length: Span::from_hours(14 * 24),
            seed: 1,
        }
    }
}

/// An account whose credential is revoked, until somebody signs in again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// As the pool file names it.
    pub account: String,
    pub after: Span,
    /// `None`: it never comes back.
    pub lasts: Option<Span>,
}
