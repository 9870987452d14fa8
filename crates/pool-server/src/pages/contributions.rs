//! Who gave what, and who used what.

use http::{Response, StatusCode};
use pool_core::Span;
use pool_core::people::Role;

use super::Visit;
use super::reply::{Fault, json_page};
use crate::admit::Caller;
use crate::clock;
use crate::contributions::{Contributions, Holding, contributions};
use crate::relay::deliver::ReplyBody;

const DAYS: u64 = 30;
const MOST_DAYS: u64 = 3650;

pub async fn show(visit: Visit<Caller>) -> Response<ReplyBody> {
    match told(&visit).await {
        Ok(page) => json_page(StatusCode::OK, &page),
        Err(fault) => fault.into(),
    }
}

async fn told(visit: &Visit<Caller>) -> Result<Contributions, Fault> {
    let (app, who) = (&visit.app, &visit.who);
    let days = visit.head().query_value("days").map(|days| days.parse::<u64>().ok());
    let days = days.unwrap_or(Some(DAYS)).filter(|days| (1..=MOST_DAYS).contains(days));
    let wrong = || Fault::new(StatusCode::BAD_REQUEST, format!("`days` is not a whole number from 1 to {MOST_DAYS}"));
    let since = clock::now() - Span::from_hours(24 * days.ok_or_else(wrong)?);
    let prices = app.till.prices();
    let lengths = prices.lengths();
    let portions = app.ledger.portions_since(since, &lengths).await;
    let portions = portions.map_err(|error| Fault::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    let holdings: Vec<Holding> = app.pool.read(|pool, _| {
        let accounts = pool.slots().map(|slot| &slot.account);
        let holding = |account: &pool_core::Account| Holding {
            id: account.id.clone(),
            name: account.name.clone(),
            owner: account.settings.owner.clone(),
        };
        accounts.map(|account| holding(account)).collect()
    });
    let all = app.people.read(|people| contributions(people, &holdings, &portions, (prices, &lengths), since));
    Ok(if who.role() == Role::Operator { all } else { only(all, who) })
}

/// What concerns nobody but the caller.
fn only(mut all: Contributions, who: &Caller) -> Contributions {
    let own = who.user().map(|user| &*user.id.0);
    all.people.retain(|part| part.id.as_deref() == own && own.is_some());
    all.unknown_owners.clear();
    all
}
