//! The walk ahead: demand is poured out over the accounts step by step, as our routing would, windows run out and refill.

use crate::time::{Span, UnixMs};

/// One step.
pub(super) const STEP: Span = Span::from_mins(5);
/// A window with no more than this left is spent ([`crate::quota::QuotaWindow::is_exhausted`]).
const NOTHING: f64 = 0.005;
/// How sharply demand goes where most is left. Our routing takes the best for each conversation, but conversations stay.
const SHARP: i32 = 2;
/// A worth beyond this attracts no more (`worth.rs`).
const MOST_PACE: f64 = 8.0;
/// How fast the accounts' shares of lately give way to the rule's, in seconds. Between a quarter of it and four times as much
/// the back-test makes no difference.
const LINGER: f64 = 3600.0;
/// Residues of a step are poured out again so often.
const POURS: usize = 4;
/// Dry spells that are told of.
const MOST_SPELLS: usize = 8;

/// One window as the walk sees it. Times are in seconds from the start.
#[derive(Clone, Debug)]
pub(super) struct Basin {
    /// In units.
    pub(super) size: f64,
    pub(super) left: f64,
    pub(super) span: f64,
    /// `None`: it opens with its next use.
    pub(super) ends: Option<f64>,
    /// When it refills it stands still until it is used (short windows); else the next one begins at once.
    pub(super) rests: bool,
    /// The share of the account's burn that it limits.
    pub(super) part: f64,
    /// Which family it limits; `None`: all.
    pub(super) family: Option<usize>,
    /// The share that the asking caller may not touch.
    pub(super) kept: f64,
}

impl Basin {
    fn is_dry(&self, kept: f64) -> bool {
        self.left <= self.size * kept.max(NOTHING)
    }

    /// Refills it if its time has come, and tells when that was.
    fn roll(&mut self, at: f64) -> Option<f64> {
        let first = self.ends.filter(|end| *end <= at);
        while let Some(end) = self.ends.filter(|end| *end <= at) {
            self.left = self.size;
            self.ends = if self.rests { None } else { Some(end + self.span.max(1.0)) };
        }
        first
    }
}

/// One account as the walk sees it.
#[derive(Clone, Debug)]
pub(super) struct Well {
    pub(super) basins: Vec<Basin>,
    /// Kept out until then, in seconds from the start.
    pub(super) shut_until: f64,
    /// Its share of the burn lately.
    pub(super) share: f64,
    /// The asking caller may use it.
    pub(super) theirs: bool,
}

impl Well {
    /// Can it serve requests of this family at all? `theirs`: the asking caller's?
    fn is_open(&self, family: Option<usize>, theirs: bool, at: f64) -> bool {
        let limits = |basin: &&Basin| basin.family.is_none() || basin.family == family;
        let dry = |basin: &Basin| basin.is_dry(if theirs { basin.kept } else { 0.0 });
        at >= self.shut_until && (self.theirs || !theirs) && !self.basins.iter().filter(limits).any(dry)
    }

    fn general(&self) -> impl Iterator<Item = &Basin> {
        self.basins.iter().filter(|basin| basin.family.is_none())
    }

    /// What it can still give before one of its windows is spent.
    pub(super) fn room(&self) -> f64 {
        let room = |basin: &Basin| (basin.left - basin.size * NOTHING).max(0.0) / basin.part.max(1e-9);
        self.general().map(room).fold(f64::INFINITY, f64::min)
    }

    pub(super) fn holds(&self) -> f64 {
        self.general().map(|basin| basin.size).fold(f64::INFINITY, f64::min)
    }

    /// As our routing weighs it: pace of the long window times room of the short one, and how much it holds.
    fn weight(&self, at: f64) -> f64 {
        let (mut pace, mut room) = (1.0_f64, 1.0_f64);
        for basin in self.general() {
            let left = (basin.left / basin.size).max(0.0);
            if basin.rests {
                room = room.min(left);
            } else {
                let time = basin.ends.map_or(1.0, |end| ((end - at) / basin.span).clamp(0.01, 1.0));
                pace = pace.min((left / time).min(MOST_PACE));
            }
        }
        let holds = self.holds();
        (pace * room).powi(SHARP) * if holds.is_finite() { holds } else { 1.0 }
    }

    fn draw(&mut self, units: f64, at: f64) {
        for basin in &mut self.basins {
            basin.left -= units * basin.part;
            if basin.ends.is_none() && units > 0.0 {
                basin.ends = Some(at + basin.span.max(1.0));
            }
        }
    }
}

/// A time when nobody can serve, in seconds from the start. `to`: the walk has not seen its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spell {
    pub(super) from: f64,
    pub(super) to: Option<f64>,
}

/// Spells of one subject, as they are found.
#[derive(Clone, Debug, Default)]
pub(super) struct Spells(pub(super) Vec<Spell>);

impl Spells {
    fn note(&mut self, open: bool, at: f64) {
        let full = self.0.len() >= MOST_SPELLS;
        match self.0.last_mut().filter(|last| last.to.is_none()) {
            Some(last) if open => last.to = Some(at),
            None if !open && !full => self.0.push(Spell { from: at, to: None }),
            _ => {}
        }
    }

    pub(super) fn first(&self) -> Option<Spell> {
        self.0.first().copied()
    }
}

/// What came of a walk.
#[derive(Clone, Debug, Default)]
pub(super) struct Walked {
    /// Of all requests.
    pub(super) all: Spells,
    /// Of those of each family.
    pub(super) families: Vec<Spells>,
    pub(super) accounts: Vec<Spells>,
    /// What was left after each hour, of all that the accounts hold: 0 to 1. The first is now.
    pub(super) tide: Vec<f64>,
}

/// Walks through the demand: units in each step.
pub(super) fn walk(mut wells: Vec<Well>, demand: &[f64], families: usize) -> Walked {
    let step = STEP.0 as f64 / 1000.0;
    let mut walked = Walked {
        families: vec![Spells::default(); families],
        accounts: vec![Spells::default(); wells.len()],
        ..Walked::default()
    };
    walked.look(&wells, 0.0);
    for (index, wanted) in demand.iter().enumerate() {
        let at = index as f64 * step;
        if index.is_multiple_of(12) {
            walked.tide.push(level(&wells));
        }
        let rest = pour(&mut wells, *wanted, at, (-at / LINGER).exp());
        // Where a step's demand could not be had, nobody could serve from some moment within it on.
        let served = if *wanted > 0.0 { 1.0 - rest / wanted } else { 1.0 };
        walked.look(&wells, at + step * served.clamp(0.0, 1.0));
        let cooled = wells.iter().map(|well| well.shut_until).filter(|until| (at..=at + step).contains(until));
        let cooled: Vec<f64> = cooled.collect();
        let refilled = wells.iter_mut().flat_map(|well| &mut well.basins).filter_map(|basin| basin.roll(at + step));
        if let Some(first) = refilled.chain(cooled).min_by(f64::total_cmp) {
            walked.look(&wells, first);
        }
        walked.look(&wells, at + step);
    }
    walked.tide.push(level(&wells));
    walked
}

impl Walked {
    fn look(&mut self, wells: &[Well], at: f64) {
        self.all.note(wells.iter().any(|well| well.is_open(None, true, at)), at);
        for (index, spells) in self.families.iter_mut().enumerate() {
            spells.note(wells.iter().any(|well| well.is_open(Some(index), true, at)), at);
        }
        for (well, spells) in wells.iter().zip(&mut self.accounts) {
            spells.note(well.is_open(None, true, at), at);
        }
    }
}

/// Pours one step's demand out, and tells what nobody could take.
fn pour(wells: &mut [Well], wanted: f64, at: f64, lately: f64) -> f64 {
    let mut rest = wanted;
    for _ in 0..POURS {
        if rest <= wanted * 1e-6 {
            return 0.0;
        }
        let open: Vec<(usize, f64)> = wells
            .iter()
            .enumerate()
            .filter(|(_, well)| well.is_open(None, false, at))
            .map(|(index, well)| (index, well.weight(at)))
            .collect();
        let sum: f64 = open.iter().map(|(_, weight)| weight).sum();
        let shares: f64 = open.iter().map(|(index, _)| wells[*index].share).sum();
        if sum <= 0.0 {
            return rest;
        }
        let stays = if shares > 0.0 { lately } else { 0.0 };
        let mut poured = 0.0;
        for (index, weight) in open {
            let well = &mut wells[index];
            let its = stays * well.share / shares.max(1e-12) + (1.0 - stays) * weight / sum;
            // A hair more than there is, so that it is spent.
            let units = (rest * its).min(well.room() * (1.0 + 1e-9) + 1e-9);
            well.draw(units, at);
            poured += units;
        }
        rest -= poured;
    }
    rest.max(0.0)
}

fn level(wells: &[Well]) -> f64 {
    let (mut left, mut all) = (0.0, 0.0);
    for well in wells.iter().filter(|well| well.theirs && well.holds().is_finite()) {
        left += well.room();
        all += well.holds();
    }
    if all > 0.0 { (left / all).clamp(0.0, 1.0) } else { 1.0 }
}

/// A moment of the walk as a time.
pub(super) fn moment(seconds: f64, start: UnixMs) -> UnixMs {
    start + Span::from_millis((seconds.max(0.0) * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3600.0;

    fn basin(size: f64, left: f64, hours: f64, ends: Option<f64>, rests: bool) -> Basin {
        let (span, ends) = (hours * HOUR, ends.map(|end| end * HOUR));
        Basin { size, left, span, ends, rests, part: 1.0, family: None, kept: 0.0 }
    }

    fn well(short: (f64, f64), week: (f64, f64)) -> Well {
        let basins =
            vec![basin(100.0, short.0, 5.0, Some(short.1), true), basin(800.0, week.0, 168.0, Some(week.1), false)];
        Well { basins, shut_until: 0.0, share: 0.0, theirs: true }
    }

    /// (name, accounts, units an hour, first spell in hours)
    #[test]
    fn wells_run_dry_and_refill() {
        for (name, wells, rate, expected) in [
            ("one short window", vec![well((50.0, 4.0), (700.0, 100.0))], 25.0, Some((2.0, Some(4.0)))),
            ("the week binds", vec![well((90.0, 4.0), (24.0, 30.0))], 10.0, Some((2.0, Some(30.0)))),
            ("refilled in time", vec![well((50.0, 1.5), (790.0, 60.0))], 13.0, None),
            ("two last longer", vec![well((50.0, 4.0), (790.0, 60.0)), well((50.0, 4.0), (790.0, 60.0))], 22.0, None),
            (
                "two run out together",
                vec![well((50.0, 4.0), (700.0, 100.0)), well((50.0, 4.0), (700.0, 100.0))],
                50.0,
                Some((2.0, Some(4.0))),
            ),
            ("out now", vec![well((0.0, 0.7), (700.0, 100.0))], 0.0, Some((0.0, Some(0.7)))),
        ] {
            let walked = walk(wells, &vec![rate / 12.0; 48 * 12], 0);
            let found = walked.all.first().map(|spell| (spell.from / HOUR, spell.to.map(|to| to / HOUR)));
            let near = match (found, expected) {
                (Some((from, to)), Some((wanted, until))) => {
                    (from - wanted).abs() < 0.1 && (to.unwrap_or(0.0) - until.unwrap_or(0.0)).abs() < 0.1
                }
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(near, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_family_runs_dry_alone() {
        let mut one = well((100.0, 4.0), (800.0, 100.0));
        let family = Basin { part: 0.5, family: Some(0), ..basin(20.0, 20.0, 168.0, Some(100.0), false) };
        one.basins.push(family);
        let walked = walk(vec![one], &vec![1.0; 48], 1);
        assert_eq!(walked.all.first(), None);
        assert!((walked.families[0].first().expect("dry").from / HOUR - 3.3).abs() < 0.2, "{walked:?}");
    }

    #[test]
    fn what_is_kept_is_dry_for_others_only() {
        let mut one = well((100.0, 40.0), (800.0, 100.0));
        one.basins[0].kept = 0.5;
        let walked = walk(vec![one], &vec![1.0; 72], 0);
        assert!((walked.all.first().expect("dry").from / HOUR - 4.2).abs() < 0.2, "{:?}", walked.all);
    }
}
