//! How fast the pool is drawn on: the last two hours of each account and provider, and what is usual at this time of the week.
//!
//! Times when nobody could serve teach nothing of what people want, so they are left out: a cell is *shut* from a refusal until
//! the refill that it was told, or until somebody is served.

use std::collections::BTreeMap;

use crate::account::{AccountId, ProviderId};
use crate::time::{Span, UnixMs};

use super::week::Week;

/// A cell of the recent past.
pub(super) const CELL: Span = Span::from_mins(5);
/// Two hours, and the cell that is under way.
const CELLS: i64 = 25;
/// Model families that are watched of one provider.
const MOST_FAMILIES: usize = 16;
/// Accounts that are watched.
const MOST_ACCOUNTS: usize = 10_000;

/// Units drawn in each of the last two hours' cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recent {
    cells: [f64; CELLS as usize],
    shut: [bool; CELLS as usize],
    /// The number of the newest cell since the epoch.
    newest: i64,
    /// The first cell that was watched.
    first: i64,
    shut_until: UnixMs,
}

fn cell_of(at: UnixMs) -> i64 {
    at.0.div_euclid(CELL.0.cast_signed())
}

fn place(cell: i64) -> usize {
    cell.rem_euclid(CELLS) as usize
}

impl Recent {
    fn new(at: UnixMs) -> Self {
        let newest = cell_of(at);
        Self {
            cells: [0.0; CELLS as usize],
            shut: [false; CELLS as usize],
            newest,
            first: newest,
            shut_until: UnixMs::default(),
        }
    }

    fn advance(&mut self, now: UnixMs) {
        let cell = cell_of(now);
        // A clock that was set back: what lies ahead of it was never.
        if cell < self.newest - CELLS {
            *self = Self::new(now);
        }
        let from = (self.newest + 1).max(cell - CELLS + 1);
        for next in from..=cell {
            self.cells[place(next)] = 0.0;
            self.shut[place(next)] = UnixMs(next.saturating_mul(CELL.0.cast_signed())) < self.shut_until;
        }
        self.newest = self.newest.max(cell);
    }

    /// `at` may lie up to two hours back.
    fn add(&mut self, at: UnixMs, units: f64) {
        self.advance(at);
        let cell = cell_of(at);
        if cell > self.newest - CELLS {
            self.cells[place(cell)] += units;
            self.first = self.first.min(cell);
        }
        self.shut_until = self.shut_until.min(at);
    }

    fn shut(&mut self, now: UnixMs, until: UnixMs) {
        self.advance(now);
        self.shut_until = until.min(now + Span::from_hours(24));
        self.shut[place(self.newest)] = true;
    }

    /// Units an hour, a cell counting half as much for each `half` of its age. `None`: nobody has watched, or nobody could serve.
    pub(crate) fn rate(&self, half: Span, now: UnixMs) -> Option<f64> {
        let cell = cell_of(now);
        let (mut units, mut hours) = (0.0, 0.0);
        let oldest = self.first.max(cell - CELLS + 1);
        for one in oldest..=cell {
            let begun = UnixMs(one.saturating_mul(CELL.0.cast_signed()));
            let known = one <= self.newest;
            if begun < self.shut_until && !known || known && self.shut[place(one)] {
                continue;
            }
            let lasted = now.since(begun).0.min(CELL.0) as f64;
            let age = (cell - one) as f64 * CELL.0 as f64;
            let weight = if half == Span::ZERO { 1.0 } else { (-age / half.0 as f64).exp2() };
            units += weight * if known { self.cells[place(one)] } else { 0.0 };
            hours += weight * lasted / 3_600_000.0;
        }
        (hours > 0.0).then(|| units / hours)
    }

    /// How long it has been watched, of the last two hours and five minutes.
    pub(crate) fn watched(&self, now: UnixMs) -> Span {
        let oldest = self.first.max(cell_of(now) - CELLS + 1);
        now.since(UnixMs(oldest.saturating_mul(CELL.0.cast_signed())))
    }
}

/// What a provider's accounts are drawn on together.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) recent: Recent,
    /// The same of requests that a limit of this family touches.
    pub(crate) families: BTreeMap<String, Recent>,
    pub(crate) week: Week,
}

impl Stream {
    fn new(at: UnixMs) -> Self {
        Self { recent: Recent::new(at), families: BTreeMap::new(), week: Week::default() }
    }

    /// The share of the burn that a limit of this family touches. `None`: nothing was drawn lately.
    pub(crate) fn part(&self, family: &str, now: UnixMs) -> Option<f64> {
        let all = self.recent.rate(Span::ZERO, now).filter(|all| *all > 0.0)?;
        let its = self.families.get(family).and_then(|recent| recent.rate(Span::ZERO, now)).unwrap_or(0.0);
        Some((its / all).clamp(0.0, 1.0))
    }
}

/// See the module's page. Bounded by accounts and providers.
#[derive(Clone, Debug, Default)]
pub struct Burn {
    streams: BTreeMap<ProviderId, Stream>,
    accounts: BTreeMap<AccountId, Recent>,
    /// Providers whose weeks have changed since they were last put away.
    changed: Vec<ProviderId>,
}

impl Burn {
    pub(crate) fn stream(&self, provider: ProviderId) -> Option<&Stream> {
        self.streams.get(&provider)
    }

    pub(crate) fn account(&self, id: &AccountId) -> Option<&Recent> {
        self.accounts.get(id)
    }

    /// A request has come to its end.
    pub(crate) fn drew(&mut self, provider: ProviderId, id: &AccountId, families: &[String], units: f64, at: UnixMs) {
        if !units.is_finite() || units <= 0.0 {
            return;
        }
        let stream = self.streams.entry(provider).or_insert_with(|| Stream::new(at));
        if stream.week.add(at, units) && !self.changed.contains(&provider) {
            self.changed.push(provider);
        }
        self.recently(provider, id, families, units, at);
    }

    /// Of the last two hours only: the week knows it already, or was put away.
    pub(crate) fn recently(
        &mut self,
        provider: ProviderId,
        id: &AccountId,
        families: &[String],
        units: f64,
        at: UnixMs,
    ) {
        let stream = self.streams.entry(provider).or_insert_with(|| Stream::new(at));
        stream.recent.add(at, units);
        for family in families {
            if stream.families.contains_key(family) || stream.families.len() < MOST_FAMILIES {
                stream.families.entry(family.clone()).or_insert_with(|| Recent::new(at)).add(at, units);
            }
        }
        if self.accounts.contains_key(id) || self.accounts.len() < MOST_ACCOUNTS {
            self.accounts.entry(id.clone()).or_insert_with(|| Recent::new(at)).add(at, units);
        }
    }

    /// Nobody of the provider can serve before `until`.
    pub(crate) fn shut(&mut self, provider: ProviderId, until: UnixMs, now: UnixMs) {
        if let Some(stream) = self.streams.get_mut(&provider) {
            stream.recent.shut(now, until);
            stream.week.shut(now, until);
        }
    }

    pub(crate) fn gone(&mut self, id: &AccountId) {
        self.accounts.remove(id);
    }

    /// The weeks that have changed since this was last asked: once an hour each.
    pub fn take_changed(&mut self) -> Vec<(ProviderId, Week)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|id| Some((id, self.streams.get(&id)?.week.clone()))).collect()
    }

    /// Takes up what was usual before a restart.
    pub(crate) fn restore(&mut self, provider: ProviderId, week: Week, now: UnixMs) {
        let stream = self.streams.entry(provider).or_insert_with(|| Stream::new(now));
        stream.week.restore(week);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_786_147_200_000);
    const ACME: ProviderId = ProviderId("acme");

    fn mins(mins: u64) -> Span {
        Span::from_mins(mins)
    }

    fn drawn(burn: &mut Burn, at: UnixMs) {
        burn.drew(ACME, &AccountId("a".into()), &["opus".into()], 100.0, at);
    }

    fn rate(burn: &Burn, now: UnixMs) -> Option<f64> {
        burn.stream(ACME).and_then(|stream| stream.recent.rate(Span::ZERO, now)).map(f64::round)
    }

    #[test]
    fn two_hours_count_and_no_more() {
        let mut burn = Burn::default();
        for count in 0..60 {
            drawn(&mut burn, NOW + mins(5 * count));
        }
        let end = NOW + mins(300);
        assert_eq!(rate(&burn, end), Some(1200.0));
        assert_eq!(rate(&burn, end + mins(60)), Some(600.0), "an hour of rest");
        assert_eq!(rate(&burn, end + mins(500)), Some(0.0));
        assert_eq!(burn.stream(ACME).and_then(|stream| stream.part("opus", end)), Some(1.0));
        assert_eq!(burn.stream(ACME).and_then(|stream| stream.part("haiku", end)), Some(0.0));
    }

    #[test]
    fn what_was_watched_for_a_short_time_is_not_thinned_out() {
        let mut burn = Burn::default();
        for count in 0..6 {
            drawn(&mut burn, NOW + mins(5 * count));
        }
        assert_eq!(rate(&burn, NOW + mins(30)), Some(1200.0));
        assert_eq!(burn.stream(ACME).map(|stream| stream.recent.watched(NOW + mins(30))), Some(mins(30)));
    }

    #[test]
    fn times_when_nobody_could_serve_are_left_out() {
        let mut burn = Burn::default();
        for count in 0..12 {
            drawn(&mut burn, NOW + mins(5 * count));
        }
        burn.shut(ACME, NOW + mins(115), NOW + mins(60));
        assert_eq!(rate(&burn, NOW + mins(115)), Some(1200.0), "nobody has asked since");
        drawn(&mut burn, NOW + mins(116));
        assert_eq!(rate(&burn, NOW + mins(120)), Some(1200.0));
        let later = rate(&burn, NOW + mins(230)).expect("watched");
        assert!((40.0..60.0).contains(&later), "open, and hardly used: {later}");
    }

    #[test]
    fn a_clock_that_was_set_back_begins_anew() {
        let mut burn = Burn::default();
        drawn(&mut burn, NOW + mins(6000));
        drawn(&mut burn, NOW);
        assert_eq!(rate(&burn, NOW + mins(5)), Some(1200.0));
    }
}
