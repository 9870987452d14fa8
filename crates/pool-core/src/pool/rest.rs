//! The rest of a pool that is nearly out: it is for those who have used less.
//!
//! Nobody is held back while any account has enough. When all that could take a request are in the last fifth of a window, who
//! is ahead of the others ([`crate::fair`]) is told so as of a limit, and what is left goes to the others, until they have caught
//! up, or have gone, or the window begins anew.

use super::{Pool, Slot};
use crate::account::AccountId;
use crate::ask::Ask;
use crate::demand::Demand;
use crate::eligible::eligible;
use crate::quota::{Fraction, QuotaWindow};
use crate::refusal::refusal;
use crate::standing::{Ineligible, Refusal};
use crate::time::{Span, UnixMs};

/// The share of a window that is kept so.
pub const LAST: f64 = 0.2;
/// Shorter windows (an API key's minute) are over before anybody could catch up.
const SHORT: Span = Span::from_hours(1);

impl Pool {
    /// Must the caller leave what `chosen` and all others have to people who have used less?
    pub(super) fn kept_for_others(&self, ask: &Ask<'_>, chosen: &AccountId, now: UnixMs) -> Option<Box<Refusal>> {
        let Ask { demand, caller, .. } = *ask;
        if caller.owner || demand.light {
            return None;
        }
        // Nearly always: the account has enough.
        last_fifth(self.slots.get(chosen)?, demand, now)?;
        let until = self.fair.ahead(demand.provider, caller.user, now)?;
        let mut unable = Vec::new();
        for slot in self.slots.values().filter(|slot| slot.account.provider == demand.provider) {
            let why = match eligible(slot, demand, caller, now) {
                Ok(()) | Err(Ineligible::Busy) => {
                    // Somewhere there is enough: the pool is not short.
                    let QuotaWindow { name, span, resets_at, .. } = last_fifth(slot, demand, now)?;
                    let resets_at = Some(resets_at.map_or(until, |reset| reset.min(until)));
                    Ineligible::KeptForOthers { window: name.clone(), span: *span, resets_at }
                }
                Err(why) => why,
            };
            unable.push((slot.account.id.clone(), why));
        }
        Some(Box::new(refusal(demand, unable, now)))
    }
}

/// The window of which no more is left than is kept for the owner, and a fifth; of several the last to begin anew.
fn last_fifth<'a>(slot: &'a Slot, demand: &Demand, now: UnixMs) -> Option<&'a QuotaWindow> {
    let kept = Fraction::new(slot.account.settings.reserve.get() + LAST)?;
    let is_long = |window: &QuotaWindow| window.span.is_some_and(|span| span >= SHORT);
    let touched = slot.windows.iter().filter(|window| window.scope.touches(&demand.families));
    touched.filter(|window| is_long(window) && window.has_only(kept, now)).max_by_key(|window| window.resets_at)
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
