//! What somebody is told who meets a limit of their own: the words, which are the same in every dialect, and times as people say
//! them.

use jiff::Timestamp;
use pool_core::limits::Over;
use pool_core::{Span, UnixMs};

/// Another request of theirs ends, sooner or later.
pub(crate) const STREAM_ENDS: Span = Span::from_secs(5);

/// That the limit is their own, who has set it, and when it ends or what would help. In ASCII, fit for a header.
pub(crate) fn words(over: &Over, model: Option<&str>, now: UnixMs) -> String {
    match over {
        Over::Budget { until, .. } => {
            format!("You have used up your own limit in this pool, {over}; it resets {}", moment(*until, now))
        }
        Over::Pace { until, .. } => {
            format!("Your own limit in this pool is {over}; try again in {}", until.since(now))
        }
        Over::Streams { .. } => format!("Your own limit in this pool is {over}; try again in {STREAM_ENDS}"),
        Over::Model { .. } => format!(
            "Your access to this pool does not include {}: it has {over}. Ask the pool's operator, who has set this",
            model.unwrap_or("what names no model")
        ),
        Over::Provider { .. } => {
            format!("Your access to this pool has {over}. Ask the pool's operator, who has set this")
        }
    }
}

/// How long to wait for a limit that a client can sit out. `None`: it cannot.
pub(crate) fn wait(over: &Over, now: UnixMs) -> Option<Span> {
    match over {
        Over::Pace { until, .. } => Some(until.since(now).max(Span::from_secs(1))),
        Over::Streams { .. } => Some(STREAM_ENDS),
        Over::Budget { .. } | Over::Model { .. } | Over::Provider { .. } => None,
    }
}

/// `3:40 PM UTC (in 40 min)`, with the date if it is not within a day.
pub(crate) fn moment(at: UnixMs, now: UnixMs) -> String {
    let wait = at.since(now);
    let format = if wait < Span::from_hours(24) { "%-I:%M %p UTC" } else { "%b %-d, %-I:%M %p UTC" };
    // Up to the next minute: a time told too early is a try that fails.
    let minute = at.as_secs_ceil().saturating_add(59).div_euclid(60).saturating_mul(60);
    match Timestamp::from_second(minute) {
        Ok(time) => format!("{} (in {wait})", time.strftime(format)),
        Err(_) => format!("in {wait}"),
    }
}

#[cfg(test)]
mod tests {
    use pool_core::limits::{Amount, Budget, Period};

    use super::*;

    #[test]
    fn it_is_said_whose_limit_it_is_and_what_helps() {
        const NOW: UnixMs = UnixMs(1_800_000_000_000);
        let budget = Budget { period: Period::Day, amount: Amount::Tokens(2_000_000) };
        let until = Period::Day.around(NOW).1;
        for (over, said) in [
            (
                Over::Budget { budget, until },
                "You have used up your own limit in this pool, 2,000,000 tokens a day; it resets 12:00 AM UTC (in 16 h)",
            ),
            (
                Over::Pace { limit: 3, until: NOW + Span::from_secs(20) },
                "Your own limit in this pool is 3 requests a minute; try again in 20 s",
            ),
            (Over::Streams { limit: 1 }, "Your own limit in this pool is 1 request at one time; try again in 5 s"),
            (
                Over::Model { allowed: vec!["a-*".into(), "b".into()] },
                "Your access to this pool does not include c: it has only a-*, b. Ask the pool's operator, who has set this",
            ),
            (
                Over::Provider { allowed: vec!["kiwi".into()] },
                "Your access to this pool has only kiwi. Ask the pool's operator, who has set this",
            ),
        ] {
            assert_eq!(words(&over, Some("c"), NOW), said);
        }
    }
}
