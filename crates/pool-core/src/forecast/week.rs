//! What is usual at this time of the week: units an hour for each of its 168 hours (of UTC, so that a change of summer time is an
//! hour's error until it has been learned).

use serde::{Deserialize, Serialize};

use crate::time::{Span, UnixMs};

const HOURS: usize = 168;
const HOUR: i64 = 3_600_000;
/// What an hour of the week taught counts so much a week later.
const KEEP: f64 = 0.75;
/// An hour of the week is believed like the pattern of its day and its hour with so many weeks of its own.
const PATTERN: f64 = 2.0;
/// A day is believed to be like all days with so many days of its own.
const LIKE_OTHERS: f64 = 0.5;
/// No profile before a whole week was seen, and no mean before a day was.
const WEEK_SEEN: u32 = HOURS as u32;
const DAY_SEEN: u32 = 24;

/// See the module's page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Week {
    /// For each hour: units, and hours in which somebody could serve. Empty: nothing is known.
    cells: Vec<(f64, f64)>,
    /// Hours that were seen to their end.
    seen: u32,
    /// The hour under way, since the epoch.
    #[serde(skip)]
    hour: Option<i64>,
    #[serde(skip)]
    units: f64,
    /// Of the hour under way, in milliseconds.
    #[serde(skip)]
    shut: i64,
    /// Within the hour under way or later.
    #[serde(skip)]
    shut_until: UnixMs,
    #[serde(skip)]
    shut_from: UnixMs,
}

fn place(hour: i64) -> usize {
    hour.rem_euclid(HOURS as i64) as usize
}

impl Week {
    /// True if an hour has ended.
    pub(super) fn add(&mut self, at: UnixMs, units: f64) -> bool {
        let ended = self.advance(at);
        // What comes late belongs to an hour that is over.
        if self.hour == Some(at.0.div_euclid(HOUR)) {
            self.open(at);
            self.units += units;
        }
        ended
    }

    pub(super) fn shut(&mut self, now: UnixMs, until: UnixMs) {
        self.advance(now);
        self.open(now);
        self.shut_from = now;
        self.shut_until = until.min(now + Span::from_hours(24));
    }

    /// Somebody is served again.
    fn open(&mut self, at: UnixMs) {
        self.shut += self.shut_by(at);
        self.shut_until = UnixMs::default();
    }

    /// So long of the hour under way is shut by now, since it was last opened.
    fn shut_by(&self, at: UnixMs) -> i64 {
        let begin = self.hour.map_or(at, |hour| UnixMs(hour * HOUR)).max(self.shut_from);
        at.min(self.shut_until).since(begin).0.cast_signed()
    }

    fn advance(&mut self, now: UnixMs) -> bool {
        let hour = now.0.div_euclid(HOUR);
        match self.hour {
            Some(last) if (last - 1..=last + 2 * HOURS as i64).contains(&hour) => {
                (last..hour).for_each(|hour| self.close(hour));
                hour > last
            }
            // The first, a clock that was set back, or nobody was there for weeks: a part of an hour teaches nothing.
            _ => {
                (self.hour, self.units, self.shut) = (Some(hour), 0.0, HOUR);
                self.shut_until = UnixMs::default();
                false
            }
        }
    }

    fn close(&mut self, hour: i64) {
        let shut = (self.shut + self.shut_by(UnixMs((hour + 1) * HOUR))).clamp(0, HOUR);
        if self.cells.len() != HOURS {
            self.cells = vec![(0.0, 0.0); HOURS];
        }
        let cell = &mut self.cells[place(hour)];
        let open = 1.0 - shut as f64 / HOUR as f64;
        *cell = (cell.0 * KEEP + if open > 0.0 { self.units } else { 0.0 }, cell.1 * KEEP + open);
        self.seen = self.seen.saturating_add(u32::from(shut < HOUR));
        self.hour = Some(hour + 1);
        (self.units, self.shut) = (0.0, 0);
    }

    /// Takes up what was put away before a restart. The time in between teaches nothing.
    pub(super) fn restore(&mut self, away: Self) {
        let sound = |(units, open): &(f64, f64)| {
            units.is_finite() && open.is_finite() && *units >= 0.0 && (0.0..=1.0 / (1.0 - KEEP)).contains(open)
        };
        if self.seen == 0 && away.cells.len() == HOURS && away.cells.iter().all(sound) {
            (self.cells, self.seen) = (away.cells, away.seen);
        }
    }

    /// Units an hour, for every hour of the week. `None`: not even a day is known.
    pub(crate) fn usual(&self) -> Option<Usual> {
        if self.seen < DAY_SEEN || self.cells.len() != HOURS {
            return None;
        }
        let mean = ratio(self.cells.iter().copied())?;
        if self.seen < WEEK_SEEN {
            return Some(Usual { hours: vec![mean; HOURS], profile: false });
        }
        let of_day: Vec<f64> = (0..24).map(|hour| self.of_day(hour).unwrap_or(mean)).collect();
        let smooth = |hour: usize| (of_day[(hour + 23) % 24] + 2.0 * of_day[hour] + of_day[(hour + 1) % 24]) / 4.0;
        let pattern: Vec<f64> = (0..24).map(smooth).collect();
        let factors: Vec<f64> = (0..7).map(|day| self.factor(day, &pattern, mean)).collect();
        let hour = |at: usize| {
            let like = factors[at / 24] * pattern[at % 24];
            let near = [(at + HOURS - 1) % HOURS, at, at, (at + 1) % HOURS].map(|at| self.cells[at]);
            let (units, open) = near.iter().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.0 / 4.0, sum.1 + cell.1 / 4.0));
            (units + PATTERN * like) / (open + PATTERN)
        };
        Some(Usual { hours: (0..HOURS).map(hour).collect(), profile: true })
    }

    /// The mean of one hour over all days.
    fn of_day(&self, hour: usize) -> Option<f64> {
        ratio((0..7).map(|day| self.cells[day * 24 + hour]))
    }

    /// How this day stands to the others.
    fn factor(&self, day: usize, pattern: &[f64], mean: f64) -> f64 {
        let cells = &self.cells[day * 24..(day + 1) * 24];
        let units: f64 = cells.iter().map(|cell| cell.0).sum();
        let expected: f64 = cells.iter().zip(pattern).map(|(cell, like)| cell.1 * like).sum();
        let others = LIKE_OTHERS * 24.0 * mean;
        if expected + others > 0.0 { (units + others) / (expected + others) } else { 1.0 }
    }
}

fn ratio(cells: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (units, open) = cells.fold((0.0, 0.0), |sum: (f64, f64), cell| (sum.0 + cell.0, sum.1 + cell.1));
    (open > 0.0).then(|| units / open)
}

/// What is usual.
#[derive(Clone, Debug)]
pub(crate) struct Usual {
    hours: Vec<f64>,
    /// By the hour of the week; else one mean for all.
    pub(crate) profile: bool,
}

impl Usual {
    /// Units an hour at this time, without steps from hour to hour.
    pub(crate) fn at(&self, time: UnixMs) -> f64 {
        let middle = time.0 - HOUR / 2;
        let (hour, part) = (middle.div_euclid(HOUR), middle.rem_euclid(HOUR) as f64 / HOUR as f64);
        self.hours[place(hour)] * (1.0 - part) + self.hours[place(hour + 1)] * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: f64) -> UnixMs {
        UnixMs((hours * HOUR as f64) as i64)
    }

    /// 100 units in each hour from 9 to 17 of every day but two of seven.
    fn worked(days: usize) -> Week {
        let mut week = Week::default();
        for hour in 0..days * 24 {
            let works = (9..17).contains(&(hour % 24)) && hour / 24 % 7 < 5;
            week.add(at(hour as f64 + 0.01), if works { 100.0 } else { 1e-9 });
        }
        week
    }

    #[test]
    fn a_profile_comes_after_a_week_and_a_mean_after_a_day() {
        assert!(worked(1).usual().is_none());
        let mean = worked(3).usual().expect("a mean");
        assert!(!mean.profile && (mean.at(at(12.0)) - mean.at(at(24.0))).abs() < 1e-6);
        let usual = worked(22).usual().expect("a profile");
        assert!(usual.profile);
        for (hour, least, most) in
            [(12.5, 80.0, 101.0), (3.0, 0.0, 1.0), (5.0 * 24.0 + 12.0, 0.0, 45.0), (20.0, 0.0, 5.0)]
        {
            let found = usual.at(at(hour));
            assert!((least..=most).contains(&found), "hour {hour}: {found}");
        }
    }

    #[test]
    fn hours_in_which_nobody_could_serve_do_not_look_idle() {
        let mut week = Week::default();
        for hour in 0..24 * 8 {
            week.add(at(f64::from(hour) + 0.01), 50.0);
            if hour % 3 == 0 {
                week.shut(at(f64::from(hour) + 0.5), at(f64::from(hour) + 1.0));
            } else {
                week.add(at(f64::from(hour) + 0.6), 50.0);
            }
        }
        let usual = week.usual().expect("a profile");
        assert!((usual.at(at(30.0)) - 100.0).abs() < 3.0, "{}", usual.at(at(30.0)));
    }

    #[test]
    fn what_was_put_away_is_known_again_and_nonsense_is_not() {
        let text = serde_json::to_string(&worked(15)).expect("JSON");
        let mut week = Week::default();
        week.restore(serde_json::from_str(&text).expect("what was written"));
        assert_eq!(week.usual().map(|usual| usual.at(at(12.5)) > 60.0), Some(true));
        let mut bad = worked(15);
        bad.cells[3] = (f64::NAN, 1.0);
        let mut week = Week::default();
        week.restore(bad);
        assert!(week.usual().is_none());
    }
}
