//! The core's pool behind its one short lock.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pool_core::pins::Pins;
use pool_core::pool::{Event, Grant};
use pool_core::retry::RetryBudget;
use pool_core::standing::{Refusal, Standing};
use pool_core::{Ask, Demand, Pool, ProviderId, UnixMs};

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
}

impl Default for LivePool {
    fn default() -> Self {
        Self::with_pins(Pins::default())
    }
}

/// An account in use. When the last share of it is dropped, the slot is given back.
#[derive(Debug)]
pub struct Lease {
    grant: Grant,
    slot: Arc<TakenSlot>,
}

#[derive(Debug)]
struct TakenSlot {
    grant: Grant,
    pool: Arc<LivePool>,
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        self.pool.state.lock().pool.release(&self.grant);
    }
}

impl std::ops::Deref for Lease {
    type Target = Grant;
    fn deref(&self) -> &Grant {
        &self.grant
    }
}

impl Lease {
    /// The same slot, held by somebody else too.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { grant: self.grant.clone(), slot: self.slot.clone() }
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
    /// An empty pool with its own bounds for pins.
    pub fn with_pins(pins: Pins) -> Self {
        let mut pool = Pool::default();
        pool.pins = pins;
        Self { state: Mutex::new(State { pool, budgets: HashMap::new() }) }
    }

    pub fn apply(&self, event: Event) {
        self.state.lock().pool.apply(event, clock::now());
    }

    /// Chooses an account and takes a slot of it, in one step.
    pub fn lease(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, Box<Refusal>> {
        let grant = self.state.lock().pool.lease(ask, clock::now())?;
        let slot = Arc::new(TakenSlot { grant: grant.clone(), pool: self.clone() });
        Ok(Lease { grant, slot })
    }

    pub fn standing(&self, demand: &Demand) -> Standing {
        self.state.lock().pool.standing(demand, clock::now())
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
