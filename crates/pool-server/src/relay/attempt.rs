//! One try on one account: freshen, send, hold until something meaningful comes, judge.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pool_core::pool::Event;
use pool_core::quota::Scope;
use pool_core::refresh::{Freshness, freshness};
use pool_core::scan::splice;
use pool_core::verdict::{Cause, Fault, Until, Verdict};
use pool_core::{Judgement, UnixMs};
use pool_providers::reply::{Failure, Reply};
use pool_providers::request::{Carry, Outbound, Serving, Wrap};
use tokio::sync::watch;
use tokio::time::timeout;

use super::answer::{Answer, Broken};
use super::body::OutBody;
use super::deliver::{self, Delivery, Meter, Unfit};
use super::path::{self, Errand, GaveUp};
use super::tap::Tap;
use super::{headers, path::head};
use crate::app::App;
use crate::clock;
use crate::pool::{self, Lease, RefreshFailure, Why};
use crate::upstream::UpstreamError;

/// An answer that is ready to go out.
#[derive(Debug)]
pub struct Opened {
    pub head: deliver::Head,
    pub delivery: Delivery,
}

/// A try that did not come to an answer for the client.
#[derive(Debug)]
pub struct Miss {
    pub judgement: Judgement,
    pub status: Option<StatusCode>,
    /// The provider's error, whole, if it is fit for the client.
    reply: Option<Reply>,
    kind: MissKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MissKind {
    Replied,
    /// A page instead of JSON.
    Html,
    Redirect,
    NoReply,
    TimedOut,
    /// Nothing was sent: no usable credential could be had.
    NoCredential,
    /// The client's request cannot be carried to this account, or broke off on its way.
    Unfit(StatusCode),
}

/// What is read of an error reply before it is judged.
const ERROR_CAP: usize = 64 << 10;
const ERROR_PATIENCE: Duration = Duration::from_secs(10);
/// What is held back of an answer while its first meaningful event is awaited.
const HOLD_CAP: usize = 256 << 10;

/// Makes the lease's credentials usable.
pub async fn freshen(app: &App, lease: &mut Lease) -> Result<(), Miss> {
    let no_credential = |why: String| {
        let judgement = Judgement::elsewhere(Fault::Account, format!("no fresh credential: {why}"));
        Miss { judgement, status: None, reply: None, kind: MissKind::NoCredential }
    };
    if freshness(&lease.credentials, clock::now()) == Freshness::Expired {
        let renewal = app.keeper.refresher.ensure_fresh(&lease.account.id, lease.epoch, Why::Proactive).await;
        renewal.map_err(|failure| no_credential(failure.to_string()))?;
        lease.reload();
    }
    let needs_probe = app
        .registry
        .get(lease.account.provider)
        .is_some_and(|provider| provider.needs_probe(&lease.account, &lease.credentials));
    if needs_probe {
        let probe = app.keeper.prober.probe_now(&lease.account.id).await;
        probe.map_err(|failure| no_credential(failure.to_string()))?;
        lease.reload();
    }
    Ok(())
}

/// Renews a credential that was refused. Somebody else may have done so in the meantime: then theirs is taken.
pub async fn renew(app: &App, lease: &mut Lease) -> Result<(), RefreshFailure> {
    let renewal = app.keeper.refresher.ensure_fresh(&lease.account.id, lease.epoch, Why::Rejected).await;
    match &renewal {
        Ok(()) => lease.reload(),
        Err(RefreshFailure::NothingToRenew) => {
            let mend = pool::what_mends(&lease.account);
            park(app, lease, format!("its credential is refused and cannot be renewed; {mend}"));
        }
        Err(failure) => {
            tracing::warn!(account = %lease.account.name, %failure, "a refused credential could not be renewed");
        }
    }
    renewal
}

/// Tells the pool what a failed try says of the account.
pub fn settle(app: &App, lease: &Lease, judgement: &Judgement, renewed: bool) {
    let id = || lease.account.id.clone();
    if !judgement.windows.is_empty() {
        app.pool.apply(Event::Read { id: id(), windows: judgement.windows.clone() });
    }
    if let Some(penalty) = judgement.penalty.clone() {
        app.pool.apply(Event::Penalised { id: id(), penalty });
    }
    let refused_again = judgement.verdict == Verdict::RefreshThenSame && renewed;
    if let Some(why) = judgement.park.clone() {
        park(app, lease, why);
    } else if refused_again {
        let mend = pool::what_mends(&lease.account);
        park(app, lease, format!("its credential is refused even after it was renewed ({}); {mend}", judgement.reason));
    }
}

fn park(app: &App, lease: &Lease, why: String) {
    tracing::warn!(account = %lease.account.name, why, "an account needs a person");
    app.pool.apply(Event::SignInNeeded { id: lease.account.id.clone(), epoch: lease.epoch, why });
}

/// Sends the request on the leased account and waits for the point where its answer can go out.
pub async fn send(
    errand: &Errand,
    lease: &Lease,
    carry: Carry,
    attempts_before: usize,
    early: &watch::Sender<Option<deliver::Head>>,
) -> Result<Opened, Miss> {
    let app = &errand.app;
    let provider = path::provider(&app.registry, errand.route).map_err(Miss::unfit)?;
    let seen = &errand.received.seen;
    let serving = Serving { account: &lease.account, credentials: &lease.credentials, bases: &app.config.bases, carry };
    let outbound = provider.outbound(errand.route, &head(&errand.parts), seen, &serving).map_err(Miss::unfit)?;
    let wrap = outbound.wrap;
    let request = build(errand, outbound)?;
    let limit = if errand.parts.uri.path().ends_with("/compact") {
        app.config.timeouts.response_head_long
    } else {
        app.config.timeouts.response_head
    };
    let response = app.upstream.send(request, limit).await.map_err(|error| Miss::transport(&error))?;
    let now = clock::now();
    let windows = provider.header_windows(&lease.account, &errand.demand, response.headers(), now);
    if !windows.is_empty() {
        app.pool.apply(Event::Read { id: lease.account.id.clone(), windows });
    }
    if response.status().is_success() {
        hold(errand, lease, response, wrap, attempts_before, early).await
    } else {
        refused(errand, lease, response, carry, attempts_before, now).await
    }
}

/// The request as it goes out: the client's, with what the provider's folder changes.
fn build(errand: &Errand, outbound: Outbound) -> Result<Request<OutBody>, Miss> {
    let mut fields = headers::for_upstream(&errand.parts.headers);
    for name in outbound.remove {
        fields.remove(name);
    }
    for (name, value) in outbound.set {
        fields.insert(name, value);
    }
    let received = &errand.received;
    let progress = errand.app.config.timeouts.body_progress;
    let decoded = outbound.decoded && fields.contains_key(header::CONTENT_ENCODING);
    let body = if outbound.edits.is_empty() && !decoded {
        match received.take_rest() {
            Some(rest) => OutBody::streaming(received.wire.clone(), rest, progress),
            None => OutBody::full(received.wire.clone()),
        }
    } else {
        let compressed = fields.remove(header::CONTENT_ENCODING).is_some();
        if compressed && !received.seen.whole {
            let message = "this body is too large to be decoded for an account that takes no compressed bodies";
            return Err(Miss::unfit(Failure::BadRequest {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                message: message.into(),
            }));
        }
        let edits = outbound.edits.iter().map(|edit| (edit.range.clone(), &edit.with[..]));
        let bytes = splice::apply(&received.seen.bytes, edits).map_err(|error| {
            Miss::unfit(Failure::BadRequest { status: StatusCode::BAD_REQUEST, message: error.to_string() })
        })?;
        match received.take_rest() {
            Some(rest) => OutBody::streaming(bytes.into(), rest, progress),
            None => OutBody::full(bytes.into()),
        }
    };
    let mut request = Request::builder()
        .method(errand.parts.method.clone())
        .uri(outbound.url)
        .body(body)
        .map_err(|error| Miss::transport(&UpstreamError::Request(error)))?;
    *request.headers_mut() = fields;
    Ok(request)
}

/// A successful head: holds the answer until its first meaningful event, its end, or the cap.
async fn hold(
    errand: &Errand,
    lease: &Lease,
    response: Response<Incoming>,
    wrap: Wrap,
    attempts_before: usize,
    early: &watch::Sender<Option<deliver::Head>>,
) -> Result<Opened, Miss> {
    let app = &errand.app;
    let provider = path::provider(&app.registry, errand.route).map_err(Miss::unfit)?;
    let (upstream, body) = response.into_parts();
    let status = upstream.status;
    let stream = deliver::is_event_stream(&upstream.headers);
    let reader = provider.reader(errand.route, &errand.demand, stream, clock::now());
    let tap = Tap::new(reader, &upstream.headers);
    let mut head = deliver::Head { status, headers: headers::for_client(upstream.headers) };
    if stream || wrap != Wrap::None {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let standing = app.pool.standing(&errand.demand);
    provider.speak_of_pool(&mut head.headers, &lease.account, &standing, clock::now());
    if head.is_plain_stream() {
        early.send_replace(Some(head.without_account()));
    }
    let answer = Answer::new(body, tap, wrap, stream, app.config.timeouts.upstream_idle);
    let mut delivery = Delivery::new(answer, Meter::new(errand, lease, status, attempts_before + 1));
    if let Err(unfit) = delivery.hold(HOLD_CAP).await {
        delivery.discard();
        early.send_replace(None);
        return Err(match unfit {
            Unfit::Broken(broken) => Miss::broken(status, &broken),
            Unfit::Failed(judgement) => Miss { judgement, status: Some(status), reply: None, kind: MissKind::Replied },
        });
    }
    app.pool.apply(Event::Served { id: lease.account.id.clone(), families: errand.demand.families.clone() });
    Ok(Opened { head, delivery })
}

/// An error head: reads the beginning of its body and judges. What is the client's own is opened for delivery, verbatim.
async fn refused(
    errand: &Errand,
    lease: &Lease,
    response: Response<Incoming>,
    carry: Carry,
    attempts_before: usize,
    now: UnixMs,
) -> Result<Opened, Miss> {
    let app = &errand.app;
    let provider = path::provider(&app.registry, errand.route).map_err(Miss::unfit)?;
    let (upstream, mut body) = response.into_parts();
    let status = upstream.status;
    let (begun, read) = beginning(&mut body).await;
    let text = decoded(&upstream.headers, &begun);
    let judgement = provider.judge(&lease.account, &errand.demand, status, &upstream.headers, &text, now);
    let mut client = headers::for_client(upstream.headers);
    let standing = app.pool.standing(&errand.demand);
    provider.speak_of_pool(&mut client, &lease.account, &standing, now);
    // Stripped already, or it cannot be sent again: then the client has to deal with it.
    let last_strip =
        judgement.verdict == Verdict::StripThenSame && (carry == Carry::Bare || !errand.received.can_be_sent());
    if last_strip || matches!(judgement.verdict, Verdict::Fatal | Verdict::Deliver) {
        let whole = match read {
            Read::Whole => true,
            Read::Begun => false,
            Read::Broken(error) => return Err(Miss::broken(status, &Broken::Upstream(error))),
        };
        let reader = provider.reader(errand.route, &errand.demand, false, now);
        let tap = Tap::new(reader, &client);
        let mut answer = Answer::new(body, tap, Wrap::None, false, app.config.timeouts.upstream_idle);
        answer.preload(begun, whole);
        let delivery = Delivery::new(answer, Meter::new(errand, lease, status, attempts_before + 1));
        return Ok(Opened { head: deliver::Head { status, headers: client }, delivery });
    }
    let kind = match () {
        () if status.is_redirection() => MissKind::Redirect,
        () if is(&client, "text/html") || text.trim_ascii_start().starts_with(b"<") => MissKind::Html,
        () => MissKind::Replied,
    };
    // Only trouble that is the provider's own may be shown in its own words; an account's is nobody else's business.
    let whole = matches!(read, Read::Whole);
    let showable = whole && kind == MissKind::Replied && status.is_server_error() && judgement.is_transient();
    let reply = showable.then(|| {
        client.remove(header::CONTENT_LENGTH);
        Reply { status, headers: client, body: begun }
    });
    Err(Miss { judgement, status: Some(status), reply, kind })
}

/// How far reading the beginning of a body came.
enum Read {
    Whole,
    /// To the cap, or as far as patience reached: more may follow.
    Begun,
    Broken(hyper::Error),
}

/// Up to the cap of an error's body.
async fn beginning(body: &mut Incoming) -> (Bytes, Read) {
    let mut bytes = BytesMut::new();
    let read = async {
        while bytes.len() < ERROR_CAP {
            match body.frame().await {
                None => return Read::Whole,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        bytes.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Read::Broken(error),
            }
        }
        Read::Begun
    };
    let read = timeout(ERROR_PATIENCE, read).await.unwrap_or(Read::Begun);
    (bytes.freeze(), read)
}

/// An error's text, for judging.
fn decoded(headers: &HeaderMap, wire: &Bytes) -> Vec<u8> {
    use std::io::Read;
    let mut text = Vec::new();
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let decoder: Box<dyn Read + '_> = match encoding.trim() {
        "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(&wire[..])),
        "deflate" => Box::new(flate2::read::ZlibDecoder::new(&wire[..])),
        "br" => Box::new(brotli::Decompressor::new(&wire[..], 4096)),
        "zstd" => match zstd::stream::read::Decoder::with_buffer(&wire[..]) {
            Ok(decoder) => Box::new(decoder),
            Err(_) => return text,
        },
        _ => return wire.to_vec(),
    };
    // A beginning may not decode to its end; what came is enough to judge by.
    let _ = decoder.take(ERROR_CAP as u64).read_to_end(&mut text);
    text
}

fn is(headers: &HeaderMap, kind: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
}

impl Miss {
    /// No answer came.
    fn transport(error: &UpstreamError) -> Self {
        if let UpstreamError::Client(message) = error {
            return Self::unfit(Failure::BadRequest { status: StatusCode::BAD_REQUEST, message: message.clone() });
        }
        let judgement = Judgement::elsewhere(Fault::Provider, error.to_string()).cooling(
            Scope::Account,
            Cause::UpstreamFailing,
            Until::BackOff,
        );
        let kind = if matches!(error, UpstreamError::Timeout(_)) { MissKind::TimedOut } else { MissKind::NoReply };
        Self { judgement, status: None, reply: None, kind }
    }

    /// The head came, and then nothing meaningful.
    fn broken(status: StatusCode, broken: &Broken) -> Self {
        let mut miss = Self::transport(&UpstreamError::Broken(broken.to_string()));
        miss.status = Some(status);
        if matches!(broken, Broken::Silent(_)) {
            miss.kind = MissKind::TimedOut;
        }
        miss
    }

    /// The client's request cannot be carried to this account.
    fn unfit(failure: Failure) -> Self {
        let (kind, reason) = match failure {
            Failure::BadRequest { status, message } => (MissKind::Unfit(status), message),
            Failure::NotServed { message } => (MissKind::Unfit(StatusCode::NOT_FOUND), message),
            Failure::UpstreamDown { message, .. } => (MissKind::NoCredential, message),
            other => (MissKind::NoCredential, format!("{other:?}")),
        };
        // It costs the provider nothing, and another account may be able to take it.
        let judgement = Judgement::elsewhere(Fault::Account, reason);
        Self { judgement, status: None, reply: None, kind }
    }

    /// The end of the request, when this was its last try.
    pub fn into_end(self, errand: &Errand) -> GaveUp {
        let Self { judgement, status, reply, kind } = self;
        let mut message = format!("upstream failed: {}", judgement.reason);
        if !errand.received.can_be_sent() {
            message.push_str(" (this request was too large to be kept for another try)");
        }
        let down = |message| Failure::UpstreamDown { message, retry_after: RETRY_SOON };
        let (failure, status) = match kind {
            MissKind::Unfit(status) => (Failure::BadRequest { status, message: judgement.reason }, None),
            MissKind::TimedOut => (Failure::Timeout { message }, Some(StatusCode::GATEWAY_TIMEOUT)),
            MissKind::Redirect | MissKind::NoReply => (down(message), Some(StatusCode::BAD_GATEWAY)),
            MissKind::Html => (down(message), status),
            MissKind::Replied | MissKind::NoCredential => (down(message), None),
        };
        GaveUp { failure, upstream: reply, status }
    }
}

/// What a client is told to wait after trouble that should pass.
pub const RETRY_SOON: Duration = Duration::from_secs(2);
