//! The pool's slow memory: pins, and notes of any kind. Written behind by the ledger's writer, read once at the start.
//!
//! Nothing here is worth a start that fails, or a request that waits. What cannot be read is told, thrown away and begun
//! anew; what cannot be written waits, and whoever brings more waits with it ([`Ledger::room`]).

use pool_core::pins::Pin;
use pool_core::{AccountId, Binding, SessionKey, UnixMs};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool, Transaction};
use tokio::sync::mpsc;

use crate::ledger::{Ledger, ReadError, is_passing, reason};

/// Something to be kept: the last text of a kind and name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: &'static str,
    pub name: String,
    /// JSON. `None`: forget it.
    pub text: Option<String>,
}

/// What has changed since the last time.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The newest of each conversation. `None`: it is on no account any more.
    pub pins: Vec<(SessionKey, Option<Pin>)>,
    /// The newest of each kind and name.
    pub notes: Vec<Note>,
    /// When they were collected.
    pub at: UnixMs,
    /// Clean up as well.
    pub sweep: Option<Sweep>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.notes.is_empty() && self.sweep.is_none()
    }
}

/// What is no longer worth keeping.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Pins that were last used before.
    pub pins_before: UnixMs,
    /// Of the pins, only so many of those that were used last.
    pub most_pins: usize,
    /// Notes of a kind that were last written before.
    pub notes_before: Vec<(&'static str, UnixMs)>,
}

/// Room for one batch of changes.
#[derive(Debug)]
pub struct Room<'a>(mpsc::Permit<'a, Changes>);

impl Room<'_> {
    pub fn put(self, changes: Changes) {
        self.0.send(changes);
    }
}

const TABLES: &str = include_str!("../migrations/0020_memory.sql");
const DROP_PINS: &str = "DROP TABLE IF EXISTS pins";
const DROP_NOTES: &str = "DROP TABLE IF EXISTS notes";

/// Rows in one statement: with seven values each well below SQLite's 32,766.
const ROWS: usize = 500;

impl Ledger {
    /// Waits until what was brought before is on its way to the disk. `None`: the ledger is closed.
    pub async fn room(&self) -> Option<Room<'_>> {
        self.memory().reserve().await.ok().map(Room)
    }

    /// The pins that were last used since, at most so many, the last used first. Never fails: what cannot be read is warned
    /// of and begun anew.
    pub async fn recall_pins(&self, since: UnixMs, most: usize) -> Vec<(SessionKey, Pin)> {
        const PINS: &str = "SELECT session, account, used_at, bare, prefix, warm_until, binding FROM pins \
             WHERE used_at >= $1 ORDER BY used_at DESC LIMIT $2";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        match sqlx::query(PINS).bind(since.0).bind(most).fetch_all(&self.database()).await {
            Ok(rows) => rows.iter().filter_map(|row| pin(row).ok().flatten()).collect(),
            Err(error) => {
                self.begin_anew("which account each conversation was on", DROP_PINS, &error).await;
                Vec::new()
            }
        }
    }

    /// Every note of a kind: name and text. Never fails, as [`Ledger::recall_pins`].
    pub async fn recall_notes(&self, kind: &str) -> Vec<(String, String)> {
        match self.read_notes(kind).await {
            Ok(notes) => notes,
            Err(error) => {
                self.begin_anew("what was known of accounts, and whose what they keep is,", DROP_NOTES, &error).await;
                Vec::new()
            }
        }
    }

    /// Every note of a kind, for whoever only looks.
    pub async fn notes(&self, kind: &str) -> Result<Vec<(String, String)>, ReadError> {
        Ok(self.read_notes(kind).await?)
    }

    /// In pages, since there may be hundreds of thousands.
    async fn read_notes(&self, kind: &str) -> Result<Vec<(String, String)>, sqlx::Error> {
        const PAGE: usize = if cfg!(test) { 2 } else { 10_000 };
        const NOTES: &str = "SELECT name, text FROM notes WHERE kind = $1 AND name > $2 ORDER BY name LIMIT $3";
        let (mut notes, mut from) = (Vec::new(), String::new());
        loop {
            let query = sqlx::query(NOTES).bind(kind).bind(&from).bind(i64::try_from(PAGE).unwrap_or(i64::MAX));
            let rows = query.fetch_all(&self.database()).await?;
            let Some(last) = rows.last() else { return Ok(notes) };
            from = last.try_get("name")?;
            notes.extend(rows.iter().filter_map(|row| Some((row.try_get("name").ok()?, row.try_get("text").ok()?))));
            if rows.len() < PAGE {
                return Ok(notes);
            }
        }
    }

    async fn begin_anew(&self, what: &str, drop: &'static str, error: &sqlx::Error) {
        let why = reason(error);
        tracing::warn!("{what} before the restart is forgotten, since the database cannot tell it: {why}");
        if is_passing(error) {
            return;
        }
        let made = async {
            let mut transaction = self.database().begin().await?;
            sqlx::query(drop).execute(&mut *transaction).await?;
            sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        if let Err(error) = made.await {
            tracing::warn!("the next restart will forget it too: {}", reason(&error));
        }
    }
}

fn pin(row: &SqliteRow) -> Result<Option<(SessionKey, Pin)>, sqlx::Error> {
    let Ok(session) = <[u8; 16]>::try_from(row.try_get::<&[u8], _>("session")?) else { return Ok(None) };
    let pin = Pin {
        account: AccountId(row.try_get::<&str, _>("account")?.into()),
        used_at: UnixMs(row.try_get("used_at")?),
        bare: row.try_get::<i64, _>("bare")? != 0,
        prefix: u64::try_from(row.try_get::<i64, _>("prefix")?).unwrap_or(0),
        warm_until: UnixMs(row.try_get("warm_until")?),
        binding: Binding::of_code(row.try_get("binding")?),
    };
    Ok(Some((SessionKey(session), pin)))
}

/// All of it or nothing.
pub(crate) async fn write(database: &SqlitePool, changes: &Changes) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    for pins in changes.pins.chunks(ROWS) {
        write_pins(&mut transaction, pins).await?;
    }
    for notes in changes.notes.chunks(ROWS) {
        write_notes(&mut transaction, notes, changes.at).await?;
    }
    if let Some(sweep) = &changes.sweep {
        clean(&mut transaction, sweep).await?;
    }
    transaction.commit().await
}

async fn write_pins(
    transaction: &mut Transaction<'_, Sqlite>,
    pins: &[(SessionKey, Option<Pin>)],
) -> Result<(), sqlx::Error> {
    for (session, _) in pins.iter().filter(|(_, pin)| pin.is_none()) {
        let query = sqlx::query("DELETE FROM pins WHERE session = $1").bind(&session.0[..]);
        query.execute(&mut **transaction).await?;
    }
    let kept: Vec<(&SessionKey, &Pin)> =
        pins.iter().filter_map(|(session, pin)| Some((session, pin.as_ref()?))).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let mut query =
        QueryBuilder::new("INSERT INTO pins (session, account, used_at, bare, prefix, warm_until, binding) ");
    query.push_values(kept, |mut row, (session, pin)| {
        row.push_bind(&session.0[..])
            .push_bind(&*pin.account.0)
            .push_bind(pin.used_at.0)
            .push_bind(i64::from(pin.bare))
            .push_bind(i64::try_from(pin.prefix).unwrap_or(i64::MAX))
            .push_bind(pin.warm_until.0)
            .push_bind(pin.binding.code());
    });
    query.push(
        " ON CONFLICT (session) DO UPDATE SET account = excluded.account, used_at = excluded.used_at, \
         bare = excluded.bare, prefix = excluded.prefix, warm_until = excluded.warm_until, binding = excluded.binding",
    );
    query.build().persistent(false).execute(&mut **transaction).await?;
    Ok(())
}

async fn write_notes(transaction: &mut Transaction<'_, Sqlite>, notes: &[Note], at: UnixMs) -> Result<(), sqlx::Error> {
    for note in notes.iter().filter(|note| note.text.is_none()) {
        let query = sqlx::query("DELETE FROM notes WHERE kind = $1 AND name = $2").bind(note.kind).bind(&note.name);
        query.execute(&mut **transaction).await?;
    }
    let kept: Vec<(&Note, &String)> = notes.iter().filter_map(|note| Some((note, note.text.as_ref()?))).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::new("INSERT INTO notes (kind, name, text, at_ms) ");
    query.push_values(kept, |mut row, (note, text)| {
        row.push_bind(note.kind).push_bind(&note.name).push_bind(text).push_bind(at.0);
    });
    query.push(" ON CONFLICT (kind, name) DO UPDATE SET text = excluded.text, at_ms = excluded.at_ms");
    query.build().persistent(false).execute(&mut **transaction).await?;
    Ok(())
}

async fn clean(transaction: &mut Transaction<'_, Sqlite>, sweep: &Sweep) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM pins WHERE used_at < $1").bind(sweep.pins_before.0).execute(&mut **transaction).await?;
    sqlx::query("DELETE FROM pins WHERE used_at < (SELECT used_at FROM pins ORDER BY used_at DESC LIMIT 1 OFFSET $1)")
        .bind(i64::try_from(sweep.most_pins.saturating_sub(1)).unwrap_or(i64::MAX))
        .execute(&mut **transaction)
        .await?;
    for (kind, before) in &sweep.notes_before {
        let query = sqlx::query("DELETE FROM notes WHERE kind = $1 AND at_ms < $2").bind(*kind).bind(before.0);
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
