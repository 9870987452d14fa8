//! Who can take a request at all. Choosing among them is another matter (`choose.rs`).

use crate::account::AccountId;
use crate::ask::Ask;
use crate::demand::Demand;
use crate::pool::Slot;
use crate::standing::Ineligible;
use crate::time::UnixMs;

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

/// Can this account take this request: from this caller, after these tries, in this conversation?
pub fn able(slot: &Slot, ask: &Ask<'_>, pinned: Option<&AccountId>, now: UnixMs) -> Result<(), Ineligible> {
    // What keeps it out says more than that it was tried.
    eligible(slot, ask.demand, now)?;
    let id = &slot.account.id;
    match () {
        () if ask.tried.contains(id) => Err(Ineligible::Tried),
        () if ask.demand.bound && pinned.is_some_and(|pin| pin != id) => Err(Ineligible::BoundElsewhere),
        () => Ok(()),
    }
}
