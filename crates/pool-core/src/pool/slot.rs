//! How one account's state takes in what happens to it.

use std::sync::Arc;

use super::{CLOCK_SLACK, Cooldown, LONGEST, MAX_COOLDOWNS, MEMORY, Slot};
use crate::account::Credentials;
use crate::quota::{self, QuotaWindow};
use crate::time::{Span, UnixMs};
use crate::verdict::{Cause, Penalty, Until};

impl Slot {
    pub(super) fn renew(&mut self, credentials: Credentials) {
        self.credentials = Arc::new(credentials);
        self.epoch += 1;
        self.needs_login = None;
    }

    /// Takes readings in. Readings that show room well after a quota cooldown began end it: the provider has reset early, or
    /// the operator bought more.
    pub(crate) fn read(&mut self, windows: &[QuotaWindow], now: UnixMs) {
        quota::merge(&mut self.windows, windows.iter().cloned());
        self.cooldowns.retain(|cooldown| {
            let mut same_scope = windows.iter().filter(|window| window.scope == cooldown.scope).peekable();
            let refuted = cooldown.cause == Cause::QuotaSpent
                && same_scope.peek().is_some()
                && same_scope.all(|window| window.used(now).get() < 0.95 && window.seen_at > cooldown.since + SETTLE);
            !refuted
        });
    }

    pub(super) fn penalise(&mut self, penalty: Penalty, now: UnixMs) {
        self.cooldowns.retain(|cooldown| now < cooldown.until + MEMORY && cooldown.since <= now + CLOCK_SLACK);
        let Penalty { scope, cause, until } = penalty;
        let known = self.cooldowns.iter().position(|cooldown| cooldown.scope == scope && cooldown.cause == cause);
        let before = known.map(|index| self.cooldowns.swap_remove(index));
        // Several requests that were under way together fail together: that is one strike, not many.
        let strikes = match &before {
            Some(earlier) if now.since(earlier.since) < TOGETHER => earlier.strikes,
            Some(earlier) => earlier.strikes.saturating_add(1),
            None => 1,
        };
        let (end, told) = match until {
            Until::At(time) => (time, true),
            Until::For(span) => (now + span, true),
            Until::BackOff => (now + cause.back_off(strikes), false),
        };
        let end = end.min(now + LONGEST);
        let longer = before.filter(|earlier| earlier.is_running(now) && earlier.until > end);
        if self.cooldowns.len() < MAX_COOLDOWNS {
            self.cooldowns.push(Cooldown {
                scope,
                cause,
                since: now,
                until: longer.as_ref().map_or(end, |earlier| earlier.until),
                told: told || longer.is_some_and(|earlier| earlier.told),
                strikes,
            });
        }
    }
}

/// Readings within this time of a limit reply may come from requests that were under way before it.
const SETTLE: Span = Span::from_secs(5);
const TOGETHER: Span = Span::from_secs(1);
