//! What is usual at each hour of the week, a note a provider, written once an hour; the last two hours come from the ledger.

use pool_core::forecast::Week;
use pool_core::pool::Event;
use pool_core::{Pool, ProviderId, Span};
use pool_store::{Ledger, Note};

use super::Kind;
use crate::clock;
use crate::pool::LivePool;

const NAME: &str = "burn";
/// As far back as the burn of lately reaches.
const LATELY: Span = Span::from_mins(125);

pub(super) const KIND: Kind = Kind {
    name: NAME,
    // By then what people do has changed.
    keep: Some(Span::from_hours(90 * 24)),
    changed,
    recall,
    // Each replica counts by itself.
    hear: |_, _| {},
};

/// Takes up what was drawn just before a restart.
pub async fn take_up(pool: &LivePool, ledger: &Ledger) {
    let count = |used: pool_store::ledger::Use| {
        if let Some(tokens) = used.tokens {
            pool.apply(Event::Burned { id: used.account, at: used.at, units: tokens.units() });
        }
    };
    if let Err(error) = ledger.each_since(clock::now() - LATELY, count).await {
        tracing::warn!("how fast the accounts are drawn on is watched from now on: {error}");
    }
}

fn changed(pool: &LivePool) -> Vec<Note> {
    let changed = pool.change(|pool: &mut Pool| pool.burn.take_changed());
    let note = |(provider, week): (ProviderId, Week)| Note {
        kind: NAME,
        name: provider.to_string(),
        text: serde_json::to_string(&week).ok(),
    };
    changed.into_iter().map(note).collect()
}

fn recall(pool: &LivePool, notes: Vec<(String, String)>) {
    let read = |(provider, text): (String, String)| match serde_json::from_str(&text) {
        Ok(week) => Some((provider, week)),
        Err(error) => {
            tracing::warn!(provider, "its usual week must be learned again, since it cannot be read: {error}");
            None
        }
    };
    pool.apply(Event::Weeks { weeks: notes.into_iter().filter_map(read).collect() });
}
