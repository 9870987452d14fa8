//! What a provider's traffic has taught: what a conversation draws, and how big plans are.

use crate::sizes::Priors;

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// What a conversation draws from when it comes to an account until it has gone cold, in units, on the average.
    pub run: f64,
    /// Accounts of the provider.
    pub(crate) accounts: usize,
    pub(crate) priors: Priors,
}

/// Until conversations have been seen to their end (TraceLab, 2026: a mean conversation draws a million units, in two or
/// three runs).
const RUN: f64 = 400_000.0;
/// What one run changes of the mean.
const GAIN: f64 = 1.0 / 64.0;

impl Default for Outlook {
    fn default() -> Self {
        Self { run: RUN, accounts: 0, priors: Priors::default() }
    }
}

impl Outlook {
    /// A run is over, and drew so much.
    pub(crate) fn ended(&mut self, units: f64) {
        if units.is_finite() && units > 0.0 {
            self.run += GAIN * (units - self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_run_follows_what_runs_draw() {
        let mut outlook = Outlook::default();
        for _ in 0..300 {
            outlook.ended(2e6);
            outlook.ended(f64::NAN);
            outlook.ended(0.0);
        }
        assert!((outlook.run - 2e6).abs() < 4e4, "{}", outlook.run);
    }
}
