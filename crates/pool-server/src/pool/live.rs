//! The core's pool behind its one short lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pool_core::ask::Rights;
use pool_core::decision::Decision;
use pool_core::pool::{Event, Grant};
use pool_core::retry::RetryBudget;
use pool_core::standing::{Refusal, RefusalWhy, Standing};
use pool_core::{AccountId, Ask, Demand, Pool, ProviderId, UnixMs};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::line::{Line, Turn};
use crate::clock;

/// The pool as the server's tasks share it. Every call takes the lock for microseconds and never across an await.
#[derive(Debug)]
pub struct LivePool {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pool: Pool,
    /// One retry budget a provider: trouble at one must not use up the retries of another.
    budgets: HashMap<ProviderId, RetryBudget>,
    line: Line,
}

impl Default for LivePool {
    fn default() -> Self {
        Self::new(Pool::default())
    }
}

/// An account in use. When the last share of it is dropped, the slot is given back.
#[derive(Debug)]
pub struct Lease {
    grant: Grant,
    slot: Arc<TakenSlot>,
    /// In line for it.
    pub waited: Duration,
}

#[derive(Debug)]
struct TakenSlot {
    grant: Grant,
    pool: Arc<LivePool>,
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        self.pool.update(Some(&self.grant.account.id), |pool, _| pool.release(&self.grant));
    }
}

impl std::ops::Deref for Lease {
    type Target = Grant;
    fn deref(&self) -> &Grant {
        &self.grant
    }
}

impl Lease {
    pub(super) fn new(grant: Grant, pool: Arc<LivePool>) -> Self {
        let slot = Arc::new(TakenSlot { grant: grant.clone(), pool });
        Self { grant, slot, waited: Duration::ZERO }
    }

    /// The same slot, held by somebody else too.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { grant: self.grant.clone(), slot: self.slot.clone(), waited: self.waited }
    }

    /// Takes up credentials that were renewed since.
    pub fn reload(&mut self) {
        let state = self.slot.pool.state.lock();
        if let Some(slot) = state.pool.slot(&self.grant.account.id) {
            self.grant.credentials = slot.credentials.clone();
            self.grant.epoch = slot.epoch;
        }
    }
}

impl LivePool {
    pub fn new(pool: Pool) -> Self {
        Self { state: Mutex::new(State { pool, budgets: HashMap::new(), line: Line::default() }) }
    }

    pub fn apply(&self, event: Event) {
        if let Event::Penalised { id, .. } = &event {
            let (id, now) = (id.clone(), clock::now());
            let mut state = self.state.lock();
            let State { pool, line, .. } = &mut *state;
            pool.apply(event, now);
            line.dismiss(pool, &id, now);
            return;
        }
        self.update(may_free(&event).as_ref(), |pool, now| pool.apply(event, now));
    }

    /// Changes the state. `frees`: an account that may have room for somebody in line afterwards.
    fn update(&self, frees: Option<&AccountId>, act: impl FnOnce(&mut Pool, UnixMs)) {
        let now = clock::now();
        let mut state = self.state.lock();
        let State { pool, line, .. } = &mut *state;
        act(pool, now);
        let turns = frees.map(|account| line.serve(pool, account, now)).unwrap_or_default();
        drop(state);
        turns.into_iter().for_each(Turn::tell);
    }

    /// Chooses an account and takes a slot of it, in one step.
    pub fn lease(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, Box<Refusal>> {
        let grant = self.state.lock().pool.lease(ask, clock::now())?;
        Ok(Lease::new(grant, self.clone()))
    }

    /// What [`LivePool::lease`] would answer at this moment. Changes nothing.
    pub fn explain(&self, ask: &Ask<'_>) -> (Result<Arc<Decision>, Box<Refusal>>, UnixMs) {
        let now = clock::now();
        (self.state.lock().pool.explain(ask, now), now)
    }

    /// The same; if all that stands in the way are requests under way, it waits for the end of one, until `deadline` at most.
    pub async fn lease_by(self: &Arc<Self>, ask: &Ask<'_>, deadline: Instant) -> Result<Lease, Box<Refusal>> {
        if Instant::now() >= deadline {
            return self.lease(ask);
        }
        let turn = match self.join(ask) {
            Ok(lease) => return Ok(lease),
            Err(turn) => turn?,
        };
        let begun = Instant::now();
        let lease = match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok(lease)) => lease,
            // Time alone may have freed an account.
            _ => self.lease(ask)?,
        };
        Ok(Lease { waited: begun.elapsed(), ..lease })
    }

    /// A lease, or else a place in line, or a refusal that waiting does not change.
    pub(super) fn join(
        self: &Arc<Self>,
        ask: &Ask<'_>,
    ) -> Result<Lease, Result<oneshot::Receiver<Lease>, Box<Refusal>>> {
        let mut state = self.state.lock();
        let refusal = match state.pool.lease(ask, clock::now()) {
            Ok(grant) => return Ok(Lease::new(grant, self.clone())),
            Err(refusal) if refusal.why != RefusalWhy::Busy => return Err(Err(refusal)),
            Err(refusal) => refusal,
        };
        Err(state.line.join(ask, self.clone()).ok_or(refusal))
    }

    pub fn standing(&self, demand: &Demand, caller: Rights<'_>) -> Standing {
        self.state.lock().pool.standing(demand, caller, clock::now())
    }

    /// Reads the state: for pages, and for the tasks that keep it fresh.
    pub fn read<T>(&self, look: impl FnOnce(&Pool, UnixMs) -> T) -> T {
        look(&self.state.lock().pool, clock::now())
    }

    /// Takes out what the pool has gathered for others. What it decides by is changed by [`LivePool::apply`] alone.
    pub fn change<T>(&self, take: impl FnOnce(&mut Pool) -> T) -> T {
        take(&mut self.state.lock().pool)
    }

    /// A client request has arrived: it pays into the retry budget.
    pub fn count_request(&self, provider: ProviderId) {
        self.with_budget(provider, RetryBudget::deposit);
    }

    /// May one more try be made after a failure in passing?
    pub fn may_retry(&self, provider: ProviderId) -> bool {
        self.with_budget(provider, RetryBudget::withdraw)
    }

    fn with_budget<T>(&self, provider: ProviderId, act: impl FnOnce(&mut RetryBudget, UnixMs) -> T) -> T {
        let now = clock::now();
        let mut state = self.state.lock();
        act(state.budgets.entry(provider).or_insert_with(|| RetryBudget::new(now)), now)
    }
}

/// Which account may have room after the event that had none before?
fn may_free(event: &Event) -> Option<AccountId> {
    match event {
        Event::Seen { account, .. } => Some(account.id.clone()),
        Event::Renewed { id, .. } | Event::Cleared { id } => Some(id.clone()),
        _ => None,
    }
}
