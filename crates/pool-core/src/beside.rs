//! Where a sub-agent begins.

use crate::account::AccountKind;
use crate::demand::Demand;
use crate::pins::Pin;
use crate::pool::Slot;
use crate::time::UnixMs;

/// The candidate that a sub-agent begins on: its parent's account, whose cache holds the tools and the system text that both open with, as
/// long as that cache is warm, the account has room and the operator prefers no other. `None`: anywhere.
pub(crate) fn parent(parent: &Pin, demand: &Demand, candidates: &[&Slot], now: UnixMs) -> Option<usize> {
    let index = candidates.iter().position(|slot| slot.account.id == parent.account && parent.is_warm(now))?;
    let slot = candidates[index];
    let rank = |slot: &Slot| (slot.account.settings.priority, slot.account.kind == AccountKind::Subscription);
    let mut windows = slot.windows.iter().filter(|window| window.scope.touches(&demand.families));
    let full = windows.any(|window| window.is_believable(now) && window.used(now).get() >= CROWDED);
    let mut cooldowns = slot.cooldowns.iter().filter(|cooldown| cooldown.scope.touches(&demand.families));
    let troubled = cooldowns.any(|cooldown| cooldown.is_running(now));
    let preferred = candidates.iter().all(|other| rank(other) <= rank(slot));
    (preferred && !full && !troubled).then_some(index)
}

/// With less left of a window than this, what is there is for the conversations that are there already.
const CROWDED: f64 = 0.9;
