//! What an account is worth to a conversation that may go anywhere: the arithmetic of the choice.
//!
//! `worth = weight × trust × pace × room × fit²`
//!
//! - **pace**: the share left of the long window over the share left of its time. Above 1 quota will expire unused; below 1 it
//!   must last. Relative, so that small accounts are drained as evenly as big ones: an account that is empty long before its
//!   reset is missed when everybody works at once. Absolute size counts in *fit*.
//! - **room**: the share left of the short window. Even rooms mean that no account stops while others stand idle.
//! - **fit**: the chance that one more conversation fits into what is left in units, beside the conversations that are
//!   warm there. One that does not fit leaves its cache behind, and drags the others with it.
//!
//! All three are taken after what warm conversations will still draw. docs/ROUTING.md tells what else was tried.

use crate::policy::{Part, Question, Score};
use crate::pool::Slot;
use crate::quota::{Level, QuotaWindow};
use crate::sizes::{LONG, Meter, Size};
use crate::time::{Span, UnixMs};
use crate::verdict::Cause;

/// How much the chance to fit counts. With 1 a pool of many small accounts paid half as many extra tokens again; with 4 small
/// pools waited longer.
const FIT: i32 = 2;
/// No account draws more than this by its pace: an account whose week ends in minutes would be run over.
const MOST_PACE: f64 = 8.0;
/// How far conversations stray from the mean draw, in means: their draws have a long tail.
const SPREAD: f64 = 2.0;
/// A normal deviate times this, as the exponent of a logistic curve, is the normal distribution to 1 %.
const LOGISTIC: f64 = 1.7;
/// Nobody has told: half, so that an unknown account neither attracts all conversations nor gets none.
const UNKNOWN: f64 = 0.5;
/// A reading as old as its window counts so much less.
const STALE: f64 = 0.2;
/// The last minutes of a window count as this many seconds: readings are not so exact in time.
const LAST: f64 = 600.0;
/// After a failure an account's worth rises again over this time, from this share.
const RAMP: Span = Span::from_mins(5);
const RAMP_FROM: f64 = 0.1;

/// A window as it counts here. Units are fresh input tokens, times seconds.
#[derive(Clone, Copy, Debug)]
struct View {
    size: f64,
    left: f64,
    span: f64,
    ends_in: f64,
}

impl View {
    fn of(window: &QuotaWindow, slot: &Slot, now: UnixMs) -> Self {
        let meter = slot.meters.iter().find(|meter| meter.is_of(window));
        let size = meter.and_then(Meter::size).unwrap_or(Size::unknown(window.span)).units;
        let span = window.span.map_or(3600.0, seconds).max(1.0);
        let left = match window.level(now) {
            Level::Fresh => size,
            Level::Known { used, age } => {
                let doubt = 1.0 - STALE * (seconds(age) / span).min(1.0);
                used.rest().get() * doubt * size - meter.map_or(0.0, Meter::unread)
            }
        };
        let reset = window.resets_at.filter(|reset| *reset > now);
        // A window without a reset opens with its next use.
        let ends_in = reset.map_or(span, |reset| seconds(reset.since(now)).min(span));
        Self { size: size.max(1.0), left, span, ends_in }
    }
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}

/// The scarcest long window and the scarcest short one that limit a request.
#[derive(Clone, Copy, Debug, Default)]
struct Views {
    long: Option<View>,
    short: Option<View>,
}

impl Views {
    fn of(slot: &Slot, question: &Question<'_>) -> Self {
        let mut views = Self::default();
        let families = &question.demand.families;
        let limiting = |window: &&QuotaWindow| window.scope.touches(families) && window.is_believable(question.now);
        for window in slot.windows.iter().filter(limiting) {
            let view = View::of(window, slot, question.now);
            let is_long = window.span.is_some_and(|span| span >= LONG);
            let place = if is_long { &mut views.long } else { &mut views.short };
            if place.is_none_or(|scarcest| view.left < scarcest.left) {
                *place = Some(view);
            }
        }
        views
    }
}

/// What every candidate is worth, in their order.
pub(crate) fn of(question: &Question<'_>) -> Vec<Score> {
    question.candidates.iter().map(|slot| worth(slot, question)).collect()
}

fn worth(slot: &Slot, question: &Question<'_>) -> Score {
    let views = Views::of(slot, question);
    let run = question.outlook.run.max(1.0);
    // Requests without a conversation count as one each.
    let live = f64::from(slot.live.max(slot.in_flight));
    let taken = live * run;
    let free = |view: View| view.left - taken;
    let pace = views.long.map_or(1.0, |long| free(long) / long.size / (long.ends_in.max(LAST) / long.span));
    // Some plans have a long window only.
    let limiting = views.short.or(views.long);
    let room = limiting.map_or(UNKNOWN, |view| free(view) / view.size);
    let least = [views.long, views.short].into_iter().flatten().map(free).min_by(f64::total_cmp);
    let fit = fit(least.unwrap_or(UNKNOWN * Size::unknown(None).units - taken), live, run);
    let trust = trust(slot, question.now);
    let weight = slot.account.settings.weight.get();
    let value = match least {
        // What is overdrawn: the less so the better, and all of it worse than what is not.
        Some(least) if least <= 0.0 => least / run - 1.0,
        _ => weight * trust * pace.clamp(0.0, MOST_PACE) * room.max(0.0) * fit.powi(FIT),
    };
    let headroom = limiting.map_or(Part::AssumedHeadroom, |_| Part::Headroom);
    let mut parts = vec![(headroom, room)];
    parts.extend(views.long.map(|_| (Part::Pace, pace)));
    parts.extend([(Part::Fit, fit), (Part::Live, live), (Part::InFlight, f64::from(slot.in_flight))]);
    // What changes nothing is not told.
    parts.extend(
        [(Part::Trust, trust), (Part::Weight, weight)].into_iter().filter(|(_, factor)| (factor - 1.0).abs() > 1e-9),
    );
    Score { value, parts }
}

/// The chance that one more run fits into what is free, beside so many that may stray from the mean.
fn fit(free: f64, live: f64, run: f64) -> f64 {
    let deviate = (free - run) / (run * SPREAD * (live + 1.0).sqrt());
    1.0 / (1.0 + (-LOGISTIC * deviate).exp())
}

/// An account that has just been in trouble is loaded again little by little.
fn trust(slot: &Slot, now: UnixMs) -> f64 {
    let failures =
        slot.cooldowns.iter().filter(|cooldown| cooldown.cause != Cause::QuotaSpent && cooldown.until <= now);
    let Some(ended) = failures.map(|cooldown| cooldown.until).max() else { return 1.0 };
    (now.since(ended).0 as f64 / RAMP.0 as f64).clamp(RAMP_FROM, 1.0)
}

#[cfg(test)]
#[path = "worth_tests.rs"]
mod tests;
