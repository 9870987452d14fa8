//! What a request took, told to the pool at its end.

use std::time::Duration;

use pool_core::people::UserId;
use pool_core::pool::Event;
use pool_core::usage::Drawn;
use pool_core::{AccountId, Demand, SessionKey, Span, TokenCounts};

use crate::app::App;

/// A request of this user's has come to its end on this account, well or not: what it told of its tokens counts. `lasted`: since it
/// arrived; for so long the cache has been ageing already.
pub fn draw(
    app: &App,
    (account, user): (&AccountId, Option<&UserId>),
    demand: &Demand,
    session: Option<SessionKey>,
    tokens: Option<TokenCounts>,
    lasted: Duration,
) {
    let Some(tokens) = tokens.filter(|_| !demand.light) else { return };
    let life = app.registry.get(demand.provider).map_or(Span::ZERO, |provider| provider.cache_life(demand, &tokens));
    let lasted = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
    let warm = Span::from_millis(life.0.saturating_sub(lasted));
    let drawn = Drawn { units: tokens.units(), prefix: tokens.prefix(), warm };
    let (id, user, families) = (account.clone(), user.cloned(), demand.families.clone());
    app.pool.apply(Event::Drew { id, user, session, families, drawn });
}
