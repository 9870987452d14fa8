//! Finding out what is to be explained: a request in the ledger, or the next one by asking the pool what it would do.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use pool_core::trail::Refused;
use pool_core::{AccountId, Ask, Client, Demand, SessionKey};
use pool_store::Location;
use pool_store::ledger::{self, Found, Kept, ReadError, Wanted};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{ExplainPage, Facts, Subject};
use crate::app::App;
use crate::clock;

/// Why there is nothing to explain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error("{0}")]
    Asked(String),
    #[error(
        "no request's id begins with {0}: is it of another pool, older than usage_retention_days, or of a call that is not \
         counted (token counts are not)?"
    )]
    Unknown(String),
    #[error("there is no request yet")]
    NoneYet,
    #[error("several requests' ids begin so, these and perhaps more: {}; give more of it", .0.join(", "))]
    Several(Vec<String>),
    #[error(transparent)]
    Unreadable(#[from] ReadError),
}

/// A record is written within this time of its request's end, unless the database is in trouble.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// One request: its id, the beginning of it, or `last`.
pub async fn request(app: &App, id: &str) -> Result<ExplainPage, Missing> {
    let wanted = wanted(id)?;
    all_written(app).await;
    let kept = one(app.ledger.explained(&wanted).await?, &wanted)?;
    Ok(page(kept, names(app)))
}

/// Waits until what has been kept so far is in the database: what is asked about may have ended a moment ago.
async fn all_written(app: &App) {
    let begun = tokio::time::Instant::now();
    let health = app.ledger.health();
    let all = health.written + health.queued;
    while app.ledger.health().written < all && begun.elapsed() < WRITTEN_WITHIN {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The same from the ledger's database, without a server.
pub async fn request_in(
    database: &Location,
    id: &str,
    names: BTreeMap<AccountId, String>,
) -> Result<ExplainPage, Missing> {
    let wanted = wanted(id)?;
    let kept = one(ledger::look_up(database, &wanted).await?, &wanted)?;
    Ok(page(kept, names))
}

/// Query of `GET /api/explain`: what kind of request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NextAsked {
    pub provider: Option<String>,
    pub model: Option<String>,
    /// `own-cli` (what it is if nothing is said) or `sdk`.
    pub client: Option<String>,
    /// The conversation's id as its client sends it.
    pub session: Option<String>,
}

/// The next request of that kind. Changes nothing.
pub fn next(app: &App, wanted: NextAsked, caller: &str) -> Result<ExplainPage, Missing> {
    let known = || app.registry.iter().map(|provider| provider.id().0).collect::<Vec<_>>().join(", ");
    let asked = |message: String| Missing::Asked(message);
    let named = wanted.provider.ok_or_else(|| asked(format!("say which provider: {}", known())))?;
    let provider = app
        .registry
        .iter()
        .find(|provider| provider.id().0 == named)
        .ok_or_else(|| asked(format!("there is no provider {named:?}, only {}", known())))?;
    let client = match wanted.client.as_deref() {
        None | Some("own-cli") => Client::OwnCli,
        Some("sdk") => Client::Other,
        Some(other) => return Err(asked(format!("a client is own-cli or sdk, not {other:?}"))),
    };
    let model = wanted.model;
    let demand = Demand {
        families: model.as_deref().map(|model| provider.families(model)).unwrap_or_default(),
        model,
        ..Demand::any(provider.id(), client)
    };
    let session = wanted.session.map(|id| SessionKey::new(provider.id(), caller, &id));
    let (found, now) = app.pool.explain(&Ask::new(&demand, session));
    let (decision, refused) = match found {
        Ok(decision) => (Some((*decision).clone()), None),
        Err(refusal) => (None, Some(Refused::of(&refusal, now))),
    };
    let provider = demand.provider.0.to_owned();
    let subject = Subject::Next { provider, client, model: demand.model, decision, refused };
    let facts = Facts { now_ms: now.0, subject, names: names(app) };
    Ok(ExplainPage::new(facts, &TimeZone::system()))
}

fn page(kept: Kept, names: BTreeMap<AccountId, String>) -> ExplainPage {
    let subject = Subject::Request { record: Box::new(kept.record), trail: kept.trail };
    ExplainPage::new(Facts { now_ms: clock::now().0, subject, names }, &TimeZone::system())
}

fn names(app: &App) -> BTreeMap<AccountId, String> {
    app.pool.read(|pool, _| pool.slots().map(|slot| (slot.account.id.clone(), slot.account.name.clone())).collect())
}

/// Ids are hexadecimal, with a turn's number behind a dot.
fn wanted(id: &str) -> Result<Wanted, Missing> {
    if id == "last" {
        return Ok(Wanted::Last);
    }
    let id = id.to_ascii_lowercase();
    let fits = (4..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'.');
    if fits { Ok(Wanted::Id(id)) } else { Err(Missing::Asked(NO_ID.into())) }
}

const NO_ID: &str = "that is no id of a request: give what the reply header x-pool-request says, four characters of its \
     beginning at least, or `last`";

fn one(found: Found, wanted: &Wanted) -> Result<Kept, Missing> {
    match (found, wanted) {
        (Found::One(kept), _) => Ok(*kept),
        (Found::Several(ids), _) => Err(Missing::Several(ids)),
        (Found::None, Wanted::Last) => Err(Missing::NoneYet),
        (Found::None, Wanted::Id(id)) => Err(Missing::Unknown(id.clone())),
    }
}
