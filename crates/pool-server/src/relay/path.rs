//! THE request, top to bottom.
//!
//! Take the body in, see what it asks for, then: lease an account, make sure its token is fresh, send, hold the reply until its
//! first meaningful event, judge, and deliver, try again, or stop. After delivery has begun nothing is tried again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use pool_core::limits::Over;
use pool_core::pool::{Event, Grant};
use pool_core::standing::{Refusal, RefusalWhy};
use pool_core::verdict::{Fault, Verdict};
use pool_core::{AccountId, Ask, Demand, SessionKey, Trail, UnixMs};
use pool_providers::reply::{Failure, Reply};
use pool_providers::request::{Carry, Head};
use pool_providers::routes::{Kind, Route};
use pool_providers::{Provider, Registry};
use tokio::sync::watch;

use super::attempt::{self, Opened};
use super::deliver::{self, ReplyBody};
use super::estate::Estate;
use super::headers;
use super::menu::Menu;
use super::meter::Unserved;
use super::miss::Miss;
use super::receive::{self, Received};
use crate::admit::Caller;
use crate::app::{App, Counted};
use crate::clock;
use crate::events::{Flight, Phase};
use crate::people::books::Stay;
use crate::pool::Lease;
use crate::pool::line::PATIENCE;

/// A request in hand.
#[derive(Debug)]
pub struct Errand {
    pub app: Arc<App>,
    pub route: &'static Route,
    pub parts: Arc<http::request::Parts>,
    pub received: Received,
    pub caller: Caller,
    /// With the model that it may be served with now.
    pub demand: Demand,
    pub menu: Menu,
    pub session: Option<SessionKey>,
    /// The conversation that this one is a part of.
    pub parent: Option<SessionKey>,
    /// What it names and creates of the things that live on one account.
    pub estate: Estate,
    /// Told to the client as `x-pool-request`.
    pub id: String,
    pub arrived: UnixMs,
    pub started: Instant,
    pub under_way: Arc<Counted>,
    /// In the book of who asks, once it has begun.
    pub stay: Option<Arc<Stay>>,
}

/// The end of a request that no upstream answered well.
#[derive(Debug)]
pub struct GaveUp {
    pub failure: Failure,
    /// The provider's own words, where they say more than ours.
    pub upstream: Option<Reply>,
    /// A status that says more than the dialect's usual one (502 for a broken connection).
    pub status: Option<StatusCode>,
    /// Its record, to be kept with the status that the client is told.
    pub unserved: Unserved,
}

/// Waits between tries on the same account, doubling.
const PAUSE: Duration = Duration::from_millis(200);

impl Errand {
    /// Takes the body in and reads what it asks for.
    pub async fn new(
        app: Arc<App>,
        route: &'static Route,
        parts: Arc<http::request::Parts>,
        body: Incoming,
        caller: &Caller,
        id: String,
    ) -> Result<Self, Failure> {
        let (arrived, started) = (clock::now(), Instant::now());
        let limits = receive::Limits { keep: app.config.replay_cap, progress: app.config.timeouts.body_progress };
        let received = receive::receive(&parts.headers, body, limits, &app.replay).await?;
        let provider = provider(&app.registry, route)?;
        let mut demand = provider.demand(route, &head(&parts), &received.seen);
        demand.light |= route.kind == Kind::Relay { light: true };
        let key = |id: &str| SessionKey::new(demand.provider, caller.scope(), id);
        let (session, parent) = (demand.session.as_deref().map(key), demand.parent.as_deref().map(key));
        let estate = Estate::read(&app.pool, provider, route, &head(&parts), &received.seen, caller)?;
        let (menu, demand) = Menu::new(&app, provider, caller.limits(), demand);
        let flight = || {
            let client = headers::client_name(&parts.headers);
            Flight::new(id.clone(), caller, &demand, client, session.map(SessionKey::short))
        };
        let under_way = Arc::new(app.set_out((!demand.light).then(flight)));
        Ok(Self {
            app,
            route,
            parts,
            received,
            caller: caller.clone(),
            demand,
            menu,
            session,
            parent,
            estate,
            id,
            arrived,
            started,
            under_way,
            stay: None,
        })
    }

    /// Runs the request to the point where its answer can go out. `early` learns of a successful head that waits for its first
    /// meaningful event.
    pub async fn run(mut self, early: watch::Sender<Option<deliver::Head>>) -> Result<Opened, Box<GaveUp>> {
        let mut trail = Trail::default();
        let mut last: Option<Miss> = None;
        // Accounts that refused, and accounts that failed in passing and may be asked once more.
        let (mut refused, mut stumbled) = (Vec::new(), Vec::<AccountId>::new());
        // All that it waits for, it waits for until then.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        self.stay = match self.app.enter(&self.caller, &self.demand, deadline).await {
            Ok(stay) => stay.map(Arc::new),
            Err(over) => return Err(self.turned_away(over)),
        };
        self.app.pool.count_request(self.demand.provider);
        loop {
            let tried: Vec<AccountId> = refused.iter().chain(&stumbled).cloned().collect();
            let only = self.estate.account.clone();
            let ask = Ask::new(&self.demand, self.session).within(self.parent).after(&tried).only(only.as_ref());
            let ask = ask.by(self.caller.rights(self.app.sharing()));
            let asked = Instant::now();
            let leased = self.app.pool.lease_by(&ask, self.menu.patience(deadline));
            let mut lease = match self.under_way.waiting(leased).await {
                Ok(lease) => lease,
                Err(_) if !stumbled.is_empty() => {
                    tokio::time::sleep(PAUSE * trail.transient.clamp(1, 8)).await;
                    stumbled.clear();
                    continue;
                }
                Err(refusal) => match self.menu.refused(*refusal) {
                    Ok(demand) => {
                        self.demand = demand;
                        refused.clear();
                        continue;
                    }
                    Err(refusal) => return Err(self.give_up(Some(refusal), last, &trail)),
                },
            };
            trail.parts.chose(asked.elapsed(), lease.waited);
            self.under_way.give_to(&lease.account);
            let mut asking = Asking { errand: &self, trail: &mut trail, account: Some(Grant::clone(&lease)) };
            let tried = self.try_on(&mut lease, asking.trail, &early).await;
            asking.account = None;
            drop(asking);
            let miss = match tried {
                Ok(opened) => return Ok(opened),
                Err(miss) => miss,
            };
            let account = lease.account.id.clone();
            drop(lease);
            self.under_way.enter(Phase::Choosing);
            let transient = miss.judgement.is_transient();
            last = Some(miss);
            let exhausted = transient && trail.transient >= self.app.config.max_attempts;
            // The trouble of one model is not the next one's.
            let of_model = last.as_ref().is_some_and(|miss| miss.judgement.fault == Fault::Model);
            let next = if exhausted && of_model { self.menu.step() } else { None };
            if (exhausted && next.is_none())
                || !self.received.can_be_sent()
                || (transient && !self.app.pool.may_retry(self.demand.provider))
            {
                return Err(self.give_up(None, last, &trail));
            }
            match next {
                Some(demand) => (self.demand, refused, stumbled) = (demand, Vec::new(), Vec::new()),
                None if transient => stumbled.push(account),
                None => refused.push(account),
            }
        }
    }

    /// One account: a try, and if its credential was refused a second one with a renewed credential.
    async fn try_on(
        &self,
        lease: &mut Lease,
        trail: &mut Trail,
        early: &watch::Sender<Option<deliver::Head>>,
    ) -> Result<Opened, Miss> {
        let mut renewed = false;
        let mut carry = if lease.bare { Carry::Bare } else { Carry::All };
        loop {
            let attempt = match attempt::freshen(&self.app, lease).await {
                Ok(()) => attempt::send(self, lease, carry, trail, early).await,
                Err(miss) => Err(miss),
            };
            let miss = match attempt {
                Ok(opened) => return Ok(opened),
                Err(miss) => miss,
            };
            let status = miss.status.map(|status| status.as_u16());
            trail.record(lease, status, &miss.judgement, clock::now());
            attempt::settle(&self.app, lease, &miss.judgement, renewed);
            tracing::info!(
                request = self.id, account = %lease.account.name, status, reason = miss.judgement.reason,
                verdict = ?miss.judgement.verdict, "an attempt failed"
            );
            if miss.judgement.verdict == Verdict::StripThenSame {
                carry = Carry::Bare;
                self.session.inspect(|session| self.app.pool.apply(Event::Stripped { session: *session }));
                continue;
            }
            let again = miss.judgement.verdict == Verdict::RefreshThenSame && !renewed && self.received.can_be_sent();
            if !again || attempt::renew(&self.app, lease).await.is_err() {
                return Err(miss);
            }
            renewed = true;
        }
    }

    /// What the client is told who has reached a limit of their own.
    fn turned_away(&self, over: Over) -> Box<GaveUp> {
        tracing::info!(request = self.id, caller = self.caller.scope(), limit = %over, "somebody's own limit is reached");
        let refusal = Refusal::over(&self.demand, over);
        let mut unserved = Unserved::new(self, Trail::default().refused(Some(&refusal), clock::now()));
        if self.caller.user().is_some_and(|user| !self.app.people.books.note(&user.id)) {
            unserved.forget();
        }
        Box::new(GaveUp { failure: Failure::Refused(refusal), upstream: None, status: None, unserved })
    }

    /// What the client is told when nobody could serve: the last reply if it speaks for the provider, else why nobody can.
    fn give_up(&self, refusal: Option<Refusal>, last: Option<Miss>, trail: &Trail) -> Box<GaveUp> {
        tracing::warn!(
            request = self.id, provider = %self.demand.provider, model = self.demand.model, attempts = trail.attempts.len(),
            why = ?refusal.as_ref().map(|refusal| &refusal.why), "no account could serve a request"
        );
        let unserved = Unserved::new(self, trail.refused(refusal.as_ref(), clock::now()));
        let refusal = refusal.filter(|refusal| {
            // After tries that failed in passing, the failure says more than "all have been tried".
            let only_tried = matches!(refusal.why, RefusalWhy::Trouble { until: None, .. });
            !(only_tried && last.is_some())
        });
        match (refusal, last) {
            (Some(refusal), last) if last.as_ref().is_none_or(|miss| !miss.judgement.is_transient()) => {
                Box::new(GaveUp { failure: Failure::Refused(refusal), upstream: None, status: None, unserved })
            }
            (_, Some(miss)) => Box::new(miss.into_end(self, unserved)),
            (Some(refusal), None) => {
                Box::new(GaveUp { failure: Failure::Refused(refusal), upstream: None, status: None, unserved })
            }
            (None, None) => Box::new(GaveUp {
                failure: Failure::UpstreamDown { message: "no account could be tried".into(), retry_after: PAUSE },
                upstream: None,
                status: None,
                unserved,
            }),
        }
    }
}

/// An account is asked. Dropped before that has led to anything: the client has left. If an answer was held back by then, its own
/// record has come first, and is the one that counts.
struct Asking<'a> {
    errand: &'a Errand,
    trail: &'a mut Trail,
    account: Option<Grant>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            let trail = std::mem::take(self.trail).abandoned(account, clock::now());
            Unserved::new(self.errand, trail).abandon();
        }
    }
}

/// A relayed request, from its arrival to the head of its answer.
pub async fn relay(
    app: Arc<App>,
    route: &'static Route,
    parts: http::request::Parts,
    body: Incoming,
    caller: &Caller,
) -> Response<ReplyBody> {
    let parts = Arc::new(parts);
    let id = request_id();
    match Errand::new(app.clone(), route, parts.clone(), body, caller, id.clone()).await {
        Ok(errand) => deliver::answer(errand).await,
        Err(failure) => {
            tracing::info!(request = id, path = parts.uri.path(), ?failure, "a request could not be taken in");
            deliver::marked(deliver::failure(&app.registry, Some(route), &parts, &failure), &id)
        }
    }
}

pub fn head(parts: &http::request::Parts) -> Head<'_> {
    Head { method: &parts.method, path: parts.uri.path(), query: parts.uri.query(), headers: &parts.headers }
}

/// The provider that owns a route. That there is one is checked when the table is built; a hole must not become a panic.
pub fn provider<'a>(registry: &'a Registry, route: &Route) -> Result<&'a dyn Provider, Failure> {
    registry
        .get(route.provider)
        .ok_or_else(|| Failure::NotServed { message: format!("no provider {}", route.provider) })
}

/// The id of a new request. It begins with the time, so that ids sort as requests came.
pub fn request_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
