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

use http::{Request, Response};
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

/// What a request has of its connection: with an upgrade it outlives the exchange that it came by.
#[derive(Clone, Debug)]
pub struct Place {
    _busy: Arc<Busy>,
    _slot: Arc<OwnedSemaphorePermit>,
}

/// Accepts until `stop` resolves, then lets what is under way finish within the drain time.
pub async fn serve(app: Arc<App>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let (connections, stopping) = (TaskTracker::new(), CancellationToken::new());
    let slots = Arc::new(Semaphore::new(app.config.max_connections));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let slot = Arc::new(slot);
        let connection = connection(app.clone(), stream, peer, slot.clone());
        let stopping = stopping.clone();
        connections.spawn(async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(peer = %peer.ip(), %error, "a connection ended badly");
            }
            drop(slot);
        });
    }
    app.draining.store(true, Ordering::Relaxed);
    drop(listener);
    let drain = app.config.timeouts.drain;
    stopping.cancel();
    connections.close();
    let ended = async { tokio::join!(connections.wait(), app.sockets.drain()) };
    tracing::info!(under_way = app.in_flight.count(), "stopping: no new connections, streams may finish");
    if tokio::time::timeout(drain, ended).await.is_err() {
        tracing::warn!(under_way = app.in_flight.count(), "the drain time of {} s is over", drain.as_secs());
        app.sockets.cut().await;
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
    slot: Arc<OwnedSemaphorePermit>,
) -> http1::UpgradeableConnection<
    TokioIo<Guarded>,
    impl hyper::service::HttpService<Incoming, ResBody = BusyBody<ReplyBody>, Error = Infallible, Future = Serving>,
> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let phase = Phase::default();
    let guarded = Guarded::new(stream, phase.clone(), &app.config.timeouts);
    let service = service_fn(move |mut request: Request<Incoming>| -> Serving {
        let busy = Arc::new(phase.busy());
        let app = app.clone();
        request.extensions_mut().insert(Place { _busy: busy.clone(), _slot: slot.clone() });
        Box::pin(async move {
            let response = dispatch::handle(app, peer, request).await;
            Ok(response.map(|body| BusyBody { body, _busy: busy }))
        })
    });
    let builder = http1::Builder::new().max_buf_size(HEAD_CAP).pipeline_flush(false).clone();
    builder.serve_connection(TokioIo::new(guarded), service).with_upgrades()
}
