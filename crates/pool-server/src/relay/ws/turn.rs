//! A turn under way: the message that began it, the account that serves it, what is kept back, and its record.

use std::time::{Duration, Instant};

use pool_core::ask::Rights;
use pool_core::pool::Event;
use pool_core::standing::{Refusal, RefusalWhy};
use pool_core::usage::{Ending, UsageRecord};
use pool_core::verdict::{Fault, Verdict};
use pool_core::{AccountId, Demand, Judgement, SessionKey, Span, Trail, UnixMs};
use pool_providers::request::Carry;
use pool_providers::socket::SocketTurns;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::open::Ground;
use crate::app::{App, Counted};
use crate::clock;
use crate::events::{Flight, Phase};
use crate::people::books::Stay;
use crate::pool::Lease;
use crate::pool::line::PATIENCE;
use crate::relay::draw::draw;
use crate::relay::menu::Menu;
use crate::relay::receive::Held;

/// What is kept back of an answer while its first meaningful message is awaited.
const HOLD_CAP: usize = 256 << 10;

/// See the module's page.
#[derive(Debug)]
pub struct Turn {
    /// What began it, as long as it may have to be sent again. `None`: too large to be kept, or no longer needed.
    create: Option<(Utf8Bytes, Held)>,
    pub demand: Demand,
    pub menu: Menu,
    pub session: SessionKey,
    /// The conversation that this one is a part of.
    pub parent: Option<SessionKey>,
    /// It names what lives on this account.
    pub only: Option<AccountId>,
    /// The account that it is on, with its slot.
    pub lease: Option<Lease>,
    pub carry: Carry,
    /// The account's credential was renewed for this turn.
    pub renewed: bool,
    /// The upstream connection ended under it once, and that was forgiven.
    pub reopened: bool,
    pub trail: Trail,
    /// Accounts that refused, and accounts that failed in passing and may be asked once more.
    refused: Vec<AccountId>,
    stumbled: Vec<AccountId>,
    /// The socket has no connection to this account any more.
    pub left: Option<AccountId>,
    held: Vec<Utf8Bytes>,
    held_bytes: usize,
    /// Something of it has reached the client.
    pub shown: bool,
    /// Something meaningful has come: the account counts as serving.
    served: bool,
    number: u32,
    at: UnixMs,
    started: Instant,
    first_byte: Option<Duration>,
    under_way: Counted,
    /// In the book of who asks.
    pub stay: Option<Stay>,
}

impl Turn {
    pub fn new(ground: &Ground, number: u32, create: &Utf8Bytes, (menu, demand): (Menu, Demand)) -> Self {
        let app = &ground.app;
        let size = create.len();
        let held = (size <= app.config.replay_cap).then(|| app.replay.hold(size)).flatten();
        let session = ground.session(&demand);
        let id = format!("{}.{number}", ground.id);
        let flight = Flight::new(id, &ground.caller, &demand, ground.client.clone(), Some(session.short()));
        Self {
            create: held.map(|held| (create.clone(), held)),
            session,
            parent: ground.parent(&demand),
            demand,
            menu,
            only: None,
            lease: None,
            carry: Carry::All,
            renewed: false,
            reopened: false,
            trail: Trail::default(),
            refused: Vec::new(),
            stumbled: Vec::new(),
            left: None,
            held: Vec::new(),
            held_bytes: 0,
            shown: false,
            served: false,
            number,
            at: clock::now(),
            started: Instant::now(),
            first_byte: None,
            under_way: app.set_out(Some(flight)),
            stay: None,
        }
    }

    /// What to send for another try; `None`: it cannot be tried again.
    pub fn create(&self) -> Option<Utf8Bytes> {
        self.create.as_ref().map(|(create, _)| create.clone())
    }

    /// Can it go to another account as it is?
    pub fn stands_alone(&self) -> bool {
        !self.demand.is_bound() && self.create.is_some()
    }

    pub fn tried(&self) -> Vec<AccountId> {
        self.refused.iter().chain(&self.stumbled).cloned().collect()
    }

    pub fn take(&mut self, lease: Lease) {
        if lease.bare {
            self.carry = Carry::Bare;
        }
        self.under_way.give_to(&lease.account);
        self.lease = Some(lease);
    }

    /// Until when it waits, whatever for.
    pub fn deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started) + PATIENCE
    }

    /// Until when a busy account is waited for.
    pub fn patience(&self) -> tokio::time::Instant {
        self.menu.patience(self.deadline())
    }

    /// No account takes the turn as it is now: `Ok` if it may be another model's, see [`Menu::refused`].
    pub fn refused(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        let demand = self.menu.refused(refusal)?;
        self.ask_for(demand);
        Ok(())
    }

    /// The connection to this account is of no use any more.
    pub fn leave(&mut self, account: &AccountId) {
        self.left = Some(account.clone());
    }

    /// Is there no connection to the account of this lease any more?
    pub fn has_left(&self, lease: &Lease) -> bool {
        self.left.as_ref() == Some(&lease.account.id)
    }

    /// A try failed: the account is given back and not asked again soon. May another try be made?
    pub fn failed(&mut self, app: &App, judgement: &Judgement) -> bool {
        let transient = judgement.is_transient();
        let exhausted = transient && self.trail.transient >= app.config.max_attempts;
        self.under_way.enter(Phase::Choosing);
        if let Some(lease) = self.lease.take() {
            let id = lease.account.id.clone();
            if transient { self.stumbled.push(id) } else { self.refused.push(id) }
        }
        // The trouble of one model is not the next one's.
        let next = if exhausted && judgement.fault == Fault::Model { self.menu.step() } else { None };
        let more = !exhausted || next.is_some();
        if let Some(demand) = next {
            self.ask_for(demand);
        }
        more && (!transient || app.pool.may_retry(self.demand.provider))
    }

    /// Another model: all accounts may be asked anew.
    fn ask_for(&mut self, demand: Demand) {
        self.demand = demand;
        self.refused.clear();
        self.stumbled.clear();
    }

    /// Those that failed in passing may be asked again. `false`: there are none.
    pub fn forgive(&mut self) -> bool {
        let any = !self.stumbled.is_empty();
        self.stumbled.clear();
        any
    }

    pub fn hold(&mut self, message: Utf8Bytes) {
        self.held_bytes += message.len();
        self.held.push(message);
    }

    /// More is kept back than may be.
    pub fn holds_too_much(&self) -> bool {
        self.held_bytes > HOLD_CAP
    }

    /// What was kept back was of a try that came to nothing.
    pub fn forget_held(&mut self) {
        self.held_bytes = 0;
        self.held.clear();
    }

    /// Something goes to the client, what was kept back first: from now on it is this account's turn.
    pub fn sent(&mut self) -> Vec<Utf8Bytes> {
        self.shown = true;
        self.create = None;
        self.held_bytes = 0;
        if self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
            self.under_way.enter(Phase::Streaming);
        }
        std::mem::take(&mut self.held)
    }

    /// Something meaningful came: passing trouble of the account is over.
    pub fn serves(&mut self, app: &App) {
        if std::mem::replace(&mut self.served, true) {
            return;
        }
        if let Some(lease) = &self.lease {
            let families = self.demand.families.clone();
            app.pool.apply(Event::Served { id: lease.account.id.clone(), families });
        }
    }

    /// A failure that the client has seen: the pool takes note.
    pub fn note(&self, app: &App, judgement: &Judgement) {
        let Some(lease) = &self.lease else { return };
        if judgement.verdict == Verdict::Fatal {
            return;
        }
        tracing::info!(account = %lease.account.name, reason = judgement.reason, "a turn failed midway");
        if let Some(penalty) = judgement.penalty.clone() {
            app.pool.apply(Event::Penalised { id: lease.account.id.clone(), penalty });
        }
    }

    /// Keeps the record and gives the account back.
    pub fn end(self, ground: &Ground, turns: &dyn SocketTurns, status: u16, ending: Ending) {
        let Some(lease) = self.lease else { return };
        let total = self.started.elapsed();
        let tokens = turns.usage();
        let whose = (&lease.account.id, ground.caller.user().map(|user| &user.id));
        draw(&ground.app, whose, &self.demand, Some(self.session), tokens, total);
        let trail = self.trail.delivered(&lease, status, clock::now());
        let record = UsageRecord {
            request_id: format!("{}.{}", ground.id, self.number),
            at: self.at,
            user: ground.caller.user().map(|user| user.id.clone()),
            provider: self.demand.provider.0.to_owned(),
            account: lease.account.id.clone(),
            model: self.demand.model.or_else(|| turns.model().map(str::to_owned)),
            client: ground.client.clone(),
            session: Some(self.session.short()),
            status,
            ending,
            tokens,
            attempts: u32::try_from(trail.attempts.len()).unwrap_or(u32::MAX),
            first_byte_ms: clock::millis(self.first_byte.unwrap_or(total)),
            total_ms: clock::millis(total),
            parts: None,
        };
        tracing::info!(
            request = record.request_id, account = %lease.account.name, model = record.model, asked = self.menu.alias(), status, ending = ?ending,
            tokens = record.tokens.map(|tokens| tokens.total()), attempts = record.attempts, ms = record.total_ms,
            "served a turn"
        );
        ground.app.keep(record, trail);
    }

    /// Keeps the record of a turn that no account has answered.
    pub fn unserved(self, ground: &Ground, refusal: Option<&Refusal>, status: u16) {
        let trail = self.trail.refused(refusal, clock::now());
        ground.unserved(format!("{}.{}", ground.id, self.number), &self.demand, trail, status, self.started.into());
    }
}

impl Ground {
    /// What the caller may use.
    pub fn rights(&self) -> Rights<'_> {
        self.caller.rights(self.app.sharing())
    }

    /// Of refusals for the caller's own limits not all are kept (see [`crate::people::books::Books::note`]).
    pub fn is_worth_a_record(&self, refusal: Option<&Refusal>) -> bool {
        let own = refusal.is_some_and(|refusal| matches!(refusal.why, RefusalWhy::OwnLimit(_)));
        !own || self.caller.user().is_none_or(|user| self.app.people.books.note(&user.id))
    }

    /// Keeps the record of what no account has answered.
    pub fn unserved(&self, id: String, demand: &Demand, trail: Trail, status: u16, started: tokio::time::Instant) {
        let total_ms = clock::millis(started.elapsed());
        let record = UsageRecord {
            request_id: id,
            at: clock::now() - Span::from_millis(total_ms),
            user: self.caller.user().map(|user| user.id.clone()),
            provider: demand.provider.0.to_owned(),
            account: AccountId::nobody(),
            model: demand.model.clone(),
            client: self.client.clone(),
            session: Some(self.session(demand).short()),
            status,
            ending: Ending::Failed,
            tokens: None,
            attempts: u32::try_from(trail.attempts.len()).unwrap_or(u32::MAX),
            first_byte_ms: total_ms,
            total_ms,
            parts: None,
        };
        self.app.keep(record, trail);
    }
}
