//! Fairness between people: who has used how much of a provider lately, and what follows from it.
//!
//! Somebody's *use* is what they have drawn, halved with every hour that has passed since, and what they have under way, at what
//! a request draws on the average. Two things hang on it: whose turn it is in line for a busy account ([`InLine::rank`]), and who
//! has to leave the rest of a pool that is nearly out to others ([`Fair::ahead`]). Nobody's limits are set here: those are
//! [`crate::limits`].

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::account::ProviderId;
use crate::ask::Rights;
use crate::people::UserId;
use crate::pool::CLOCK_SLACK;
use crate::time::{Span, UnixMs};

/// What was drawn so long ago counts half.
pub const HALF_LIFE: Span = Span::from_hours(1);
/// Somebody who has not asked for so long leaves their share to the others.
pub const ACTIVE: Span = Span::from_mins(15);
/// Who has used more than so many times an equal share is ahead. Those who use about the same must not be told in turn that they
/// have had enough.
pub const AHEAD: f64 = 1.5;
/// Who has waited in line for so long and has nothing under way goes before those who have used less.
pub const OVERDUE: Span = Span::from_secs(5);
/// People whose use of one provider is known. Beyond it the one who asked longest ago is forgotten.
const MOST: usize = 10_000;
/// What one request changes of the mean.
const GAIN: f64 = 1.0 / 16.0;

/// See the module's page. Whoever has no user (the settings' operator, the machine's own user) is not followed: they are owners, and
/// never have to step back.
#[derive(Debug, Default)]
pub struct Fair {
    providers: BTreeMap<ProviderId, Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    people: BTreeMap<UserId, Recent>,
    /// What a request draws on the average, in units; `None` before the first.
    request: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    owner: bool,
    /// Drawn, as of `at`.
    units: f64,
    at: UnixMs,
    under_way: u32,
    asked: UnixMs,
}

impl Recent {
    /// What was drawn in the future, before the clock was set back, is not believed.
    fn drawn(&self, now: UnixMs) -> f64 {
        if self.at > now + CLOCK_SLACK {
            return 0.0;
        }
        self.units * 0.5f64.powf(now.since(self.at).0 as f64 / HALF_LIFE.0 as f64)
    }

    fn used(&self, request: Option<f64>, now: UnixMs) -> f64 {
        self.drawn(now) + f64::from(self.under_way) * request.unwrap_or(1.0)
    }

    /// Until when they count as somebody who may want more.
    fn active_until(&self, now: UnixMs) -> UnixMs {
        match () {
            () if self.under_way > 0 => now + ACTIVE,
            // Before the clock was set back.
            () if self.asked > now + CLOCK_SLACK => now,
            () => self.asked.min(now) + ACTIVE,
        }
    }
}

impl Fair {
    /// Somebody wants something of a provider, whether they get it or not.
    pub fn asked(&mut self, provider: ProviderId, caller: Rights<'_>, now: UnixMs) {
        let Some(user) = caller.user else { return };
        let people = &mut self.providers.entry(provider).or_default().people;
        if let Some(recent) = people.get_mut(user) {
            (recent.asked, recent.owner) = (now, caller.owner);
            return;
        }
        if people.len() >= MOST && !forget_one(people) {
            return;
        }
        people.insert(user.clone(), Recent { owner: caller.owner, asked: now, at: now, ..Recent::default() });
    }

    /// A request of theirs has got an account.
    pub fn begun(&mut self, provider: ProviderId, user: Option<&UserId>) {
        self.with(provider, user, |recent| recent.under_way = recent.under_way.saturating_add(1));
    }

    /// It has given the account back.
    pub fn ended(&mut self, provider: ProviderId, user: Option<&UserId>) {
        self.with(provider, user, |recent| recent.under_way = recent.under_way.saturating_sub(1));
    }

    /// A request of theirs has drawn so many units.
    pub fn drew(&mut self, provider: ProviderId, user: Option<&UserId>, units: f64, now: UnixMs) {
        if !units.is_finite() || units <= 0.0 {
            return;
        }
        let mean = &mut self.providers.entry(provider).or_default().request;
        *mean = Some(mean.map_or(units, |mean| mean + GAIN * (units - mean)));
        self.with(provider, user, |recent| (recent.units, recent.at) = (recent.drawn(now) + units, now));
    }

    /// What somebody has used lately, in units.
    pub fn used(&self, provider: ProviderId, user: Option<&UserId>, now: UnixMs) -> f64 {
        let shares = self.providers.get(&provider);
        let known = shares.zip(user).and_then(|(shares, user)| Some((shares.people.get(user)?, shares.request)));
        known.map_or(0.0, |(recent, request)| recent.used(request, now))
    }

    /// Has somebody nothing under way, as far as is known?
    pub fn is_idle(&self, provider: ProviderId, user: Option<&UserId>) -> bool {
        let shares = self.providers.get(&provider).zip(user);
        shares.and_then(|(shares, user)| shares.people.get(user)).is_none_or(|recent| recent.under_way == 0)
    }

    /// Has somebody used clearly more than an equal share among those who are about? If so, until when at most: then the last
    /// of the others counts as gone, unless they ask again.
    ///
    /// Owners are nobody's measure. Who is alone is never ahead.
    pub fn ahead(&self, provider: ProviderId, user: Option<&UserId>, now: UnixMs) -> Option<UnixMs> {
        let (shares, user) = self.providers.get(&provider).zip(user)?;
        let theirs = shares.people.get(user)?.used(shares.request, now);
        let about =
            |(other, recent): &(&UserId, &Recent)| *other != user && !recent.owner && recent.active_until(now) > now;
        let (mut others, mut total, mut until) = (0u32, theirs, None);
        for (_, recent) in shares.people.iter().filter(about) {
            others += 1;
            total += recent.used(shares.request, now);
            until = until.max(Some(recent.active_until(now)));
        }
        until.filter(|_| theirs > AHEAD * total / f64::from(others + 1))
    }

    fn with(&mut self, provider: ProviderId, user: Option<&UserId>, change: impl FnOnce(&mut Recent)) {
        let shares = self.providers.get_mut(&provider);
        if let Some(recent) = shares.zip(user).and_then(|(shares, user)| shares.people.get_mut(user)) {
            change(recent);
        }
    }
}

/// Room for somebody new. `false`: everybody has something under way.
fn forget_one(people: &mut BTreeMap<UserId, Recent>) -> bool {
    let idle = people.iter().filter(|(_, recent)| recent.under_way == 0);
    let oldest = idle.min_by_key(|(_, recent)| recent.asked).map(|(user, _)| user.clone());
    oldest.is_some_and(|user| people.remove(&user).is_some())
}

/// Somebody who waits in line for a slot of a busy account.
#[derive(Clone, Copy, Debug)]
pub struct InLine {
    pub owner: bool,
    /// See [`Fair::used`].
    pub used: f64,
    /// Nothing of theirs is under way.
    pub idle: bool,
    /// Since they have joined the line, or were last served in it.
    pub waited: Span,
}

/// A place in line.
#[derive(Clone, Copy, Debug)]
pub struct Rank(u8, f64, f64);

impl Rank {
    /// The least is next.
    pub fn total_cmp(&self, other: &Self) -> Ordering {
        let Self(class, first, then) = self;
        class.cmp(&other.0).then(first.total_cmp(&other.1)).then(then.total_cmp(&other.2))
    }
}

impl InLine {
    pub fn is_overdue(&self) -> bool {
        self.idle && self.waited >= OVERDUE
    }

    /// Whose turn it is: the owner's, then that of whoever is overdue and has waited longest, then that of whoever has used
    /// least. After a turn of the owner's (`owner_was_last`) one who is overdue goes first. So nobody starves: everybody gets at
    /// least one request at a time, in turn.
    ///
    /// With `n` people in line, whoever is overdue gets one of the next `2 n` slots that they can use (of the next `n` where the owner
    /// does not wait): at most every other slot is the owner's, and whoever was served has waited less than they.
    pub fn rank(&self, owner_was_last: bool) -> Rank {
        let class = match (self.owner, self.is_overdue()) {
            (true, _) => 1,
            (false, true) if owner_was_last => 0,
            (false, true) => 2,
            (false, false) => 3,
        };
        let waited = -(self.waited.0 as f64);
        if self.is_overdue() && !self.owner { Rank(class, waited, self.used) } else { Rank(class, self.used, waited) }
    }
}

#[cfg(test)]
#[path = "fair_tests.rs"]
mod tests;
