//! The pool's slow memory: pins, and notes of any kind. Written behind by the ledger's writer, read once at the start.
//!
//! Nothing here is worth a start that fails, or a request that waits. What cannot be read is told, thrown away and begun
//! anew; what cannot be written waits, and whoever brings more waits with it ([`Ledger::room`]).

use pool_core::pins::Pin;
use pool_core::{AccountId, Binding, SessionKey, UnixMs};
use tokio::sync::mpsc;

use crate::database::{Connection, Database, Row, is_passing, reason, rows, sql};
use crate::ledger::{Ledger, ReadError};

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
        match self.database().all(sql(PINS).bind(since.0).bind(most)).await {
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
            let page = sql(NOTES).bind(kind).bind(&from).bind(i64::try_from(PAGE).unwrap_or(i64::MAX));
            let rows = self.database().all(page).await?;
            let Some(last) = rows.last() else { return Ok(notes) };
            from = last.get("name")?;
            notes.extend(rows.iter().filter_map(|row| Some((row.get("name").ok()?, row.get("text").ok()?))));
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
            transaction.run(sql(drop)).await?;
            transaction.script(TABLES).await?;
            transaction.commit().await
        };
        if let Err(error) = made.await {
            tracing::warn!("the next restart will forget it too: {}", reason(&error));
        }
    }
}

fn pin(row: &Row) -> Result<Option<(SessionKey, Pin)>, sqlx::Error> {
    let Ok(session) = <[u8; 16]>::try_from(row.get::<Vec<u8>>("session")?) else { return Ok(None) };
    let pin = Pin {
        account: AccountId(row.get::<String>("account")?.into()),
        used_at: UnixMs(row.get("used_at")?),
        bare: row.get::<i64>("bare")? != 0,
        prefix: u64::try_from(row.get::<i64>("prefix")?).unwrap_or(0),
        warm_until: UnixMs(row.get("warm_until")?),
        binding: Binding::of_code(&row.get::<String>("binding")?),
    };
    Ok(Some((SessionKey(session), pin)))
}

/// All of it or nothing.
pub(crate) async fn write(database: &Database, changes: &Changes) -> Result<(), sqlx::Error> {
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

async fn write_pins(to: &mut Connection, pins: &[(SessionKey, Option<Pin>)]) -> Result<(), sqlx::Error> {
    const PINS: &str = "INSERT INTO pins (session, account, used_at, bare, prefix, warm_until, binding)";
    const NEWEST: &str = "ON CONFLICT (session) DO UPDATE SET account = excluded.account, used_at = excluded.used_at, \
         bare = excluded.bare, prefix = excluded.prefix, warm_until = excluded.warm_until, binding = excluded.binding";
    for (session, _) in pins.iter().filter(|(_, pin)| pin.is_none()) {
        to.run(sql("DELETE FROM pins WHERE session = $1").bind(&session.0[..])).await?;
    }
    let kept: Vec<(&SessionKey, &Pin)> =
        pins.iter().filter_map(|(session, pin)| Some((session, pin.as_ref()?))).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let values = kept.into_iter().map(|(session, pin)| {
        vec![
            session.0[..].into(),
            (&*pin.account.0).into(),
            pin.used_at.0.into(),
            i64::from(pin.bare).into(),
            i64::try_from(pin.prefix).unwrap_or(i64::MAX).into(),
            pin.warm_until.0.into(),
            pin.binding.code().into(),
        ]
    });
    to.run(rows(PINS, values, NEWEST)).await?;
    Ok(())
}

async fn write_notes(to: &mut Connection, notes: &[Note], at: UnixMs) -> Result<(), sqlx::Error> {
    const NOTES: &str = "INSERT INTO notes (kind, name, text, at_ms)";
    const NEWEST: &str = "ON CONFLICT (kind, name) DO UPDATE SET text = excluded.text, at_ms = excluded.at_ms";
    for note in notes.iter().filter(|note| note.text.is_none()) {
        let forgotten = sql("DELETE FROM notes WHERE kind = $1 AND name = $2").bind(note.kind).bind(&note.name);
        to.run(forgotten).await?;
    }
    let kept: Vec<(&Note, &String)> = notes.iter().filter_map(|note| Some((note, note.text.as_ref()?))).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let values =
        kept.into_iter().map(|(note, text)| vec![note.kind.into(), (&note.name).into(), text.into(), at.0.into()]);
    to.run(rows(NOTES, values, NEWEST)).await?;
    Ok(())
}

async fn clean(to: &mut Connection, sweep: &Sweep) -> Result<(), sqlx::Error> {
    const TOO_MANY: &str =
        "DELETE FROM pins WHERE used_at < (SELECT used_at FROM pins ORDER BY used_at DESC LIMIT 1 OFFSET $1)";
    to.run(sql("DELETE FROM pins WHERE used_at < $1").bind(sweep.pins_before.0)).await?;
    let most = i64::try_from(sweep.most_pins.saturating_sub(1)).unwrap_or(i64::MAX);
    to.run(sql(TOO_MANY).bind(most)).await?;
    for (kind, before) in &sweep.notes_before {
        to.run(sql("DELETE FROM notes WHERE kind = $1 AND at_ms < $2").bind(*kind).bind(before.0)).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
