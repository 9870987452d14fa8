//! Quota windows: what an account has left, until when, and how we know.

use serde::{Deserialize, Serialize};

use crate::time::{Span, UnixMs};

/// A share of a whole, 0 to 1. What providers send beyond 1 (1.04 = exhausted) is clamped; what is not a number is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = f64)]
pub struct Fraction(f64);

impl Fraction {
    pub const ZERO: Self = Self(0.0);
    pub const ONE: Self = Self(1.0);

    /// From a fraction, clamped to 0..=1. `None` if it is not a finite number.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self(value.clamp(0.0, 1.0)))
    }

    /// From a percentage (0 to 100).
    pub fn from_percent(percent: f64) -> Option<Self> {
        Self::new(percent / 100.0)
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// What is left when this is used, and the other way round.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(1.0 - self.0)
    }
}

/// What a window limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LimitScope)]
pub enum Scope {
    /// Every request of the account.
    Account,
    /// Only requests of this model family. The provider names its families; a [`crate::Demand`] lists those it falls in.
    Family(String),
}

impl Scope {
    /// Does a limit of this scope touch a request in `families`?
    pub fn touches(&self, families: &[String]) -> bool {
        match self {
            Self::Account => true,
            Self::Family(family) => families.contains(family),
        }
    }
}

/// How a reading came to us, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReadingSource)]
pub enum Source {
    /// Headers of an inference reply.
    Headers,
    /// The body of a limit error.
    ErrorBody,
    /// An event inside an answer stream.
    StreamEvent,
    /// We asked.
    Probe,
}

/// One quota window of an account, as last reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaWindow {
    /// What people call it: `5h`, `week`, `requests`, `input tokens`, `day`. With `scope` it identifies the window.
    pub name: String,
    pub scope: Scope,
    pub used: Fraction,
    /// `None`: the provider did not say.
    pub resets_at: Option<UnixMs>,
    /// Length of the window; `None`: the provider did not say.
    pub span: Option<Span>,
    pub source: Source,
    pub seen_at: UnixMs,
}

/// What a window says now, which is not always what it said when it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Used share as last read; `age` since then.
    Known { used: Fraction, age: Span },
    /// The reset time has passed since the reading: the quota is whole again.
    Fresh,
}

impl QuotaWindow {
    /// A window past its reset is fresh at once; nobody has to ask again to know it.
    pub fn level(&self, now: UnixMs) -> Level {
        match self.resets_at {
            Some(reset) if reset <= now => Level::Fresh,
            _ => Level::Known { used: self.used, age: now.since(self.seen_at) },
        }
    }

    pub fn used(&self, now: UnixMs) -> Fraction {
        match self.level(now) {
            Level::Known { used, .. } => used,
            Level::Fresh => Fraction::ZERO,
        }
    }

    /// Nothing left now. A full window that does not tell its
    /// reset is believed for its own length, or for 15 minutes.
    pub fn is_exhausted(&self, now: UnixMs) -> bool {
        self.has_only(NOTHING, now)
    }

    /// Is no more left than this share? Believed as long as an exhausted window is.
    pub fn has_only(&self, rest: Fraction, now: UnixMs) -> bool {
        let told = self.resets_at.is_some() || now.since(self.seen_at) < self.span.unwrap_or(UNTOLD);
        told && self.is_believable(now) && self.used(now).get() >= rest.rest().get() - 1e-9
    }

    /// A reading from the future was made before the clock was set back: its times mean nothing.
    pub fn is_believable(&self, now: UnixMs) -> bool {
        self.seen_at <= now + CLOCK_SLACK
    }

    /// The name that a window of this length goes by.
    pub fn name_of(span: Span) -> String {
        let mins = span.0 / 60_000;
        match mins {
            290..=310 => "5h".into(),
            1430..=1450 => "day".into(),
            10_000..=10_160 => "week".into(),
            40_000..=46_000 => "month".into(),
            _ if mins >= 1440 && mins.is_multiple_of(1440) => format!("{}d", mins / 1440),
            _ if mins >= 60 && mins.is_multiple_of(60) => format!("{}h", mins / 60),
            _ => format!("{mins}min"),
        }
    }
}

/// Takes `news` into `windows`: the same name and scope is replaced unless the news are older than what is known.
pub fn merge(windows: &mut Vec<QuotaWindow>, news: impl IntoIterator<Item = QuotaWindow>) {
    for new in news {
        let Some(old) = windows.iter_mut().find(|old| old.name == new.name && old.scope == new.scope) else {
            if windows.len() < MAX_WINDOWS {
                windows.push(new);
            }
            continue;
        };
        if old.seen_at <= new.seen_at || !old.is_believable(new.seen_at) {
            // A reading that does not tell the reset must not erase one that did, while that one still lies ahead.
            let known_reset = old.resets_at.filter(|reset| *reset > new.seen_at);
            *old = QuotaWindow { resets_at: new.resets_at.or(known_reset), span: new.span.or(old.span), ..new };
        }
    }
}

/// How long a full window without a reset time is believed.
const UNTOLD: Span = Span::from_mins(15);
/// A request on the last half percent fails.
const NOTHING: Fraction = Fraction(0.005);
const CLOCK_SLACK: Span = Span::from_mins(5);
/// An upstream that invents window names must not fill our memory.
const MAX_WINDOWS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn window(used: f64, resets_at: Option<i64>, seen_at: i64) -> QuotaWindow {
        QuotaWindow {
            name: "5h".into(),
            scope: Scope::Account,
            used: Fraction::new(used).expect("a number"),
            resets_at: resets_at.map(UnixMs),
            span: None,
            source: Source::Headers,
            seen_at: UnixMs(seen_at),
        }
    }

    #[test]
    fn more_than_all_is_all_and_nonsense_is_nothing() {
        assert_eq!(Fraction::new(1.04), Some(Fraction::ONE));
        assert_eq!(Fraction::new(-0.1), Some(Fraction::ZERO));
        assert_eq!(Fraction::new(f64::NAN), None);
    }

    #[test]
    fn a_window_past_its_reset_is_fresh() {
        let spent = window(1.0, Some(1000), 0);
        assert!(spent.is_exhausted(UnixMs(999)));
        assert!(!spent.is_exhausted(UnixMs(1000)));
        assert_eq!(spent.level(UnixMs(1000)), Level::Fresh);
    }

    #[test]
    fn old_news_do_not_replace_new_ones_and_a_silent_one_keeps_the_reset() {
        let mut windows = vec![window(0.5, Some(9000), 100)];
        merge(&mut windows, [window(0.1, None, 50)]);
        assert_eq!(windows[0].used, Fraction(0.5));
        merge(&mut windows, [window(0.6, None, 200)]);
        assert_eq!((windows[0].used, windows[0].resets_at), (Fraction(0.6), Some(UnixMs(9000))));
    }

    #[test]
    fn windows_are_named_by_their_length() {
        for (mins, name) in [(300, "5h"), (10_080, "week"), (1440, "day"), (180, "3h"), (4320, "3d"), (7, "7min")] {
            assert_eq!(QuotaWindow::name_of(Span::from_mins(mins)), name);
        }
    }
}
