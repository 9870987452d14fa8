//! The pool: every account with what we know of it, and the pins. All changes go through [`Pool::apply`]; choosing reserves the
//! slot in the same step ([`Pool::lease`]), because a choice on a stale picture makes everybody run to one account.

mod rest;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountId, Credentials};
use crate::ask::{Ask, Rights};
use crate::beside;
use crate::choose::Thrift;
use crate::decision::Decision;
use crate::demand::{Demand, SessionKey};
use crate::eligible::able;
use crate::fair::Fair;
use crate::forecast::{Burn, Week};
use crate::learned::Learned;
use crate::memory::{AccountMemory, Memory};
use crate::outlook::Outlook;
use crate::owners::{Creator, ObjectKey, Owned, Owners};
use crate::people::UserId;
use crate::pins::{Pin, Pins};
use crate::policy::{Policy, Question};
use crate::price::MicroUsd;
use crate::quota::{QuotaWindow, Scope};
use crate::refusal::refusal;
use crate::sizes::{Meter, Snapshot};
use crate::standing::{self, Refusal, Standing};
use crate::time::{Span, UnixMs};
use crate::usage::Drawn;
use crate::verdict::{Cause, Penalty};
use crate::wishes::{DayBook, KindOrder};

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
    pub book: DayBook,
}

/// An account, or one of its model families, kept out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

pub(crate) const CLOCK_SLACK: Span = Span::from_mins(5);
/// No cooldown lasts longer, whatever an upstream says: a week's window and a bit.
pub(crate) const LONGEST: Span = Span::from_hours(8 * 24);
/// A repeated failure counts as one in a row within this time of the last one's end.
pub(crate) const MEMORY: Span = Span::from_mins(10);
pub(crate) const MAX_COOLDOWNS: usize = 64;

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
    Drew {
        id: AccountId,
        /// Whose request it was, where the pool knows its people.
        user: Option<UserId>,
        session: Option<SessionKey>,
        families: Vec<String>,
        drawn: Drawn,
    },
    /// A request that arrived at `at` has cost so much, as far as anybody knows.
    Spent { id: AccountId, at: UnixMs, cost: Option<MicroUsd> },
    /// The operator clears what keeps it out.
    Cleared { id: AccountId },
    /// An account has refused what another has sealed in this conversation.
    Stripped { session: SessionKey },
    /// The account has created these for the caller, or served a call that names them.
    Created { id: AccountId, creator: Creator, objects: Vec<ObjectKey> },
    /// What lived where before a restart.
    Recollected { owned: Vec<(ObjectKey, Owned)> },
    /// The conversation was not served where it is pinned to.
    Unpinned { session: SessionKey },
    /// What was known of an account before a restart. Readings made since count more.
    Recalled { id: AccountId, memory: AccountMemory },
    /// What another replica knows of an account. Later readings count more.
    Heard { id: AccountId, memory: AccountMemory },
    /// Where another replica's conversations are. Later uses count more.
    HeardPins { pins: Vec<(SessionKey, Option<Pin>)> },
    /// The pins from before a restart, the last used first.
    Repinned { pins: Vec<(SessionKey, Pin)> },
    /// What windows had taught of their sizes before a restart. What they have taught since counts more.
    Resized { sizes: Snapshot },
    /// A request from before a restart had come to its end at that time, and taken so much.
    Burned { id: AccountId, at: UnixMs, units: f64 },
    /// What was usual before a restart, by the provider's name.
    Weeks { weeks: Vec<(String, Week)> },
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
    /// Who has it, where the pool knows its people.
    pub user: Option<UserId>,
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
    pub(crate) learned: Learned,
    /// What has changed since it was last put away.
    pub memory: Memory,
    pub owners: Owners,
    pub fair: Fair,
    /// How fast it is drawn on.
    pub burn: Burn,
    policy: Box<dyn Policy>,
    kinds: KindOrder,
    /// What accounts have cost today whose files are not there: a file that comes back finds its book.
    away: BTreeMap<AccountId, DayBook>,
}

impl Default for Pool {
    fn default() -> Self {
        Self::with_pins(Pins::default())
    }
}

impl Pool {
    /// With the pool's own rule of choice.
    pub fn with_pins(pins: Pins) -> Self {
        Self::new(pins, Box::new(Thrift))
    }

    pub fn new(pins: Pins, policy: Box<dyn Policy>) -> Self {
        Self {
            slots: BTreeMap::new(),
            pins,
            learned: Learned::default(),
            memory: Memory::default(),
            owners: Owners::default(),
            fair: Fair::default(),
            burn: Burn::default(),
            policy,
            kinds: KindOrder::default(),
            away: BTreeMap::new(),
        }
    }

    /// With the operator's order of the kinds of accounts.
    #[must_use]
    pub fn in_order(self, kinds: KindOrder) -> Self {
        Self { kinds, ..self }
    }

    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values()
    }

    pub fn slot(&self, id: &AccountId) -> Option<&Slot> {
        self.slots.get(id)
    }

    /// Takes an event in. Events about accounts that are gone are ignored.
    pub fn apply(&mut self, event: Event, now: UnixMs) {
        self.memory.note(&event);
        match event {
            Event::Seen { account, credentials } => self.seen(*account, *credentials),
            Event::Gone { id } => {
                self.away.retain(|_, book| book.is_of(now));
                let slot = self.slots.remove(&id);
                if let Some(slot) = &slot {
                    self.learned.gone(slot);
                }
                self.burn.gone(&id);
                let book = slot.map(|slot| slot.book);
                self.away.extend(book.filter(|book| book.is_of(now)).map(|book| (id, book)));
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
            Event::Read { id, windows } => {
                self.with(&id, |slot| slot.read(&windows, now));
                if self.learned.read(&mut self.slots, &id, &windows, now) {
                    self.memory.sized(id);
                }
            }
            Event::Penalised { id, penalty } => self.with(&id, |slot| slot.penalise(penalty, now)),
            Event::Served { id, families } => self.with(&id, |slot| {
                slot.last_used = Some(now);
                slot.cooldowns.retain(|cooldown| cooldown.is_hard() || !cooldown.scope.touches(&families));
            }),
            Event::Drew { id, user, session, families, drawn } => {
                if let Some(session) = session {
                    self.pins.drew(session, &id, &drawn, now);
                }
                if let Some(slot) = self.slots.get_mut(&id) {
                    self.fair.drew(slot.account.provider, user.as_ref(), drawn.units, now);
                    self.learned.drew(slot, session, &families, &drawn, now);
                    self.burn.drew(slot.account.provider, &id, &families, drawn.units, now);
                }
            }
            Event::Spent { id, at, cost } => self.book(&id, now).add(at, cost, now),
            Event::Stripped { session } => self.pins.strip(session),
            Event::Created { id, creator, objects } => self.owners.created(&id, creator, &objects, now),
            Event::Recollected { owned } => self.owners.restore(owned, now),
            Event::Unpinned { session } => self.pins.forget(session),
            Event::Recalled { id, memory } => self.with(&id, |slot| slot.recall(memory, now)),
            Event::Heard { id, memory } => self.with(&id, |slot| slot.hear(memory, now)),
            Event::HeardPins { pins } => self.pins.hear(pins, now),
            Event::Repinned { pins } => self.pins.restore(pins, now),
            Event::Resized { sizes } => self.learned.restore(&mut self.slots, sizes),
            Event::Burned { id, at, units } => self.burned(&id, at, units, now),
            Event::Weeks { weeks } => self.weeks(weeks, now),
            Event::Cleared { id } => self.with(&id, |slot| {
                slot.cooldowns.clear();
                slot.windows.retain(|window| !window.is_exhausted(now));
            }),
        }
    }

    /// Chooses an account for the request and takes a slot of it.
    pub fn lease(&mut self, ask: &Ask<'_>, now: UnixMs) -> Result<Grant, Box<Refusal>> {
        self.learned.settle(&mut self.slots, now);
        let Ask { demand, caller, .. } = *ask;
        if !demand.light {
            self.fair.asked(demand.provider, caller, now);
        }
        let grant = match self.kept(ask, now) {
            Some(kept) => kept,
            None => self.choose(ask, now).inspect_err(|refusal| self.note_dry(refusal, now))?,
        };
        if let Some(refusal) = self.kept_for_others(ask, &grant.account.id, now) {
            return Err(refusal);
        }
        if grant.counted {
            self.fair.begun(demand.provider, caller.user);
            self.with(&grant.account.id, |slot| slot.in_flight += 1);
        }
        if let Some(key) = ask.session.filter(|_| !demand.light) {
            self.pins.set(key, &grant.account.id, demand.binding, now);
            self.learned.leased(&mut self.slots, key, &grant.account.id, now);
        }
        Ok(grant)
    }

    /// The quick way, for most requests: the conversation stays where its cache is, and nobody else is looked at.
    fn kept(&self, ask: &Ask<'_>, now: UnixMs) -> Option<Grant> {
        let Ask { demand, session, only, .. } = *ask;
        let pin = self.pins.get(session.filter(|_| !demand.light)?, now)?;
        let slot = self.slots.get(&pin.account).filter(|slot| slot.account.provider == demand.provider)?;
        let id = &slot.account.id;
        let stays = self.policy.keeps(pin, slot, demand, self.kinds, now) && only.is_none_or(|only| only == id);
        if !stays || able(slot, ask, Some(id), now).is_err() {
            return None;
        }
        let accounts = self.learned.outlook(demand.provider).map_or(1, |outlook| outlook.accounts);
        Some(Grant {
            account: slot.account.clone(),
            credentials: slot.credentials.clone(),
            epoch: slot.epoch,
            pin: PinState::Kept,
            bare: pin.bare,
            decision: Arc::new(Decision::kept(pin, accounts.saturating_sub(1), now)),
            counted: true,
            user: ask.caller.user.cloned(),
        })
    }

    /// What [`Pool::lease`] would answer now. Takes no slot and sets no pin.
    pub fn explain(&mut self, ask: &Ask<'_>, now: UnixMs) -> Result<Arc<Decision>, Box<Refusal>> {
        self.choose(ask, now).map(|grant| grant.decision)
    }

    fn choose(&mut self, ask: &Ask<'_>, now: UnixMs) -> Result<Grant, Box<Refusal>> {
        let Ask { demand, session, only, .. } = *ask;
        let pin = session.and_then(|key| self.pins.get(key, now));
        // A pin to an account that is gone binds nothing.
        let pinned = pin.map(|pin| pin.account.clone()).filter(|id| self.slots.contains_key(id));
        let bare = pin.is_some_and(|pin| pin.bare);
        let mut unable = Vec::new();
        let mut candidates = Vec::new();
        let may = |slot: &&Slot| only.is_none_or(|only| *only == slot.account.id);
        for slot in self.slots.values().filter(|slot| slot.account.provider == demand.provider).filter(may) {
            match able(slot, ask, pinned.as_ref(), now) {
                Ok(()) => candidates.push(slot),
                Err(why) => unable.push((slot.account.id.clone(), why)),
            }
        }
        if candidates.is_empty() {
            return Err(Box::new(refusal(demand, unable, now)));
        }
        let beside = pinned.is_none().then(|| beside::parent(&self.pins, ask, &candidates, now)).flatten();
        let nothing = Outlook::default();
        let outlook = self.learned.outlook(demand.provider).unwrap_or(&nothing);
        let question = Question { demand, session, pin, kinds: self.kinds, candidates: &candidates, outlook, now };
        let choice = beside.unwrap_or_else(|| self.policy.choose(&question));
        // A policy that points beyond its candidates must not become a panic.
        let chosen = *candidates.get(choice.index).unwrap_or(&candidates[0]);
        let decision = Arc::new(Decision::of(&question, &choice, chosen, pinned.clone(), unable));
        Ok(Grant {
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
            decision,
            counted: !demand.light,
            user: ask.caller.user.cloned(),
        })
    }

    /// Gives the slot back.
    pub fn release(&mut self, grant: &Grant) {
        if grant.counted {
            self.fair.ended(grant.account.provider, grant.user.as_ref());
            self.with(&grant.account.id, |slot| slot.in_flight = slot.in_flight.saturating_sub(1));
        }
    }

    /// The accounts of a provider that may serve this client and caller, told as one.
    pub fn standing(&self, demand: &Demand, caller: Rights<'_>, now: UnixMs) -> Standing {
        Standing::of(self.slots.values(), demand, caller, now)
    }

    /// What the accounts that a caller may use hold in their longest windows, in units; `None`: nobody knows.
    pub fn capacity(&self, caller: Rights<'_>) -> Option<f64> {
        standing::capacity(self.slots.values(), caller)
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
                meters: self.learned.come(&account.id, account.provider),
                last_used: None,
                book: self.away.remove(&account.id).unwrap_or_default(),
                account: Arc::new(account),
            };
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

    fn book(&mut self, id: &AccountId, now: UnixMs) -> &mut DayBook {
        if let Some(slot) = self.slots.get_mut(id) {
            return &mut slot.book;
        }
        self.away.retain(|_, book| book.is_of(now));
        self.away.entry(id.clone()).or_default()
    }

    fn with(&mut self, id: &AccountId, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(id) {
            change(slot);
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
