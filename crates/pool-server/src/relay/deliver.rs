//! Getting an answer to the client: the head, the pieces as they come, and the record at the end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pool_core::pool::Event;
use pool_core::quota::QuotaWindow;
use pool_core::usage::{Ending, UsageRecord};
use pool_core::verdict::Verdict;
use pool_core::{AccountId, Judgement, UnixMs};
use pool_providers::Registry;
use pool_providers::reply::{Failure, News, Reply, Stage};
use pool_providers::routes::Route;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::answer::{Answer, Broken};
use super::attempt::{self, Opened};
use super::path::{self, Errand, GaveUp};
use crate::app::{App, Counted};
use crate::clock;
use crate::pool::Lease;

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
    /// The head is out, the first meaningful event is still awaited.
    Late(Box<Late>),
}

type Journey = Pin<Box<dyn Future<Output = Result<Opened, Box<GaveUp>>> + Send>>;

/// A stream whose account may still change.
pub struct Late {
    journey: Journey,
    keep_alive: Option<(Interval, &'static [u8])>,
    app: Arc<App>,
    route: &'static Route,
}

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Late").field("route", &self.route.id).finish_non_exhaustive()
    }
}

/// Between two signs of life while a client waits.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Runs the errand and makes the reply. If a stream has begun well upstream but says nothing meaningful for a while, its head
/// goes out and the client is kept waiting on an open stream.
pub async fn answer(errand: Errand) -> Response<ReplyBody> {
    let (app, route, parts, id) = (errand.app.clone(), errand.route, errand.parts.clone(), errand.id.clone());
    let (tell, told) = watch::channel(None);
    let waited = waited(told, app.config.timeouts.hold);
    let mut journey: Journey = Box::pin(errand.run(tell));
    tokio::select! {
        biased;
        outcome = &mut journey => match outcome {
            Ok(opened) => {
                let Opened { head, delivery } = opened;
                respond(head, &id, ReplyBody::Stream(Box::new(delivery)))
            }
            Err(gave_up) => ended(&app.registry, route, &parts, &id, *gave_up),
        },
        head = waited => {
            let sign = path::provider(&app.registry, route).ok().and_then(|provider| provider.keep_alive(route));
            let keep_alive = sign.map(|sign| {
                let mut interval = tokio::time::interval(KEEP_ALIVE);
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                (interval, sign)
            });
            respond(head, &id, ReplyBody::Late(Box::new(Late { journey, keep_alive, app, route })))
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
    mark(&mut response, id);
    response
}

/// Every relayed answer names its request, so that it can be asked about.
fn mark(response: &mut Response<ReplyBody>, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-pool-request", value);
    }
}

fn ended(
    registry: &Registry,
    route: &'static Route,
    parts: &http::request::Parts,
    id: &str,
    gave_up: GaveUp,
) -> Response<ReplyBody> {
    let mut response = if let Some(mut upstream) = gave_up.upstream {
        let soon = HeaderValue::from(attempt::RETRY_SOON.as_secs());
        upstream.headers.entry(header::RETRY_AFTER).or_insert(soon);
        reply(upstream)
    } else {
        let mut response = failure(registry, Some(route), parts, &gave_up.failure);
        if let Some(status) = gave_up.status {
            *response.status_mut() = status;
        }
        response
    };
    mark(&mut response, id);
    response
}

/// Why an answer that has begun is not for the client.
#[derive(Debug)]
pub enum Unfit {
    Broken(Broken),
    /// It turned into an error before anything meaningful had come.
    Failed(Judgement),
}

/// An answer under way, with its book-keeping.
#[derive(Debug)]
pub struct Delivery {
    answer: Answer,
    meter: Meter,
}

impl Delivery {
    pub fn new(answer: Answer, meter: Meter) -> Self {
        Self { answer, meter }
    }

    /// Takes in what comes until something meaningful is there, or the end, or `cap` bytes. A failure that another account
    /// can make good is the error.
    pub async fn hold(&mut self, cap: usize) -> Result<(), Unfit> {
        while self.answer.tap.stage() == Stage::Preamble && self.answer.held() < cap {
            match self.answer.pull().await {
                None => break,
                Some(Err(broken)) => return Err(Unfit::Broken(broken)),
                Some(Ok(news)) => {
                    let elsewhere =
                        |judgement: &Judgement| !matches!(judgement.verdict, Verdict::Fatal | Verdict::Deliver);
                    if let Some(judgement) = news.failure.clone().filter(elsewhere) {
                        self.meter.read(news.windows);
                        return Err(Unfit::Failed(judgement));
                    }
                    self.meter.hear(news);
                }
            }
        }
        if self.answer.is_over() && self.answer.is_stream() { Err(Unfit::Broken(Broken::Empty)) } else { Ok(()) }
    }

    /// It does not go out, so there is nothing to record.
    pub fn discard(mut self) {
        self.meter.forget();
    }

    /// It does not go out, and the client is told so.
    fn fail(mut self) {
        self.meter.close(&self.answer, Ending::Failed);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(bytes) = self.answer.next_out() {
                self.meter.sent();
                if self.answer.is_over() {
                    // A client that has all bytes of a known length may never ask for the end.
                    self.meter.end(&self.answer, None);
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            match ready!(self.answer.poll_pull(cx)) {
                None => {
                    self.meter.end(&self.answer, None);
                    return Poll::Ready(None);
                }
                Some(Ok(news)) => self.meter.hear(news),
                Some(Err(broken)) => {
                    self.meter.end(&self.answer, Some(&broken));
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
    }
}

impl Drop for Delivery {
    /// Dropped before its end: the client went away.
    fn drop(&mut self) {
        self.meter.abort(&self.answer);
    }
}

impl Late {
    /// `Ready(Some)`: bytes to send now; `Ready(None)`: the journey is over, see the outcome.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Result<Opened, Box<GaveUp>>>> {
        if let Poll::Ready(outcome) = self.journey.as_mut().poll(cx) {
            return Poll::Ready(Err(outcome));
        }
        if let Some((interval, sign)) = &mut self.keep_alive {
            ready!(interval.poll_tick(cx));
            return Poll::Ready(Ok(Bytes::from_static(sign)));
        }
        Poll::Pending
    }

    /// The last words of a stream that comes to nothing, if the dialect has any.
    fn last_words(&self, outcome: Result<Opened, Box<GaveUp>>) -> Option<Bytes> {
        let failure = match outcome {
            Ok(opened) => {
                let message = format!("upstream answered {} after a long wait", opened.head.status.as_u16());
                opened.delivery.fail();
                Failure::UpstreamDown { message, retry_after: KEEP_ALIVE }
            }
            Err(gave_up) => gave_up.failure,
        };
        path::provider(&self.app.registry, self.route).ok()?.failure_event(self.route, &failure, clock::now())
    }
}

/// The client gets nothing more and must not take what it got for whole.
#[derive(Debug, thiserror::Error)]
#[error("no account could answer, and this dialect has no words for that in a stream")]
struct Cut;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
                Self::Late(late) => match ready!(late.poll_wait(cx)) {
                    Ok(sign) => return Poll::Ready(Some(Ok(Frame::data(sign)))),
                    Err(Ok(opened)) if opened.head.is_plain_stream() => {
                        *this = Self::Stream(Box::new(opened.delivery));
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
            Self::Stream(_) | Self::Late(_) => SizeHint::default(),
        }
    }
}

/// Keeps the book of one delivery, and its lease until the end.
#[derive(Debug)]
pub struct Meter {
    app: Arc<App>,
    lease: Option<Lease>,
    _under_way: Arc<Counted>,
    light: bool,
    /// The provider told of a failure inside the answer.
    failed: bool,
    families: Vec<String>,
    account: AccountId,
    record: UsageRecord,
    started: Instant,
    first_byte: Option<Duration>,
}

impl Meter {
    pub fn new(errand: &Errand, lease: &Lease, status: StatusCode, attempts: usize) -> Self {
        let agent = errand.parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let client =
            agent.and_then(|agent| agent.split_whitespace().next()).map(|word| word.chars().take(64).collect());
        let record = UsageRecord {
            request_id: errand.id.clone(),
            at: errand.arrived,
            provider: errand.demand.provider.0.to_owned(),
            account: lease.account.id.clone(),
            model: errand.demand.model.clone(),
            client,
            session: errand.session.map(pool_core::SessionKey::short),
            status: status.as_u16(),
            ending: Ending::Aborted,
            tokens: None,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            first_byte_ms: 0,
            total_ms: 0,
        };
        Self {
            app: errand.app.clone(),
            lease: Some(lease.share()),
            _under_way: errand.under_way.clone(),
            light: errand.demand.light,
            failed: false,
            families: errand.demand.families.clone(),
            account: lease.account.id.clone(),
            record,
            started: errand.started,
            first_byte: None,
        }
    }

    fn sent(&mut self) {
        self.first_byte.get_or_insert_with(|| self.started.elapsed());
    }

    fn read(&self, windows: Vec<QuotaWindow>) {
        if !windows.is_empty() {
            self.app.pool.apply(Event::Read { id: self.account.clone(), windows });
        }
    }

    /// What is told in the middle of a delivery no longer changes it, but the pool wants to know.
    fn hear(&mut self, news: News) {
        self.read(news.windows);
        self.failed |= news.failure.is_some();
        let Some(judgement) = news.failure.filter(|judgement| judgement.verdict != Verdict::Fatal) else { return };
        tracing::info!(request = self.record.request_id, account = %self.account, reason = judgement.reason, "an answer failed midway");
        if let Some(penalty) = judgement.penalty {
            self.app.pool.apply(Event::Penalised { id: self.account.clone(), penalty });
        }
    }

    fn end(&mut self, answer: &Answer, broken: Option<&Broken>) {
        let ending = match broken {
            Some(_) => Ending::Incomplete,
            None if self.failed || self.record.status >= 400 => Ending::Failed,
            None if answer.tap.stage() == Stage::Ended => Ending::Complete,
            None => Ending::Incomplete,
        };
        if let Some(broken) = broken {
            tracing::warn!(request = self.record.request_id, account = %self.account, %broken, "an answer broke off");
        }
        self.close(answer, ending);
    }

    fn abort(&mut self, answer: &Answer) {
        self.close(answer, Ending::Aborted);
    }

    /// Gives the account back and records nothing.
    fn forget(&mut self) {
        self.lease = None;
    }

    /// Once: later calls find the lease gone.
    fn close(&mut self, answer: &Answer, ending: Ending) {
        let Some(lease) = self.lease.take() else { return };
        let now: UnixMs = clock::now();
        self.record.ending = ending;
        self.record.tokens = answer.tap.usage();
        if self.record.model.is_none() {
            self.record.model = answer.tap.model().map(str::to_owned);
        }
        let total = self.started.elapsed();
        self.record.first_byte_ms = millis(self.first_byte.unwrap_or(total));
        self.record.total_ms = millis(total);
        tracing::info!(
            request = self.record.request_id, account = %lease.account.name, model = self.record.model,
            status = self.record.status, ending = ?ending, tokens = self.record.tokens.map(|tokens| tokens.total()),
            attempts = self.record.attempts, ms = self.record.total_ms, families = ?self.families, at = now.0, "served"
        );
        if !self.light {
            self.app.ledger.record(self.record.clone());
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
