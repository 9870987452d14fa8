//! How big an account's windows are: learned, since no provider tells it.
//!
//! Providers tell percent. What went through us in the meantime we know in units ([`crate::TokenCounts::units`]). A *stretch* is a
//! piece of a window between two readings that lie at least [`STRETCH`] apart; units over share moved is one estimate of
//! the window's size. Stretches follow each other without a gap, so what a late reading leaves out of one it adds to the
//! next. Use outside the pool moves percent without units and makes a stretch look small, never big: so the estimate is a
//! high quantile of the last stretches, not their mean. An account that has taught nothing yet is as big as others of its plan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::capacity::Expired;
use crate::quota::{QuotaWindow, Scope};
use crate::time::{Span, UnixMs};

/// A stretch ends when the window has moved by this share. Whole percents are off by half a percent at each end: a tenth of
/// a stretch.
pub const STRETCH: f64 = 0.04;
/// Stretches kept of each window: a few weeks of work, and few enough to forget a plan that was changed.
const KEPT: usize = 24;
/// Which of the stretches, sorted by size, is believed. A quarter may lie above: rounding.
const QUANTILE: f64 = 0.75;
/// A prior counts like this share of a window, moved.
const PRIOR: f64 = 0.03;
/// A reading that goes back by more than this is a reset that nobody told; by less, an answer that was overtaken.
const BACK: f64 = 0.02;
/// Windows measured of one account.
const MOST_METERS: usize = 16;
/// Nothing is known of any account of the provider: a week holds this much, in fresh input tokens. A mean conversation draws
/// about a million (TraceLab, 2026); a small plan carries some dozens a week.
const WEEK_UNITS: f64 = 50e6;
/// … and a shorter window this part of a week, whatever its length (5 h on both subscriptions that have one).
const SHORT_PART: f64 = 1.0 / 8.0;

/// The size of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// What the whole window holds, in fresh input tokens.
    pub units: f64,
    /// How much of it was learned from this very account: 0 (guessed) to 1.
    pub confidence: f64,
}

impl Size {
    /// Nothing is known, not even of others.
    pub(crate) fn unknown(span: Option<Span>) -> Self {
        let long = span.is_some_and(|span| span >= LONG);
        Self { units: if long { WEEK_UNITS } else { WEEK_UNITS * SHORT_PART }, confidence: 0.0 }
    }
}

/// What one window of one account has taught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    pub window: String,
    pub scope: Scope,
    /// How long the window is, as far as it was told.
    #[serde(default)]
    pub span: Option<Span>,
    /// Where the stretch that is being measured began.
    from: Option<Mark>,
    /// Drawn through us since then.
    units: f64,
    /// The share moved since then, as last told.
    moved: f64,
    stretches: Vec<Stretch>,
    /// What was left at its last resets, if it is a long window; the newest last.
    #[serde(default)]
    pub expired: Vec<Expired>,
    /// Drawn through us since the last reading.
    #[serde(skip)]
    unread: f64,
    /// What is believed now, from these stretches and the prior.
    #[serde(skip)]
    size: Option<Size>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    used: f64,
    resets_at: Option<UnixMs>,
    at: UnixMs,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Stretch {
    units: f64,
    moved: f64,
}

impl Stretch {
    fn size(&self) -> f64 {
        self.units / self.moved
    }
}

impl Meter {
    fn new(window: &QuotaWindow) -> Self {
        Self {
            window: window.name.clone(),
            scope: window.scope.clone(),
            span: window.span,
            from: None,
            units: 0.0,
            moved: 0.0,
            stretches: Vec::new(),
            expired: Vec::new(),
            unread: 0.0,
            size: None,
        }
    }

    /// What this window alone has taught, without any prior. `None`: no stretch has ended yet.
    pub fn taught(&self) -> Option<Size> {
        let (units, evidence) = self.estimate().filter(|_| !self.stretches.is_empty())?;
        Some(Size { units, confidence: evidence / (evidence + PRIOR) })
    }

    /// The window's size as far as it is known.
    pub fn size(&self) -> Option<Size> {
        self.size
    }

    /// Units drawn through us that no reading has shown yet.
    pub fn unread(&self) -> f64 {
        self.unread
    }

    pub(crate) fn is_of(&self, window: &QuotaWindow) -> bool {
        self.window == window.name && self.scope == window.scope
    }

    /// True if a stretch has ended.
    fn read(&mut self, window: &QuotaWindow, now: UnixMs) -> bool {
        let unread = std::mem::take(&mut self.unread);
        self.span = window.span.or(self.span);
        let used = window.used(now).get();
        let mark = Mark { used, resets_at: window.resets_at, at: now };
        let from = self.from.unwrap_or(mark);
        let over = from.resets_at.is_some_and(|reset| reset <= now) || used + BACK < from.used || now < from.at;
        if over || self.from.is_none() {
            let reset = from.resets_at.filter(|reset| *reset <= now);
            if let Some(at) = reset.filter(|_| self.span.is_some_and(|span| span >= LONG)) {
                let unread = self.size.map_or(0.0, |size| unread / size.units.max(1.0));
                Expired::note(&mut self.expired, from.used + self.moved + unread, at);
            }
            self.start(mark);
            return reset.is_some();
        }
        if used - from.used >= STRETCH {
            let stretch = Stretch { units: self.units, moved: used - from.used };
            // What moved without us teaches nothing of the size.
            if stretch.units > 0.0 {
                if self.stretches.len() == KEPT {
                    self.stretches.remove(0);
                }
                self.stretches.push(stretch);
            }
            self.start(mark);
            return true;
        }
        self.moved = self.moved.max(used - from.used);
        self.from = Some(Mark { resets_at: from.resets_at.or(mark.resets_at), ..from });
        false
    }

    fn start(&mut self, mark: Mark) {
        self.from = Some(mark);
        self.units = 0.0;
        self.moved = 0.0;
    }

    /// The estimate, and the share of windows that it stands on.
    fn estimate(&self) -> Option<(f64, f64)> {
        let open = Stretch { units: self.units, moved: self.moved };
        let young = self.stretches.is_empty() && open.moved > 0.0 && open.units > 0.0;
        let mut sorted: Vec<Stretch> = self.stretches.iter().copied().chain(young.then_some(open)).collect();
        sorted.sort_by(|a, b| a.size().total_cmp(&b.size()));
        let evidence: f64 = sorted.iter().map(|stretch| stretch.moved).sum();
        let mut below = 0.0;
        for stretch in &sorted {
            below += stretch.moved;
            if below >= QUANTILE * evidence {
                return Some((stretch.size(), evidence));
            }
        }
        None
    }
}

/// Takes readings in. True if they have taught something that other accounts' sizes may hang on.
pub(crate) fn read(meters: &mut Vec<Meter>, windows: &[QuotaWindow], now: UnixMs) -> bool {
    let mut learned = false;
    for window in windows.iter().filter(|window| window.is_believable(now)) {
        match meters.iter().position(|meter| meter.is_of(window)) {
            Some(index) => learned |= meters[index].read(window, now),
            None if meters.len() < MOST_METERS => {
                let mut meter = Meter::new(window);
                meter.read(window, now);
                meters.push(meter);
                learned = true;
            }
            None => {}
        }
    }
    learned
}

/// A request has drawn on every window that limits it.
pub(crate) fn drew(meters: &mut [Meter], families: &[String], units: f64) {
    if units.is_finite() && units > 0.0 {
        for meter in meters.iter_mut().filter(|meter| meter.scope.touches(families)) {
            meter.units += units;
            meter.unread += units;
        }
    }
}

/// What accounts of a plan have taught, by window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Priors {
    plans: BTreeMap<(Option<String>, String), Mean>,
    all: BTreeMap<String, Mean>,
}

/// A mean weighted by evidence.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn get(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

impl Priors {
    /// Takes in what one account has taught.
    pub(crate) fn add(&mut self, plan: Option<&str>, meters: &[Meter]) {
        for meter in meters {
            let Some((units, evidence)) = meter.estimate() else { continue };
            // More of one account than a window tells nothing more of others.
            let weight = evidence.min(1.0);
            self.plans.entry((plan.map(str::to_owned), meter.window.clone())).or_default().add(units, weight);
            self.all.entry(meter.window.clone()).or_default().add(units / scale(plan), weight);
        }
    }

    /// What such a window of such an account holds, before it has taught anything itself.
    fn guess(&self, plan: Option<&str>, window: &str, span: Option<Span>) -> f64 {
        let key = (plan.map(str::to_owned), window.to_owned());
        if let Some(units) = self.plans.get(&key).and_then(|mean| mean.get()) {
            return units;
        }
        let known = self.all.get(window).and_then(|mean| mean.get());
        known.unwrap_or(Size::unknown(span).units) * scale(plan)
    }

    /// Works out the sizes of an account's windows.
    pub(crate) fn settle(&self, plan: Option<&str>, windows: &[QuotaWindow], meters: &mut [Meter]) {
        let guess = |meter: &Meter| {
            let span = windows.iter().find(|window| meter.is_of(window)).and_then(|window| window.span);
            self.guess(plan, &meter.window, span)
        };
        // An account with one window twice as big as its plan's has the others twice as big, too.
        let mut ratio = Mean::default();
        for meter in meters.iter() {
            if let Some((units, evidence)) = meter.estimate() {
                ratio.add((units / guess(meter)).ln(), evidence);
            }
        }
        let ratio = ratio.get().map_or(1.0, |own| (own * ratio.weight / (ratio.weight + PRIOR)).exp());
        for meter in meters {
            let prior = guess(meter) * ratio;
            let (units, evidence) = meter.estimate().unwrap_or((0.0, 0.0));
            let whole = evidence + PRIOR;
            meter.size = Some(Size { units: (units * evidence + prior * PRIOR) / whole, confidence: evidence / whole });
        }
    }
}

/// Windows of this length and more are a plan's quota; shorter ones limit how fast it can be drawn.
pub const LONG: Span = Span::from_hours(24);

/// Plans that are sold as a multiple of another say so in their name: `max_20x`.
fn scale(plan: Option<&str>) -> f64 {
    let Some(plan) = plan else { return 1.0 };
    let multiple = plan.split(|c: char| !c.is_ascii_alphanumeric()).find_map(|word| {
        let number = word.strip_suffix(['x', 'X'])?;
        number.parse::<u16>().ok().filter(|multiple| (1..=100).contains(multiple))
    });
    multiple.map_or(1.0, f64::from)
}

/// What is put away before a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub accounts: Vec<(AccountId, Vec<Meter>)>,
}

/// Adds what was put away to what has been measured since, which counts more.
pub(crate) fn recall(meters: &mut Vec<Meter>, mut away: Vec<Meter>) {
    mend(&mut away);
    for old in away {
        match meters.iter().position(|meter| meter.window == old.window && meter.scope == old.scope) {
            Some(index) if meters[index].stretches.is_empty() => {
                meters[index].stretches = old.stretches;
                meters[index].expired = old.expired;
            }
            None if meters.len() < MOST_METERS => meters.push(old),
            _ => {}
        }
    }
}

/// What was put away may come from another version, or from a hand: what cannot be is dropped.
fn mend(meters: &mut Vec<Meter>) {
    meters.truncate(MOST_METERS);
    for meter in meters {
        let sound = |stretch: &Stretch| {
            let positive = |value: f64| value.is_finite() && value > 0.0;
            positive(stretch.units) && positive(stretch.moved) && stretch.moved <= 1.0
        };
        meter.stretches.retain(sound);
        meter.stretches.truncate(KEPT);
        meter.expired.truncate(Expired::KEPT);
        // What was drawn while nobody looked is unknown.
        meter.from = None;
        meter.units = 0.0;
        meter.moved = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Fraction, Source};

    const WEEK: f64 = 40e6;
    const SHORT: f64 = 5e6;
    const FIVE_HOURS: Span = Span::from_hours(5);
    const SEVEN_DAYS: Span = Span::from_hours(168);

    fn window(name: &str, span: Span, used: f64, resets_at: UnixMs, now: UnixMs) -> QuotaWindow {
        QuotaWindow {
            name: name.into(),
            scope: Scope::Account,
            used: Fraction::new(used).expect("a number"),
            resets_at: Some(resets_at),
            span: Some(span),
            source: Source::Headers,
            seen_at: now,
        }
    }

    /// How an account is watched.
    #[derive(Clone, Copy)]
    struct World {
        /// Readings are rounded to this share.
        coarse: f64,
        /// Readings miss so many of the last requests.
        late: usize,
        /// For each unit that goes through us, so many go past us, in every fourth hour.
        outside: f64,
    }

    /// A request of 60,000 units every two minutes for so many hours; windows are cut as they end.
    fn learned(world: World, hours: usize) -> (Size, Size) {
        let (mut meters, mut windows) = (Vec::new(), Vec::new());
        let (mut short, mut week) = (vec![0.0], vec![0.0]);
        for count in 0..hours * 30 {
            let now = UnixMs(1_000_000_000 + count as i64 * 120_000);
            let short_ends = UnixMs(1_000_000_000 + (count as i64 / 150 + 1) * 150 * 120_000);
            if count.is_multiple_of(150) {
                short = vec![0.0];
            }
            drew(&mut meters, &[], 60_000.0);
            let all = if count / 30 % 4 == 0 { 60_000.0 * (1.0 + world.outside) } else { 60_000.0 };
            short.push(short.last().expect("one") + all / SHORT);
            week.push(week.last().expect("one") + all / WEEK);
            let told = |line: &[f64]| {
                let value = line[line.len().saturating_sub(1 + world.late)];
                if world.coarse > 0.0 { (value / world.coarse).round() * world.coarse } else { value }
            };
            windows = vec![
                window("5h", FIVE_HOURS, told(&short), short_ends, now),
                window("week", SEVEN_DAYS, told(&week), UnixMs(i64::MAX), now),
            ];
            read(&mut meters, &windows, now);
        }
        let mut priors = Priors::default();
        priors.add(None, &meters);
        priors.settle(None, &windows, &mut meters);
        let size = |index: usize| meters.get(index).and_then(Meter::size).expect("a size");
        (size(0), size(1))
    }

    #[test]
    fn sizes_are_learned_from_coarse_and_late_readings_and_beside_use_from_outside() {
        for (name, world, within) in [
            ("exact", World { coarse: 0.0, late: 0, outside: 0.0 }, 0.02),
            ("whole percents", World { coarse: 0.01, late: 0, outside: 0.0 }, 0.15),
            ("late", World { coarse: 0.0, late: 2, outside: 0.0 }, 0.15),
            ("outside", World { coarse: 0.0, late: 0, outside: 2.0 }, 0.1),
            ("all of it", World { coarse: 0.01, late: 2, outside: 2.0 }, 0.2),
        ] {
            let (short, week) = learned(world, 20);
            for (window, size, truth) in [("5h", short, SHORT), ("week", week, WEEK)] {
                let off = (size.units / truth - 1.0).abs();
                assert!(off < within, "{name}: {window} of {truth} is held to be {}", size.units);
                assert!(size.confidence > 0.8, "{name}: {window} {}", size.confidence);
            }
        }
    }

    #[test]
    fn little_evidence_moves_the_guess_little() {
        let (short, _) = learned(World { coarse: 0.0, late: 0, outside: 0.0 }, 1);
        assert!(short.units > SHORT * 0.9 && short.units < SHORT * 1.1, "{}", short.units);
        let mut meters = Vec::new();
        let windows = [window("5h", FIVE_HOURS, 0.1, UnixMs(99), UnixMs(9))];
        read(&mut meters, &windows, UnixMs(9));
        Priors::default().settle(None, &windows, &mut meters);
        assert_eq!(meters[0].size(), Some(Size { units: WEEK_UNITS * SHORT_PART, confidence: 0.0 }));
    }

    #[test]
    fn a_new_account_is_as_big_as_its_plan_says() {
        let taught = |name: &str, units: f64| {
            let at = UnixMs(9);
            let mut meters = Vec::new();
            read(&mut meters, &[window(name, FIVE_HOURS, 0.1, UnixMs(99), at)], at);
            drew(&mut meters, &[], units);
            read(&mut meters, &[window(name, FIVE_HOURS, 0.2, UnixMs(99), at)], at);
            meters
        };
        let mut priors = Priors::default();
        priors.add(Some("max_5x"), &taught("5h", 1e6));
        for (plan, expected) in [(Some("max_5x"), 10e6), (Some("max_20x"), 40e6), (Some("plus"), 2e6), (None, 2e6)] {
            let guess = priors.guess(plan, "5h", Some(FIVE_HOURS));
            assert!((guess - expected).abs() < 1.0, "{plan:?}: {guess}");
        }
        // One window three times as big as the plan's: so is the other.
        let at = UnixMs(9);
        let mut meters = taught("5h", 3e6);
        read(&mut meters, &[window("week", SEVEN_DAYS, 0.1, UnixMs(99), at)], at);
        priors.add(Some("max_5x"), &taught("week", 8e6));
        let windows = [window("week", SEVEN_DAYS, 0.1, UnixMs(99), at)];
        priors.settle(Some("max_5x"), &windows, &mut meters);
        let week = meters[1].size().expect("a size");
        assert!(week.units > 150e6 && week.confidence < 0.01, "{week:?}");
    }

    #[test]
    fn what_was_put_away_by_another_hand_is_mended() {
        let mut meter = Meter::new(&window("5h", FIVE_HOURS, 0.0, UnixMs(1), UnixMs(0)));
        let stretch = |units: f64, moved: f64| Stretch { units, moved };
        meter.stretches = vec![stretch(f64::NAN, 0.1), stretch(1.0, 0.0), stretch(-1.0, 0.1), stretch(5.0, 0.1)];
        let mut meters = vec![meter; 40];
        mend(&mut meters);
        assert_eq!((meters.len(), meters[0].stretches.clone()), (MOST_METERS, vec![stretch(5.0, 0.1)]));
    }

    #[test]
    fn a_reading_that_comes_before_what_was_put_away_costs_nothing() {
        let window = |name: &str, used| window(name, FIVE_HOURS, used, UnixMs(99), UnixMs(9));
        let measured = |name: &str, units: f64| {
            let mut meters = Vec::new();
            read(&mut meters, &[window(name, 0.1)], UnixMs(9));
            drew(&mut meters, &[], units);
            read(&mut meters, &[window(name, 0.2)], UnixMs(9));
            meters
        };
        let away = [measured("5h", 1e6), measured("week", 8e6)].concat();
        let mut begun = Vec::new();
        read(&mut begun, &[window("5h", 0.5)], UnixMs(9));
        for (name, mut now, short) in
            [("nothing", vec![], 10e6), ("begun", begun, 10e6), ("5h", measured("5h", 3e6), 30e6)]
        {
            let from = now.first().and_then(|meter: &Meter| meter.from);
            recall(&mut now, away.clone());
            let taught: Vec<f64> = now.iter().filter_map(Meter::taught).map(|size| size.units.round()).collect();
            assert_eq!(taught, [short, 80e6], "{name}");
            assert_eq!(now[0].from, from, "{name}: the stretch that is being measured goes on");
        }
    }
}
