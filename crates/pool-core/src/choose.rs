//! Choosing: who of those that can take a request should.
//!
//! A conversation stays where its cache is warm: a move would have its whole prefix written anew. New and cold conversations
//! cost the same everywhere, so they even the pool out. Of accounts without recent trouble, of the highest priority and the
//! earliest kind, the one with the greatest worth is taken (`worth.rs`); of equals the one with the least to do, and then the one
//! that a hash of conversation and account names, so that replicas agree without talking.

use std::cmp::Ordering;

use crate::account::AccountId;
use crate::binding::Binding;
use crate::demand::{Demand, SessionKey};
use crate::pins::Pin;
use crate::policy::{Choice, Policy, Question, Why};
use crate::pool::Slot;
use crate::time::{Span, UnixMs};
use crate::wishes::KindOrder;
use crate::worth;

/// The pool's rule of choice: waste nothing that expires, and leave everybody room to finish.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thrift;

impl Policy for Thrift {
    fn name(&self) -> &'static str {
        "thrift"
    }

    fn keeps(&self, pin: &Pin, slot: &Slot, demand: &Demand, kinds: KindOrder, now: UnixMs) -> bool {
        // From a kind that comes later a conversation goes back as soon as it can.
        demand.is_bound() || (is_held(pin, now) && kinds.rank(slot.account.kind) == 0)
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        let Question { demand, candidates, now, .. } = *question;
        let pinned = question.pinned();
        let cheaper = pinned.is_some_and(|(_, slot)| {
            !demand.is_bound() && candidates.iter().any(|other| is_cheaper(other, slot, question))
        });
        let stays = demand.is_bound() || question.pin.is_some_and(|pin| is_held(pin, now));
        if let Some((index, _)) = pinned.filter(|_| stays && !cheaper) {
            return Choice { index, why: Why::Kept, scores: Vec::new() };
        }
        let scores = worth::of(question);
        let order = |a: &usize, b: &usize| {
            let value = |index: usize| scores[index].value;
            standing(candidates[*a], candidates[*b], question)
                .then_with(|| value(*b).total_cmp(&value(*a)))
                .then_with(|| equals(candidates[*a], candidates[*b], question.session))
        };
        let best = (0..candidates.len()).min_by(order).unwrap_or(0);
        let clings = question.pin.is_some_and(|pin| !pin.bare) && demand.binding != Binding::Cache && !cheaper;
        let good = |index: usize| scores[index].value > 0.0 && scores[best].value <= CLINGS * scores[index].value;
        let alike = |slot: &Slot| standing(slot, candidates[best], question).is_le();
        if let Some((index, _)) = pinned.filter(|(index, slot)| clings && alike(slot) && good(*index)) {
            return Choice { index, why: Why::Kept, scores };
        }
        let why = match pinned {
            _ if cheaper => Why::Cheaper,
            Some((index, _)) if index == best => Why::Kept,
            Some(_) => Why::Cold,
            None if question.pin.is_some() => Why::PinUnable,
            None if candidates.len() == 1 => Why::Only,
            None => Why::Best,
        };
        Choice { index: best, why, scores }
    }
}

/// No provider's cache forgets sooner. Until a conversation's first answer has told what it drew, this is all we know.
const LEAST_WARM: Span = Span::from_mins(5);

/// A conversation with something that its account has sealed may lose it by a move, cold or not: it goes only where the worth
/// is so many times as great.
const CLINGS: f64 = 4.0;

/// Would a move cost the conversation its cache?
fn is_held(pin: &Pin, now: UnixMs) -> bool {
    pin.is_warm(now) || now.since(pin.used_at) < LEAST_WARM
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

/// What comes before all arithmetic: trouble, and the operator's order.
fn standing(a: &Slot, b: &Slot, question: &Question<'_>) -> Ordering {
    let Question { demand, kinds, now, .. } = *question;
    let kind = |slot: &Slot| kinds.rank(slot.account.kind);
    let priority = |slot: &Slot| slot.account.settings.priority;
    troubled(a, demand, now)
        .cmp(&troubled(b, demand, now))
        .then_with(|| priority(b).cmp(&priority(a)))
        .then_with(|| kind(a).cmp(&kind(b)))
}

/// What decides between accounts of the same worth.
fn equals(a: &Slot, b: &Slot, session: Option<SessionKey>) -> Ordering {
    let hash = |slot: &Slot| rendezvous(session, &slot.account.id);
    a.in_flight.cmp(&b.in_flight).then_with(|| hash(b).cmp(&hash(a))).then_with(|| a.account.id.cmp(&b.account.id))
}

/// Equal accounts get equal shares of the conversations, and every replica gives the same answer. (FNV-1a with SplitMix64's last
/// steps: an ordinary hash that stays what it is. Keys are hashes already; nobody gains by choosing an account.)
fn rendezvous(session: Option<SessionKey>, account: &AccountId) -> u64 {
    let key = session.map_or([0; 16], |key| key.0);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.iter().chain(account.0.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}
