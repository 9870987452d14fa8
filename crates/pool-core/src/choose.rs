//! Choosing: who of those that can take a request should.
//!
//! The pin if there is one (unless it is to a paid key while a plan could serve, or as the operator orders the kinds); else by the
//! operator's priority, by kind, those without recent trouble first, and then the most headroom over all windows that limit the
//! request, times the account's weight.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use crate::account::AccountId;
use crate::demand::{Demand, SessionKey};
use crate::policy::{Choice, Part, Policy, Question, Score, Why};
use crate::pool::Slot;
use crate::time::UnixMs;

/// The pool's rule of choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct MostHeadroom;

impl Policy for MostHeadroom {
    fn name(&self) -> &'static str {
        "most-headroom"
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        let Question { demand, candidates, now, .. } = *question;
        let pinned = question.pinned();
        // A conversation that had to move to a paid key goes back to what is paid for already.
        let cheaper = pinned.is_some_and(|(_, slot)| {
            !demand.is_bound() && candidates.iter().any(|other| is_cheaper(other, slot, question))
        });
        if let Some((index, _)) = pinned.filter(|_| !cheaper) {
            return Choice { index, why: Why::Kept, scores: Vec::new() };
        }
        let best = candidates.iter().enumerate().min_by(|(_, a), (_, b)| better(a, b, question));
        let score = |slot: &&Slot| Score {
            value: worth(slot, demand, now),
            parts: vec![
                known_headroom(slot, demand, now)
                    .map_or((Part::AssumedHeadroom, UNKNOWN), |left| (Part::Headroom, left)),
                (Part::InFlight, f64::from(slot.in_flight)),
            ],
        };
        let why = match () {
            () if cheaper => Why::Cheaper,
            () if question.pin.is_some() => Why::PinUnable,
            () if candidates.len() == 1 => Why::Only,
            () => Why::Best,
        };
        Choice { index: best.map_or(0, |(index, _)| index), why, scores: candidates.iter().map(score).collect() }
    }
}

/// Nobody knows: half, so that an unknown account neither attracts all traffic nor gets none.
const UNKNOWN: f64 = 0.5;
/// What a request in flight will still draw, roughly, before the next reading shows it.
const PER_REQUEST: f64 = 0.02;

fn headroom(slot: &Slot, demand: &Demand, now: UnixMs) -> f64 {
    known_headroom(slot, demand, now).unwrap_or(UNKNOWN)
}

/// The share left of the scarcest window that limits the request.
fn known_headroom(slot: &Slot, demand: &Demand, now: UnixMs) -> Option<f64> {
    slot.windows
        .iter()
        .filter(|window| window.scope.touches(&demand.families) && window.is_believable(now))
        .map(|window| window.used(now).rest().get())
        .min_by(f64::total_cmp)
}

/// Is it in trouble that does not forbid a try (a failure in passing, moments ago)?
fn troubled(slot: &Slot, demand: &Demand, now: UnixMs) -> bool {
    slot.cooldowns.iter().any(|cooldown| cooldown.is_running(now) && cooldown.scope.touches(&demand.families))
}

/// Would `other` serve on a kind of account that comes earlier in the operator's order, without a reason against it?
fn is_cheaper(other: &Slot, slot: &Slot, question: &Question<'_>) -> bool {
    let Question { demand, kinds, now, .. } = *question;
    kinds.rank(other.account.kind) < kinds.rank(slot.account.kind)
        && other.account.settings.priority >= slot.account.settings.priority
        && !troubled(other, demand, now)
}

/// Orders two eligible accounts: the better one first.
fn better(a: &Slot, b: &Slot, question: &Question<'_>) -> Ordering {
    let Question { demand, session, kinds, now, .. } = *question;
    let kind = |slot: &Slot| kinds.rank(slot.account.kind);
    let priority = |slot: &Slot| slot.account.settings.priority;
    troubled(a, demand, now)
        .cmp(&troubled(b, demand, now))
        .then_with(|| priority(b).cmp(&priority(a)))
        .then_with(|| kind(a).cmp(&kind(b)))
        .then_with(|| worth(b, demand, now).total_cmp(&worth(a, demand, now)))
        .then_with(|| a.in_flight.cmp(&b.in_flight))
        .then_with(|| rendezvous(session, &b.account.id).cmp(&rendezvous(session, &a.account.id)))
        .then_with(|| a.account.id.cmp(&b.account.id))
}

fn worth(slot: &Slot, demand: &Demand, now: UnixMs) -> f64 {
    headroom(slot, demand, now) * slot.account.settings.weight.get() - PER_REQUEST * f64::from(slot.in_flight)
}

/// Equal accounts get equal shares of the conversations, and every replica gives the same answer.
fn rendezvous(session: Option<SessionKey>, account: &AccountId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(session.map_or([0; 16], |key| key.0));
    hash.update(account.0.as_bytes());
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
