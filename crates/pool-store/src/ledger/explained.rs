//! One request looked up with its story: by the ledger of a running server, or in the database of one that does not run.

use std::time::Duration;

use pool_core::people::UserId;
use pool_core::usage::Ending;
use pool_core::{AccountId, LatencyParts, Trail, UnixMs, UsageRecord};

use super::read::{ReadError, tokens};
use super::{Ledger, story};
use crate::database::{self, Database, Location, Row, built};

/// Which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Last,
    /// This id, or the only one that begins so.
    Id(String),
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub record: UsageRecord,
    /// `None`: it was not kept, or only until it was too old.
    pub trail: Option<Trail>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    One(Box<Kept>),
    None,
    /// Some of those whose ids begin so, the newest first.
    Several(Vec<String>),
}

/// More of one beginning are not told.
const MOST_TOLD: i64 = 5;

const SELECT: &str = "SELECT records.*, explanations.story FROM usage_records AS records \
     LEFT JOIN explanations ON explanations.request_id = records.request_id";

impl Ledger {
    pub async fn explained(&self, wanted: &Wanted) -> Result<Found, ReadError> {
        find(&self.shared.database, wanted).await
    }
}

/// The same without a server: reads only. A file must not be one that a server is just opening.
pub async fn look_up(location: impl Into<Location>, wanted: &Wanted) -> Result<Found, ReadError> {
    let place = database::find(location.into()).map_err(|error| ReadError::because(error.to_string()))?;
    let database = Database::read_only(&place.location, Duration::from_secs(2));
    let found = find(&database, wanted).await;
    database.close().await;
    found
}

async fn find(database: &Database, wanted: &Wanted) -> Result<Found, ReadError> {
    const LAST: &str = "ORDER BY records.at_ms DESC, records.request_id DESC LIMIT 1";
    // What begins with the id lies between it and it with the last letter there is.
    const WITH_ID: &str = "WHERE records.request_id >= $1 AND records.request_id < $2 \
         ORDER BY records.request_id = $1 DESC, records.request_id DESC LIMIT $3";
    let statement = match wanted {
        Wanted::Last => built(format!("{SELECT} {LAST}")),
        Wanted::Id(id) => built(format!("{SELECT} {WITH_ID}")).bind(id).bind(format!("{id}\u{10FFFF}")).bind(MOST_TOLD),
    };
    let rows = database.all(statement).await?;
    let mut all = rows.iter().map(kept).collect::<Result<Vec<Kept>, _>>()?;
    let exact = |kept: &Kept| matches!(wanted, Wanted::Id(id) if kept.record.request_id == *id);
    Ok(match all.len() {
        0 => Found::None,
        1 => Found::One(Box::new(all.swap_remove(0))),
        _ if exact(&all[0]) => Found::One(Box::new(all.swap_remove(0))),
        _ => Found::Several(all.into_iter().map(|kept| kept.record.request_id).collect()),
    })
}

fn kept(row: &Row) -> Result<Kept, sqlx::Error> {
    let story: Option<Vec<u8>> = row.get("story")?;
    Ok(Kept { record: record(row)?, trail: story.and_then(|story| story::unpack(&story)) })
}

/// A row of `usage_records`.
pub(super) fn record(row: &Row) -> Result<UsageRecord, sqlx::Error> {
    let number = |name: &str| row.get::<i64>(name);
    let told = row.get::<Option<i64>>("input")?.is_some();
    Ok(UsageRecord {
        request_id: row.get("request_id")?,
        at: UnixMs(number("at_ms")?),
        user: row.get::<Option<String>>("user_id")?.map(|id| UserId(id.into())),
        provider: row.get("provider")?,
        account: AccountId(row.get::<String>("account")?.into()),
        model: row.get("model")?,
        client: row.get("client")?,
        session: row.get("session")?,
        status: u16::try_from(number("status")?).unwrap_or(0),
        ending: ending(&row.get::<String>("ending")?),
        tokens: if told { Some(tokens(row)?) } else { None },
        attempts: u32::try_from(number("attempts")?).unwrap_or(0),
        first_byte_ms: row.count("first_byte_ms")?,
        total_ms: row.count("total_ms")?,
        parts: parts(row)?,
    })
}

fn parts(row: &Row) -> Result<Option<LatencyParts>, sqlx::Error> {
    if row.get::<Option<i64>>("upstream_ms")?.is_none() {
        return Ok(None);
    }
    Ok(Some(LatencyParts {
        choose_us: row.count("choose_us")?,
        wait_ms: row.count("wait_ms")?,
        connect_ms: row.count("connect_ms")?,
        upstream_ms: row.count("upstream_ms")?,
    }))
}

fn ending(word: &str) -> Ending {
    match word {
        "complete" => Ending::Complete,
        "aborted" => Ending::Aborted,
        "failed" => Ending::Failed,
        _ => Ending::Incomplete,
    }
}
