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

/// What one window of one account has taught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    pub window: String,
    pub scope: Scope,
    /// Where the stretch that is being measured began.
    from: Option<Mark>,
    /// Drawn through us since then.
    units: f64,
    /// The share moved since then, as last told.
    moved: f64,
    stretches: Vec<Stretch>,
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
            from: None,
            units: 0.0,
            moved: 0.0,
            stretches: Vec::new(),
            size: None,
        }
    }

    /// The window's size as far as it is known.
    pub fn size(&self) -> Option<Size> {
        self.size
    }

    fn is_of(&self, window: &QuotaWindow) -> bool {
        self.window == window.name && self.scope == window.scope
    }

    /// True if a stretch has ended.
    fn read(&mut self, window: &QuotaWindow, now: UnixMs) -> bool {
        let used = window.used(now).get();
        let mark = Mark { used, resets_at: window.resets_at, at: now };
        let from = self.from.unwrap_or(mark);
        let over = from.resets_at.is_some_and(|reset| reset <= now) || used + BACK < from.used || now < from.at;
        if over || self.from.is_none() {
            self.start(mark);
        } else if used - from.used >= STRETCH {
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
        } else {
            self.moved = self.moved.max(used - from.used);
            self.from = Some(Mark { resets_at: from.resets_at.or(mark.resets_at), ..from });
        }
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
        let long = span.is_none_or(|span| span >= LONG);
        known.unwrap_or(if long { WEEK_UNITS } else { WEEK_UNITS * SHORT_PART }) * scale(plan)
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
