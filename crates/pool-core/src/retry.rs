//! How often we may try.

use crate::time::UnixMs;

/// Keeps retries from multiplying an upstream's trouble: every client request pays in a fifth of a retry, and ten a second
/// are free. Only transient failures draw from it; an account's own refusal costs the provider nothing.
#[derive(Debug)]
pub struct RetryBudget {
    /// In thousandths of a retry.
    balance: u64,
    filled_at: UnixMs,
}

const DEPOSIT: u64 = 200;
const PER_SECOND: u64 = 10_000;
const ONE: u64 = 1000;
/// Ten seconds' worth of free retries may gather, no more.
const MOST: u64 = 10 * PER_SECOND;

impl RetryBudget {
    pub fn new(now: UnixMs) -> Self {
        Self { balance: PER_SECOND, filled_at: now }
    }

    /// A client request has arrived.
    pub fn deposit(&mut self, now: UnixMs) {
        self.fill(now);
        self.balance = (self.balance + DEPOSIT).min(MOST);
    }

    /// May one more retry be made? If so it is paid for.
    pub fn withdraw(&mut self, now: UnixMs) -> bool {
        self.fill(now);
        let affordable = self.balance >= ONE;
        if affordable {
            self.balance -= ONE;
        }
        affordable
    }

    fn fill(&mut self, now: UnixMs) {
        let earned = now.since(self.filled_at).0.saturating_mul(PER_SECOND / 1000);
        // A second's worth at most: what was not used is not saved up for a burst.
        self.balance = self.balance.max((self.balance + earned).min(PER_SECOND));
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_within_a_fifth_of_the_requests_and_ten_a_second() {
        let mut budget = RetryBudget::new(UnixMs(0));
        let mut retries = 0;
        // 100 requests a second for ten seconds, each of which would retry twice.
        for request in 0..1000_i64 {
            let now = UnixMs(request * 10);
            budget.deposit(now);
            retries += u32::from(budget.withdraw(now)) + u32::from(budget.withdraw(now));
        }
        assert!(retries <= 200 + 100 + 10, "{retries} retries for 1000 requests in ten seconds");
        assert!(retries >= 250, "the budget must not be stingier than promised: {retries}");
    }

    #[test]
    fn a_clock_set_back_neither_pays_nor_panics() {
        let mut budget = RetryBudget::new(UnixMs(1_000_000));
        budget.deposit(UnixMs(0));
        let drawn = (0..100).filter(|_| budget.withdraw(UnixMs(0))).count();
        assert!(drawn <= 11);
    }
}
