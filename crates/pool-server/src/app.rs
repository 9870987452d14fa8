//! What every request shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pool_core::{Trail, UsageRecord};
use pool_providers::Registry;
use pool_providers::routes::Table;
use pool_store::Ledger;

use crate::config::Config;
use crate::pool::{Keeper, LivePool};
use crate::relay::receive::ReplayBudget;
use crate::relay::ws::Sockets;
use crate::spend::Till;
use crate::upstream::SharedUpstream;

/// The running server's parts.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub registry: Arc<Registry>,
    pub table: Table,
    pub pool: Arc<LivePool>,
    pub keeper: Keeper,
    pub upstream: SharedUpstream,
    pub ledger: Ledger,
    pub till: Till,
    pub replay: Arc<ReplayBudget>,
    pub in_flight: Gauge,
    pub sockets: Sockets,
    /// The order to stop has come: `/readyz` says so.
    pub draining: AtomicBool,
}

impl App {
    /// Keeps the record of a request that has come to its end, with the story of how it was decided, and counts what it cost.
    pub fn keep(&self, record: UsageRecord, trail: Trail) {
        self.till.take(&record);
        self.ledger.keep(record, trail);
    }
}

/// Counts what is under way.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicUsize>);

/// One of what is counted, until dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Gauge {
    pub fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
