//! When a token is renewed, and how soon after a failure it is tried again.

use crate::account::Credentials;
use crate::time::{Span, UnixMs};

/// Tokens are renewed this long before they end, so that no request ever waits for it (all three CLIs do the same).
pub const EARLY: Span = Span::from_mins(5);

/// What a request may do with the credentials as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Good to use.
    Fresh,
    /// Good to use, to be renewed in the background.
    Due,
    /// Of no use until renewed.
    Expired,
}

pub fn freshness(credentials: &Credentials, now: UnixMs) -> Freshness {
    match credentials.expires_at {
        Some(_) if credentials.refresh.is_none() => Freshness::Fresh,
        Some(end) if end <= now => Freshness::Expired,
        Some(end) if end <= now + EARLY => Freshness::Due,
        _ => Freshness::Fresh,
    }
}

/// Back-off of failed renewals of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u32,
    since: UnixMs,
    until: UnixMs,
}

impl BackOff {
    /// May it be tried now? A clock that was set back does not prolong the wait.
    pub fn is_over(&self, now: UnixMs) -> bool {
        now >= self.until || now < self.since
    }

    /// 2 s, 4 s, 8 s … up to 5 min.
    pub fn failed(&mut self, now: UnixMs) {
        self.failures = self.failures.saturating_add(1);
        self.since = now;
        self.until = now + Span::from_secs((1_u64 << self.failures.min(9)).min(300));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn credentials(expires_at: Option<i64>, refresh: bool) -> Credentials {
        Credentials {
            access: Secret::new("made-up"),
            refresh: refresh.then(|| Secret::new("made-up")),
            expires_at: expires_at.map(UnixMs),
            refreshed_at: None,
            bound: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn tokens_are_renewed_five_minutes_early() {
        let now = UnixMs(1_000_000);
        for (expires_at, refresh, expected) in [
            (Some(now.0 + 300_001), true, Freshness::Fresh),
            (Some(now.0 + 300_000), true, Freshness::Due),
            (Some(now.0), true, Freshness::Expired),
            (None, true, Freshness::Fresh),
            // Nothing can renew it: upstream will say when it is over.
            (Some(now.0), false, Freshness::Fresh),
        ] {
            assert_eq!(freshness(&credentials(expires_at, refresh), now), expected, "{expires_at:?}");
        }
    }

    #[test]
    fn failed_renewals_wait_longer_and_longer_but_not_for_ever() {
        let mut back_off = BackOff::default();
        assert!(back_off.is_over(UnixMs(0)));
        for _ in 0..100 {
            back_off.failed(UnixMs(1000));
        }
        assert!(!back_off.is_over(UnixMs(1000 + 299_999)));
        assert!(back_off.is_over(UnixMs(1000 + 300_000)));
        assert!(back_off.is_over(UnixMs(0)), "the clock was set back");
    }
}
