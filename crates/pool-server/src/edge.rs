//! The edge: the listener, its connections, and their end.
//!
//! Plain hyper, because at token pace everything above it costs more than it does. The limits that hyper does not set by
//! itself are set here and in [`io`].

mod io;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::dispatch;
use crate::relay::deliver::ReplyBody;

use io::{Busy, BusyBody, Guarded, Phase};

/// Request heads beyond this are refused (Codex sends about 3 KiB).
const HEAD_CAP: usize = 64 << 10;

/// After the order to stop, a connection without a request is kept open this long for one that may be on its way.
const LINGER: Duration = Duration::from_secs(1);

/// Connections that may wait to be accepted; systems allow up to this many.
const QUEUE: usize = 4096;

/// What a request has of its connection: with an upgrade it outlives the exchange that it came by.
#[derive(Clone, Debug)]
pub struct Place {
    _busy: Arc<Busy>,
    _slot: Arc<OwnedSemaphorePermit>,
}

/// What became of what was under way at the order to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests, turns on sockets among them, that were cut: the drain time was over, or there was none to be.
    pub requests_cut: usize,
    pub sockets_cut: usize,
}

impl Drained {
    /// The last line of the log. `took` is since the order to stop.
    pub fn tell(self, took: Duration) {
        let secs = took.as_secs_f32();
        match self {
            Self { requests_cut: 0, sockets_cut: 0 } => tracing::info!("stopped after {secs:.1} s, nothing was cut"),
            Self { requests_cut, sockets_cut } => {
                tracing::warn!(requests_cut, sockets_cut, "stopped after {secs:.1} s, before all was finished");
            }
        }
    }
}

/// The orders that a connection hears.
#[derive(Clone, Debug, Default)]
struct Orders {
    /// End when nothing more comes.
    stop: CancellationToken,
    /// End now.
    cut: CancellationToken,
}

/// Accepts until `stop` resolves, then lets what is under way finish within the drain time, or until `at_once`.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    at_once: &CancellationToken,
) -> Drained {
    let edge = Edge {
        slots: Arc::new(Semaphore::new(app.config.max_connections)),
        app,
        connections: TaskTracker::new(),
        orders: Orders::default(),
    };
    edge.accept_until(&listener, stop).await;
    edge.app.draining.store(true, Ordering::Relaxed);
    edge.accept_until(&listener, notice(&edge.app, at_once)).await;
    edge.take_queue(listener);
    edge.drain(at_once).await
}

/// How long connections are still accepted while `/readyz` says that they should not come.
async fn notice(app: &App, at_once: &CancellationToken) {
    let notice = app.config.timeouts.drain_notice;
    if !notice.is_zero() {
        tracing::info!(
            "told to stop: not ready any more, new connections are taken for another {} s",
            notice.as_secs()
        );
        // An error means that the time is over: go on.
        let _ = tokio::time::timeout(notice, at_once.cancelled()).await;
    }
}

/// The connections, and what they share.
struct Edge {
    app: Arc<App>,
    slots: Arc<Semaphore>,
    connections: TaskTracker,
    orders: Orders,
}

impl Edge {
    async fn accept_until(&self, listener: &TcpListener, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut end => return,
                accepted = accept(listener, &self.slots) => accepted,
            };
            if let Some((stream, peer, slot)) = accepted {
                self.spawn(stream, peer, slot);
            }
        }
    }

    /// Takes in who has connected but was not accepted yet: closing the listener would reset them. What comes after that is
    /// refused, or waits for the next process if the listener is inherited.
    fn take_queue(&self, listener: TcpListener) {
        // Asked directly: the runtime may not have heard of the last ones yet.
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..QUEUE {
            let Ok(slot) = self.slots.clone().try_acquire_owned() else { return };
            let Ok((stream, peer)) = listener.accept() else { return };
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            match stream {
                Ok(stream) => self.spawn(stream, peer, slot),
                Err(error) => tracing::debug!(peer = %peer.ip(), %error, "a connection could not be taken"),
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        let phase = Phase::default();
        let slot = Arc::new(slot);
        let connection = connection(self.app.clone(), stream, peer, phase.clone(), slot.clone());
        let orders = self.orders.clone();
        self.connections.spawn(async move {
            let Orders { stop, cut } = orders;
            tokio::pin!(connection);
            let served = async {
                // In this order: what has arrived is read before the connection counts as quiet.
                tokio::select! {
                    biased;
                    ended = &mut connection => ended,
                    () = stop.cancelled().then(|()| phase.quiet(LINGER)) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            let ended = tokio::select! {
                ended = served => ended,
                () = cut.cancelled() => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(peer = %peer.ip(), %error, "a connection ended badly");
            }
            drop(slot);
        });
    }

    async fn drain(self, at_once: &CancellationToken) -> Drained {
        let Self { app, connections, orders, .. } = self;
        let drain = app.config.timeouts.drain;
        tracing::info!(
            requests = app.in_flight.count(),
            sockets = app.sockets.count(),
            connections = connections.len(),
            "stopping: no new connections; what is under way may take another {} s",
            drain.as_secs()
        );
        app.events.close();
        orders.stop.cancel();
        connections.close();
        let ended = async {
            tokio::join!(connections.wait(), app.sockets.drain());
            // Of the last requests one may have become a socket.
            app.sockets.drain().await;
        };
        let in_time = tokio::select! {
            () = ended => true,
            () = tokio::time::sleep(drain) => false,
            () = at_once.cancelled() => false,
        };
        if in_time {
            return Drained { requests_cut: 0, sockets_cut: 0 };
        }
        let cut = Drained { requests_cut: app.in_flight.count(), sockets_cut: app.sockets.count() };
        // Their records are written as they end, so the end is waited for.
        orders.cut.cancel();
        tokio::join!(connections.wait(), app.sockets.cut());
        cut
    }
}

/// Waits for a free place, then for a connection.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            // Out of file descriptors, most likely: spinning would not help.
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

type Serving = std::pin::Pin<Box<dyn Future<Output = Result<Response<BusyBody<ReplyBody>>, Infallible>> + Send>>;

fn connection(
    app: Arc<App>,
    stream: TcpStream,
    peer: SocketAddr,
    phase: Phase,
    slot: Arc<OwnedSemaphorePermit>,
) -> http1::UpgradeableConnection<
    TokioIo<Guarded>,
    impl hyper::service::HttpService<Incoming, ResBody = BusyBody<ReplyBody>, Error = Infallible, Future = Serving>,
> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let guarded = Guarded::new(stream, phase.clone(), &app.config.timeouts);
    let service = service_fn(move |mut request: Request<Incoming>| -> Serving {
        let busy = Arc::new(phase.busy());
        let app = app.clone();
        request.extensions_mut().insert(Place { _busy: busy.clone(), _slot: slot.clone() });
        Box::pin(async move {
            let mut response = dispatch::handle(app.clone(), peer, request).await;
            if app.draining.load(Ordering::Relaxed) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                // The last one on this connection: the client opens another, and never writes into one that closes.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| BusyBody { body, _busy: busy }))
        })
    });
    let builder = http1::Builder::new().max_buf_size(HEAD_CAP).pipeline_flush(false).clone();
    builder.serve_connection(TokioIo::new(guarded), service).with_upgrades()
}
