//! Which account to open a socket on, as far as [`Reach`] has a say in it.

use pool_core::pool::{Event, PinState};
use pool_core::standing::Refusal;
use pool_core::{AccountId, AccountKind, Ask, SessionKey};
use tokio::time::Instant;

use super::open::Ground;
use super::reach::{self, Reach};
use crate::pool::Lease;

/// Why there is no account to open a socket on.
#[derive(Debug)]
pub enum NoLease {
    /// No account can serve.
    Refused(Box<Refusal>),
    /// One can, but it has no sockets now.
    OverHttp,
}

impl Ground {
    /// Leases an account that may have sockets. `open`: the one that needs none opened. A busy one is waited for until `deadline`.
    ///
    /// A conversation stays on its account, sockets or not: what is cached there is worth more than a socket. A new one goes to
    /// the best account that has them; but a paid key is no price for a socket either.
    pub async fn lease(&self, ask: &Ask<'_>, open: Option<&AccountId>, deadline: Instant) -> Result<Lease, NoLease> {
        let pool = &self.app.pool;
        let shut = self.reach().shut(Instant::now());
        // Those that failed for want of a socket are still the ones to serve over HTTP.
        let (wanting, failed): (Vec<AccountId>, Vec<AccountId>) =
            ask.tried.iter().cloned().partition(|id| shut.contains(id));
        let first = pool.lease_by(&ask.after(&failed), deadline).await.map_err(NoLease::Refused)?;
        let id = &first.account.id;
        if !shut.contains(id) || open == Some(id) {
            return Ok(first);
        }
        // If it was tried before, the pin may be no older than that.
        if first.pin == PinState::Kept && !wanting.contains(id) {
            return Err(NoLease::OverHttp);
        }
        let is_paid = |kind| kind == AccountKind::ApiKey && first.account.kind != AccountKind::ApiKey;
        let mut without = [failed, shut].concat();
        pool.read(|pool, _| {
            let paid = pool.slots().filter(|slot| is_paid(slot.account.kind));
            without.extend(paid.map(|slot| slot.account.id.clone()));
        });
        pool.lease(&ask.after(&without)).map_err(|_| {
            self.unpin(ask.session);
            NoLease::OverHttp
        })
    }

    /// The search for a socket has moved the conversation's pin, and found none: over HTTP it begins at the best account.
    pub(super) fn unpin(&self, session: Option<SessionKey>) {
        if let Some(session) = session {
            self.app.pool.apply(Event::Unpinned { session });
        }
    }

    pub(super) fn reach(&self) -> parking_lot::MutexGuard<'_, Reach> {
        self.app.sockets.reach.lock()
    }

    /// The account's handshake failed.
    pub(super) fn shut(&self, lease: &Lease, refusal: reach::Refusal) {
        let now = Instant::now();
        let until = self.reach().refused(&lease.account.id, refusal, now);
        tracing::info!(
            account = %lease.account.name, ?refusal, secs = (until - now).as_secs(),
            "an account is left out for new sockets; over HTTP it serves as before"
        );
    }
}

/// A handshake that is waited for. Dropped without a word, the client has left meanwhile.
pub(super) struct Asking<'a> {
    ground: &'a Ground,
    base: String,
    since: Option<Instant>,
}

impl<'a> Asking<'a> {
    pub fn new(ground: &'a Ground, base: String, since: Instant) -> Self {
        Self { ground, base, since: Some(since) }
    }

    pub fn answered(&mut self) {
        self.since = None;
        self.ground.reach().answered(&self.base, Instant::now());
    }

    pub fn silent(&mut self) {
        let Some(since) = self.since.take() else { return };
        let now = Instant::now();
        let until = self.ground.reach().silent(&self.base, since, now);
        if let Some(until) = until {
            let secs = (until - now).as_secs();
            tracing::warn!(
                base = self.base,
                secs,
                "WebSocket handshakes get no answer; for a while clients are sent to HTTP at once"
            );
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            self.ground.reach().left(&self.base, since);
        }
    }
}
