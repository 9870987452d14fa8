//! The back-test of the forecast: months of work are played, the pool is asked again and again when it will run dry, and what it said is
//! held against what came.

use pool_core::ask::Rights;
use pool_core::eligible::eligible;
use pool_core::forecast::{Manner, Picture, Prospect};
use pool_core::pool::Slot;
use pool_core::{Client, Demand, Pool, ProviderId, Span, UnixMs};

use crate::engine::{Scenario, run_watched};
use crate::generate::{self, Recipe};
use crate::grid;
use crate::options::Options;
use crate::policies::Contestant;

/// A week to learn, and a month.
const DAYS: f64 = 35.0;
const LENGTH: Span = Span::from_hours(35 * 24);
/// From then on the forecast knows a week.
const LEARNED: Span = Span::from_hours(8 * 24);
/// The pool is asked so often.
const EVERY: Span = Span::from_mins(15);
/// Spells with no more than this between them are one; shorter ones nobody would notice.
const TOGETHER: Span = Span::from_mins(10);
const SHORTEST: Span = Span::from_mins(5);
/// Nothing that is judged here lies further ahead.
const AHEAD: Span = Span::from_hours(12);
const HOUR: Span = Span::from_hours(1);

/// The seeds that the forecast is judged by. Its parameters were tuned on 1, 2 and 3.
pub const SEEDS: [u64; 3] = [1001, 1002, 1003];

/// A month of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Month {
    pub accounts: usize,
    pub users: usize,
    /// Of the pool's quota.
    pub load: f64,
    pub unlike: bool,
    /// Whole percents, 30 s late, a tenth used outside the pool, sizes unknown.
    pub real: bool,
    pub seed: u64,
}

/// The months that are played with a seed.
pub fn months(seed: u64) -> Vec<Month> {
    let mut months = Vec::new();
    for (accounts, users) in [(2, 2), (4, 5), (7, 8)] {
        for (unlike, real) in [(false, false), (true, true)] {
            months.extend([0.9, 1.0, 1.1].map(|load| Month { accounts, users, load, unlike, real, seed }));
        }
    }
    months
}

/// What was said at one moment at which the pool could serve.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: UnixMs,
    said: Prospect,
}

/// How well a manner of forecasting did.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Spells that came after an hour without one.
    pub spells: usize,
    /// Of them: those for which an hour before a time was named that was right within an hour.
    pub foreseen: usize,
    /// The range that was named with that held the beginning, of those that had one.
    pub ranged: usize,
    pub inside: usize,
    /// How far the named time was off, in minutes, an hour and three hours before. Nothing named: twelve hours.
    pub off_1h: Vec<f64>,
    pub off_3h: Vec<f64>,
    /// Looks at which a spell within the hour was named …
    pub alarms: usize,
    /// … and none came within two.
    pub false_alarms: usize,
    /// An hour ahead, how far the named end was off, in minutes.
    pub end_off: Vec<f64>,
}

const NEVER: f64 = 12.0 * 60.0;

impl Score {
    pub fn add(&mut self, other: Self) {
        self.spells += other.spells;
        self.foreseen += other.foreseen;
        self.ranged += other.ranged;
        self.inside += other.inside;
        self.alarms += other.alarms;
        self.false_alarms += other.false_alarms;
        self.off_1h.extend(other.off_1h);
        self.off_3h.extend(other.off_3h);
        self.end_off.extend(other.end_off);
    }
}

/// Median and mean; `None` of none.
pub fn middle(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied()?;
    Some((median, sorted.iter().sum::<f64>() / sorted.len() as f64))
}

/// Plays a month and asks in every one of these manners. Two scores each: after the first week, and within it.
pub fn play(month: &Month, manners: &[Manner]) -> Vec<[Score; 2]> {
    let recipe = Recipe { users: month.users, days: DAYS, weekend: 0.3, seed: month.seed, ..Recipe::default() };
    let sessions = generate::trace(&recipe);
    let outside = if month.real { 0.1 } else { 0.0 };
    let cost = grid::cost(&sessions, LENGTH);
    let shares = grid::shares(month.accounts, month.unlike);
    let accounts = generate::pool(PROVIDER, &shares, cost, month.load - outside, DAYS, month.seed);
    let exact = Options { seed: month.seed, length: LENGTH, ..Options::default() };
    let options = if month.real {
        Options { quantise: 1.0, delay: Span::from_secs(30), outside, sizes_known: false, ..exact }
    } else {
        exact
    };
    let Some(ours) = Contestant::named("ours") else { return Vec::new() };
    let mut watched = Watched::new(manners);
    let scenario = Scenario { accounts: &accounts, sessions: &sessions, options: &options };
    run_watched(&scenario, &ours, &mut |pool, now| watched.look(pool, now));
    watched.scores()
}

const PROVIDER: ProviderId = ProviderId("grid");

/// What was said and what came.
struct Watched<'a> {
    manners: &'a [Manner],
    begun: Option<UnixMs>,
    looks: Vec<Vec<Look>>,
    spells: Vec<(UnixMs, UnixMs)>,
    asked: UnixMs,
}

impl<'a> Watched<'a> {
    fn new(manners: &'a [Manner]) -> Self {
        let looks = vec![Vec::new(); manners.len()];
        Self { manners, begun: None, looks, spells: Vec::new(), asked: UnixMs::default() }
    }

    fn look(&mut self, pool: &Pool, now: UnixMs) {
        self.begun.get_or_insert(now);
        let demand = Demand::any(PROVIDER, Client::OwnCli);
        let serves = |slot: &Slot| eligible(slot, &demand, Rights::OWNER, now).is_ok();
        if !pool.slots().any(serves) {
            match self.spells.last_mut().filter(|(_, to)| now.since(*to) <= TOGETHER) {
                Some((_, to)) => *to = now,
                None => self.spells.push((now, now)),
            }
        } else if now.since(self.asked) >= EVERY {
            self.asked = now;
            for (manner, looks) in self.manners.iter().zip(&mut self.looks) {
                let manner = Manner { ahead: AHEAD, ..*manner };
                let forecast = Picture::in_manner(pool, Rights::OWNER, manner, now).forecast();
                let said = forecast.providers.first().map(|one| one.prospect);
                looks.extend(said.map(|said| Look { at: now, said }));
            }
        }
    }

    fn scores(mut self) -> Vec<[Score; 2]> {
        self.spells.retain(|(from, to)| to.since(*from) >= SHORTEST);
        let learned = self.begun.unwrap_or_default() + LEARNED;
        let of = |looks: &Vec<Look>| {
            [score(&self.spells, looks, |at| at >= learned), score(&self.spells, looks, |at| at < learned)]
        };
        self.looks.iter().map(of).collect()
    }
}

fn minutes(a: UnixMs, b: UnixMs) -> f64 {
    a.since(b).max(b.since(a)).0 as f64 / 60_000.0
}

fn score(spells: &[(UnixMs, UnixMs)], looks: &[Look], counts: impl Fn(UnixMs) -> bool) -> Score {
    let mut score = Score::default();
    let mut free_from = UnixMs::default();
    for (from, to) in spells {
        if counts(*from) && *from >= free_from + HOUR + EVERY {
            score.spell(*from, *to, looks, free_from);
        }
        free_from = *to;
    }
    for look in looks.iter().filter(|look| counts(look.at)) {
        let Prospect::Dries { likely, .. } = look.said else { continue };
        if likely <= look.at + HOUR {
            let came = spells.iter().any(|(from, _)| *from >= look.at && *from <= look.at + HOUR + HOUR);
            score.alarms += 1;
            score.false_alarms += usize::from(!came);
        }
    }
    score
}

impl Score {
    fn spell(&mut self, from: UnixMs, to: UnixMs, looks: &[Look], free_from: UnixMs) {
        // The last look that was so long ahead or longer, and not before the spell before.
        let before = |ahead: Span| {
            let last = looks.iter().rev().find(|look| look.at + ahead <= from);
            last.filter(|look| look.at > free_from && look.at + ahead + EVERY + EVERY > from)
        };
        let Some(hour) = before(HOUR) else { return };
        self.spells += 1;
        self.off_1h.push(off(hour, from));
        self.off_3h.extend(before(Span::from_hours(3)).map(|look| off(look, from)));
        if let Prospect::Dries { earliest, likely, latest, back } = hour.said {
            self.foreseen += usize::from(minutes(likely, from) <= 60.0);
            self.ranged += 1;
            self.inside += usize::from(earliest <= from && latest.is_none_or(|latest| latest >= from));
            self.end_off.extend(back.map(|back| minutes(back, to)));
        }
    }
}

fn off(look: &Look, from: UnixMs) -> f64 {
    match look.said {
        Prospect::Dries { likely, .. } => minutes(likely, from),
        _ => NEVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mins: u64) -> UnixMs {
        UnixMs(1_760_000_000_000) + Span::from_mins(mins)
    }

    fn says(at_mins: u64, likely: Option<u64>) -> Look {
        let said = match likely {
            Some(likely) => Prospect::Dries {
                earliest: at(likely - 10),
                likely: at(likely),
                latest: Some(at(likely + 50)),
                back: Some(at(500)),
            },
            None => Prospect::Lasts { may_end: None },
        };
        Look { at: at(at_mins), said }
    }

    #[test]
    fn what_was_said_is_held_against_what_came() {
        let spells = [(at(400), at(480)), (at(490), at(495)), (at(900), at(960))];
        // Named 20 minutes early; nothing named before the third; one alarm for nothing.
        let looks = [says(100, Some(150)), says(215, None), says(335, Some(380)), says(835, None)];
        let score = score(&spells, &looks, |_| true);
        assert_eq!((score.spells, score.foreseen), (2, 1), "the second comes too soon after the first");
        assert_eq!((score.ranged, score.inside), (1, 1));
        assert_eq!((score.off_1h, score.off_3h, score.end_off), (vec![20.0, NEVER], vec![NEVER], vec![20.0]));
        assert_eq!((score.alarms, score.false_alarms), (2, 1));
        assert_eq!(middle(&[3.0, 1.0, 8.0]), Some((3.0, 4.0)));
        assert_eq!(middle(&[]), None);
    }
}
