//! How the pool tells its burn book what happens, beside the requests that end.

use crate::account::{AccountId, ProviderId};
use crate::ask::Rights;
use crate::demand::{Client, Demand};
use crate::eligible::eligible;
use crate::pool::{Pool, Slot};
use crate::standing::{Ineligible, Refusal, RefusalWhy};
use crate::time::UnixMs;

use super::Week;

impl Pool {
    /// While nobody can serve anybody, what is drawn shows nothing of what is wanted.
    pub(crate) fn note_dry(&mut self, refusal: &Refusal, now: UnixMs) {
        let RefusalWhy::AllSpent { resets_at, .. } = refusal.why else { return };
        let demand = Demand::any(refusal.provider, Client::OwnCli);
        let serves = |slot: &Slot| {
            slot.account.provider == refusal.provider
                && matches!(eligible(slot, &demand, Rights::OWNER, now), Ok(()) | Err(Ineligible::Busy))
        };
        if !self.slots().any(serves) {
            self.burn.shut(refusal.provider, resets_at.unwrap_or(now), now);
        }
    }

    /// A request of before a restart.
    pub(crate) fn burned(&mut self, id: &AccountId, at: UnixMs, units: f64, now: UnixMs) {
        let sound = at <= now && units.is_finite() && units > 0.0;
        if let Some(provider) = self.slot(id).map(|slot| slot.account.provider).filter(|_| sound) {
            self.burn.recently(provider, id, &[], units, at);
        }
    }

    /// What was usual before a restart, of the providers that still have an account.
    pub(crate) fn weeks(&mut self, weeks: Vec<(String, Week)>, now: UnixMs) {
        for (name, week) in weeks {
            let known: Option<ProviderId> =
                self.slots().map(|slot| slot.account.provider).find(|provider| provider.0 == name);
            if let Some(provider) = known {
                self.burn.restore(provider, week, now);
            }
        }
    }
}
