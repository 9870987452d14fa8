//! Opening: the client's handshake is granted once an account's own was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use pool_core::pool::Event;
use pool_core::verdict::Verdict;
use pool_core::{AccountId, Ask, Demand, Judgement, SessionKey, Trail};
use pool_providers::reply::{Failure, Reply};
use pool_providers::request::{Body, Carry, Serving};
use pool_providers::routes::Route;
use pool_providers::socket::SocketTurns;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::handshake;
use super::link::Link;
use super::miss::{Miss, Socket};
use super::reach::Refusal;
use super::seek::{Asking, NoLease};
use super::talk::Talk;
use crate::admit::Caller;
use crate::app::App;
use crate::clock;
use crate::pool::Lease;
use crate::relay::body::OutBody;
use crate::relay::deliver::{self, ReplyBody};
use crate::relay::estate::Estate;
use crate::relay::menu::Menu;
use crate::relay::path::{self, head, provider};
use crate::relay::{attempt, headers};
use crate::upstream::UpstreamError;

/// So many handshakes upstream that take as long as they may still fit into the client's own.
const HANDSHAKES: u32 = 2;
/// So many accounts without sockets, and the next is taken to have none either.
pub const REFUSALS: usize = 3;
/// What is read of a refusal before it is judged.
const REFUSAL_CAP: usize = 64 << 10;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// What a socket stands on, from its handshake to its end.
#[derive(Debug)]
pub struct Ground {
    pub app: Arc<App>,
    pub route: &'static Route,
    /// The client's handshake.
    pub parts: http::request::Parts,
    pub caller: Caller,
    /// Told to the client as `x-pool-request`; turns add their number.
    pub id: String,
    /// User agent's first word.
    pub client: Option<String>,
    pub started: Instant,
}

/// The upstream side.
#[derive(Debug)]
pub struct Leg {
    pub link: Link,
    pub account: AccountId,
    pub opened: Instant,
    /// Turns that came to their end on it.
    pub turns: u32,
}

/// Answers a client's handshake.
pub async fn upgrade(
    app: Arc<App>,
    route: &'static Route,
    parts: http::request::Parts,
    caller: &Caller,
) -> Response<ReplyBody> {
    let id = path::request_id();
    let response = open(app, route, parts, caller, id.clone()).await;
    deliver::marked(response, &id)
}

async fn open(
    app: Arc<App>,
    route: &'static Route,
    parts: http::request::Parts,
    caller: &Caller,
    id: String,
) -> Response<ReplyBody> {
    let turns = provider(&app.registry, route).ok().and_then(|provider| provider.socket(route));
    let Some(turns) = turns.filter(|_| app.config.websockets) else { return fall_back() };
    let accept = match handshake::accept(&parts.headers) {
        Ok(accept) => accept,
        Err(wrong) => {
            let failure = Failure::BadRequest { status: StatusCode::BAD_REQUEST, message: wrong.into() };
            return deliver::failure(&app.registry, Some(route), &parts, &failure);
        }
    };
    let ground = Ground {
        app,
        route,
        parts: by_itself(parts),
        caller: caller.clone(),
        id,
        client: None,
        started: Instant::now(),
    };
    ground.run(turns, accept).await
}

/// The same head, no longer in the buffer that it was read into: a socket keeps it for as long as an hour.
fn by_itself(mut parts: http::request::Parts) -> http::request::Parts {
    for value in parts.headers.values_mut() {
        if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
    }
    if let Ok(uri) = parts.uri.to_string().parse() {
        parts.uri = uri;
    }
    parts
}

/// 426 makes Codex fall back to HTTP at once, showing nothing (measured on Codex CLI 0.169.0).
fn fall_back() -> Response<ReplyBody> {
    let mut reply = deliver::reply(Reply::empty(StatusCode::UPGRADE_REQUIRED));
    reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    reply
}

impl Ground {
    async fn run(mut self, turns: Box<dyn SocketTurns>, accept: HeaderValue) -> Response<ReplyBody> {
        self.client = headers::client_name(&self.parts.headers);
        let Some(client) = self.parts.extensions.remove::<hyper::upgrade::OnUpgrade>() else { return fall_back() };
        let Ok(demand) = self.demand(&Bytes::new()) else { return fall_back() };
        let (leg, mut headers) = match self.choose(&demand).await {
            Ok(opened) => opened,
            Err(reply) => return reply.map_or_else(fall_back, deliver::reply),
        };
        handshake::grant(&mut headers, accept);
        let mut response = Response::new(ReplyBody::Full(None));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        let sockets = self.app.sockets.clone();
        sockets.clone().spawn(async move {
            match client.await {
                Ok(upgraded) => {
                    let client = Link::new(upgraded, Role::Server, &self.app.config).await;
                    Talk::new(self, turns, client, leg, sockets).run().await;
                }
                Err(error) => tracing::debug!(request = self.id, %error, "a client left during its handshake"),
            }
        });
        response
    }

    /// What a message, or the handshake itself, asks for.
    pub fn demand(&self, message: &Bytes) -> Result<Demand, Failure> {
        let body = Body { bytes: message.clone(), whole: true };
        Ok(provider(&self.app.registry, self.route)?.demand(self.route, &head(&self.parts), &body))
    }

    /// The models that the turn which a message begins may be served with.
    pub fn menu(&self, message: &Bytes) -> Result<(Menu, Demand), Failure> {
        let demand = self.demand(message)?;
        let provider = provider(&self.app.registry, self.route)?;
        Ok(Menu::new(&self.app, provider, self.caller.limits(), demand))
    }

    /// The account on which what a message names lives, if it names anything that the pool knows.
    pub fn owner(&self, message: &Bytes) -> Result<Option<AccountId>, Failure> {
        let body = Body { bytes: message.clone(), whole: true };
        let provider = provider(&self.app.registry, self.route)?;
        let estate = Estate::read(&self.app.pool, provider, self.route, &head(&self.parts), &body, &self.caller)?;
        Ok(estate.account)
    }

    /// The conversation that a demand belongs to. A socket whose client names none is one of its own.
    pub fn session(&self, demand: &Demand) -> SessionKey {
        SessionKey::new(demand.provider, self.caller.scope(), demand.session.as_deref().unwrap_or(&self.id))
    }

    /// The conversation that a demand's is a part of.
    pub fn parent(&self, demand: &Demand) -> Option<SessionKey> {
        demand.parent.as_deref().map(|id| SessionKey::new(demand.provider, self.caller.scope(), id))
    }

    /// A failure in the client's dialect.
    pub fn failure(&self, failure: &Failure) -> Reply {
        match provider(&self.app.registry, self.route) {
            Ok(provider) => provider.failure(Some(self.route), &head(&self.parts), failure, clock::now()),
            Err(_) => Reply::empty(StatusCode::BAD_GATEWAY),
        }
    }

    /// Finds an account whose handshake succeeds. `Err(Some)`: the reply that says why there is none; `Err(None)`: HTTP may do
    /// better.
    async fn choose(&self, demand: &Demand) -> Result<(Leg, HeaderMap), Option<Reply>> {
        let (session, parent) = (Some(self.session(demand)), self.parent(demand));
        let (mut trail, mut tried, mut refused) = (Trail::default(), Vec::new(), 0);
        self.app.pool.count_request(demand.provider);
        let patience = self.app.config.timeouts.handshake * HANDSHAKES;
        // A busy account is waited for as long as a handshake takes that does not succeed.
        let deadline = self.started + self.app.config.timeouts.handshake;
        loop {
            let ask = Ask::new(demand, session).within(parent).after(&tried).by(self.rights());
            let mut lease = self.lease(&ask, None, deadline).await.map_err(|none| match none {
                NoLease::OverHttp => None,
                NoLease::Refused(refusal) => {
                    let whole = trail.refused(Some(&refusal), clock::now());
                    let reply = self.failure(&Failure::Refused(*refusal));
                    // What is not certain may be better over HTTP, and is told there.
                    let certain = Some(reply).filter(|reply| reply.status.is_client_error());
                    certain.inspect(|reply| {
                        self.unserved(self.id.clone(), demand, whole, reply.status.as_u16(), self.started);
                    })
                }
            })?;
            match self.connect(&mut lease, demand, &mut trail).await {
                Ok(opened) => return Ok(opened),
                Err(miss) if miss.ends_the_search(&lease) => return Err(None),
                Err(miss) => {
                    refused += usize::from(miss.has_no_sockets());
                    let transient = miss.judgement.is_transient();
                    let exhausted = transient && trail.transient >= self.app.config.max_attempts;
                    let late = self.started.elapsed() >= patience;
                    let enough = late || exhausted || refused >= REFUSALS;
                    if enough || (transient && !self.app.pool.may_retry(demand.provider)) {
                        self.unpin(session);
                        return Err(None);
                    }
                    tried.push(lease.account.id.clone());
                }
            }
        }
    }

    /// One account: a handshake, and if its credential was refused another one with a renewed credential. What it says of the
    /// account goes to the pool.
    pub async fn connect(
        &self,
        lease: &mut Lease,
        demand: &Demand,
        trail: &mut Trail,
    ) -> Result<(Leg, HeaderMap), Miss> {
        let mut renewed = false;
        loop {
            let tried = match attempt::freshen(&self.app, lease).await {
                Ok(()) => self.shake_hands(lease, demand).await,
                Err(miss) => Err(Miss { judgement: miss.judgement, status: miss.status, socket: Socket::Beside }),
            };
            let miss = match tried {
                Ok(opened) => return Ok(opened),
                Err(miss) => miss,
            };
            if let Socket::Refused(refusal) = miss.socket {
                self.shut(lease, refusal);
            }
            if miss.judgement.is_transient() {
                // Sockets are in trouble, which says nothing of the account: over HTTP it is the first choice as ever.
                self.note(lease, &miss, trail);
            } else {
                self.settle(lease, &miss, renewed, trail);
            }
            let again = miss.judgement.verdict == Verdict::RefreshThenSame && !renewed;
            if !again || attempt::renew(&self.app, lease).await.is_err() {
                return Err(miss);
            }
            renewed = true;
        }
    }

    /// Notes a try that failed, and tells the pool what it says of the account.
    pub fn settle(&self, lease: &Lease, miss: &Miss, renewed: bool, trail: &mut Trail) {
        attempt::settle(&self.app, lease, &miss.judgement, renewed);
        self.note(lease, miss, trail);
    }

    fn note(&self, lease: &Lease, miss: &Miss, trail: &mut Trail) {
        let status = miss.status.map(|status| status.as_u16());
        trail.record(lease, status, &miss.judgement, clock::now());
        tracing::info!(
            request = self.id, account = %lease.account.name, status, reason = miss.judgement.reason,
            verdict = ?miss.judgement.verdict, "an attempt failed on a socket"
        );
    }

    async fn shake_hands(&self, lease: &Lease, demand: &Demand) -> Result<(Leg, HeaderMap), Miss> {
        let app = &self.app;
        let unfit = |failure: Failure| Miss::nowhere(format!("{failure:?}"));
        let provider = provider(&app.registry, self.route).map_err(unfit)?;
        let serving = Serving {
            account: &lease.account,
            credentials: &lease.credentials,
            bases: &app.config.bases,
            carry: Carry::All,
            model: None,
        };
        let nothing = Body { bytes: Bytes::new(), whole: true };
        let outbound = provider.outbound(self.route, &head(&self.parts), &nothing, &serving).map_err(unfit)?;
        let removed = [outbound.remove, handshake::BETWEEN_NEIGHBOURS.to_vec()].concat();
        let mut fields = headers::for_upstream(&self.parts.headers, &removed);
        outbound.set.into_iter().for_each(|(name, value)| {
            fields.insert(name, value);
        });
        let accept = handshake::ask(&mut fields);
        let mut request = Request::get(outbound.url)
            .body(OutBody::full(Bytes::new()))
            .map_err(|error| Miss::nowhere(error.to_string()))?;
        *request.headers_mut() = fields;
        let base = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let asked = Instant::now();
        let limit = self.reach().ask(&base, app.config.timeouts.handshake, asked);
        let limit = limit.ok_or_else(|| Miss::nowhere("WebSocket handshakes get no answer there"))?;
        let mut asking = Asking::new(self, base, asked);
        let mut response = match app.upstream.send(request, limit).await {
            Ok(response) => response,
            Err(error @ UpstreamError::Timeout(_)) => {
                asking.silent();
                return Err(Miss::nowhere(error.to_string()));
            }
            Err(error) => {
                asking.answered();
                return Err(Miss::broken(error.to_string()));
            }
        };
        asking.answered();
        let now = clock::now();
        let windows = provider.header_windows(&lease.account, demand, response.headers(), now);
        if !windows.is_empty() {
            app.pool.apply(Event::Read { id: lease.account.id.clone(), windows });
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refused(lease, demand, response).await);
        }
        if !handshake::is_granted(response.headers(), &accept) {
            return Err(Miss::broken("its answer to the WebSocket handshake does not fit"));
        }
        let upgraded = match tokio::time::timeout(limit, hyper::upgrade::on(&mut response)).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(error)) => return Err(Miss::broken(format!("the connection broke at the upgrade: {error}"))),
            Err(_) => return Err(Miss::broken("the upgrade did not come about in time")),
        };
        self.reach().granted(&lease.account.id);
        let mut told = headers::for_client(std::mem::take(response.headers_mut()));
        provider.speak_of_pool(&mut told, &lease.account, &app.standing(&self.caller, demand), now);
        let link = Link::new(upgraded, Role::Client, &app.config).await;
        Ok((Leg { link, account: lease.account.id.clone(), opened: Instant::now(), turns: 0 }, told))
    }

    /// Reads why a handshake was refused. What is neither the account's doing nor a failure in passing means: no sockets here.
    async fn refused(&self, lease: &Lease, demand: &Demand, response: Response<Incoming>) -> Miss {
        let (told, body) = response.into_parts();
        let read = tokio::time::timeout(REFUSAL_PATIENCE, Limited::new(body, REFUSAL_CAP).collect()).await;
        let text = read.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if told.status.is_success() || handshake::is_about_sockets(told.status) {
            let judgement = Judgement::fatal(format!("{}: no WebSocket here", told.status.as_u16()));
            return Miss { judgement, status: Some(told.status), socket: Socket::Refused(Refusal::NoSockets) };
        }
        let judgement = match path::provider(&self.app.registry, self.route) {
            Ok(provider) => provider.judge(&lease.account, demand, told.status, &told.headers, &text, clock::now()),
            Err(_) => Judgement::fatal("no provider"),
        };
        let socket = if judgement.is_transient() { Socket::Refused(Refusal::Broken) } else { Socket::Beside };
        Miss { judgement, status: Some(told.status), socket }
    }
}
