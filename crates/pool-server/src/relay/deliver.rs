//! Getting an answer to the client: the head, the body, and what stands in for them while there is none, or none good.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pool_providers::Registry;
use pool_providers::reply::{Failure, Reply};
use pool_providers::routes::Route;
use tokio::sync::{mpsc, watch};

use super::attempt::Opened;
use super::delivery::Delivery;
use super::keep_alive::KeepAlive;
use super::miss::RETRY_SOON;
use super::path::{self, Errand, GaveUp};
use super::until::Until;
use crate::app::App;
use crate::clock;

/// Status and headers for the client.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

impl Head {
    /// An event stream that can be added to as it is.
    pub fn is_plain_stream(&self) -> bool {
        let encoding = self.headers.get(header::CONTENT_ENCODING);
        self.status.is_success()
            && is_event_stream(&self.headers)
            && encoding.is_none_or(|encoding| encoding == "identity")
    }

    /// What of it can go out before it is certain which account will answer: nothing that belongs to one.
    #[must_use]
    pub fn without_account(&self) -> Self {
        let kept = [header::CONTENT_TYPE, header::CACHE_CONTROL];
        let of = |name: HeaderName| Some((name.clone(), self.headers.get(name)?.clone()));
        Self { status: self.status, headers: kept.into_iter().filter_map(of).collect() }
    }
}

/// Is the body an event stream, whatever its encoding?
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

/// The body of any reply of ours.
#[derive(Debug)]
pub enum ReplyBody {
    Full(Option<Bytes>),
    Stream(Box<Delivery>),
    /// Any of these, for as long as its client may stay.
    Until(Box<Until>),
    /// The head is out, the first meaningful event is still awaited.
    Late(Box<Late>),
    /// What happens in the pool, for one who watches it.
    Events(mpsc::Receiver<Bytes>),
}

type Journey = Pin<Box<dyn Future<Output = Result<Opened, Box<GaveUp>>> + Send>>;

/// A stream whose account may still change.
pub struct Late {
    journey: Journey,
    keep_alive: Option<KeepAlive>,
    app: Arc<App>,
    route: &'static Route,
}

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Late").field("route", &self.route.id).finish_non_exhaustive()
    }
}

/// Runs the errand and makes the reply. If a stream has begun well upstream but says nothing meaningful for a while, its head
/// goes out and the client is kept waiting on an open stream.
pub async fn answer(errand: Errand) -> Response<ReplyBody> {
    let (app, route, parts, id) = (errand.app.clone(), errand.route, errand.parts.clone(), errand.id.clone());
    let sign =
        path::provider(&app.registry, route).ok().and_then(|owner| owner.keep_alive(route, errand.demand.client));
    let every = app.config.timeouts.keep_alive;
    let keep_alive = || sign.map(|sign| KeepAlive::new(sign, every));
    let (tell, told) = watch::channel(None);
    let waited = waited(told, app.config.timeouts.hold);
    let mut journey: Journey = Box::pin(errand.run(tell));
    tokio::select! {
        biased;
        outcome = &mut journey => match outcome {
            Ok(opened) => {
                let Opened { head, delivery } = opened;
                let delivery = if head.is_plain_stream() { delivery.kept_alive(keep_alive()) } else { delivery };
                respond(head, &id, ReplyBody::Stream(Box::new(delivery)))
            }
            Err(gave_up) => ended(&app.registry, route, &parts, &id, *gave_up),
        },
        head = waited => {
            respond(head, &id, ReplyBody::Late(Box::new(Late { journey, keep_alive: keep_alive(), app, route })))
        }
    }
}

/// The head of a stream that has begun upstream and then said nothing meaningful for as long as `patience`.
async fn waited(mut told: watch::Receiver<Option<Head>>, patience: Duration) -> Head {
    loop {
        let head = told.wait_for(Option::is_some).await.ok().and_then(|head| head.clone());
        // Without a sender the journey is over, and its outcome is taken first.
        let Some(head) = head else { return std::future::pending().await };
        // Gone again: that try came to nothing, and another one is under way.
        if tokio::time::timeout(patience, told.wait_for(Option::is_none)).await.is_err() {
            return head;
        }
    }
}

/// A failure of ours in the client's dialect.
pub fn failure(
    registry: &Registry,
    route: Option<&Route>,
    parts: &http::request::Parts,
    failure: &Failure,
) -> Response<ReplyBody> {
    // A request that belongs to nobody is told so in the first provider's words.
    let owner = route.and_then(|route| registry.get(route.provider)).or_else(|| registry.iter().next());
    match owner {
        Some(provider) => reply(provider.failure(route, &path::head(parts), failure, clock::now())),
        None => reply(Reply::empty(StatusCode::NOT_FOUND)),
    }
}

/// A whole reply of ours.
pub fn reply(reply: Reply) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Full(Some(reply.body).filter(|body| !body.is_empty())));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

fn respond(head: Head, id: &str, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    marked(response, id)
}

/// Every relayed answer names its request, so that it can be asked about.
pub fn marked(mut response: Response<ReplyBody>, id: &str) -> Response<ReplyBody> {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-pool-request", value);
    }
    response
}

fn ended(
    registry: &Registry,
    route: &'static Route,
    parts: &http::request::Parts,
    id: &str,
    gave_up: GaveUp,
) -> Response<ReplyBody> {
    let response = if let Some(mut upstream) = gave_up.upstream {
        let soon = HeaderValue::from(RETRY_SOON.as_secs());
        upstream.headers.entry(header::RETRY_AFTER).or_insert(soon);
        reply(upstream)
    } else {
        let mut response = failure(registry, Some(route), parts, &gave_up.failure);
        if let Some(status) = gave_up.status {
            *response.status_mut() = status;
        }
        response
    };
    gave_up.unserved.keep(response.status());
    marked(response, id)
}

impl Late {
    /// `Ready(Some)`: bytes to send now; `Ready(None)`: the journey is over, see the outcome.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Result<Opened, Box<GaveUp>>>> {
        if let Poll::Ready(outcome) = self.journey.as_mut().poll(cx) {
            return Poll::Ready(Err(outcome));
        }
        match &mut self.keep_alive {
            Some(keep_alive) => keep_alive.poll_due(cx).map(Ok),
            None => Poll::Pending,
        }
    }

    /// The last words of a stream that comes to nothing, if the dialect has any.
    fn last_words(&self, outcome: Result<Opened, Box<GaveUp>>) -> Option<Bytes> {
        let failure = match outcome {
            Ok(opened) => {
                let message = format!("upstream answered {} after a long wait", opened.head.status.as_u16());
                opened.delivery.fail();
                Failure::UpstreamDown { message, retry_after: RETRY_SOON }
            }
            Err(gave_up) => {
                // The head of the stream said 200, which was too early.
                gave_up.unserved.keep(gave_up.status.unwrap_or(StatusCode::BAD_GATEWAY));
                gave_up.failure
            }
        };
        path::provider(&self.app.registry, self.route).ok()?.failure_event(self.route, &failure, clock::now())
    }
}

/// The client gets nothing more and must not take what it got for whole.
#[derive(Debug, thiserror::Error)]
#[error("no account could answer, and this dialect has no words for that in a stream")]
struct Cut;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match this {
                Self::Full(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
                Self::Stream(delivery) => {
                    let next = ready!(delivery.poll_next(cx));
                    return Poll::Ready(next.map(|piece| piece.map(Frame::data).map_err(Into::into)));
                }
                Self::Until(until) => return until.poll_frame(cx),
                Self::Events(pieces) => {
                    return pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))));
                }
                Self::Late(late) => match ready!(late.poll_wait(cx)) {
                    Ok(sign) => return Poll::Ready(Some(Ok(Frame::data(sign)))),
                    Err(Ok(opened)) if opened.head.is_plain_stream() => {
                        let keep_alive = late.keep_alive.take();
                        *this = Self::Stream(Box::new(opened.delivery.kept_alive(keep_alive)));
                    }
                    Err(outcome) => {
                        let Some(words) = late.last_words(outcome) else {
                            *this = Self::Full(None);
                            return Poll::Ready(Some(Err(Cut.into())));
                        };
                        *this = Self::Full(Some(words));
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) | Self::Late(_) | Self::Until(_) | Self::Events(_) => SizeHint::default(),
        }
    }
}
