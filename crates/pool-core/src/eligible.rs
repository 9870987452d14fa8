//! Who can take a request at all. Choosing among them is another matter (`choose.rs`).

use crate::account::{AccountId, AccountKind};
use crate::ask::{Ask, Rights};
use crate::demand::Demand;
use crate::pool::Slot;
use crate::quota::QuotaWindow;
use crate::standing::Ineligible;
use crate::time::UnixMs;
use crate::wishes::DayBook;

/// Can this account take such a request of this caller's now?
pub fn eligible(slot: &Slot, demand: &Demand, caller: Rights<'_>, now: UnixMs) -> Result<(), Ineligible> {
    may_serve(slot, demand, caller)?;
    if let Some(why) = &slot.needs_login {
        return Err(Ineligible::NeedsLogin { why: why.clone() });
    }
    is_not_cooling(slot, demand, now)?;
    if demand.light {
        return Ok(());
    }
    has_quota(slot, demand, caller, now)?;
    has_money(slot, now)?;
    if is_full(slot) { Err(Ineligible::Busy) } else { Ok(()) }
}

/// Has it as many requests under way as it may?
pub fn is_full(slot: &Slot) -> bool {
    slot.account.settings.max_in_flight.is_some_and(|most| slot.in_flight >= most)
}

/// Can this account take this request: from this caller, after these tries, in this conversation?
pub fn able(slot: &Slot, ask: &Ask<'_>, pinned: Option<&AccountId>, now: UnixMs) -> Result<(), Ineligible> {
    let id = &slot.account.id;
    // Where what it names lives, it goes, wherever the conversation was.
    let bound_elsewhere = ask.only.is_none() && ask.demand.is_bound() && pinned.is_some_and(|pin| pin != id);
    match eligible(slot, ask.demand, ask.caller, now) {
        // Waiting for an account that could not serve all the same is of no use.
        Err(Ineligible::Busy) | Ok(()) if ask.tried.contains(id) => Err(Ineligible::Tried),
        Err(Ineligible::Busy) | Ok(()) if bound_elsewhere => Err(Ineligible::BoundElsewhere),
        // What keeps it out says more than that it was tried.
        other => other,
    }
}

/// What nothing but a person changes.
pub(crate) fn may_serve(slot: &Slot, demand: &Demand, caller: Rights<'_>) -> Result<(), Ineligible> {
    let settings = &slot.account.settings;
    let model_allowed = match (&settings.models, &demand.model) {
        (Some(list), Some(model)) => list.has(model),
        _ => true,
    };
    match () {
        () if !demand.admits(slot.account.kind) => Err(Ineligible::Kind),
        () if !caller.cover(&slot.account) => Err(Ineligible::NotForCaller),
        () if settings.disabled => Err(Ineligible::Paused),
        () if !model_allowed => Err(Ineligible::ModelNotAllowed),
        () => Ok(()),
    }
}

fn is_not_cooling(slot: &Slot, demand: &Demand, now: UnixMs) -> Result<(), Ineligible> {
    let blocking = slot
        .cooldowns
        .iter()
        .filter(|cooldown| cooldown.is_hard() && cooldown.is_running(now) && cooldown.scope.touches(&demand.families));
    // Of several the one that ends last decides.
    match blocking.max_by_key(|cooldown| cooldown.until) {
        Some(cooldown) => {
            Err(Ineligible::Cooling { cause: cooldown.cause, scope: cooldown.scope.clone(), until: cooldown.until })
        }
        None => Ok(()),
    }
}

/// Is something left of every window that limits the request, beyond what is kept for the owner?
fn has_quota(slot: &Slot, demand: &Demand, caller: Rights<'_>, now: UnixMs) -> Result<(), Ineligible> {
    let last = |is_out: &dyn Fn(&QuotaWindow) -> bool| {
        let windows = slot.windows.iter().filter(|window| window.scope.touches(&demand.families) && is_out(window));
        // Without a reset nobody knows how long; with several the last one decides.
        let last = windows.max_by_key(|window| window.resets_at)?;
        Some((last.name.clone(), last.span, last.resets_at))
    };
    if let Some((window, span, resets_at)) = last(&|window| window.is_exhausted(now)) {
        return Err(Ineligible::WindowSpent { window, span, resets_at });
    }
    let reserve = slot.account.settings.reserve;
    if caller.owner || reserve.get() <= 0.0 {
        return Ok(());
    }
    match last(&|window| window.has_only(reserve, now)) {
        Some((window, span, resets_at)) => Err(Ineligible::Reserved { window, span, resets_at }),
        None => Ok(()),
    }
}

/// May it cost more today? What a plan serves costs nothing.
fn has_money(slot: &Slot, now: UnixMs) -> Result<(), Ineligible> {
    match slot.account.settings.daily_spend {
        Some(most) if slot.account.kind == AccountKind::ApiKey && slot.book.spent(now) >= most => {
            Err(Ineligible::SpendCap { until: DayBook::end(now) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
