//! What requests have taken here, told to the other replicas, so that people's budgets and the caps on accounts' spending hold for all
//! of them together. What was taken in the last second the others do not know yet: by so much all may be overshot.

use std::collections::HashMap;

use parking_lot::Mutex;
use pool_core::limits::Taken;
use pool_core::people::UserId;
use pool_core::pool::Event;
use pool_core::{AccountId, MicroUsd, Prices, UnixMs, UsageRecord};
use serde::{Deserialize, Serialize};

use crate::people::People;
use crate::pool::LivePool;

pub(super) const TOPIC: &str = "taken";

/// What has been taken since it was last told: a sum a person and an account, so never more than there are of them.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    people: HashMap<UserId, (UnixMs, Taken)>,
    accounts: HashMap<AccountId, (UnixMs, MicroUsd)>,
}

/// The same as it is told.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Batch {
    people: Vec<(String, UnixMs, Taken)>,
    accounts: Vec<(AccountId, UnixMs, MicroUsd)>,
}

impl Tally {
    /// Counts a request that has come to its end.
    pub fn add(&self, record: &UsageRecord, prices: &Prices) {
        let Some(tokens) = &record.tokens else { return };
        let cost = prices.cost(record.model.as_deref(), Some(tokens));
        let mut sums = self.0.lock();
        if let Some(user) = &record.user {
            add(sums.people.entry(user.clone()).or_default(), record.at, Taken::of(tokens, cost));
        }
        if let Some(cost) = cost {
            let (at, sum) = sums.accounts.entry(record.account.clone()).or_default();
            (*at, *sum) = (record.at.max(*at), MicroUsd(sum.0.saturating_add(cost.0)));
        }
    }

    /// What is to be told, if anything.
    pub(super) fn take(&self) -> Option<Batch> {
        let sums = std::mem::take(&mut *self.0.lock());
        let people = sums.people.into_iter().map(|(user, (at, taken))| (user.to_string(), at, taken));
        let accounts = sums.accounts.into_iter().map(|(id, (at, cost))| (id, at, cost));
        let batch = Batch { people: people.collect(), accounts: accounts.collect() };
        (!batch.people.is_empty() || !batch.accounts.is_empty()).then_some(batch)
    }

    /// It could not be told: it goes with the next.
    pub(super) fn put_back(&self, batch: Batch) {
        let mut sums = self.0.lock();
        for (user, at, taken) in batch.people {
            add(sums.people.entry(UserId(user.into())).or_default(), at, taken);
        }
        for (id, at, cost) in batch.accounts {
            let (known, sum) = sums.accounts.entry(id).or_default();
            (*known, *sum) = (at.max(*known), MicroUsd(sum.0.saturating_add(cost.0)));
        }
    }
}

fn add((at, sum): &mut (UnixMs, Taken), later: UnixMs, taken: Taken) {
    *at = later.max(*at);
    *sum = Taken {
        tokens: sum.tokens.saturating_add(taken.tokens),
        micro_dollars: sum.micro_dollars.saturating_add(taken.micro_dollars),
        units: sum.units + taken.units,
    };
}

/// Counts what another replica has told.
pub(super) fn hear(pool: &LivePool, people: &People, text: &str) {
    let batch: Batch = match serde_json::from_str(text) {
        Ok(batch) => batch,
        Err(error) => return tracing::warn!("what another replica has counted cannot be read: {error}"),
    };
    for (user, at, taken) in batch.people {
        people.hear_taken(&UserId(user.into()), taken, at);
    }
    for (id, at, cost) in batch.accounts {
        pool.apply(Event::Spent { id, at, cost: Some(cost) });
    }
}

#[cfg(test)]
mod tests {
    use pool_core::TokenCounts;
    use pool_core::usage::Ending;

    use super::*;

    fn record(user: Option<&str>, at: i64, input: u64) -> UsageRecord {
        UsageRecord {
            parts: None,
            request_id: "r".into(),
            at: UnixMs(at),
            user: user.map(|user| UserId(user.into())),
            provider: "kiwi".into(),
            account: AccountId("a".into()),
            model: Some("kiwi-1".into()),
            client: None,
            session: None,
            status: 200,
            ending: Ending::Complete,
            tokens: Some(TokenCounts { input, ..TokenCounts::default() }),
            attempts: 1,
            first_byte_ms: 1,
            total_ms: 1,
        }
    }

    #[test]
    fn what_was_taken_is_told_once_and_what_could_not_be_told_is_not_lost() {
        let (tally, prices) = (Tally::default(), Prices::default());
        assert!(tally.take().is_none());
        tally.add(&record(Some("mira"), 5, 10), &prices);
        tally.add(&record(Some("mira"), 3, 1), &prices);
        tally.add(&record(None, 4, 100), &prices);
        let batch = tally.take().expect("something");
        let told = |batch: &Batch| batch.people.iter().map(|(_, at, taken)| (at.0, taken.tokens)).collect::<Vec<_>>();
        assert_eq!(told(&batch), [(5, 11)]);
        assert!(tally.take().is_none());
        tally.add(&record(Some("mira"), 9, 1), &prices);
        tally.put_back(batch);
        assert_eq!(told(&tally.take().expect("both")), [(9, 12)]);
    }
}
