//! The last failure of each account, in upstream's words: what a person wants to read when an account does not serve.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use pool_core::{AccountId, Trail};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Accounts that are remembered.
const MOST: usize = 5000;

/// One try that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccountMishap)]
pub struct Mishap {
    pub at_ms: i64,
    /// Null: there was no reply.
    pub status: Option<u16>,
    pub reason: String,
}

/// Since the start of the process.
#[derive(Debug, Default)]
pub struct Mishaps(Mutex<BTreeMap<AccountId, Mishap>>);

impl Mishaps {
    pub fn learn(&self, trail: &Trail) {
        if trail.attempts.iter().all(|attempt| attempt.reason.is_empty()) {
            return;
        }
        let mut known = self.0.lock();
        for attempt in trail.attempts.iter().filter(|attempt| !attempt.reason.is_empty()) {
            if known.len() < MOST || known.contains_key(&attempt.account) {
                let mishap = Mishap { at_ms: attempt.at.0, status: attempt.status, reason: attempt.reason.clone() };
                known.insert(attempt.account.clone(), mishap);
            }
        }
    }

    pub fn last(&self, account: &AccountId) -> Option<Mishap> {
        self.0.lock().get(account).cloned()
    }
}
