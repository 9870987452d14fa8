//! The single writer: batches records into transactions and keeps trying while it cannot write.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pool_core::usage::Ending;
use pool_core::{Span, UsageRecord};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::story::Packer;
use super::{Entry, Options, Shared, rollup, sweep};
use crate::database::{self, Connection, Location, Value, rows};
use crate::memory::{self, Changes};

/// Writes what the [`super::Ledger`] takes in.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    records: mpsc::Receiver<Entry>,
    changes: mpsc::Receiver<Changes>,
    /// Changes of the slow memory that are not written yet.
    pending: Option<Changes>,
    /// Why the slow memory cannot be written now.
    memory_trouble: Option<String>,
    closing: watch::Receiver<bool>,
    options: Options,
    location: Location,
    /// The database is there and its tables are up to date.
    ready: bool,
    batch: Vec<Entry>,
    /// When records that are too old are looked for next.
    sweep_at: Instant,
}

const RECORDS: &str = "INSERT INTO usage_records (request_id, at_ms, provider, account, model, client, session, status, ending, \
     input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, attempts, first_byte_ms, total_ms, user_id, \
     choose_us, wait_ms, connect_ms, upstream_ms)";

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        records: mpsc::Receiver<Entry>,
        changes: mpsc::Receiver<Changes>,
        options: Options,
        location: Location,
        ready: bool,
    ) -> Self {
        let closing = shared.closing.subscribe();
        Self {
            shared,
            records,
            changes,
            pending: None,
            memory_trouble: None,
            closing,
            options,
            location,
            ready,
            batch: Vec::new(),
            sweep_at: Instant::now(),
        }
    }

    /// Runs until the ledger is closed or every handle to it is gone, and then writes what is left.
    pub async fn run(mut self) {
        loop {
            let more = self.gather().await;
            let idle = self.ready && self.batch.is_empty();
            if !idle && !self.write_until_done().await {
                break;
            }
            self.remember().await;
            if !more {
                // What came last may wait behind what was being written.
                self.remember().await;
                break;
            }
        }
        self.shared.closed.send_replace(true);
    }

    /// Fills the batch. `false`: nothing will follow.
    async fn gather(&mut self) -> bool {
        let Self { records, changes, pending, closing, batch, options, ready, .. } = self;
        let mut flush_at: Option<Instant> = None;
        while batch.len() < options.batch {
            // What could not be opened or written yet is tried again without waiting for a record.
            let idle = if *ready && pending.is_none() { Duration::from_hours(1) } else { options.max_pause };
            let deadline = flush_at.unwrap_or_else(|| Instant::now() + idle);
            tokio::select! {
                biased;
                record = records.recv() => match record {
                    Some(record) => {
                        batch.push(record);
                        flush_at.get_or_insert_with(|| Instant::now() + options.linger);
                    }
                    None => return false,
                },
                _ = closing.wait_for(|closing| *closing) => {
                    // What was taken before the close is still in the queue.
                    records.close();
                    while batch.len() < options.batch {
                        let Ok(record) = records.try_recv() else { return false };
                        batch.push(record);
                    }
                    return true;
                }
                Some(brought) = changes.recv(), if pending.is_none() => {
                    *pending = Some(brought);
                    return true;
                }
                () = tokio::time::sleep_until(deadline) => return true,
            }
        }
        true
    }

    /// Writes the batch, again and again until it succeeds. `false`: there is no use in trying on (closing, and the last
    /// attempt failed).
    async fn write_until_done(&mut self) -> bool {
        let mut pause = self.options.first_pause;
        loop {
            match self.write().await {
                Ok(()) => {
                    self.settle();
                    return true;
                }
                Err(reason) => self.complain(reason),
            }
            if *self.closing.borrow() {
                // One more chance was all there was; `close` has a deadline of its own.
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.closing.wait_for(|closing| *closing) => {}
            }
            pause = (pause * 2).min(self.options.max_pause);
        }
    }

    async fn write(&mut self) -> Result<(), String> {
        if !self.ready {
            let prepared = self.shared.database.prepare(&self.location).await;
            prepared.map_err(|error| error.passing().unwrap_or_else(|error| error.to_string()))?;
            self.ready = true;
        }
        self.write_batch().await.map_err(|error| database::reason(&error))?;
        self.sweep().await;
        Ok(())
    }

    async fn write_batch(&mut self) -> Result<(), sqlx::Error> {
        let mut transaction = self.shared.database.begin().await?;
        insert_all(&mut transaction, &self.batch).await?;
        transaction.commit().await
    }

    /// Deletes a little of what is too old, where it is time to. That may fail: it is tried again.
    async fn sweep(&mut self) {
        // The newest record tells the time.
        let newest = self.batch.iter().map(|entry| entry.record.at).max();
        let Some(now) = newest.filter(|_| self.sweep_at <= Instant::now()) else { return };
        let kept = Span::from_millis(u64::try_from(self.options.retention.as_millis()).unwrap_or(u64::MAX));
        match sweep::some(&self.shared.database, now - kept).await {
            Ok(sweep::Left::Some) => {}
            Ok(sweep::Left::Nothing) => self.sweep_at = Instant::now() + BETWEEN_SWEEPS,
            Err(error) => {
                tracing::debug!(reason = database::reason(&error), "old records could not be deleted");
                self.sweep_at = Instant::now() + BETWEEN_SWEEPS;
            }
        }
    }

    /// Writes what has changed of the slow memory. It is tried once: if it fails it waits, and records go on being written.
    async fn remember(&mut self) {
        if self.pending.is_none() {
            self.pending = self.changes.try_recv().ok();
        }
        let Some(changes) = self.pending.as_ref().filter(|_| self.ready) else { return };
        match memory::write(&self.shared.database, changes).await {
            Ok(()) => {
                self.pending = None;
                if self.memory_trouble.take().is_some() {
                    tracing::info!("pins and limits are written again");
                }
            }
            Err(error) => {
                let reason = database::reason(&error);
                if self.memory_trouble.as_ref() != Some(&reason) {
                    tracing::warn!(%reason, "pins and limits cannot be written; a restart now would forget the latest");
                    self.memory_trouble = Some(reason);
                }
            }
        }
    }

    fn settle(&mut self) {
        let count = self.batch.len() as u64;
        self.batch.clear();
        self.shared.written.fetch_add(count, Ordering::Relaxed);
        self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
        if self.shared.overflowing.swap(false, Ordering::Relaxed) {
            let lost = self.shared.dropped.load(Ordering::Relaxed);
            tracing::warn!(
                lost,
                "the queue for the database has room again; so many records were lost since the start"
            );
        }
        if self.shared.trouble().take().is_some() {
            tracing::info!(records = count, "usage is written again");
        }
    }

    fn complain(&self, reason: String) {
        let mut trouble = self.shared.trouble();
        if trouble.as_ref() != Some(&reason) {
            tracing::warn!(%reason, "usage cannot be written; requests are served all the same");
            *trouble = Some(reason);
        }
    }
}

async fn insert_all(connection: &mut Connection, batch: &[Entry]) -> Result<(), sqlx::Error> {
    const STORIES: &str = "INSERT INTO explanations (request_id, at_ms, story)";
    const ONCE: &str = "ON CONFLICT (request_id) DO NOTHING";
    if batch.is_empty() {
        return Ok(());
    }
    // What was written before comes back without a row: it must not be summed again.
    let once = format!("{ONCE} RETURNING request_id");
    let new = connection.all(rows(RECORDS, batch.iter().map(|entry| columns(&entry.record)), &once)).await?;
    let new = new.iter().map(|row| row.get("request_id")).collect::<Result<HashSet<String>, _>>()?;
    // Of one that is in the batch twice, the first was written.
    let mut seen = HashSet::new();
    let new = batch
        .iter()
        .map(|entry| &entry.record)
        .filter(|record| new.contains(&record.request_id) && seen.insert(record.request_id.as_str()));
    rollup::add(connection, new).await?;
    let mut packer = Packer::new();
    let packed = batch.iter().filter_map(|Entry { record, story }| {
        let story = packer.pack(story.clone()?)?;
        Some(vec![(&record.request_id).into(), record.at.0.into(), story.into()])
    });
    let packed: Vec<Vec<Value>> = packed.collect();
    if !packed.is_empty() {
        connection.run(rows(STORIES, packed, ONCE)).await?;
    }
    Ok(())
}

const BETWEEN_SWEEPS: Duration = Duration::from_mins(1);

/// A record's values, in the order of [`RECORDS`].
fn columns(record: &UsageRecord) -> Vec<Value> {
    let tokens = record.tokens.as_ref();
    vec![
        (&record.request_id).into(),
        record.at.0.into(),
        (&record.provider).into(),
        (&*record.account.0).into(),
        (&record.model).into(),
        (&record.client).into(),
        (&record.session).into(),
        i64::from(record.status).into(),
        ending(record.ending).into(),
        tokens.map(|tokens| number(tokens.input)).into(),
        tokens.map(|tokens| number(tokens.cache_read)).into(),
        tokens.map(|tokens| number(tokens.cache_write_5m)).into(),
        tokens.map(|tokens| number(tokens.cache_write_1h)).into(),
        tokens.map(|tokens| number(tokens.output)).into(),
        tokens.map(|tokens| number(tokens.reasoning)).into(),
        i64::from(record.attempts).into(),
        number(record.first_byte_ms).into(),
        number(record.total_ms).into(),
        record.user.as_ref().map(|user| &*user.0).into(),
        record.parts.map(|parts| number(parts.choose_us)).into(),
        record.parts.map(|parts| number(parts.wait_ms)).into(),
        record.parts.map(|parts| number(parts.connect_ms)).into(),
        record.parts.map(|parts| number(parts.upstream_ms)).into(),
    ]
}

/// A million million: no honest answer comes near it, and sums of what a dishonest one claims still fit the database's
/// signed numbers.
const MOST: u64 = 1_000_000_000_000;

pub(super) fn number(value: u64) -> i64 {
    value.min(MOST) as i64
}

pub(super) fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Incomplete => "incomplete",
        Ending::Aborted => "aborted",
        Ending::Failed => "failed",
    }
}
