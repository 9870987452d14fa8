//! What the pool would be slow to learn again: put away while it runs, recalled before it accepts.
//!
//! Every few seconds what has changed goes to the database ([`pool_store::memory`]); a process that is killed loses the last
//! seconds, one that stops loses nothing. No request waits for any of it: the pool is locked for as long as it takes to copy
//! what changed.
//!
//! Pins have a table. Everything else is a [`Kind`] of notes: one more kind is one more file and one line in [`KINDS`].

mod accounts;
pub mod burn;
mod owned;
pub mod sizes;
pub mod told;

use std::time::Duration;

use pool_core::pool::Event;
use pool_core::{Span, UnixMs};
use pool_store::{Changes, Ledger, Note, Sweep};
use tokio::time::Instant;

use crate::clock;
use crate::pool::LivePool;
use crate::replicas::Replicas;

/// A kind of slow memory that is kept as notes, each a name and a text.
struct Kind {
    /// As the database names it.
    name: &'static str,
    /// A note that has not been written anew for so long is forgotten. `None`: only [`Kind::changed`] forgets.
    keep: Option<Span>,
    /// What has changed since this was last asked. It locks the pool for as short as it can, so it writes the texts after that.
    changed: fn(&LivePool) -> Vec<Note>,
    /// Takes up what was kept, names and texts. A text that it does not understand it passes over.
    recall: fn(&LivePool, Vec<(String, String)>),
    /// The same for what another replica tells while both run.
    hear: fn(&LivePool, Vec<(String, String)>),
}

/// Every kind there is.
const KINDS: &[Kind] = &[accounts::KIND, burn::KIND, owned::KIND, sizes::KIND];

/// How often what has changed is put away: so much a killed process forgets.
const EVERY: Duration = Duration::from_secs(2);
/// How often what is old is swept away.
const SWEEP: Duration = Duration::from_mins(10);
/// Pins in one batch. More of them wait for the next, so that records of usage come in between.
const PINS: usize = 5_000;
/// The same where other replicas are told.
const TELL_EVERY: Duration = Duration::from_millis(400);
const TELL_PINS: usize = 1_000;
/// A database that does not answer must not keep the pool from starting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Recalls everything, and begins to note what changes.
pub async fn recall(pool: &LivePool, ledger: &Ledger) {
    let begun = Instant::now();
    let (capacity, idle) = pool.change(|pool| {
        pool.pins.track();
        pool.owners.track();
        (pool.pins.capacity(), pool.pins.idle())
    });
    let recalling = async {
        let pins = ledger.recall_pins(clock::now() - idle, capacity).await;
        let count = pins.len();
        pool.apply(Event::Repinned { pins });
        for kind in KINDS {
            (kind.recall)(pool, ledger.recall_notes(kind.name).await);
        }
        count
    };
    match tokio::time::timeout(PATIENCE, recalling).await {
        Ok(0) => {}
        Ok(pins) => tracing::info!(pins, ms = clock::millis(begun.elapsed()), "conversations stay where they were"),
        Err(_) => tracing::warn!(
            "the database does not answer; conversations may change their accounts, stored things may not be found"
        ),
    }
}

/// Takes up what other replicas have put away while they were not heard.
pub async fn catch_up(pool: &LivePool, ledger: &Ledger) {
    let (capacity, idle) = pool.read(|pool, _| (pool.pins.capacity(), pool.pins.idle()));
    let pins = ledger.recall_pins(clock::now() - idle, capacity).await;
    pool.apply(Event::HeardPins { pins: pins.into_iter().map(|(session, pin)| (session, Some(pin))).collect() });
    for kind in KINDS {
        (kind.hear)(pool, ledger.recall_notes(kind.name).await);
    }
}

/// Puts away what changes, for ever.
pub async fn run(pool: &LivePool, ledger: &Ledger, replicas: Option<&Replicas>) {
    let mut sweep_at = Instant::now() + SWEEP;
    // Other replicas hear of it in the same step, and within a second.
    let (every, pins) = if replicas.is_some() { (TELL_EVERY, TELL_PINS) } else { (EVERY, PINS) };
    loop {
        tokio::time::sleep(every).await;
        // While the last batch cannot be written there is no room, and changes go on gathering in the pool.
        let Some(room) = ledger.room().await else { return };
        let mut changes = changed(pool, pins);
        if let (Some(replicas), false) = (replicas, changes.is_empty()) {
            replicas.tell(told::TOPIC, &told::text(&changes)).await;
        }
        if Instant::now() >= sweep_at {
            sweep_at = Instant::now() + SWEEP;
            changes.sweep = Some(sweep(pool, changes.at));
        }
        if !changes.is_empty() {
            room.put(changes);
        }
    }
}

/// Puts away everything that has changed, at the end.
pub async fn put_away(pool: &LivePool, ledger: &Ledger, limit: Duration) {
    let putting = async {
        while let Some(room) = ledger.room().await {
            let changes = changed(pool, PINS);
            if changes.is_empty() {
                return;
            }
            room.put(changes);
        }
    };
    if tokio::time::timeout(limit, putting).await.is_err() {
        tracing::warn!(
            "not everything that the pool knows could be put away; some conversations may change their accounts, and \
             some stored things may not be found"
        );
    }
}

fn changed(pool: &LivePool, most_pins: usize) -> Changes {
    let notes = KINDS.iter().flat_map(|kind| (kind.changed)(pool));
    let pins = pool.change(|pool| pool.pins.take_changed(most_pins));
    Changes { pins, notes: notes.collect(), at: clock::now(), sweep: None }
}

fn sweep(pool: &LivePool, now: UnixMs) -> Sweep {
    let (most_pins, idle) = pool.read(|pool, _| (pool.pins.capacity(), pool.pins.idle()));
    let notes_before = KINDS.iter().filter_map(|kind| Some((kind.name, now - kind.keep?))).collect();
    Sweep { pins_before: now - idle, most_pins, notes_before }
}
