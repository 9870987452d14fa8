//! Points and spans of time, as the core sees them: numbers that somebody else read from a clock.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = i64)]
pub struct UnixMs(pub i64);

/// A length of time in milliseconds, never negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Span(pub u64);

impl UnixMs {
    /// From seconds since the epoch; numbers beyond what a date can be are clamped.
    pub fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Whole seconds since the epoch, rounded up: a reset told too early is a retry that fails.
    pub fn as_secs_ceil(self) -> i64 {
        self.0.div_euclid(1000) + i64::from(self.0.rem_euclid(1000) > 0)
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later (the clock was set back).
    pub fn since(self, earlier: Self) -> Span {
        Span(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Span {
    pub const ZERO: Self = Self(0);

    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn from_mins(mins: u64) -> Self {
        Self::from_secs(mins.saturating_mul(60))
    }

    pub const fn from_hours(hours: u64) -> Self {
        Self::from_mins(hours.saturating_mul(60))
    }

    pub fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }
}

impl Add<Span> for UnixMs {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }
}

impl Sub<Span> for UnixMs {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Span {
    /// `45 s`, `40 min`, `2 h 5 min`, `3 d 4 h`: what a person says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.as_secs_ceil();
        let (mins, hours, days) = (secs.div_ceil(60), secs.div_ceil(60) / 60, secs.div_ceil(60) / 1440);
        match () {
            () if secs < 90 => write!(f, "{secs} s"),
            () if mins < 120 => write!(f, "{mins} min"),
            () if days < 2 && mins % 60 == 0 => write!(f, "{hours} h"),
            () if days < 2 => write!(f, "{hours} h {} min", mins % 60),
            () if hours % 24 == 0 => write!(f, "{days} d"),
            () => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_a_person_says_them() {
        for (secs, said) in [
            (0, "0 s"),
            (45, "45 s"),
            (89, "89 s"),
            (90, "2 min"),
            (2400, "40 min"),
            (7200, "2 h"),
            (7500, "2 h 5 min"),
            (172_800, "2 d"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(Span::from_secs(secs).to_string(), said);
        }
    }

    #[test]
    fn a_clock_set_back_gives_no_negative_span() {
        assert_eq!(UnixMs(5).since(UnixMs(9)), Span::ZERO);
        assert_eq!(UnixMs(9).since(UnixMs(5)), Span(4));
        assert_eq!(UnixMs(1001).as_secs_ceil(), 2);
    }
}
