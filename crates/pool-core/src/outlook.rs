//! What a provider's traffic has taught: what a conversation draws, how fast all of them draw, how big plans are.

use crate::sizes::Priors;
use crate::time::{Span, UnixMs};

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// What a conversation draws from when it comes to an account until it has gone cold, in units, on the average.
    pub run: f64,
    /// Accounts of the provider.
    pub(crate) accounts: usize,
    day: Rate,
    pub(crate) priors: Priors,
}

/// Until a conversation has been seen to its end (TraceLab, 2026: a mean conversation draws a million units, in two or
/// three runs).
const RUN: f64 = 400_000.0;
/// Nights are a part of demand.
const DAY: Span = Span::from_hours(24);
/// A young rate is not held down by the time before it, but neither is it believed as if a morning were a day.
const LEAST_SEEN: f64 = 0.4;
/// What one run changes of the mean.
const GAIN: f64 = 1.0 / 64.0;

impl Default for Outlook {
    fn default() -> Self {
        Self { run: RUN, accounts: 0, day: Rate::over(DAY), priors: Priors::default() }
    }
}

impl Outlook {
    pub(crate) fn drew(&mut self, units: f64, now: UnixMs) {
        if units.is_finite() && units > 0.0 {
            self.day.add(units, now);
        }
    }

    pub(crate) fn ended(&mut self, units: f64) {
        self.run += GAIN * (units - self.run);
    }

    /// Units a second that all conversations draw, over a day.
    pub fn demand(&self, now: UnixMs) -> f64 {
        self.day.get(now)
    }
}

/// A rate that forgets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    memory: Span,
    sum: f64,
    at: UnixMs,
    since: Option<UnixMs>,
}

impl Rate {
    fn over(memory: Span) -> Self {
        Self { memory, sum: 0.0, at: UnixMs::default(), since: None }
    }

    fn kept(&self, since: UnixMs, now: UnixMs) -> f64 {
        (-(now.since(since).0 as f64) / self.memory.0 as f64).exp()
    }

    fn add(&mut self, units: f64, now: UnixMs) {
        self.sum = self.sum * self.kept(self.at, now) + units;
        self.at = now;
        self.since.get_or_insert(now);
    }

    /// Units a second.
    fn get(&self, now: UnixMs) -> f64 {
        let Some(since) = self.since else { return 0.0 };
        let seen = (1.0 - self.kept(since, now)).max(LEAST_SEEN);
        self.sum * self.kept(self.at, now) / seen / (self.memory.0 as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_draw_is_told_as_it_is_and_an_old_one_fades() {
        let mut outlook = Outlook::default();
        let minute = |count: u64| UnixMs(1_000_000) + Span::from_mins(count);
        assert_eq!(outlook.demand(minute(0)), 0.0);
        for count in 0..3 * 24 * 60 {
            outlook.drew(6000.0, minute(count));
        }
        let end = 3 * 24 * 60;
        assert!((outlook.demand(minute(end)) - 100.0).abs() < 6.0, "{}", outlook.demand(minute(end)));
        assert!(outlook.demand(minute(end + 24 * 60)) < 40.0);
    }

    #[test]
    fn the_mean_run_follows_what_runs_draw() {
        let mut outlook = Outlook::default();
        for _ in 0..300 {
            outlook.ended(2e6);
        }
        assert!((outlook.run - 2e6).abs() < 2e4, "{}", outlook.run);
    }
}
