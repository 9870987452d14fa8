//! The plumbing: accepts connections, lets hyper speak HTTP, and takes the socket from it where a fault needs it raw.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::deliver::Delivery;
use crate::exchange::{Arrived, Guard, Shared};
use crate::script::{self, Coding, Step};
use crate::socket::{self, Opening};

/// Request bodies beyond this are answered 413.
const BODY_LIMIT: usize = 256 << 20;

/// Accepts until it is dropped; every connection goes with it.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, peer.port(), Arc::clone(&shared)));
            }
            // Out of file descriptors, mostly: give the others a moment to finish.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// What is done with a connection that leaves HTTP.
enum Takeover {
    /// A script together with the log entry that it finishes.
    Script(Vec<Step>, Guard),
    Socket(Box<Opening>),
}

async fn connection(stream: TcpStream, port: u16, shared: Arc<Shared>) {
    let (take, mut taken) = mpsc::channel::<Takeover>(1);
    let shared_too = Arc::clone(&shared);
    let service = service_fn(move |request| serve(request, port, Arc::clone(&shared), take.clone()));
    let mut server = Box::pin(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(1 << 20)
            .serve_connection(TokioIo::new(stream), service),
    );
    let takeover = tokio::select! {
        biased;
        takeover = taken.recv() => takeover,
        _ = server.as_mut() => None,
    };
    let Some(takeover) = takeover else { return };
    // The service that asked for this waits for ever: drop it with the server, keep the socket.
    let parts = Pin::into_inner(server).into_parts();
    let stream = parts.io.into_inner();
    match takeover {
        Takeover::Script(steps, guard) => script::play(stream, &steps, guard).await,
        Takeover::Socket(opening) => socket::play(stream, &parts.read_buf, *opening, shared_too).await,
    }
}

async fn serve(
    request: Request<Incoming>,
    port: u16,
    shared: Arc<Shared>,
    take: mpsc::Sender<Takeover>,
) -> Result<Response<FakeBody>, Infallible> {
    let (head, body) = request.into_parts();
    let accepts = head.headers.get("accept-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let coding = Coding::accepted(accepts);
    let head_only = head.method == http::Method::HEAD;
    let Ok(body) = http_body_util::Limited::new(body, BODY_LIMIT).collect().await else {
        let mut response = Response::new(FakeBody::of(vec![], None, None));
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(response);
    };
    let arrived = Arrived { method: head.method, uri: head.uri, headers: head.headers, body: body.to_bytes(), port };
    let asked = socket::wants_upgrade(&arrived.headers).then(|| arrived.clone());
    let (delivery, guard) = shared.handle(arrived).await;
    let (wait, status, headers, mut frames, pace) = match delivery {
        Delivery::Raw(steps) => {
            let _ = take.send(Takeover::Script(steps, guard)).await;
            return std::future::pending().await;
        }
        Delivery::Socket { head, seat } => {
            if let Some(asked) = asked {
                let _ = take.send(Takeover::Socket(Box::new(Opening { asked, head, seat, guard }))).await;
            }
            return std::future::pending().await;
        }
        Delivery::Proper { wait, status, head, frames, pace } => (wait, status, head, frames, pace),
    };
    if let Some(wait) = wait {
        tokio::time::sleep(wait).await;
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    if head_only {
        frames.clear();
    }
    let worth_it = frames.iter().map(Bytes::len).sum::<usize>() > 256;
    if let Some(coding) = coding.filter(|_| worth_it)
        && let Ok(encoded) = script::encode(&frames, coding)
    {
        frames = encoded;
        response.headers_mut().insert("content-encoding", http::HeaderValue::from_static(coding.name()));
        response.headers_mut().append("vary", http::HeaderValue::from_static("accept-encoding"));
    }
    let streamed =
        response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-"));
    let mut body = FakeBody::of(frames, pace, Some(guard));
    body.known_length = !streamed;
    Ok(response.map(|()| body))
}

/// Frames, one after the other, perhaps with pauses; tells the log when the last one is taken or the peer went away.
pub(crate) struct FakeBody {
    frames: VecDeque<Bytes>,
    pace: Option<Duration>,
    pause: Option<Pin<Box<Sleep>>>,
    guard: Option<Guard>,
    known_length: bool,
}

impl FakeBody {
    fn of(frames: Vec<Bytes>, pace: Option<Duration>, guard: Option<Guard>) -> Self {
        let mut body = Self { frames: frames.into(), pace, pause: None, guard, known_length: true };
        body.end_if_empty();
        body
    }

    fn end_if_empty(&mut self) {
        if self.frames.is_empty()
            && let Some(guard) = self.guard.take()
        {
            guard.played();
        }
    }
}

impl http_body::Body for FakeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let frame = self.frames.pop_front();
        if let Some(pace) = self.pace
            && !self.frames.is_empty()
        {
            self.pause = Some(Box::pin(tokio::time::sleep(pace)));
        }
        self.end_if_empty();
        Poll::Ready(frame.map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.known_length {
            SizeHint::with_exact(self.frames.iter().map(|frame| frame.len() as u64).sum())
        } else {
            SizeHint::default()
        }
    }
}
