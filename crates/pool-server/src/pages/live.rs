//! What goes on now: requests under way, and the stream of events.

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Visit;
use super::reply::json_page;
use crate::admit::Caller;
use crate::clock;
use crate::door;
use crate::events::{Eyes, Flight, stream, view};
use crate::relay::deliver::ReplyBody;

/// Answer of `GET /api/flights`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flights {
    pub now_ms: i64,
    /// Requests under way that the caller may see, the oldest first.
    pub flights: Vec<Flight>,
}

pub async fn flights(visit: Visit<Caller>) -> Response<ReplyBody> {
    let flights = view::flights(&visit.app.events, &Eyes::of(&visit.who));
    json_page(StatusCode::OK, &Flights { now_ms: clock::now().0, flights })
}

/// `GET /api/events`: server-sent events, from behind the one that `last-event-id` names.
pub async fn events(visit: Visit<Caller>) -> Response<ReplyBody> {
    let seen = visit.head().header("last-event-id").map(str::to_owned);
    let cookie = door::cookie(&visit.parts.headers, visit.app.config.is_secure());
    // A credential beside it lets the caller in by itself: then the session's end is not theirs.
    let cookie = cookie.filter(|cookie| visit.app.door.is_open(cookie, clock::now())).map(str::to_owned);
    let by_itself = crate::admit::credentials(&visit.head()).next().is_some();
    stream::open(visit.app, visit.who, seen, cookie.filter(|_| !by_itself))
}
