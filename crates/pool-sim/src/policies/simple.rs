//! The rules that most balancers use.

use pool_core::policy::{Choice, Policy, Question, Why};
use pool_core::pool::Slot;
use pool_core::{AccountId, UnixMs};

use super::{Known, Setup, best, chosen};
use crate::rng::Rng;

pub(super) fn round_robin(_: &Setup) -> Box<dyn Policy> {
    Box::new(RoundRobin { last: None })
}

pub(super) fn least_used(_: &Setup) -> Box<dyn Policy> {
    Box::new(LeastUsed { sticky: false })
}

pub(super) fn sticky_least_used(_: &Setup) -> Box<dyn Policy> {
    Box::new(LeastUsed { sticky: true })
}

pub(super) fn sticky_random(setup: &Setup) -> Box<dyn Policy> {
    Box::new(StickyRandom { rng: Rng::new(setup.seed) })
}

/// Every request to the next account.
#[derive(Debug)]
struct RoundRobin {
    last: Option<AccountId>,
}

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        let after = |slot: &&Slot| self.last.as_ref().is_some_and(|last| slot.account.id > *last);
        let index = question.candidates.iter().position(after).unwrap_or(0);
        self.last = question.candidates.get(index).map(|slot| slot.account.id.clone());
        chosen(index, Why::Best)
    }
}

/// The account that has the most left of its scarcer window.
#[derive(Debug)]
struct LeastUsed {
    sticky: bool,
}

impl Policy for LeastUsed {
    fn name(&self) -> &'static str {
        if self.sticky { "sticky-least-used" } else { "least-used" }
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        match question.pinned().filter(|_| self.sticky) {
            Some((index, _)) => chosen(index, Why::Kept),
            None => chosen(best(question, |slot| left(slot, question.now)), Why::Best),
        }
    }
}

/// Less a trifle for each request under way, so that new conversations do not all go to one of equals.
fn left(slot: &Slot, now: UnixMs) -> f64 {
    let known = Known::of(slot, now);
    1.0 - known.short_used.max(known.week_used) - 1e-6 * f64::from(slot.in_flight)
}

#[derive(Debug)]
struct StickyRandom {
    rng: Rng,
}

impl Policy for StickyRandom {
    fn name(&self) -> &'static str {
        "sticky-random"
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        match question.pinned() {
            Some((index, _)) => chosen(index, Why::Kept),
            None => chosen(self.rng.below(question.candidates.len()), Why::Best),
        }
    }
}
