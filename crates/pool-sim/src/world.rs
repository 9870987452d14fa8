//! The truth that the pool never sees: what each account really has left, and which caches really are warm.

use pool_core::{Fraction, QuotaWindow, Scope, Source, Span, UnixMs};

use crate::pool_file::AccountSpec;

pub(crate) const SHORT: Span = Span::from_hours(5);
pub(crate) const WEEK: Span = Span::from_hours(7 * 24);
/// A prompt prefix stays in an account's cache so long after its last use.
pub(crate) const WARM: Span = Span::from_secs(300);
/// A conversation that has grown beyond this is compacted by its client …
const COMPACT_BEYOND: u64 = 180_000;
/// … to so many tokens.
const COMPACTED: u64 = 30_000;

/// An account's true quota.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    weekly: f64,
    short: f64,
    week_used: f64,
    week_ends: UnixMs,
    short_used: f64,
    /// `None`: it opens with the next use.
    short_ends: Option<UnixMs>,
    /// What was left at the ends of weeks, of how much.
    pub(crate) wasted: f64,
    pub(crate) ended: f64,
    pub(crate) drawn_inside: f64,
    pub(crate) drawn_outside: f64,
}

impl Quota {
    pub(crate) fn new(spec: &AccountSpec, start: UnixMs) -> Self {
        Self {
            weekly: spec.weekly_units,
            short: spec.weekly_units / spec.short_ratio,
            week_used: 0.0,
            week_ends: first_end(spec, start),
            short_used: 0.0,
            short_ends: None,
            wasted: 0.0,
            ended: 0.0,
            drawn_inside: 0.0,
            drawn_outside: 0.0,
        }
    }

    /// Ends the windows whose time has come.
    pub(crate) fn roll(&mut self, now: UnixMs) {
        while self.week_ends <= now {
            self.wasted += (self.weekly - self.week_used).max(0.0);
            self.ended += self.weekly;
            self.week_used = 0.0;
            self.week_ends = self.week_ends + WEEK;
        }
        if self.short_ends.is_some_and(|end| end <= now) {
            self.short_used = 0.0;
            self.short_ends = None;
        }
    }

    /// A request arrives: refused until when, or let in.
    pub(crate) fn admit(&mut self, now: UnixMs) -> Result<(), UnixMs> {
        self.roll(now);
        let week = (self.week_used >= self.weekly).then_some(self.week_ends);
        let short = self.short_ends.filter(|_| self.short_used >= self.short);
        if let Some(until) = week.max(short) {
            return Err(until);
        }
        self.open(now);
        Ok(())
    }

    pub(crate) fn draw(&mut self, units: f64, now: UnixMs) {
        self.roll(now);
        self.open(now);
        self.week_used += units;
        self.short_used += units;
        self.drawn_inside += units;
    }

    /// Somebody outside the pool uses it, as far as something is left.
    pub(crate) fn draw_outside(&mut self, units: f64, now: UnixMs) {
        let before = self.drawn_inside;
        if self.admit(now).is_ok() {
            self.draw(units, now);
            self.drawn_inside = before;
            self.drawn_outside += units;
        }
    }

    fn open(&mut self, now: UnixMs) {
        self.short_ends.get_or_insert(now + SHORT);
    }

    /// What a provider would tell of it, rounded to `quantise` percent (0: exact).
    pub(crate) fn reading(&mut self, now: UnixMs, quantise: f64) -> Vec<QuotaWindow> {
        self.roll(now);
        let told = |used: f64| {
            let percent = used * 100.0;
            let rounded = if quantise > 0.0 { (percent / quantise).round() * quantise } else { percent };
            Fraction::from_percent(rounded).unwrap_or(Fraction::ONE)
        };
        let window = |span: Span, used: f64, resets_at: Option<UnixMs>| QuotaWindow {
            name: QuotaWindow::name_of(span),
            scope: Scope::Account,
            used: told(used),
            resets_at,
            span: Some(span),
            source: Source::Headers,
            seen_at: now,
        };
        vec![
            window(SHORT, self.short_used / self.short, self.short_ends),
            window(WEEK, self.week_used / self.weekly, Some(self.week_ends)),
        ]
    }
}

/// The first end of a week after the start.
pub(crate) fn first_end(spec: &AccountSpec, start: UnixMs) -> UnixMs {
    let phase = (spec.phase_hours * 3_600_000.0) as u64 % WEEK.0;
    start + if phase == 0 { WEEK } else { Span(phase) }
}

/// A conversation's text and the caches that hold it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    pub(crate) tokens: u64,
    caches: Vec<Cache>,
}

#[derive(Clone, Copy, Debug)]
struct Cache {
    account: usize,
    tokens: u64,
    until: UnixMs,
}

impl Context {
    /// Tokens that this account would read from its cache.
    pub(crate) fn warm_on(&self, account: usize, now: UnixMs) -> u64 {
        let cache = self.caches.iter().find(|cache| cache.account == account && now < cache.until);
        cache.map_or(0, |cache| cache.tokens.min(self.tokens))
    }

    /// A step has ended on this account: the conversation has grown, and the account's cache holds all of it.
    ///
    /// When its client compacts it, only the account that wrote the summary holds what is left.
    pub(crate) fn grow(&mut self, tokens: u64, account: usize, compacts: bool, now: UnixMs) {
        self.tokens += tokens;
        self.caches.retain(|cache| cache.account != account && now < cache.until);
        if compacts && self.tokens > COMPACT_BEYOND {
            self.tokens = COMPACTED;
            self.caches.clear();
        }
        self.caches.push(Cache { account, tokens: self.tokens, until: now + WARM });
    }
}

#[cfg(test)]
mod tests {
    use pool_core::ProviderId;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn quota() -> Quota {
        let spec = AccountSpec {
            name: "a".into(),
            provider: ProviderId("apple"),
            plan: None,
            weekly_units: 800.0,
            short_ratio: 8.0,
            phase_hours: 31.0,
        };
        Quota::new(&spec, UnixMs(0))
    }

    #[test]
    fn the_short_window_opens_with_its_first_use_and_the_week_keeps_its_phase() {
        let mut quota = quota();
        assert_eq!(quota.reading(UnixMs(0), 0.0)[0].resets_at, None);
        assert_eq!(quota.admit(UnixMs(HOUR)), Ok(()));
        quota.draw(100.0, UnixMs(2 * HOUR));
        let told = quota.reading(UnixMs(2 * HOUR), 0.0);
        assert_eq!((told[0].used.get(), told[0].resets_at), (1.0, Some(UnixMs(6 * HOUR))));
        assert_eq!((told[1].used.get(), told[1].resets_at), (0.125, Some(UnixMs(31 * HOUR))));
        assert_eq!(quota.admit(UnixMs(6 * HOUR - 1)), Err(UnixMs(6 * HOUR)));
        assert_eq!(quota.admit(UnixMs(7 * HOUR)), Ok(()));
        assert_eq!(quota.reading(UnixMs(7 * HOUR), 0.0)[0].resets_at, Some(UnixMs(12 * HOUR)));
        quota.draw(700.0, UnixMs(8 * HOUR));
        assert_eq!(quota.admit(UnixMs(9 * HOUR)), Err(UnixMs(31 * HOUR)));
        quota.roll(UnixMs(31 * HOUR));
        assert_eq!((quota.wasted, quota.ended), (0.0, 800.0));
        quota.roll(UnixMs((31 + 168) * HOUR));
        assert_eq!((quota.wasted, quota.ended), (800.0, 1600.0));
    }

    #[test]
    fn coarse_readings_are_rounded_to_the_nearest() {
        let mut quota = quota();
        for (drawn, told) in [(1.4, 0.01), (98.0, 0.99), (0.2, 1.0)] {
            quota.draw(drawn, UnixMs(1));
            assert!((quota.reading(UnixMs(1), 1.0)[0].used.get() - told).abs() < 1e-9, "{drawn}");
        }
    }

    #[test]
    fn a_cache_holds_for_five_minutes_and_not_beyond_a_compaction() {
        let mut context = Context::default();
        context.grow(1000, 0, true, UnixMs(0));
        context.grow(500, 1, true, UnixMs(100_000));
        assert_eq!([0, 1, 2].map(|account| context.warm_on(account, UnixMs(299_999))), [1000, 1500, 0]);
        assert_eq!([0, 1, 2].map(|account| context.warm_on(account, UnixMs(300_000))), [0, 1500, 0]);
        context.grow(180_000, 0, true, UnixMs(300_001));
        assert_eq!([0, 1].map(|account| context.warm_on(account, UnixMs(300_002))), [30_000, 0]);
    }
}
