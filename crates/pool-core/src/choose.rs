//! Choosing: who can take a request, and who of them should.
//!
//! Eligible accounts only; the pin if there is one (unless it is to a paid key while a plan could serve); else by the operator's priority, subscriptions before paid API keys, those
//! without recent trouble first, and then the most headroom over all windows that limit the request.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use crate::account::{AccountId, AccountKind};
use crate::demand::{Demand, SessionKey};
use crate::policy::{Choice, Part, Policy, Question, Score, Why};
use crate::pool::Slot;
use crate::standing::Ineligible;
use crate::time::UnixMs;

/// The pool's rule of choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct MostHeadroom;

impl Policy for MostHeadroom {
    fn name(&self) -> &'static str {
        "most-headroom"
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        let Question { demand, session, candidates, now, .. } = *question;
        let pinned = question.pinned();
        // A conversation that had to move to a paid key goes back to what is paid for already.
        let cheaper = pinned.is_some_and(|(_, slot)| {
            !demand.bound && candidates.iter().any(|other| is_cheaper(other, slot, demand, now))
        });
        if let Some((index, _)) = pinned.filter(|_| !cheaper) {
            return Choice { index, why: Why::Kept, scores: Vec::new() };
        }
        let best = candidates.iter().enumerate().min_by(|(_, a), (_, b)| better(a, b, demand, session, now));
        let score = |slot: &&Slot| Score {
            value: worth(slot, demand, now),
            parts: vec![(Part::Headroom, headroom(slot, demand, now)), (Part::InFlight, f64::from(slot.in_flight))],
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

/// The share left of the scarcest window that limits the request.
fn headroom(slot: &Slot, demand: &Demand, now: UnixMs) -> f64 {
    slot.windows
        .iter()
        .filter(|window| window.scope.touches(&demand.families) && window.is_believable(now))
        .map(|window| window.used(now).rest().get())
        .min_by(f64::total_cmp)
        .unwrap_or(UNKNOWN)
}

/// Can this account take the request now?
pub fn eligible(slot: &Slot, demand: &Demand, now: UnixMs) -> Result<(), Ineligible> {
    if !demand.admits(slot.account.kind) {
        return Err(Ineligible::Kind);
    }
    if slot.account.settings.disabled {
        return Err(Ineligible::Paused);
    }
    if let Some(why) = &slot.needs_login {
        return Err(Ineligible::NeedsLogin { why: why.clone() });
    }
    let blocking = slot
        .cooldowns
        .iter()
        .filter(|cooldown| cooldown.is_hard() && cooldown.is_running(now) && cooldown.scope.touches(&demand.families));
    // Of several the one that ends last decides.
    if let Some(cooldown) = blocking.max_by_key(|cooldown| cooldown.until) {
        return Err(Ineligible::Cooling {
            cause: cooldown.cause,
            scope: cooldown.scope.clone(),
            until: cooldown.until,
        });
    }
    if demand.light {
        return Ok(());
    }
    let spent = slot.windows.iter().filter(|window| window.scope.touches(&demand.families) && window.is_exhausted(now));
    match spent.max_by_key(|window| window.resets_at) {
        Some(window) => {
            Err(Ineligible::WindowSpent { window: window.name.clone(), span: window.span, resets_at: window.resets_at })
        }
        None => Ok(()),
    }
}

/// Is it in trouble that does not forbid a try (a failure in passing, moments ago)?
pub(crate) fn troubled(slot: &Slot, demand: &Demand, now: UnixMs) -> bool {
    slot.cooldowns.iter().any(|cooldown| cooldown.is_running(now) && cooldown.scope.touches(&demand.families))
}

/// Would `other` serve on a plan what `slot` serves for money, without a reason against it?
pub(crate) fn is_cheaper(other: &Slot, slot: &Slot, demand: &Demand, now: UnixMs) -> bool {
    slot.account.kind == AccountKind::ApiKey
        && other.account.kind == AccountKind::Subscription
        && other.account.settings.priority >= slot.account.settings.priority
        && !troubled(other, demand, now)
}

/// Orders two eligible accounts: the better one first.
fn better(a: &Slot, b: &Slot, demand: &Demand, session: Option<SessionKey>, now: UnixMs) -> Ordering {
    let paid = |slot: &Slot| slot.account.kind == AccountKind::ApiKey;
    let priority = |slot: &Slot| slot.account.settings.priority;
    troubled(a, demand, now)
        .cmp(&troubled(b, demand, now))
        .then_with(|| priority(b).cmp(&priority(a)))
        .then_with(|| paid(a).cmp(&paid(b)))
        .then_with(|| worth(b, demand, now).total_cmp(&worth(a, demand, now)))
        .then_with(|| a.in_flight.cmp(&b.in_flight))
        .then_with(|| rendezvous(session, &b.account.id).cmp(&rendezvous(session, &a.account.id)))
        .then_with(|| a.account.id.cmp(&b.account.id))
}

fn worth(slot: &Slot, demand: &Demand, now: UnixMs) -> f64 {
    headroom(slot, demand, now) - PER_REQUEST * f64::from(slot.in_flight)
}

/// Equal accounts get equal shares of the conversations, and every replica gives the same answer.
pub(crate) fn rendezvous(session: Option<SessionKey>, account: &AccountId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(session.map_or([0; 16], |key| key.0));
    hash.update(account.0.as_bytes());
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
