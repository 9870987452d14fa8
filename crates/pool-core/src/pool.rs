//! The pool: every account with what we know of it, and the pins. All changes go through [`Pool::apply`]; choosing reserves the
//! slot in the same step ([`Pool::lease`]), because a choice on a stale picture makes everybody run to one account.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::account::{Account, AccountId, Credentials, ProviderId};
use crate::ask::Ask;
use crate::choose;
use crate::decision::{Considered, Decision, Finding, MOST_CONSIDERED};
use crate::demand::{Demand, SessionKey};
use crate::live::{self, Live};
use crate::outlook::Outlook;
use crate::pins::Pins;
use crate::policy::{Choice, Policy, Question, Why};
use crate::quota::{self, Fraction, QuotaWindow, Scope};
use crate::sizes::{self, Meter, Priors};
use crate::standing::{Ineligible, Refusal, RefusalWhy, Standing, StandingWindow};
use crate::thrift;
use crate::time::{Span, UnixMs};
use crate::usage::Drawn;
use crate::verdict::{Cause, Penalty, Until};

/// One account and its state.
#[derive(Clone, Debug)]
pub struct Slot {
    pub account: Arc<Account>,
    pub credentials: Arc<Credentials>,
    /// Rises with every change of the credentials. A 401 that was answered to an older epoch says nothing of this one.
    pub epoch: u64,
    /// Of no use until a person signs in again: why, and what to do.
    pub needs_login: Option<String>,
    pub windows: Vec<QuotaWindow>,
    pub cooldowns: Vec<Cooldown>,
    pub in_flight: u32,
    /// Conversations whose cache is warm here.
    pub live: u32,
    /// How big its windows are, as far as that was learned.
    pub meters: Vec<Meter>,
    pub last_used: Option<UnixMs>,
}

/// An account, or one of its model families, kept out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cooldown {
    pub scope: Scope,
    pub cause: Cause,
    pub since: UnixMs,
    pub until: UnixMs,
    /// The provider named the time.
    pub told: bool,
    /// How many in a row.
    pub strikes: u32,
}

impl Cooldown {
    /// A clock that was set back does not prolong it.
    pub fn is_running(&self, now: UnixMs) -> bool {
        self.since <= now + CLOCK_SLACK && now < self.until
    }

    /// Must the account not be asked? Passing trouble without a time only makes it the last choice: if all others are worse
    /// off, trying is better than refusing.
    pub fn is_hard(&self) -> bool {
        self.told || matches!(self.cause, Cause::QuotaSpent | Cause::ModelRefused | Cause::OutOfCredit)
    }
}

const CLOCK_SLACK: Span = Span::from_mins(5);
/// No cooldown lasts longer, whatever an upstream says: a week's window and a bit.
const LONGEST: Span = Span::from_hours(8 * 24);
/// A repeated failure counts as one in a row within this time of the last one's end.
const MEMORY: Span = Span::from_mins(10);
const MAX_COOLDOWNS: usize = 64;

/// What has happened to an account.
#[derive(Clone, Debug)]
pub enum Event {
    /// Its file was read. What we know of it stays; changed credentials start a new epoch and end a needed sign-in.
    Seen { account: Box<Account>, credentials: Box<Credentials> },
    /// Its file is gone. Requests in flight go on with what they hold.
    Gone { id: AccountId },
    /// Its credentials were renewed and are on disk.
    Renewed { id: AccountId, credentials: Box<Credentials> },
    /// A person must sign in again. Ignored if the credentials have changed since `epoch`.
    SignInNeeded { id: AccountId, epoch: u64, why: String },
    /// A probe told values that travel with the credentials.
    Bound { id: AccountId, values: Vec<(&'static str, String)> },
    /// A probe told the plan.
    Plan { id: AccountId, plan: String },
    /// Quota readings.
    Read { id: AccountId, windows: Vec<QuotaWindow> },
    /// A reply cost it a cooldown.
    Penalised { id: AccountId, penalty: Penalty },
    /// A request of these families was served: passing trouble is over.
    Served { id: AccountId, families: Vec<String> },
    /// A request has come to its end: what it took from the account's quota, and what its conversation now has in the
    /// account's cache.
    Drew { id: AccountId, session: Option<SessionKey>, families: Vec<String>, drawn: Drawn },
    /// The operator clears what keeps it out.
    Cleared { id: AccountId },
    /// An account has refused what another has sealed in this conversation.
    Stripped { session: SessionKey },
}

/// An account handed to one attempt. The slot is taken until [`Pool::release`].
#[derive(Clone, Debug)]
pub struct Grant {
    pub account: Arc<Account>,
    pub credentials: Arc<Credentials>,
    pub epoch: u64,
    pub pin: PinState,
    /// The conversation's requests go out without sealed state (see [`crate::pins::Pin`]).
    pub bare: bool,
    /// How it came to be this account.
    pub decision: Arc<Decision>,
    /// A light request takes no slot, so none is given back.
    pub counted: bool,
}

/// How the grant stands to the conversation's pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PinState {
    /// No conversation id.
    None,
    New,
    Kept,
    /// The conversation was on another account before.
    Moved,
}

/// See the module's page.
#[derive(Debug)]
pub struct Pool {
    slots: BTreeMap<AccountId, Slot>,
    pub pins: Pins,
    live: Live,
    outlooks: BTreeMap<ProviderId, Outlook>,
    policy: Box<dyn Policy>,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(Pins::default(), Box::new(thrift::Thrift::default()))
    }
}

impl Pool {
    pub fn new(pins: Pins, policy: Box<dyn Policy>) -> Self {
        Self { slots: BTreeMap::new(), pins, live: Live::default(), outlooks: BTreeMap::new(), policy }
    }

    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values()
    }

    pub fn slot(&self, id: &AccountId) -> Option<&Slot> {
        self.slots.get(id)
    }

    /// Takes an event in. Events about accounts that are gone are ignored.
    pub fn apply(&mut self, event: Event, now: UnixMs) {
        match event {
            Event::Seen { account, credentials } => self.seen(*account, *credentials),
            Event::Gone { id } => {
                if let Some(slot) = self.slots.remove(&id) {
                    let outlook = self.outlooks.entry(slot.account.provider).or_default();
                    outlook.accounts = outlook.accounts.saturating_sub(1);
                }
            }
            Event::Renewed { id, credentials } => self.with(&id, |slot| slot.renew(*credentials)),
            Event::SignInNeeded { id, epoch, why } => self.with(&id, |slot| {
                if slot.epoch == epoch {
                    slot.needs_login = Some(why);
                }
            }),
            Event::Bound { id, values } => self.with(&id, |slot| {
                let mut credentials = Credentials::clone(&slot.credentials);
                credentials.bound.extend(values);
                slot.credentials = Arc::new(credentials);
            }),
            Event::Plan { id, plan } => self.with(&id, |slot| {
                slot.account = Arc::new(Account { plan: Some(plan), ..Account::clone(&slot.account) });
            }),
            Event::Read { id, windows } => self.read(&id, &windows, now),
            Event::Penalised { id, penalty } => self.with(&id, |slot| slot.penalise(penalty, now)),
            Event::Served { id, families } => self.with(&id, |slot| {
                slot.last_used = Some(now);
                slot.cooldowns.retain(|cooldown| cooldown.is_hard() || !cooldown.scope.touches(&families));
            }),
            Event::Drew { id, session, families, drawn } => {
                if let Some(session) = session {
                    self.pins.drew(session, &id, &drawn, now);
                    self.live.drew(session, &id, drawn.units, drawn.warm, now);
                }
                self.with(&id, |slot| sizes::drew(&mut slot.meters, &families, drawn.units));
                if let Some(provider) = self.slots.get(&id).map(|slot| slot.account.provider) {
                    self.outlooks.entry(provider).or_default().drew(drawn.units, now);
                }
            }
            Event::Stripped { session } => self.pins.strip(session),
            Event::Cleared { id } => self.with(&id, |slot| {
                slot.cooldowns.clear();
                slot.windows.retain(|window| !window.is_exhausted(now));
            }),
        }
    }

    /// Chooses an account for the request and takes a slot of it.
    pub fn lease(&mut self, ask: &Ask<'_>, now: UnixMs) -> Result<Grant, Box<Refusal>> {
        let Ask { demand, session, .. } = *ask;
        while let Some(ended) = self.live.ended(now) {
            self.run_ended(&ended);
        }
        if let Some(kept) = self.kept(ask, now) {
            return Ok(kept);
        }
        let pin = session.and_then(|key| self.pins.get(key, now));
        // A pin to an account that is gone binds nothing.
        let pinned = pin.map(|pin| pin.account.clone()).filter(|id| self.slots.contains_key(id));
        let bare = pin.is_some_and(|pin| pin.bare);
        let mut unable = Vec::new();
        let mut candidates = Vec::new();
        for slot in self.slots.values().filter(|slot| slot.account.provider == demand.provider) {
            match able(slot, ask, pinned.as_ref(), now) {
                Ok(()) => candidates.push(slot),
                Err(why) => unable.push((slot.account.id.clone(), why)),
            }
        }
        if candidates.is_empty() {
            return Err(Box::new(refusal(demand, unable, now)));
        }
        let unknown = Outlook::default();
        let outlook = self.outlooks.get(&demand.provider).unwrap_or(&unknown);
        let choice = self.policy.choose(&Question { demand, session, pin, candidates: &candidates, outlook, now });
        // A policy that points beyond its candidates must not become a panic.
        let chosen = *candidates.get(choice.index).unwrap_or(&candidates[0]);
        let grant = Grant {
            account: chosen.account.clone(),
            credentials: chosen.credentials.clone(),
            epoch: chosen.epoch,
            pin: match (session, &pinned) {
                (None, _) => PinState::None,
                (Some(_), None) => PinState::New,
                (Some(_), Some(pin)) if *pin == chosen.account.id => PinState::Kept,
                (Some(_), Some(_)) => PinState::Moved,
            },
            bare,
            decision: Arc::new(decision(chosen, &choice, pinned, &candidates, unable)),
            counted: !demand.light,
        };
        if grant.counted {
            self.with(&grant.account.id, |slot| slot.in_flight += 1);
        }
        if let Some(key) = session.filter(|_| !demand.light) {
            self.settle_pin(key, &grant.account.id, now);
        }
        Ok(grant)
    }

    /// The quick way, for most requests: the conversation stays where its cache is, and nobody else is looked at.
    fn kept(&mut self, ask: &Ask<'_>, now: UnixMs) -> Option<Grant> {
        let Ask { demand, session, .. } = *ask;
        let session = session.filter(|_| !demand.light)?;
        let pin = self.pins.get(session, now)?;
        let slot = self.slots.get_mut(&pin.account).filter(|slot| slot.account.provider == demand.provider)?;
        if !self.policy.keeps(pin, slot, demand, now) || able(slot, ask, Some(&pin.account), now).is_err() {
            return None;
        }
        slot.in_flight += 1;
        let others = self.outlooks.get(&demand.provider).map_or(0, |outlook| outlook.accounts.saturating_sub(1));
        let decision = Decision {
            chosen: slot.account.id.clone(),
            why: Why::Kept,
            pinned: Some(slot.account.id.clone()),
            considered: vec![Considered { account: slot.account.id.clone(), finding: Finding::Able(None) }],
            more: others,
        };
        let grant = Grant {
            account: slot.account.clone(),
            credentials: slot.credentials.clone(),
            epoch: slot.epoch,
            pin: PinState::Kept,
            bare: pin.bare,
            decision: Arc::new(decision),
            counted: true,
        };
        self.settle_pin(session, &grant.account.id, now);
        Some(grant)
    }

    /// The conversation is on this account from now on.
    fn settle_pin(&mut self, session: SessionKey, account: &AccountId, now: UnixMs) {
        self.pins.set(session, account, now);
        let (begun, ended) = self.live.lease(session, account, now);
        if let Some(ended) = ended {
            self.run_ended(&ended);
        }
        if begun {
            self.with(account, |slot| slot.live += 1);
        }
    }

    fn run_ended(&mut self, (account, units): &live::Ended) {
        self.with(account, |slot| slot.live = slot.live.saturating_sub(1));
        if let Some(provider) = self.slots.get(account).map(|slot| slot.account.provider) {
            self.outlooks.entry(provider).or_default().ended(*units);
        }
    }

    fn read(&mut self, id: &AccountId, windows: &[QuotaWindow], now: UnixMs) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.read(windows, now);
        let learned = sizes::read(&mut slot.meters, &slot.windows, now);
        let provider = slot.account.provider;
        let outlook = self.outlooks.entry(provider).or_default();
        if !learned {
            return outlook.priors.settle(slot.account.plan.as_deref(), &slot.windows, &mut slot.meters);
        }
        outlook.priors = Priors::default();
        for slot in self.slots.values().filter(|slot| slot.account.provider == provider) {
            outlook.priors.add(slot.account.plan.as_deref(), &slot.meters);
        }
        for slot in self.slots.values_mut().filter(|slot| slot.account.provider == provider) {
            outlook.priors.settle(slot.account.plan.as_deref(), &slot.windows, &mut slot.meters);
        }
    }

    /// Gives the slot back.
    pub fn release(&mut self, grant: &Grant) {
        if grant.counted {
            self.with(&grant.account.id, |slot| slot.in_flight = slot.in_flight.saturating_sub(1));
        }
    }

    /// The accounts of a provider that may serve this client, told as one.
    pub fn standing(&self, demand: &Demand, now: UnixMs) -> Standing {
        let able: Vec<&Slot> = self
            .slots
            .values()
            .filter(|slot| slot.account.provider == demand.provider && demand.admits(slot.account.kind))
            .filter(|slot| !slot.account.settings.disabled && slot.needs_login.is_none())
            .collect();
        let mut windows: Vec<StandingWindow> = Vec::new();
        for window in able.iter().flat_map(|slot| &slot.windows) {
            let known = windows.iter().any(|seen| seen.name == window.name && seen.scope == window.scope);
            let wanted = demand.families.is_empty() || window.scope.touches(&demand.families);
            if wanted && !known {
                windows.extend(stand(&able, window, now));
            }
        }
        windows.sort_by_key(|window| window.span);
        let ready = able.iter().filter(|slot| choose::eligible(slot, demand, now).is_ok()).count();
        Standing { accounts: able.len(), ready, windows }
    }

    fn seen(&mut self, account: Account, mut credentials: Credentials) {
        let Some(slot) = self.slots.get_mut(&account.id) else {
            let slot = Slot {
                credentials: Arc::new(credentials),
                epoch: 1,
                needs_login: None,
                windows: Vec::new(),
                cooldowns: Vec::new(),
                in_flight: 0,
                live: 0,
                meters: Vec::new(),
                last_used: None,
                account: Arc::new(account),
            };
            self.outlooks.entry(slot.account.provider).or_default().accounts += 1;
            self.slots.insert(slot.account.id.clone(), slot);
            return;
        };
        // What a probe has told and the file does not say is kept.
        for (key, value) in &slot.credentials.bound {
            credentials.bound.entry(key).or_insert_with(|| value.clone());
        }
        let plan = account.plan.clone().or_else(|| slot.account.plan.clone());
        slot.account = Arc::new(Account { plan, ..account });
        if *slot.credentials != credentials {
            slot.renew(credentials);
        }
    }

    fn with(&mut self, id: &AccountId, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(id) {
            change(slot);
        }
    }
}

impl Slot {
    fn renew(&mut self, credentials: Credentials) {
        self.credentials = Arc::new(credentials);
        self.epoch += 1;
        self.needs_login = None;
    }

    /// Takes readings in. Readings that show room well after a quota cooldown began end it: the provider has reset early, or
    /// the operator bought more.
    fn read(&mut self, windows: &[QuotaWindow], now: UnixMs) {
        quota::merge(&mut self.windows, windows.iter().cloned());
        self.cooldowns.retain(|cooldown| {
            let mut same_scope = windows.iter().filter(|window| window.scope == cooldown.scope).peekable();
            let refuted = cooldown.cause == Cause::QuotaSpent
                && same_scope.peek().is_some()
                && same_scope.all(|window| window.used(now).get() < 0.95 && window.seen_at > cooldown.since + SETTLE);
            !refuted
        });
    }

    fn penalise(&mut self, penalty: Penalty, now: UnixMs) {
        self.cooldowns.retain(|cooldown| now < cooldown.until + MEMORY && cooldown.since <= now + CLOCK_SLACK);
        let Penalty { scope, cause, until } = penalty;
        let known = self.cooldowns.iter().position(|cooldown| cooldown.scope == scope && cooldown.cause == cause);
        let before = known.map(|index| self.cooldowns.swap_remove(index));
        // Several requests that were under way together fail together: that is one strike, not many.
        let strikes = match &before {
            Some(earlier) if now.since(earlier.since) < TOGETHER => earlier.strikes,
            Some(earlier) => earlier.strikes.saturating_add(1),
            None => 1,
        };
        let (end, told) = match until {
            Until::At(time) => (time, true),
            Until::For(span) => (now + span, true),
            Until::BackOff => (now + back_off(cause, strikes), false),
        };
        let end = end.min(now + LONGEST);
        let longer = before.filter(|earlier| earlier.is_running(now) && earlier.until > end);
        if self.cooldowns.len() < MAX_COOLDOWNS {
            self.cooldowns.push(Cooldown {
                scope,
                cause,
                since: now,
                until: longer.as_ref().map_or(end, |earlier| earlier.until),
                told: told || longer.is_some_and(|earlier| earlier.told),
                strikes,
            });
        }
    }
}

/// Readings within this time of a limit reply may come from requests that were under way before it.
const SETTLE: Span = Span::from_secs(5);
const TOGETHER: Span = Span::from_secs(1);

/// What a client sits out by itself.
const A_MOMENT: Span = Span::from_mins(1);

/// How long to keep away when nobody said.
fn back_off(cause: Cause, strikes: u32) -> Span {
    let doubled = |first: Span, most: Span| Span((first.0 << strikes.clamp(1, 16).saturating_sub(1)).min(most.0));
    match cause {
        Cause::Throttled | Cause::ModelOverloaded | Cause::UpstreamFailing => {
            doubled(Span::from_secs(2), Span::from_mins(5))
        }
        Cause::EgressBlocked => doubled(Span::from_secs(10), Span::from_mins(10)),
        Cause::QuotaSpent => doubled(Span::from_mins(5), Span::from_hours(1)),
        Cause::OutOfCredit => doubled(Span::from_mins(30), Span::from_hours(6)),
        Cause::ModelRefused => doubled(Span::from_hours(1), Span::from_hours(24)),
    }
}

/// One window name over all accounts that report it.
fn stand(able: &[&Slot], like: &QuotaWindow, now: UnixMs) -> Option<StandingWindow> {
    let mut used = Vec::new();
    let mut resets_at: Option<UnixMs> = None;
    for slot in able {
        let mine = slot.windows.iter().find(|window| window.name == like.name && window.scope == like.scope);
        let Some(window) = mine.filter(|window| window.is_believable(now)) else { continue };
        // A spent longer window makes what is left of a shorter one worthless.
        let blocked = slot
            .windows
            .iter()
            .any(|other| other.scope == Scope::Account && other.span > window.span && other.is_exhausted(now));
        let share = if blocked { Fraction::ONE } else { window.used(now) };
        used.push(share.get());
        if share > Fraction::ZERO {
            let reset = window.resets_at.filter(|reset| *reset > now && !blocked);
            resets_at = [resets_at, reset].into_iter().flatten().min();
        }
    }
    let mean = used.iter().sum::<f64>() / used.len() as f64;
    Some(StandingWindow {
        name: like.name.clone(),
        scope: like.scope.clone(),
        span: like.span,
        used: Fraction::new(mean)?,
        resets_at,
    })
}

/// Can this account take the request?
fn able(slot: &Slot, ask: &Ask<'_>, pinned: Option<&AccountId>, now: UnixMs) -> Result<(), Ineligible> {
    // What keeps it out says more than that it was tried.
    choose::eligible(slot, ask.demand, now)?;
    let id = &slot.account.id;
    match () {
        () if ask.tried.contains(id) => Err(Ineligible::Tried),
        () if ask.demand.bound && pinned.is_some_and(|pin| pin != id) => Err(Ineligible::BoundElsewhere),
        () => Ok(()),
    }
}

fn decision(
    chosen: &Slot,
    choice: &Choice,
    pinned: Option<AccountId>,
    candidates: &[&Slot],
    unable: Vec<(AccountId, Ineligible)>,
) -> Decision {
    let score = |index: usize| choice.scores.get(index);
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let value = |index: usize| score(index).map_or(f64::NEG_INFINITY, |score| score.value);
    order.sort_by(|a, b| (*b == choice.index).cmp(&(*a == choice.index)).then_with(|| value(*b).total_cmp(&value(*a))));
    let able = order.into_iter().map(|index| Considered {
        account: candidates[index].account.id.clone(),
        finding: Finding::Able(score(index).cloned()),
    });
    let unable_count = unable.len();
    let unable = unable.into_iter().map(|(account, why)| Considered { account, finding: Finding::Unable(why) });
    let considered: Vec<Considered> = able.chain(unable).take(MOST_CONSIDERED).collect();
    Decision {
        chosen: chosen.account.id.clone(),
        why: choice.why,
        pinned,
        more: (candidates.len() + unable_count).saturating_sub(considered.len()),
        considered,
    }
}

/// Sums up why nobody can take it: what a client can be told.
fn refusal(demand: &Demand, considered: Vec<(AccountId, Ineligible)>, now: UnixMs) -> Refusal {
    let why = refusal_why(&considered, now);
    Refusal { provider: demand.provider, model: demand.model.clone(), why, considered }
}

fn refusal_why(considered: &[(AccountId, Ineligible)], now: UnixMs) -> RefusalWhy {
    if considered.is_empty() {
        return RefusalWhy::NoAccounts;
    }
    let reasons = || considered.iter().map(|(_, why)| why);
    // Limits first: somebody who waits will be served.
    let limits = reasons().filter_map(|why| match why {
        Ineligible::WindowSpent { window, span, resets_at } => Some((*resets_at, Some(window.clone()), *span)),
        Ineligible::Cooling { cause: Cause::QuotaSpent | Cause::OutOfCredit, until, .. } => {
            Some((Some(*until), None, None))
        }
        // A throttle that lasts is a limit to whoever waits for it.
        Ineligible::Cooling { cause: Cause::Throttled, until, .. } if *until > now + A_MOMENT => {
            Some((Some(*until), None, None))
        }
        _ => None,
    });
    // The earliest known time; unknown only if none is known.
    if let Some((resets_at, window, span)) = limits.min_by_key(|(resets_at, ..)| (resets_at.is_none(), *resets_at)) {
        return RefusalWhy::AllSpent { resets_at, window, span };
    }
    let trouble = reasons().filter_map(|why| match why {
        Ineligible::Cooling { cause, until, .. } if *cause != Cause::ModelRefused => Some((*until, *cause)),
        _ => None,
    });
    if let Some((until, cause)) = trouble.min_by_key(|(until, _)| *until) {
        return RefusalWhy::Trouble { until: Some(until), cause };
    }
    if reasons().any(|why| matches!(why, Ineligible::Tried)) {
        return RefusalWhy::Trouble { until: None, cause: Cause::UpstreamFailing };
    }
    if reasons().all(|why| matches!(why, Ineligible::Kind)) {
        return RefusalWhy::NoneOfThisKind;
    }
    RefusalWhy::NeedsPerson
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
