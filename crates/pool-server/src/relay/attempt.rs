//! One try on one account: freshen, send, hold until something meaningful comes, judge.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pool_core::pool::Event;
use pool_core::refresh::{Freshness, freshness};
use pool_core::scan::splice;
use pool_core::verdict::Verdict;
use pool_core::{Judgement, Trail, UnixMs};
use pool_providers::reply::{Failure, Reply};
use pool_providers::request::{Carry, Outbound, Serving, Wrap};
use tokio::sync::watch;
use tokio::time::timeout;

use super::answer::{Answer, Broken};
use super::body::OutBody;
use super::deliver;
use super::delivery::{Delivery, Unfit};
use super::listing::Lister;
use super::menu;
use super::meter::Meter;
use super::miss::{Miss, MissKind};
use super::path::{self, Errand};
use super::tap::Tap;
use super::{echo, headers, path::head};
use crate::app::App;
use crate::clock;
use crate::pool::{self, Lease, RefreshFailure, Why};

/// An answer that is ready to go out.
#[derive(Debug)]
pub struct Opened {
    pub head: deliver::Head,
    pub delivery: Delivery,
}

/// What is read of an error reply before it is judged.
const ERROR_CAP: usize = 64 << 10;
const ERROR_PATIENCE: Duration = Duration::from_secs(10);
/// What is held back of an answer while its first meaningful event is awaited.
const HOLD_CAP: usize = 256 << 10;

/// Makes the lease's credentials usable.
pub async fn freshen(app: &App, lease: &mut Lease) -> Result<(), Miss> {
    if freshness(&lease.credentials, clock::now()) == Freshness::Expired {
        let renewal = app.keeper.refresher.ensure_fresh(&lease.account.id, lease.epoch, Why::Proactive).await;
        renewal.map_err(|failure| Miss::no_credential(&failure))?;
        lease.reload();
    }
    let needs_probe = app
        .registry
        .get(lease.account.provider)
        .is_some_and(|provider| provider.needs_probe(&lease.account, &lease.credentials));
    if needs_probe {
        let probe = app.keeper.prober.probe_now(&lease.account.id).await;
        probe.map_err(|failure| Miss::no_credential(&failure))?;
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
    trail: &mut Trail,
    early: &watch::Sender<Option<deliver::Head>>,
) -> Result<Opened, Miss> {
    let app = &errand.app;
    let provider = path::provider(&app.registry, errand.route).map_err(Miss::unfit)?;
    let seen = &errand.received.seen;
    let serving = Serving {
        account: &lease.account,
        credentials: &lease.credentials,
        bases: &app.config.bases,
        carry,
        model: errand.menu.model(),
    };
    let outbound = provider.outbound(errand.route, &head(&errand.parts), seen, &serving).map_err(Miss::unfit)?;
    let wrap = outbound.wrap;
    let request = build(errand, outbound).map_err(Miss::unfit)?;
    // A body that goes out while it comes in is a large one.
    let limit = if errand.parts.uri.path().ends_with("/compact") || !seen.whole {
        app.config.timeouts.response_head_long
    } else {
        app.config.timeouts.response_head
    };
    let (sent, mut connecting) = (Instant::now(), Duration::ZERO);
    let answer = app.upstream.send_timed(request, limit, &mut connecting).await;
    trail.parts.heard(sent.elapsed(), connecting);
    let response = answer.map_err(|error| Miss::transport(&error))?;
    let now = clock::now();
    let windows = provider.header_windows(&lease.account, &errand.demand, response.headers(), now);
    if !windows.is_empty() {
        app.pool.apply(Event::Read { id: lease.account.id.clone(), windows });
    }
    if response.status().is_success() {
        hold(errand, lease, response, wrap, trail, early).await
    } else {
        refused(errand, lease, response, carry, trail, now).await
    }
}

/// The request as it goes out: the client's, with what the provider's folder changes.
fn build(errand: &Errand, outbound: Outbound) -> Result<Request<OutBody>, Failure> {
    let received = &errand.received;
    let compressed = errand.parts.headers.contains_key(header::CONTENT_ENCODING);
    let as_received = outbound.edits.is_empty() && !(outbound.decoded && compressed);
    let mut removed = outbound.remove;
    if !as_received {
        removed.push(header::CONTENT_ENCODING);
    }
    let mut fields = headers::for_upstream(&errand.parts.headers, &removed);
    for (name, value) in outbound.set {
        fields.insert(name, value);
    }
    let bytes = if as_received {
        received.wire.clone()
    } else {
        let bad = |status, message: &str| Failure::BadRequest { status, message: message.into() };
        if compressed && !received.seen.whole {
            let message = "this body is too large to be decoded, as its account or the alias of its model asks";
            return Err(bad(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let edits = outbound.edits.iter().map(|edit| (edit.range.clone(), &edit.with[..]));
        let spliced = splice::apply(&received.seen.bytes, edits);
        let spliced = spliced.map_err(|error| bad(StatusCode::BAD_REQUEST, &error.to_string()))?;
        spliced.into()
    };
    let body = match received.take_rest() {
        Some(rest) => OutBody::streaming(bytes, rest, errand.app.config.timeouts.body_progress),
        None => OutBody::full(bytes),
    };
    let mut request = Request::builder()
        .method(errand.parts.method.clone())
        .uri(outbound.url)
        .body(body)
        .map_err(|error| Failure::NotServed { message: format!("the request cannot be sent on: {error}") })?;
    *request.headers_mut() = fields;
    Ok(request)
}

/// A successful head: holds the answer until its first meaningful event, its end, or the cap.
async fn hold(
    errand: &Errand,
    lease: &Lease,
    response: Response<Incoming>,
    wrap: Wrap,
    trail: &Trail,
    early: &watch::Sender<Option<deliver::Head>>,
) -> Result<Opened, Miss> {
    let app = &errand.app;
    let provider = path::provider(&app.registry, errand.route).map_err(Miss::unfit)?;
    let (upstream, body) = response.into_parts();
    let status = upstream.status;
    let stream = deliver::is_event_stream(&upstream.headers);
    let reader = provider.reader(errand.route, &errand.demand, stream, clock::now());
    let tap = Tap::new(errand.estate.reader(reader, errand.route, stream), &upstream.headers);
    errand.estate.hear_head(&app.pool, provider, errand.route, &lease.account.id, &upstream.headers);
    let mut head = deliver::Head { status, headers: headers::for_client(upstream.headers) };
    provider.readdress(errand.route, &path::head(&errand.parts), &mut head.headers);
    if stream || wrap != Wrap::None {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let standing = app.standing(&errand.caller, &errand.demand);
    provider.speak_of_pool(&mut head.headers, &lease.account, &standing, clock::now());
    if head.is_plain_stream() {
        early.send_replace(Some(head.without_account()));
    }
    let mut answer = Answer::new(body, tap, wrap, stream, app.config.timeouts.upstream_idle);
    if let Some(listing) = provider.listing(errand.route)
        && is_first_page(errand)
        && answer.add_to_list(Lister::new(&listing, &menu::to_list(app, provider)))
    {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let mut delivery = Delivery::new(answer, Meter::new(errand, lease, status, trail));
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

/// Is it the beginning of a list that is asked for? What goes on from somewhere has had the aliases before.
fn is_first_page(errand: &Errand) -> bool {
    let head = head(&errand.parts);
    ["after_id", "before_id", "after", "pageToken"].into_iter().all(|key| head.query_value(key).is_none())
}

/// An error head: reads the beginning of its body and judges. What is the client's own is opened for delivery, verbatim.
async fn refused(
    errand: &Errand,
    lease: &Lease,
    response: Response<Incoming>,
    carry: Carry,
    trail: &Trail,
    now: UnixMs,
) -> Result<Opened, Miss> {
    let app = &errand.app;
    let provider = path::provider(&app.registry, errand.route).map_err(Miss::unfit)?;
    let (upstream, mut body) = response.into_parts();
    let status = upstream.status;
    let (mut begun, read) = beginning(&mut body).await;
    let masked = echo::masked(&begun, lease.credentials.access.expose());
    let as_sent = masked.is_none();
    begun = masked.unwrap_or(begun);
    let text = decoded(&upstream.headers, &begun);
    let judgement = provider.judge(&lease.account, &errand.demand, status, &upstream.headers, &text, now);
    let mut client = headers::for_client(upstream.headers);
    if !as_sent {
        client.remove(header::CONTENT_LENGTH);
    }
    let standing = app.standing(&errand.caller, &errand.demand);
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
        let delivery = Delivery::new(answer, Meter::new(errand, lease, status, trail));
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
        Box::new(Reply { status, headers: client, body: begun })
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
