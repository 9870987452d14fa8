//! For machines that watch over us. Open to all, so they tell next to nothing.

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};

use super::Visit;
use super::reply::text;
use crate::relay::deliver::ReplyBody;
use crate::replicas::Membership;

/// The process runs.
pub async fn alive(_: Visit<()>) -> Response<ReplyBody> {
    text(StatusCode::OK, "ok\n".into())
}

/// `ok`, or why not. A database that is away is told but stops nobody from working.
pub async fn ready(visit: Visit<()>) -> Response<ReplyBody> {
    if visit.app.draining.load(Ordering::Relaxed) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".into());
    }
    let apart = visit.app.membership.as_ref().and_then(Membership::trouble);
    match (visit.app.ledger.health().degraded, apart) {
        (Some(why), _) => text(StatusCode::OK, format!("degraded: the usage ledger cannot be written: {why}\n")),
        (None, Some(why)) => {
            text(StatusCode::OK, format!("degraded: no token is renewed and no other replica heard: {why}\n"))
        }
        (None, None) => text(StatusCode::OK, "ok\n".into()),
    }
}
