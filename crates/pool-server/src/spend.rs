//! What accounts cost today: told to the pool as requests end, and once at the start, from the ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use pool_core::pool::Event;
use pool_core::wishes::DayBook;
use pool_core::{AccountId, Prices, TokenCounts, UnixMs, UsageRecord};
use pool_store::Ledger;

use crate::clock;
use crate::pool::LivePool;

/// Models of unknown price that are remembered as told of.
const MOST_TOLD: usize = 200;

/// Prices what requests have used.
#[derive(Debug)]
pub struct Till {
    prices: Arc<Prices>,
    pool: Arc<LivePool>,
    /// Models whose price is unknown: each is told of once.
    told: Mutex<BTreeSet<String>>,
}

impl Till {
    pub fn new(prices: Arc<Prices>, pool: Arc<LivePool>) -> Self {
        Self { prices, pool, told: Mutex::default() }
    }

    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// Counts a request that has come to its end.
    pub fn take(&self, record: &UsageRecord) {
        let UsageRecord { account, at, model, status, tokens, .. } = record;
        self.count(account, *at, model.as_deref(), *status, tokens.as_ref());
    }

    /// Counts what the ledger knows of today. Days begin at midnight UTC, as the pool's books do.
    pub async fn take_up(&self, ledger: &Ledger) {
        let since = DayBook::begin(clock::now());
        let count = |used: pool_store::ledger::Use| {
            self.count(&used.account, used.at, used.model.as_deref(), used.status, used.tokens.as_ref());
        };
        if let Err(error) = ledger.each_since(since, count).await {
            tracing::warn!("what the accounts have cost today is counted from now on: {error}");
        }
    }

    fn count(&self, account: &AccountId, at: UnixMs, model: Option<&str>, status: u16, tokens: Option<&TokenCounts>) {
        // An error costs nothing, unless it tells tokens.
        if tokens.is_none() && status >= 400 {
            return;
        }
        let cost = self.prices.cost(model, tokens);
        if cost.is_none() && tokens.is_some() {
            self.tell(model.unwrap_or("(no name)"));
        }
        self.pool.apply(Event::Spent { id: account.clone(), at, cost });
    }

    fn tell(&self, model: &str) {
        let mut told = self.told.lock();
        if told.len() < MOST_TOLD && told.insert(model.to_owned()) {
            tracing::warn!(model, "the price of a model is unknown: it counts as nothing; name it in a `prices_file`");
        }
    }
}
