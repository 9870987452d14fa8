//! Rules that move a conversation when its cache has gone cold, and then look at windows and live conversations.

use std::collections::HashMap;

use pool_core::policy::{Choice, Policy, Question, Why};
use pool_core::pool::Slot;
use pool_core::{AccountId, SessionKey, Span, UnixMs};

use super::{Known, Setup, best, chosen};

pub(super) fn expiring(setup: &Setup) -> Box<dyn Policy> {
    Box::new(Cold { name: "cold-expiring", value: value_expiring, live: Live::default(), setup: setup.clone() })
}

pub(super) fn earliest_reset(setup: &Setup) -> Box<dyn Policy> {
    Box::new(Cold { name: "earliest-reset", value: value_earliest, live: Live::default(), setup: setup.clone() })
}

pub(super) fn pace(setup: &Setup) -> Box<dyn Policy> {
    Box::new(Cold { name: "cold-pace", value: value_pace, live: Live::default(), setup: setup.clone() })
}

/// What a conversation draws in all, on the average, in fresh input tokens.
const DRAW: f64 = 1e6;
/// A conversation that has been silent so long is held to be over.
const SILENT: Span = Span::from_mins(30);

/// An account as these rules see it.
struct View {
    known: Known,
    /// Units.
    weekly: f64,
    short: f64,
    /// Live conversations on it.
    live: f64,
}

#[derive(Debug)]
struct Cold {
    name: &'static str,
    value: fn(&View) -> f64,
    live: Live,
    setup: Setup,
}

impl Policy for Cold {
    fn name(&self) -> &'static str {
        self.name
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        let now = question.now;
        let warm = question.pin.is_some_and(|pin| pin.is_warm(now));
        let choice = if let Some((index, _)) = question.pinned().filter(|_| warm) {
            chosen(index, Why::Kept)
        } else {
            self.live.forget(question.session, now);
            let view = |slot: &Slot| View {
                known: Known::of(slot, now),
                weekly: self.setup.sizes.get(&slot.account.id).map_or(1.0, |size| size.0),
                short: self.setup.sizes.get(&slot.account.id).map_or(1.0, |size| size.1),
                live: self.live.on(&slot.account.id),
            };
            chosen(best(question, |slot| (self.value)(&view(slot))), Why::Cold)
        };
        if let (Some(session), Some(slot)) = (question.session, question.candidates.get(choice.index)) {
            self.live.note(session, &slot.account.id, now);
        }
        choice
    }
}

/// Weekly quota that expires a second, times the room in the short window after what live conversations will draw.
fn value_expiring(view: &View) -> f64 {
    let left = (1.0 - view.known.week_used) * view.weekly - view.live * DRAW;
    let room = (1.0 - view.known.short_used) * view.short - view.live * DRAW;
    let rate = left / view.known.week_left.unwrap_or(604_800.0).max(600.0);
    // Where nothing is left, less is worse.
    if room > 0.0 && rate > 0.0 { rate * (room / view.short) } else { room.min(0.0) / view.short + rate.min(0.0) }
}

/// The week that ends first, if the short window has room for what is live there and one more.
fn value_earliest(view: &View) -> f64 {
    let left = (1.0 - view.known.week_used) * view.weekly;
    let room = ((1.0 - view.known.short_used) * view.short).min(left) - (view.live + 1.0) * DRAW;
    if room > 0.0 { 1.0 / view.known.week_left.unwrap_or(604_800.0).max(1.0) } else { room / view.short }
}

/// The scarcer of what is left per second in both windows, with 3 % of the short window kept for each live conversation.
fn value_pace(view: &View) -> f64 {
    let room = 1.0 - view.known.short_used - 0.03 * view.live;
    let short = room * view.short / view.known.short_left.unwrap_or(18_000.0).max(60.0);
    let week = (1.0 - view.known.week_used) * view.weekly / view.known.week_left.unwrap_or(604_800.0).max(60.0);
    short.min(week)
}

/// Which conversations are live, and where.
#[derive(Debug, Default)]
struct Live {
    talks: HashMap<SessionKey, (AccountId, UnixMs)>,
    counts: HashMap<AccountId, u32>,
    swept: UnixMs,
}

impl Live {
    fn on(&self, account: &AccountId) -> f64 {
        f64::from(self.counts.get(account).copied().unwrap_or(0))
    }

    fn note(&mut self, session: SessionKey, account: &AccountId, now: UnixMs) {
        if let Some((_, at)) = self.talks.get_mut(&session).filter(|(before, _)| before == account) {
            *at = now;
            return;
        }
        self.leave(session);
        self.talks.insert(session, (account.clone(), now));
        *self.counts.entry(account.clone()).or_default() += 1;
    }

    fn leave(&mut self, session: SessionKey) {
        if let Some((account, _)) = self.talks.remove(&session)
            && let Some(count) = self.counts.get_mut(&account)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes the asking conversation and the silent ones out.
    fn forget(&mut self, session: Option<SessionKey>, now: UnixMs) {
        if let Some(session) = session {
            self.leave(session);
        }
        if now.since(self.swept) < Span::from_mins(1) {
            return;
        }
        self.swept = now;
        let silent: Vec<SessionKey> =
            self.talks.iter().filter(|(_, (_, at))| now.since(*at) > SILENT).map(|(key, _)| *key).collect();
        for session in silent {
            self.leave(session);
        }
    }
}
