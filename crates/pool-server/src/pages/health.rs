//! For machines that watch over us. Open to all, so they tell next to nothing.

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};

use super::Visit;
use super::reply::text;
use crate::relay::deliver::ReplyBody;

/// The process runs.
pub async fn alive(_: Visit<()>) -> Response<ReplyBody> {
    text(StatusCode::OK, "ok\n".into())
}

/// `ok`, or why not. A ledger that cannot write is told but stops nobody from working.
pub async fn ready(visit: Visit<()>) -> Response<ReplyBody> {
    if visit.app.draining.load(Ordering::Relaxed) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".into());
    }
    match visit.app.ledger.health().degraded {
        Some(why) => text(StatusCode::OK, format!("degraded: the usage ledger cannot be written: {why}\n")),
        None => text(StatusCode::OK, "ok\n".into()),
    }
}
