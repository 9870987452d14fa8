//! Who takes part in a comparison: our policy, the rules that others use, and one big account as the reference.

mod cold;
mod original;
mod simple;

use std::collections::HashMap;

use pool_core::pins::Pins;
use pool_core::policy::{Choice, Policy, Question, Why};
use pool_core::pool::Slot;
use pool_core::{AccountId, Pool, UnixMs};

use crate::options::Options;
use crate::pool_file::AccountSpec;
use crate::warm_up::account_id;

type Make = fn(&Setup) -> Box<dyn Policy>;

/// A policy with its name.
#[derive(Clone, Copy, Debug)]
pub struct Contestant {
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Accounts that it keeps out beyond those that the core keeps out. `true`: this one may be asked.
    pub(crate) gate: Option<fn(&Slot, UnixMs) -> bool>,
    make: Option<Make>,
}

/// What a policy of others may know.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    seed: u64,
    /// True weekly quota and short window of each account. The rules that need them get them as they are: we compare ours with
    /// the best that they could do. If sizes are unknown all count as the mean.
    sizes: HashMap<AccountId, (f64, f64)>,
}

/// Ours first, then in the order in which `simulate` shows them.
pub const ALL: [Contestant; 12] = [
    Contestant { name: "ours", about: "what codex-pool does", gate: None, make: None },
    contestant("round-robin", "every request to the next account", simple::round_robin),
    contestant("least-used", "every request to the account with the most left", simple::least_used),
    contestant("sticky-random", "a conversation stays; new ones anywhere", simple::sticky_random),
    contestant("sticky-least-used", "a conversation stays; new ones where most is left", simple::sticky_least_used),
    contestant("original-2025", "the Go original's score of 2025", original::of_2025),
    Contestant {
        gate: Some(original::gate_of_2026),
        ..contestant("original-2026", "the Go original's score of 2026", original::of_2026)
    },
    Contestant {
        gate: Some(original::gate_of_2026),
        ..contestant("cold-original", "the same, but cold conversations move", original::cold)
    },
    contestant("cold-expiring", "cold ones go where quota expires and the short window has room", cold::expiring),
    contestant("earliest-reset", "cold ones go where the week ends first, if there is room", cold::earliest_reset),
    contestant("cold-pace", "cold ones go where most is left per second in the scarcer window", cold::pace),
    Contestant { name: ONE_BIG_ACCOUNT, about: "all quota in one account", gate: None, make: None },
];

/// The reference's name.
pub const ONE_BIG_ACCOUNT: &str = "one-big-account";

const fn contestant(name: &'static str, about: &'static str, make: Make) -> Contestant {
    Contestant { name, about, gate: None, make: Some(make) }
}

impl Contestant {
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|contestant| contestant.name == name)
    }

    pub(crate) fn pool(&self, accounts: &[AccountSpec], options: &Options) -> Pool {
        let Some(make) = self.make else { return Pool::default() };
        let mean = accounts.iter().map(|spec| spec.weekly_units).sum::<f64>() / accounts.len().max(1) as f64;
        let size = |spec: &AccountSpec| {
            let weekly = if options.sizes_known { spec.weekly_units } else { mean };
            (account_id(spec), (weekly, weekly / spec.short_ratio))
        };
        let setup = Setup { seed: options.seed, sizes: accounts.iter().map(size).collect() };
        Pool::new(Pins::default(), make(&setup))
    }
}

/// The pool as one account: the sum of all, whose week ends where the accounts' does on the average.
pub fn as_one(accounts: &[AccountSpec]) -> Vec<AccountSpec> {
    let mut merged: Vec<AccountSpec> = Vec::new();
    for spec in accounts {
        if merged.iter().any(|one| one.provider == spec.provider) {
            continue;
        }
        let same: Vec<&AccountSpec> = accounts.iter().filter(|other| other.provider == spec.provider).collect();
        let weekly: f64 = same.iter().map(|one| one.weekly_units).sum();
        let short: f64 = same.iter().map(|one| one.weekly_units / one.short_ratio).sum();
        let phase: f64 = same.iter().map(|one| one.weekly_units * (one.phase_hours % 168.0)).sum();
        merged.push(AccountSpec {
            name: ONE_BIG_ACCOUNT.into(),
            plan: None,
            weekly_units: weekly,
            short_ratio: weekly / short,
            phase_hours: phase / weekly,
            provider: spec.provider,
        });
    }
    merged
}

/// What the pool knows of an account's two windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) short_used: f64,
    pub(crate) week_used: f64,
    /// Seconds until it ends; `None`: not open.
    pub(crate) short_left: Option<f64>,
    pub(crate) week_left: Option<f64>,
}

impl Known {
    pub(crate) fn of(slot: &Slot, now: UnixMs) -> Self {
        let find = |name: &str| slot.windows.iter().find(|window| window.name == name);
        let used = |name: &str| find(name).map_or(0.0, |window| window.used(now).get());
        let left = |name: &str| {
            let reset = find(name)?.resets_at.filter(|reset| *reset > now)?;
            Some(reset.since(now).0 as f64 / 1000.0)
        };
        Self { short_used: used("5h"), week_used: used("week"), short_left: left("5h"), week_left: left("week") }
    }
}

/// The candidate with the highest value; of equals the first.
pub(crate) fn best(question: &Question<'_>, mut value: impl FnMut(&Slot) -> f64) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, slot) in question.candidates.iter().enumerate() {
        let worth = value(slot);
        if worth > best.1 {
            best = (index, worth);
        }
    }
    best.0
}

pub(crate) fn chosen(index: usize, why: Why) -> Choice {
    Choice { index, why, scores: Vec::new() }
}
