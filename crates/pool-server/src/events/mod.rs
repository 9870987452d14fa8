//! What happens in the pool, as it happens: for pages and terminals that watch it.
//!
//! Whoever does something tells [`Events`], which takes a short lock and goes on; what was told is numbered and kept in a ring of
//! bounded size. A listener ([`stream`]) reads the ring at its own pace: nobody waits for it, and one that falls out of the ring
//! begins anew with a snapshot, as one does that comes back after too long. What a listener may see is decided when it reads
//! ([`Eyes`]).

pub mod flight;
mod mishaps;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod view;
pub mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use pool_core::people::{Role, UserId};
use pool_core::usage::UsageRecord;
use pool_core::{AccountId, TokenCounts, Trail};
use serde::{Deserialize, Serialize};
use tokio::sync::watch as channel;
use utoipa::ToSchema;

use crate::admit::Caller;
use crate::clock;
use crate::roster::Notice;
use crate::status::AccountView;
pub use flight::{Flight, Landed, Phase, Underway};
pub use mishaps::{Mishap, Mishaps};

/// Happenings that are kept for listeners that come back, or are slow.
const KEPT: usize = 2048;
/// Pairs of a person and a provider whose use is summed up between two ticks.
const MOST_TICKS: usize = 1000;

/// See the module's page.
#[derive(Debug)]
pub struct Events {
    state: Mutex<State>,
    /// The number of the last happening; closed when the server stops.
    told: channel::Sender<u64>,
    /// Numbers of another process mean nothing here.
    epoch: String,
    pub mishaps: Mishaps,
}

#[derive(Debug)]
struct State {
    ring: VecDeque<(u64, Arc<Happening>)>,
    /// The number of the next one; the first is 1.
    next: u64,
    flights: BTreeMap<String, Flight>,
    /// What has ended since the last tick.
    ticks: BTreeMap<(Option<UserId>, String), Tick>,
    over: bool,
    kept: usize,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A request has begun, or its phase or account has changed.
    Flight(Flight),
    Landed(Box<Landed>),
    /// An account's state or windows have changed, or it is new.
    Account(Box<AccountView>),
    AccountGone(AccountId),
    /// All that the operator should know now.
    Notices(Vec<Notice>),
    Tick(Option<UserId>, Tick),
}

/// What ended within a second: the sum over one person and provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsageTick)]
pub struct Tick {
    /// The person's id; null: nobody of the directory.
    pub person: Option<String>,
    pub provider: String,
    pub requests: u64,
    /// Of them: answered with an error.
    pub failed: u64,
    /// As far as the answers told.
    pub tokens: TokenCounts,
}

/// What was told after a listener's last one.
#[derive(Debug, PartialEq)]
pub enum News {
    Since(Vec<(u64, Arc<Happening>)>),
    /// Some of it is no longer kept.
    Gap,
}

/// Who looks, and what they may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eyes {
    /// The operator's: everything.
    Operator,
    /// A user's: their own requests, and what the accounts are called that they may use.
    User(UserId, Option<Vec<AccountId>>),
    /// A friend's: their own requests, and no account.
    Friend(UserId),
}

impl Eyes {
    pub fn of(caller: &Caller) -> Self {
        match (caller.role(), caller.user()) {
            (Role::Operator, _) | (_, None) => Self::Operator,
            (Role::User, Some(user)) => Self::User(user.id.clone(), user.accounts.clone()),
            (Role::Friend, Some(user)) => Self::Friend(user.id.clone()),
        }
    }

    /// Whose requests they see. `None`: everybody's.
    pub fn own(&self) -> Option<&UserId> {
        match self {
            Self::Operator => None,
            Self::User(user, _) | Self::Friend(user) => Some(user),
        }
    }

    pub fn sees_account(&self, id: &AccountId) -> bool {
        match self {
            Self::Operator => true,
            Self::User(_, accounts) => accounts.as_ref().is_none_or(|ids| ids.contains(id)),
            Self::Friend(_) => false,
        }
    }

    /// May they read names and plans of accounts at all?
    pub fn see_accounts(&self) -> bool {
        !matches!(self, Self::Friend(_))
    }

    pub fn sees_person(&self, person: Option<&UserId>) -> bool {
        self.own().is_none_or(|own| Some(own) == person)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::keeping(KEPT)
    }
}

impl Events {
    fn keeping(kept: usize) -> Self {
        let state = State {
            ring: VecDeque::with_capacity(kept.min(64)),
            next: 1,
            flights: BTreeMap::new(),
            ticks: BTreeMap::new(),
            over: false,
            kept,
        };
        let epoch = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self { state: Mutex::new(state), told: channel::Sender::new(0), epoch, mishaps: Mishaps::default() }
    }

    /// Tells everybody who listens. Never waits.
    pub fn tell(&self, happening: Happening) {
        let mut state = self.state.lock();
        state.push(happening);
        self.wake(state.next);
    }

    /// The number of the last happening.
    pub fn last(&self) -> u64 {
        self.state.lock().next - 1
    }

    /// What came after that number.
    pub fn after(&self, seen: u64) -> News {
        let state = self.state.lock();
        let oldest = state.next - state.ring.len() as u64;
        if seen + 1 < oldest || seen >= state.next {
            return News::Gap;
        }
        let skip = usize::try_from(seen + 1 - oldest).unwrap_or(usize::MAX);
        News::Since(state.ring.iter().skip(skip).cloned().collect())
    }

    /// An id that a listener can come back with.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch)
    }

    /// The number that an id stands for. `None`: it is of another process, or none of ours.
    pub fn number(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.trim().split_once('-')?;
        (epoch == self.epoch).then(|| number.parse().ok())?
    }

    /// Learns of every happening, by its number.
    pub fn listen(&self) -> channel::Receiver<u64> {
        self.told.subscribe()
    }

    /// The server stops: listeners go, and come back to the next one.
    pub fn close(&self) {
        self.state.lock().over = true;
        // Wakes all of them.
        self.told.send_modify(|_| {});
    }

    pub fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Requests under way, the oldest first.
    pub fn flights(&self) -> Vec<Flight> {
        let mut flights: Vec<Flight> = self.state.lock().flights.values().cloned().collect();
        flights.sort_by(|one, other| (one.began_at_ms, &one.id).cmp(&(other.began_at_ms, &other.id)));
        flights
    }

    /// A request has come to its end, and this is its record.
    pub fn ended(&self, record: &UsageRecord, trail: &Trail) {
        self.mishaps.learn(trail);
        let mut state = self.state.lock();
        state.count(record);
        if let Some(flight) = state.flights.remove(&record.request_id) {
            state.push(Happening::Landed(Box::new(Landed::of(flight, record))));
            self.wake(state.next);
        }
    }

    /// Tells what has ended since the last tick.
    pub fn tick(&self) {
        let mut state = self.state.lock();
        let ticks = std::mem::take(&mut state.ticks);
        if ticks.is_empty() {
            return;
        }
        for ((user, _), tick) in ticks {
            state.push(Happening::Tick(user, tick));
        }
        self.wake(state.next);
    }

    fn depart(&self, flight: Flight) {
        let mut state = self.state.lock();
        state.flights.insert(flight.id.clone(), flight.clone());
        state.push(Happening::Flight(flight));
        self.wake(state.next);
    }

    /// Changes a request under way.
    fn change(&self, id: &str, change: impl FnOnce(&mut Flight)) {
        let mut state = self.state.lock();
        let Some(flight) = state.flights.get_mut(id) else { return };
        change(flight);
        let flight = flight.clone();
        state.push(Happening::Flight(flight));
        self.wake(state.next);
    }

    /// It is over, whether or not a record told so.
    fn land(&self, id: &str) {
        let mut state = self.state.lock();
        if let Some(flight) = state.flights.remove(id) {
            state.push(Happening::Landed(Box::new(Landed::untold(flight, clock::now()))));
            self.wake(state.next);
        }
    }

    fn wake(&self, next: u64) {
        self.told.send_replace(next - 1);
    }
}

impl State {
    fn push(&mut self, happening: Happening) {
        if self.ring.len() >= self.kept {
            self.ring.pop_front();
        }
        self.ring.push_back((self.next, Arc::new(happening)));
        self.next += 1;
    }

    fn count(&mut self, record: &UsageRecord) {
        let key = (record.user.clone(), record.provider.clone());
        if self.ticks.len() >= MOST_TICKS && !self.ticks.contains_key(&key) {
            return;
        }
        let tick = self.ticks.entry(key).or_insert_with_key(|(user, provider)| Tick {
            person: user.as_ref().map(ToString::to_string),
            provider: provider.clone(),
            ..Tick::default()
        });
        tick.requests += 1;
        tick.failed += u64::from(record.status >= 400);
        if let Some(tokens) = &record.tokens {
            tick.tokens = tick.tokens.plus(tokens);
        }
    }
}
