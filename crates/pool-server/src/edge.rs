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
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::dispatch;
use crate::relay::deliver::ReplyBody;

use io::{BusyBody, Guarded, Phase};

/// Request heads beyond this are refused (Codex sends about 3 KiB).
const HEAD_CAP: usize = 64 << 10;

/// Accepts until `stop` resolves, then lets what is under way finish within the drain time.
pub async fn serve(app: Arc<App>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(app.config.max_connections));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let connection = connection(app.clone(), stream, peer);
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(peer = %peer.ip(), %error, "a connection ended badly");
            }
            drop(slot);
        });
    }
    app.draining.store(true, Ordering::Relaxed);
    drop(listener);
    let drain = app.config.timeouts.drain;
    tracing::info!(under_way = app.in_flight.count(), "stopping: no new connections, streams may finish");
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(under_way = app.in_flight.count(), "the drain time of {} s is over", drain.as_secs());
    }
}

/// Waits for a free place, then for a connection.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
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
) -> http1::Connection<
    TokioIo<Guarded>,
    impl hyper::service::HttpService<Incoming, ResBody = BusyBody<ReplyBody>, Error = Infallible, Future = Serving>,
> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let phase = Phase::default();
    let guarded = Guarded::new(stream, phase.clone(), &app.config.timeouts);
    let service = service_fn(move |request: Request<Incoming>| -> Serving {
        let busy = phase.busy();
        let app = app.clone();
        Box::pin(async move {
            let response = dispatch::handle(app, peer, request).await;
            Ok(response.map(|body| BusyBody { body, _busy: busy }))
        })
    });
    http1::Builder::new().max_buf_size(HEAD_CAP).pipeline_flush(false).serve_connection(TokioIo::new(guarded), service)
}
