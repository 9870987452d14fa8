//! Where a sub-agent begins.

use crate::account::AccountKind;
use crate::ask::Ask;
use crate::pins::Pins;
use crate::policy::{Choice, Why};
use crate::pool::Slot;
use crate::time::UnixMs;

/// The choice of the account that a sub-agent's parent is on. Its cache holds the tools and the system text that both open
/// with. `None`: the sub-agent may go anywhere, since that cache is cold, the account is crowded or in trouble, or the
/// operator prefers another.
pub(crate) fn parent(pins: &Pins, ask: &Ask<'_>, candidates: &[&Slot], now: UnixMs) -> Option<Choice> {
    let (parent, families) = (pins.get(ask.parent?, now)?, &ask.demand.families);
    let index = candidates.iter().position(|slot| slot.account.id == parent.account && parent.is_warm(now))?;
    let slot = candidates[index];
    let rank = |slot: &Slot| (slot.account.settings.priority, slot.account.kind == AccountKind::Subscription);
    let mut windows = slot.windows.iter().filter(|window| window.scope.touches(families));
    let full = windows.any(|window| window.is_believable(now) && window.used(now).get() >= CROWDED);
    let mut cooldowns = slot.cooldowns.iter().filter(|cooldown| cooldown.scope.touches(families));
    let troubled = cooldowns.any(|cooldown| cooldown.is_running(now));
    let preferred = candidates.iter().all(|other| rank(other) <= rank(slot));
    (preferred && !full && !troubled).then(|| Choice { index, why: Why::Parent, scores: Vec::new() })
}

/// With less left of a window than this, what is there is for the conversations that are there already.
const CROWDED: f64 = 0.9;
