//! Requests in line for accounts that have as many under way as they may: first come, first served.
//!
//! Whoever gives a slot back serves the line in the same step, under the pool's lock, so that a newcomer cannot take the slot
//! away from those who wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pool_core::ask::Waiting;
use pool_core::eligible::eligible;
use pool_core::pool::{Grant, Slot};
use pool_core::standing::Ineligible;
use pool_core::{AccountId, Ask, Pool, UnixMs};
use tokio::sync::oneshot;

use super::live::{Lease, LivePool};

/// The longest wait in line. Then the client is told, and can decide for itself.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// So many wait at one time; who comes later is told at once.
const LONGEST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ask: Waiting,
    pool: Arc<LivePool>,
    tell: oneshot::Sender<Lease>,
}

/// Somebody whose turn has come. To be told when the pool's lock is free again: if nobody listens any more, the slot is given
/// back.
#[must_use]
pub(super) struct Turn {
    waiter: Waiter,
    grant: Grant,
}

impl Turn {
    pub(super) fn tell(self) {
        let Self { waiter, grant } = self;
        // Who has left drops the lease, and with it the slot.
        let _ = waiter.tell.send(Lease::new(grant, waiter.pool));
    }
}

impl Line {
    /// `None`: it is too long.
    pub(super) fn join(&mut self, ask: Waiting, pool: Arc<LivePool>) -> Option<oneshot::Receiver<Lease>> {
        self.waiting.retain(|waiter| !waiter.tell.is_closed());
        if self.waiting.len() >= LONGEST {
            return None;
        }
        let (tell, told) = oneshot::channel();
        self.waiting.push_back(Waiter { ask, pool, tell });
        Some(told)
    }

    /// The account has room again, perhaps: for whom of those that wait?
    pub(super) fn serve(&mut self, pool: &mut Pool, account: &AccountId, now: UnixMs) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut at = 0;
        while let Some(waiter) = self.waiting.get(at) {
            let ask = waiter.ask.ask();
            let takes = |slot| eligible(slot, ask.demand, ask.caller, now).is_ok();
            let fits =
                pool.slot(account).is_some_and(|slot| slot.account.provider == ask.demand.provider && takes(slot));
            let grant = if fits && !waiter.tell.is_closed() { pool.lease(&ask, now).ok() } else { None };
            match grant {
                Some(grant) => turns.extend(self.waiting.remove(at).map(|waiter| Turn { waiter, grant })),
                None => at += 1,
            }
        }
        turns
    }

    /// The account is kept out now: who cannot be served any more, however long it waits, is told at once.
    pub(super) fn dismiss(&mut self, pool: &Pool, account: &AccountId, now: UnixMs) {
        let Some(out) = pool.slot(account) else { return };
        let waits_for = |slot: &Slot, ask: &Ask<'_>| {
            let same = slot.account.provider == ask.demand.provider;
            same && matches!(eligible(slot, ask.demand, ask.caller, now), Ok(()) | Err(Ineligible::Busy))
        };
        self.waiting.retain(|waiter| {
            let ask = waiter.ask.ask();
            let untouched = out.account.provider != ask.demand.provider || waits_for(out, &ask);
            untouched || pool.slots().any(|slot| waits_for(slot, &ask))
        });
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
