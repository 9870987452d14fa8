//! A tunnel: a socket that nobody here reads, on one account, with the credential replaced.
//!
//! The client's handshake is made with an account; only an upstream's 101 grants it. Any other answer is an ordinary reply
//! that ends the connection: what a client has sent early must not be taken for a tunnel's bytes, nor for a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pool_core::Trail;
use pool_core::pool::Event;
use pool_core::standing::{Refusal, RefusalWhy};
use pool_core::usage::{Ending, UsageRecord};
use pool_core::verdict::{Fault, Verdict};
use pool_core::{AccountId, Ask, Demand, Judgement, SessionKey, UnixMs};
use pool_providers::reply::{Failure, Reply};
use pool_providers::request::{Body, Carry, Serving};
use pool_providers::routes::Route;
use tokio_util::sync::CancellationToken;

use super::handshake;
use super::pipe::{self, End, Limits};
use crate::admit::Caller;
use crate::app::App;
use crate::clock;
use crate::people::Tenure;
use crate::people::books::Stay;
use crate::pool::Lease;
use crate::pool::line::PATIENCE;
use crate::relay::body::OutBody;
use crate::relay::deliver::{self, ReplyBody};
use crate::relay::estate::Estate;
use crate::relay::miss::{Miss, MissKind, RETRY_SOON, failed};
use crate::relay::path::{head, provider, request_id};
use crate::relay::{attempt, echo, headers};
use crate::upstream::UpstreamError;

/// So many handshakes upstream that take as long as they may still fit into the client's own.
const HANDSHAKES: u32 = 2;
/// What is read of a refusal before it is judged.
const REFUSAL_CAP: usize = 64 << 10;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// Waits between tries, doubling.
const PAUSE: Duration = Duration::from_millis(200);
/// A tunnel cannot be retired between turns, so the provider ends it, after an hour at most; this is for one that does not.
const LIVES: u32 = 2;

static NOTHING: Body = Body { bytes: Bytes::new(), whole: true };

/// A client that asks for a tunnel.
#[derive(Debug)]
struct Passage {
    app: Arc<App>,
    route: &'static Route,
    parts: http::request::Parts,
    caller: Caller,
    demand: Demand,
    session: Option<SessionKey>,
    estate: Estate,
    /// Told to the client as `x-pool-request`.
    id: String,
    /// User agent's first word.
    client: Option<String>,
    /// How long whoever asks for it may stay.
    tenure: Tenure,
    arrived: UnixMs,
    started: Instant,
    /// In the book of who asks, once it has begun.
    stay: Option<Stay>,
}

/// An account has let it through.
#[derive(Debug)]
struct Through {
    lease: Lease,
    upstream: Upgraded,
    /// Of its 101, fit for the client.
    headers: HeaderMap,
    trail: Trail,
}

/// Answers a client's handshake.
pub async fn tunnel(
    app: Arc<App>,
    route: &'static Route,
    mut parts: http::request::Parts,
    caller: &Caller,
) -> Response<ReplyBody> {
    // A connection that cannot be upgraded.
    let Some(client) = parts.extensions.remove::<hyper::upgrade::OnUpgrade>() else {
        return closing(deliver::reply(Reply::empty(StatusCode::UPGRADE_REQUIRED)));
    };
    let mut passage = match Passage::new(app, route, parts, caller) {
        Ok(passage) => passage,
        Err(reply) => return closing(*reply),
    };
    let id = HeaderValue::from_str(&passage.id).ok();
    let mut response = match passage.begin().await {
        Ok(through) => passage.grant(client, through),
        Err(reply) => closing(deliver::reply(*reply)),
    };
    if let Some(id) = id {
        response.headers_mut().insert("x-pool-request", id);
    }
    response
}

fn closing(mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A handshake has no body. One that announces a body could hide a request in it.
fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// What a handshake asks for.
fn read(
    app: &App,
    route: &'static Route,
    parts: &http::request::Parts,
    caller: &Caller,
) -> Result<(Demand, Option<SessionKey>, Estate), Failure> {
    let bad = |message: &str| Failure::BadRequest { status: StatusCode::BAD_REQUEST, message: message.into() };
    handshake::accept(&parts.headers).map_err(bad)?;
    if has_body(&parts.headers) {
        return Err(bad("a WebSocket handshake has no body"));
    }
    let provider = provider(&app.registry, route)?;
    let demand = provider.demand(route, &head(parts), &NOTHING);
    let session = demand.session.as_deref().map(|id| SessionKey::new(demand.provider, caller.scope(), id));
    let estate = Estate::read(&app.pool, provider, route, &head(parts), &NOTHING, caller)?;
    Ok((demand, session, estate))
}

impl Passage {
    /// Reads what the handshake asks for. `Err`: the reply to one that is none, or that leads nowhere.
    fn new(
        app: Arc<App>,
        route: &'static Route,
        parts: http::request::Parts,
        caller: &Caller,
    ) -> Result<Self, Box<Response<ReplyBody>>> {
        let (arrived, started) = (clock::now(), Instant::now());
        match read(&app, route, &parts, caller) {
            Ok((demand, session, estate)) => {
                let client = headers::client_name(&parts.headers);
                let (id, tenure) = (request_id(), app.people.tenure(caller));
                let caller = caller.clone();
                Ok(Self {
                    app,
                    route,
                    parts,
                    caller,
                    demand,
                    session,
                    estate,
                    id,
                    client,
                    tenure,
                    arrived,
                    started,
                    stay: None,
                })
            }
            Err(failure) => Err(Box::new(deliver::failure(&app.registry, Some(route), &parts, &failure))),
        }
    }

    /// Puts it into the book of who asks, and finds an account. `Err`: the reply that says why not.
    async fn begin(&mut self) -> Result<Through, Box<Reply>> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        match self.app.enter(&self.caller, &self.demand, deadline).await {
            Ok(stay) => self.stay = stay,
            Err(limit) => {
                tracing::info!(request = self.id, %limit, "somebody's own limit is reached");
                return Err(self.told(&Failure::Refused(Refusal::over(&self.demand, limit))));
            }
        }
        self.choose().await
    }

    /// Finds an account whose handshake succeeds. `Err`: the reply that says why there is none.
    async fn choose(&self) -> Result<Through, Box<Reply>> {
        let (mut trail, mut last) = (Trail::default(), None);
        let (mut refused, mut stumbled) = (Vec::new(), Vec::<AccountId>::new());
        let patience = self.app.config.timeouts.handshake * HANDSHAKES;
        self.app.pool.count_request(self.demand.provider);
        loop {
            let tried: Vec<AccountId> = refused.iter().chain(&stumbled).cloned().collect();
            let ask = Ask::new(&self.demand, self.session).after(&tried).only(self.estate.account.as_ref());
            let ask = ask.by(self.caller.rights(self.app.sharing()));
            let mut lease = match self.app.pool.lease(&ask) {
                Ok(lease) => lease,
                Err(_) if !stumbled.is_empty() => {
                    tokio::time::sleep(PAUSE * trail.transient.clamp(1, 8)).await;
                    stumbled.clear();
                    continue;
                }
                Err(refusal) => return Err(self.end(Some(*refusal), last)),
            };
            let miss = match self.try_on(&mut lease, &mut trail).await {
                Ok((upstream, headers)) => {
                    let trail = trail.delivered(&lease, StatusCode::SWITCHING_PROTOCOLS.as_u16(), clock::now());
                    return Ok(Through { lease, upstream, headers, trail });
                }
                Err(miss) => miss,
            };
            let transient = miss.judgement.is_transient();
            let exhausted = transient && trail.transient >= self.app.config.max_attempts;
            let own = matches!(miss.judgement.verdict, Verdict::Fatal | Verdict::Deliver);
            let over = own || self.started.elapsed() >= patience;
            last = Some(miss);
            if over || exhausted || (transient && !self.app.pool.may_retry(self.demand.provider)) {
                return Err(self.end(None, last));
            }
            let account = lease.account.id.clone();
            if transient { stumbled.push(account) } else { refused.push(account) }
        }
    }

    /// One account: a handshake, and if its credential was refused another one with a renewed credential.
    async fn try_on(&self, lease: &mut Lease, trail: &mut Trail) -> Result<(Upgraded, HeaderMap), Miss> {
        let mut renewed = false;
        loop {
            let tried = match attempt::freshen(&self.app, lease).await {
                Ok(()) => self.shake_hands(lease).await,
                Err(miss) => Err(miss),
            };
            let miss = match tried {
                Ok(through) => return Ok(through),
                Err(miss) => miss,
            };
            let status = miss.status.map(|status| status.as_u16());
            trail.record(lease, status, &miss.judgement, clock::now());
            // Sockets in trouble say nothing of the account: for a request it is the first choice as ever.
            if !miss.judgement.is_transient() {
                attempt::settle(&self.app, lease, &miss.judgement, renewed);
            }
            tracing::info!(
                request = self.id, account = %lease.account.name, status, reason = miss.judgement.reason,
                verdict = ?miss.judgement.verdict, "an attempt at a tunnel failed"
            );
            let again = miss.judgement.verdict == Verdict::RefreshThenSame && !renewed;
            if !again || attempt::renew(&self.app, lease).await.is_err() {
                return Err(miss);
            }
            renewed = true;
        }
    }

    async fn shake_hands(&self, lease: &Lease) -> Result<(Upgraded, HeaderMap), Miss> {
        let app = &self.app;
        let provider = provider(&app.registry, self.route).map_err(Miss::unfit)?;
        let serving = Serving {
            account: &lease.account,
            credentials: &lease.credentials,
            bases: &app.config.bases,
            carry: Carry::All,
            model: None,
        };
        let outbound = provider.outbound(self.route, &head(&self.parts), &NOTHING, &serving).map_err(Miss::unfit)?;
        // The client's key, version and extensions go along: the two ends understand each other, nobody reads between them.
        let mut fields = headers::for_upstream(&self.parts.headers, &outbound.remove);
        for (name, value) in outbound.set {
            fields.insert(name, value);
        }
        upgrading(&mut fields);
        let mut request = Request::get(outbound.url)
            .body(OutBody::full(Bytes::new()))
            .map_err(|error| Miss::transport(&UpstreamError::Request(error)))?;
        *request.headers_mut() = fields;
        let limit = app.config.timeouts.handshake;
        let mut response = app.upstream.send(request, limit).await.map_err(|error| Miss::transport(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refused(lease, response).await);
        }
        let broken = |why: &str| Miss::transport(&UpstreamError::Broken(why.into()));
        if !is_granted(response.headers(), handshake::accept(&self.parts.headers).ok().as_ref()) {
            return Err(broken("its answer to the WebSocket handshake does not fit"));
        }
        let upgraded = match tokio::time::timeout(limit, hyper::upgrade::on(&mut response)).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(error)) => return Err(broken(&error.to_string())),
            Err(_) => return Err(broken("the upgrade did not come about in time")),
        };
        let id = &lease.account.id;
        app.pool.apply(Event::Served { id: id.clone(), families: self.demand.families.clone() });
        self.estate.hear_head(&app.pool, provider, self.route, id, response.headers());
        let mut told = headers::for_client(std::mem::take(response.headers_mut()));
        provider.speak_of_pool(&mut told, &lease.account, &app.standing(&self.caller, &self.demand), clock::now());
        upgrading(&mut told);
        Ok((upgraded, told))
    }

    /// Reads why a handshake was refused. The client's own mistake is passed on in the provider's words; where only this account
    /// has no socket, another may.
    async fn refused(&self, lease: &Lease, response: Response<Incoming>) -> Miss {
        let (told, body) = response.into_parts();
        let status = told.status;
        let read = tokio::time::timeout(REFUSAL_PATIENCE, Limited::new(body, REFUSAL_CAP).collect()).await;
        let text = read.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if status.is_success() || status.is_informational() {
            return Miss::transport(&UpstreamError::Broken(format!("{}: no socket here", status.as_u16())));
        }
        let text = echo::masked(&text, lease.credentials.access.expose()).unwrap_or(text);
        let judgement = match provider(&self.app.registry, self.route) {
            Ok(provider) => provider.judge(&lease.account, &self.demand, status, &told.headers, &text, clock::now()),
            Err(failure) => return Miss::unfit(failure),
        };
        let mut miss = Miss { judgement, status: Some(status), reply: None, kind: MissKind::Replied };
        if matches!(miss.judgement.verdict, Verdict::Fatal | Verdict::Deliver) {
            let mut headers = headers::for_client(told.headers);
            headers.remove(header::CONTENT_LENGTH);
            miss.reply = Some(Box::new(Reply { status, headers, body: text }));
            if handshake::is_about_sockets(status) && self.estate.account.is_none() {
                miss.judgement = Judgement::elsewhere(Fault::Account, miss.judgement.reason);
            }
        }
        miss
    }

    /// What the client is told when nobody let it through.
    fn end(&self, refusal: Option<Refusal>, last: Option<Miss>) -> Box<Reply> {
        let refusal = refusal.filter(|refusal| {
            // After tries, what they came to says more than "all have been tried".
            !(last.is_some() && matches!(refusal.why, RefusalWhy::Trouble { until: None, .. }))
        });
        let failure = match (refusal, last) {
            (Some(refusal), last) if last.as_ref().is_none_or(|miss| !miss.judgement.is_transient()) => {
                Failure::Refused(refusal)
            }
            (_, Some(Miss { reply: Some(reply), .. })) => return reply,
            (_, Some(miss)) => Failure::UpstreamDown {
                message: failed(&self.app, &self.caller, &miss.judgement.reason),
                retry_after: RETRY_SOON,
            },
            _ => Failure::UpstreamDown { message: "no account could be tried".into(), retry_after: RETRY_SOON },
        };
        tracing::warn!(request = self.id, ?failure, "no account could open a tunnel");
        self.told(&failure)
    }

    /// A failure in the client's dialect.
    fn told(&self, failure: &Failure) -> Box<Reply> {
        Box::new(match provider(&self.app.registry, self.route) {
            Ok(provider) => provider.failure(Some(self.route), &head(&self.parts), failure, clock::now()),
            Err(_) => Reply::empty(StatusCode::BAD_GATEWAY),
        })
    }

    /// The 101 for the client, upon which its bytes flow.
    fn grant(mut self, client: OnUpgrade, mut through: Through) -> Response<ReplyBody> {
        // The head keeps the buffer alive that it was read into; of the request only its place on the connection is needed.
        (self.parts.headers, self.parts.uri) = (HeaderMap::new(), Uri::default());
        let mut response = Response::new(ReplyBody::Full(None));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = std::mem::take(&mut through.headers);
        let sockets = self.app.sockets.clone();
        sockets.clone().spawn(async move { self.carry(client, through, &sockets.cut).await });
        response
    }

    /// The tunnel, to its end, and its record.
    async fn carry(self, client: OnUpgrade, through: Through, cut: &CancellationToken) {
        let opened = self.started.elapsed();
        let timeouts = self.app.config.timeouts;
        let limits = Limits { idle: timeouts.upstream_idle, life: timeouts.socket_life * LIVES };
        let end = match client.await {
            Ok(client) => {
                let flow = pipe::both_ways(TokioIo::new(client), TokioIo::new(through.upstream), limits, cut);
                tokio::select! {
                    biased;
                    () = self.tenure.over() => End::Revoked,
                    end = flow => end,
                }
            }
            Err(error) => End::Client(std::io::Error::other(error)),
        };
        let ending = match end {
            End::Closed => Ending::Complete,
            End::Client(_) | End::Cut | End::Revoked => Ending::Aborted,
            End::Upstream(_) | End::Idle | End::Old => Ending::Incomplete,
        };
        let record = UsageRecord {
            request_id: self.id,
            at: self.arrived,
            user: self.caller.user().map(|user| user.id.clone()),
            provider: self.demand.provider.0.to_owned(),
            account: through.lease.account.id.clone(),
            model: self.demand.model,
            client: self.client,
            session: self.session.map(SessionKey::short),
            status: StatusCode::SWITCHING_PROTOCOLS.as_u16(),
            ending,
            tokens: None,
            attempts: u32::try_from(through.trail.attempts.len()).unwrap_or(u32::MAX),
            first_byte_ms: clock::millis(opened),
            total_ms: clock::millis(self.started.elapsed()),
            parts: None,
        };
        tracing::info!(
            request = record.request_id, account = %through.lease.account.name, model = record.model, why = %end,
            ending = ?ending, ms = record.total_ms, "a tunnel ended"
        );
        self.app.keep(record, through.trail);
    }
}

fn upgrading(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Is this a proper answer to the client's handshake?
fn is_granted(headers: &HeaderMap, accept: Option<&HeaderValue>) -> bool {
    let upgrade = headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    upgrade && accept.is_some() && headers.get(header::SEC_WEBSOCKET_ACCEPT) == accept
}
