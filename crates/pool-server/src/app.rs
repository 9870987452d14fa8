//! What every request shares.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{HeaderMap, Method};
use pool_core::ask::Sharing;
use pool_core::people::{Closed, Role};
use pool_core::pool::Slot;
use pool_core::{Account, AccountKind, Trail, UsageRecord};
use pool_providers::Registry;
use pool_providers::request::Head;
use pool_providers::routes::Table;
use pool_store::Ledger;

use crate::admit::{self, Caller, Denied};
use crate::clock;
use crate::config::Config;
use crate::door::{self, Door};
use crate::events::{Events, Flight, Phase, Underway};
use crate::friends::Answered;
use crate::network;
use crate::notices::{self, Facts};
use crate::people::People;
use crate::pool::{Keeper, LivePool};
use crate::relay::headers::is_forwarded;
use crate::relay::receive::ReplayBudget;
use crate::relay::ws::Sockets;
use crate::replicas::Membership;
use crate::roster::Notice;
use crate::sessions::Signed;
use crate::spend::Till;
use crate::upstream::SharedUpstream;

/// The running server's parts.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub registry: Arc<Registry>,
    pub table: Table,
    pub pool: Arc<LivePool>,
    pub keeper: Keeper,
    pub upstream: SharedUpstream,
    pub ledger: Ledger,
    pub people: People,
    /// Where several replicas act as one.
    pub membership: Option<Membership>,
    pub answered: Answered,
    pub door: Door,
    pub till: Till,
    pub replay: Arc<ReplayBudget>,
    pub in_flight: Gauge,
    /// What happens, for those who watch.
    pub events: Arc<Events>,
    pub sockets: Sockets,
    /// The order to stop has come: `/readyz` says so.
    pub draining: AtomicBool,
}

impl App {
    /// Lets a request in, or says why not.
    pub fn admit(&self, peer: SocketAddr, head: &Head<'_>) -> Result<Caller, Denied> {
        let now = clock::now();
        let admitted = self.people.read(|people| admit::admit(&self.config, people, peer, head, now));
        if admitted == Err(Denied::WrongCredential) {
            self.door.stray(self.origin(peer, head.headers), now).map_err(Denied::TooMany)?;
        }
        admitted
    }

    /// The same for our own pages, which sessions open too, and this machine's own key.
    pub fn admit_visitor(&self, peer: SocketAddr, head: &Head<'_>) -> Result<Caller, Denied> {
        let foreign = admit::comes_from_foreign_page(head.headers);
        if !foreign && self.is_this_machine(peer, head) {
            return Ok(Caller::Operator);
        }
        match self.admit(peer, head) {
            Err(without @ (Denied::NoCredential | Denied::OnlyLocal)) => self.signed_in(head)?.ok_or(without),
            admitted => admitted,
        }
    }

    /// Whose session's cookie is this? What it stands for must still open something.
    fn signed_in(&self, head: &Head<'_>) -> Result<Option<Caller>, Denied> {
        let Some(cookie) = door::cookie(head.headers, self.config.is_secure()) else { return Ok(None) };
        let now = clock::now();
        let Some((signed, _)) = self.door.find(cookie, now) else { return Ok(None) };
        let reads = matches!(*head.method, Method::GET | Method::HEAD);
        if !reads && !head.headers.contains_key(door::FROM_OUR_PAGE) && !admit::comes_from_own_page(head.headers) {
            return Err(Denied::NotOurPage);
        }
        match signed {
            Signed::Operator => Ok(Some(Caller::Operator)),
            Signed::Person { credential, .. } => match self.people.read(|people| people.open(credential, now)) {
                Ok((user, credential)) => Ok(Some(Caller::Person { user, credential })),
                Err(Closed::Paused) => Err(Denied::Paused),
                Err(_) => Ok(None),
            },
        }
    }

    /// Whoever may read the key file owns this pool's files. Only from this machine, so that a copy of the file is worth nothing.
    fn is_this_machine(&self, peer: SocketAddr, head: &Head<'_>) -> bool {
        let ip = peer.ip().to_canonical();
        let near = ip.is_loopback() || ip == self.config.listen.ip().to_canonical();
        near && !is_forwarded(head.headers) && admit::credentials(head).any(|key| self.door.is_machine_key(&key))
    }

    /// What friends may use of the accounts that do not say so themselves.
    pub fn sharing(&self) -> Sharing {
        Sharing { subscriptions: self.shares_subscriptions().unwrap_or(true) }
    }

    /// May friends use subscriptions? The setting wins over what was answered. `None`: the operator has not said.
    pub fn shares_subscriptions(&self) -> Option<bool> {
        self.config.share_subscriptions.or(self.answered.share_subscriptions())
    }

    /// Has nobody said whether friends, who are here or may come, may use the subscriptions that there are?
    pub fn shares_unasked(&self) -> bool {
        let friends = || self.people.read(|people| people.users().any(|user| user.role == Role::Friend));
        let open =
            |slot: &Slot| slot.account.kind == AccountKind::Subscription && slot.account.settings.share.is_none();
        self.shares_subscriptions().is_none()
            && (self.config.friends.code.is_some() || friends())
            && self.pool.read(|pool, _| pool.slots().any(open))
    }

    /// What the operator should know.
    pub fn notices(&self) -> Vec<Notice> {
        let facts = Facts { has_users: !self.people.is_empty(), shares_unasked: self.shares_unasked() };
        notices::of(&self.config, facts)
    }

    /// Where a request comes from, as far as that can be believed.
    pub fn origin(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        network::origin(&self.config.trusted_proxies, peer, headers)
    }

    /// A request is under way. `flight` says whose and what, unless it is one that nobody would watch.
    pub fn set_out(&self, flight: Option<Flight>) -> Counted {
        let flight = flight.map(|flight| Underway::begin(self.events.clone(), flight));
        Counted { flight, ..self.in_flight.enter() }
    }

    /// Keeps the record of a request that has come to its end, with the story of how it was decided, and counts what it
    /// cost and what its user has taken.
    pub fn keep(&self, record: UsageRecord, trail: Trail) {
        self.till.take(&record);
        self.people.books.take(&record, &self.config.prices);
        if let Some(member) = &self.membership {
            member.tally.add(&record, &self.config.prices);
        }
        self.events.ended(&record, &trail);
        self.ledger.keep(record, trail);
    }
}

/// Counts what is under way.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicUsize>);

/// One of what is counted, until dropped.
#[derive(Debug)]
pub struct Counted {
    flight: Option<Underway>,
    _place: Place,
}

#[derive(Debug)]
struct Place(Gauge);

impl Gauge {
    pub fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted { flight: None, _place: Place(self.clone()) }
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counted {
    /// Tells those who watch what the request does now.
    pub fn enter(&self, phase: Phase) {
        if let Some(flight) = &self.flight {
            flight.enter(phase);
        }
    }

    /// … and which account it goes to.
    pub fn give_to(&self, account: &Account) {
        if let Some(flight) = &self.flight {
            flight.give_to(account);
        }
    }

    /// Tells them that the request waits, if it has to.
    pub async fn waiting<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        let mut told = false;
        std::future::poll_fn(|cx| {
            let polled = wait.as_mut().poll(cx);
            if polled.is_pending() && !std::mem::replace(&mut told, true) {
                self.enter(Phase::Waiting);
            }
            polled
        })
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
