//! One request looked up with its story: by the ledger of a running server, or in the file of one that does not run.

use std::path::Path;
use std::time::Duration;

use pool_core::people::UserId;
use pool_core::usage::Ending;
use pool_core::{AccountId, Trail, UnixMs, UsageRecord};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::read::{ReadError, column, tokens};
use super::{Ledger, file, story};

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
        look_up(&self.shared.pool, wanted).await
    }
}

/// The same in the file of a ledger, which is not changed. It must not be one that a server is just opening.
pub async fn in_file(path: &Path, wanted: &Wanted) -> Result<Found, ReadError> {
    let place = file::place(path).map_err(|error| ReadError::because(error.to_string()))?;
    let pool = file::read_only(&place.path, Duration::from_secs(2));
    let found = look_up(&pool, wanted).await;
    pool.close().await;
    found
}

async fn look_up(pool: &SqlitePool, wanted: &Wanted) -> Result<Found, ReadError> {
    let rows = match wanted {
        Wanted::Last => {
            const LAST: &str = "ORDER BY records.at_ms DESC, records.request_id DESC LIMIT 1";
            sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} {LAST}"))).fetch_all(pool).await?
        }
        Wanted::Id(id) => {
            // What begins with the id lies between it and it with the last letter there is.
            const WITH_ID: &str = "WHERE records.request_id >= $1 AND records.request_id < $2 \
                 ORDER BY records.request_id = $1 DESC, records.request_id DESC LIMIT $3";
            sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} {WITH_ID}")))
                .bind(id)
                .bind(format!("{id}\u{10FFFF}"))
                .bind(MOST_TOLD)
                .fetch_all(pool)
                .await?
        }
    };
    let mut all = rows.iter().map(kept).collect::<Result<Vec<Kept>, _>>()?;
    let exact = |kept: &Kept| matches!(wanted, Wanted::Id(id) if kept.record.request_id == *id);
    Ok(match all.len() {
        0 => Found::None,
        1 => Found::One(Box::new(all.swap_remove(0))),
        _ if exact(&all[0]) => Found::One(Box::new(all.swap_remove(0))),
        _ => Found::Several(all.into_iter().map(|kept| kept.record.request_id).collect()),
    })
}

fn kept(row: &SqliteRow) -> Result<Kept, sqlx::Error> {
    let number = |name: &str| row.try_get::<i64, _>(name);
    let told = row.try_get::<Option<i64>, _>("input")?.is_some();
    let record = UsageRecord {
        request_id: row.try_get("request_id")?,
        at: UnixMs(number("at_ms")?),
        user: row.try_get::<Option<String>, _>("user_id")?.map(|id| UserId(id.into())),
        provider: row.try_get("provider")?,
        account: AccountId(row.try_get::<String, _>("account")?.into()),
        model: row.try_get("model")?,
        client: row.try_get("client")?,
        session: row.try_get("session")?,
        status: u16::try_from(number("status")?).unwrap_or(0),
        ending: ending(row.try_get("ending")?),
        tokens: if told { Some(tokens(row)?) } else { None },
        attempts: u32::try_from(number("attempts")?).unwrap_or(0),
        first_byte_ms: column(row, "first_byte_ms")?,
        total_ms: column(row, "total_ms")?,
    };
    let story: Option<Vec<u8>> = row.try_get("story")?;
    Ok(Kept { record, trail: story.and_then(|story| story::unpack(&story)) })
}

fn ending(word: &str) -> Ending {
    match word {
        "complete" => Ending::Complete,
        "aborted" => Ending::Aborted,
        "failed" => Ending::Failed,
        _ => Ending::Incomplete,
    }
}
