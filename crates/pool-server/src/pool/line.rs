//! Requests in line for accounts that have as many under way as they may.
//!
//! Everybody has a queue of their own at each provider, first come, first served. Whose turn it is [`pool_core::fair`] says: the
//! owner's, then that of whoever has used least lately, and nobody starves. Whoever gives a slot back serves the line in the same
//! step, under the pool's lock, so that a newcomer cannot take the slot away from those who wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pool_core::ask::Waiting;
use pool_core::eligible::{eligible, is_full};
use pool_core::fair::{InLine, Rank};
use pool_core::people::UserId;
use pool_core::pool::{Grant, Slot};
use pool_core::standing::Ineligible;
use pool_core::{AccountId, Ask, Pool, ProviderId, Span, UnixMs};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::live::{Lease, LivePool};
use crate::clock;

/// The longest wait in line. Then the client is told, and can decide for itself.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// So many wait at one time. Who comes later is told at once, unless somebody has more in line than they: then that one's latest is.
const LONGEST: usize = 1024;

/// Whose queue it is. Without a user: the settings' operator, or the machine's own user.
type Key = (ProviderId, Option<UserId>);

#[derive(Debug, Default)]
pub(super) struct Line {
    /// None of them is empty.
    queues: BTreeMap<Key, Queue>,
    /// Providers whose last turn was an owner's.
    owner_was_last: BTreeSet<ProviderId>,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Waiter>,
    /// They joined the line, or were last served in it.
    since: Instant,
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
    pub(super) fn join(&mut self, ask: &Ask<'_>, pool: Arc<LivePool>) -> Option<oneshot::Receiver<Lease>> {
        self.keep(|_, waiter| !waiter.tell.is_closed());
        let key = (ask.demand.provider, ask.caller.user.cloned());
        if self.queues.values().map(|queue| queue.waiting.len()).sum::<usize>() >= LONGEST {
            self.make_room(&key)?;
        }
        let (tell, told) = oneshot::channel();
        let queue = self.queues.entry(key);
        let queue = queue.or_insert_with(|| Queue { waiting: VecDeque::new(), since: Instant::now() });
        queue.waiting.push_back(Waiter { ask: ask.waiting(), pool, tell });
        Some(told)
    }

    /// Whoever has most in line loses their latest place, so that nobody can keep others out of the line. `None`: nobody has more
    /// than who wants to join.
    fn make_room(&mut self, newcomer: &Key) -> Option<()> {
        let theirs = self.queues.get(newcomer).map_or(0, |queue| queue.waiting.len());
        let longest = self.queues.values_mut().max_by_key(|queue| queue.waiting.len())?;
        // Dropped, it learns that it is not served.
        if longest.waiting.len() > theirs + 1 { longest.waiting.pop_back().map(drop) } else { None }
    }

    /// The account has room again, perhaps: for whom of those that wait?
    pub(super) fn serve(&mut self, pool: &mut Pool, account: &AccountId, now: UnixMs) -> Vec<Turn> {
        let mut turns = Vec::new();
        while let Some(turn) = self.next(pool, account, now) {
            turns.push(turn);
        }
        turns
    }

    /// The next one who can use the account.
    fn next(&mut self, pool: &mut Pool, account: &AccountId, now: UnixMs) -> Option<Turn> {
        if self.queues.is_empty() {
            return None;
        }
        let slot = pool.slot(account).filter(|slot| !is_full(slot))?;
        let provider = slot.account.provider;
        for key in self.order(pool, provider, now) {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            for at in 0..queue.waiting.len() {
                let Some(waiter) = queue.waiting.get(at).filter(|waiter| !waiter.tell.is_closed()) else { continue };
                let ask = waiter.ask.ask();
                let fits = pool.slot(account).is_some_and(|slot| eligible(slot, ask.demand, ask.caller, now).is_ok());
                let Some(grant) = fits.then(|| pool.lease(&ask, now).ok()).flatten() else { continue };
                let owner = ask.caller.owner;
                let waiter = queue.waiting.remove(at)?;
                queue.since = Instant::now();
                if queue.waiting.is_empty() {
                    self.queues.remove(&key);
                }
                if owner {
                    self.owner_was_last.insert(provider)
                } else {
                    self.owner_was_last.remove(&provider)
                };
                return Some(Turn { waiter, grant });
            }
        }
        None
    }

    /// Who waits for this provider, the first to be served first.
    fn order(&self, pool: &Pool, provider: ProviderId, now: UnixMs) -> Vec<Key> {
        let owner_was_last = self.owner_was_last.contains(&provider);
        let mut order: Vec<(Rank, &Key)> = Vec::new();
        for (key, queue) in self.queues.iter().filter(|(key, _)| key.0 == provider) {
            let owner = queue.waiting.front().is_some_and(|waiter| waiter.ask.ask().caller.owner);
            let user = key.1.as_ref();
            let (used, idle) = (pool.fair.used(provider, user, now), pool.fair.is_idle(provider, user));
            let waited = Span::from_millis(clock::millis(queue.since.elapsed()));
            order.push((InLine { owner, used, idle, waited }.rank(owner_was_last), key));
        }
        order.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        order.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// The account is kept out now: who cannot be served any more, however long it waits, is told at once.
    pub(super) fn dismiss(&mut self, pool: &Pool, account: &AccountId, now: UnixMs) {
        let Some(out) = pool.slot(account) else { return };
        let waits_for = |slot: &Slot, ask: &Ask<'_>| {
            let same = slot.account.provider == ask.demand.provider;
            same && matches!(eligible(slot, ask.demand, ask.caller, now), Ok(()) | Err(Ineligible::Busy))
        };
        self.keep(|provider, waiter| {
            let ask = waiter.ask.ask();
            let untouched = out.account.provider != provider || waits_for(out, &ask);
            untouched || pool.slots().any(|slot| waits_for(slot, &ask))
        });
    }

    /// The others lose their place, and learn so.
    fn keep(&mut self, stays: impl Fn(ProviderId, &Waiter) -> bool) {
        self.queues.retain(|(provider, _), queue| {
            queue.waiting.retain(|waiter| stays(*provider, waiter));
            !queue.waiting.is_empty()
        });
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
