//! What the pool learns as it works: conversations under way, what they draw, and how big windows are.

use std::collections::BTreeMap;

use crate::account::{AccountId, ProviderId};
use crate::demand::SessionKey;
use crate::live::{Ended, Live};
use crate::outlook::Outlook;
use crate::pool::Slot;
use crate::quota::QuotaWindow;
use crate::sizes::{self, Meter, Priors, Snapshot};
use crate::time::UnixMs;
use crate::usage::Drawn;

type Slots = BTreeMap<AccountId, Slot>;

/// See the module's page. What belongs to one account stands in its [`Slot`].
#[derive(Debug, Default)]
pub(crate) struct Learned {
    live: Live,
    outlooks: BTreeMap<ProviderId, Outlook>,
    /// What was put away of accounts that have not been seen since.
    away: BTreeMap<AccountId, Vec<Meter>>,
}

/// Accounts that are remembered without being there.
const MOST_AWAY: usize = 10_000;

impl Learned {
    pub(crate) fn outlook(&self, provider: ProviderId) -> Option<&Outlook> {
        self.outlooks.get(&provider)
    }

    /// An account is there: what is remembered of it.
    pub(crate) fn come(&mut self, id: &AccountId, provider: ProviderId) -> Vec<Meter> {
        self.outlooks.entry(provider).or_default().accounts += 1;
        self.away.remove(id).unwrap_or_default()
    }

    pub(crate) fn gone(&mut self, slot: &Slot) {
        if let Some(outlook) = self.outlooks.get_mut(&slot.account.provider) {
            outlook.accounts = outlook.accounts.saturating_sub(1);
        }
        if self.away.len() < MOST_AWAY {
            self.away.insert(slot.account.id.clone(), slot.meters.clone());
        }
    }

    /// Conversations that have gone silent are no longer counted.
    pub(crate) fn settle(&mut self, slots: &mut Slots, now: UnixMs) {
        while let Some(ended) = self.live.ended(now) {
            self.ended(slots, &ended);
        }
    }

    /// A request of the conversation goes to this account.
    pub(crate) fn leased(&mut self, slots: &mut Slots, session: SessionKey, id: &AccountId, now: UnixMs) {
        let (begun, ended) = self.live.lease(session, id, now);
        if let Some(ended) = ended {
            self.ended(slots, &ended);
        }
        if let Some(slot) = slots.get_mut(id).filter(|_| begun) {
            slot.live += 1;
        }
    }

    fn ended(&mut self, slots: &mut Slots, (id, units): &Ended) {
        let Some(slot) = slots.get_mut(id) else { return };
        slot.live = slot.live.saturating_sub(1);
        self.outlooks.entry(slot.account.provider).or_default().ended(*units);
    }

    pub(crate) fn drew(
        &mut self,
        slot: &mut Slot,
        session: Option<SessionKey>,
        families: &[String],
        drawn: &Drawn,
        now: UnixMs,
    ) {
        if let Some(session) = session {
            self.live.drew(session, &slot.account.id, drawn.units, drawn.warm, now);
        }
        sizes::drew(&mut slot.meters, families, drawn.units);
    }

    /// Readings have come in. What one account teaches is the prior of others of its plan.
    /// True if that is worth putting away.
    pub(crate) fn read(&mut self, slots: &mut Slots, id: &AccountId, windows: &[QuotaWindow], now: UnixMs) -> bool {
        let Some(slot) = slots.get_mut(id) else { return false };
        let learned = sizes::read(&mut slot.meters, windows, now);
        let provider = slot.account.provider;
        let outlook = self.outlooks.entry(provider).or_default();
        if learned {
            outlook.reckon(slots, provider);
        } else {
            outlook.priors.settle(slot.account.plan.as_deref(), &slot.windows, &mut slot.meters);
        }
        learned
    }

    /// Takes in what was put away. What has been learned since then counts more.
    pub(crate) fn restore(&mut self, slots: &mut Slots, snapshot: Snapshot) {
        for (id, meters) in snapshot.accounts.into_iter().take(MOST_AWAY) {
            let known = match slots.get_mut(&id) {
                Some(slot) => &mut slot.meters,
                None => self.away.entry(id).or_default(),
            };
            sizes::recall(known, meters);
        }
        for (provider, outlook) in &mut self.outlooks {
            outlook.reckon(slots, *provider);
        }
    }
}

impl Outlook {
    /// Works out the priors and with them all sizes anew. Seldom: when a stretch of a window has been measured.
    fn reckon(&mut self, slots: &mut Slots, provider: ProviderId) {
        self.priors = Priors::default();
        for slot in slots.values().filter(|slot| slot.account.provider == provider) {
            self.priors.add(slot.account.plan.as_deref(), &slot.meters);
        }
        for slot in slots.values_mut().filter(|slot| slot.account.provider == provider) {
            self.priors.settle(slot.account.plan.as_deref(), &slot.windows, &mut slot.meters);
        }
    }
}
