//! How big accounts have proved to be, a note each: it takes days to learn.

use pool_core::pool::Event;
use pool_core::sizes::{Meter, Snapshot};
use pool_core::{AccountId, Pool, Span};
use pool_store::{Ledger, Note, ReadError};

use super::Kind;
use crate::pool::LivePool;

const NAME: &str = "sizes";

pub(super) const KIND: Kind = Kind {
    name: NAME,
    // Providers change what a plan holds a few times a year.
    keep: Some(Span::from_hours(90 * 24)),
    changed,
    recall,
    // Each replica measures by itself.
    hear: |_, _| {},
};

/// What was put away of the accounts' sizes, for whoever only looks.
pub async fn put_away(ledger: &Ledger) -> Result<Snapshot, ReadError> {
    Ok(snapshot(ledger.notes(NAME).await?))
}

fn changed(pool: &LivePool) -> Vec<Note> {
    let changed = pool.change(Pool::take_changed_sizes);
    let note = |(id, meters): (AccountId, Vec<Meter>)| Note {
        kind: NAME,
        name: id.to_string(),
        text: serde_json::to_string(&meters).ok(),
    };
    changed.accounts.into_iter().map(note).collect()
}

fn recall(pool: &LivePool, notes: Vec<(String, String)>) {
    pool.apply(Event::Resized { sizes: snapshot(notes) });
}

fn snapshot(notes: Vec<(String, String)>) -> Snapshot {
    let read = |(id, text): (String, String)| match serde_json::from_str(&text) {
        Ok(meters) => Some((AccountId(id.into()), meters)),
        Err(error) => {
            tracing::warn!(account = id, "how big it is must be learned again, since it cannot be read: {error}");
            None
        }
    };
    Snapshot { accounts: notes.into_iter().filter_map(read).collect() }
}
