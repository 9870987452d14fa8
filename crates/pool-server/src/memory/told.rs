//! The slow memory as replicas tell it to each other: what goes to the database to be remembered, they hear at once.

use pool_core::pins::Pin;
use pool_core::pool::Event;
use pool_core::{AccountId, Binding, SessionKey, UnixMs};
use pool_store::Changes;
use serde::{Deserialize, Serialize};

use super::KINDS;
use crate::pool::LivePool;

pub const TOPIC: &str = "memory";

/// One batch. What an older or newer version does not know it passes over.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Batch {
    pins: Vec<(u128, Option<Pinned>)>,
    /// Kind, name, text.
    notes: Vec<(String, String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pinned {
    account: AccountId,
    used_at: UnixMs,
    bare: bool,
    prefix: u64,
    warm_until: UnixMs,
    binding: Binding,
}

/// A batch of changes as JSON. What was forgotten is not told, but for pins: others forget by themselves.
pub fn text(changes: &Changes) -> String {
    let pinned = |pin: &Pin| Pinned {
        account: pin.account.clone(),
        used_at: pin.used_at,
        bare: pin.bare,
        prefix: pin.prefix,
        warm_until: pin.warm_until,
        binding: pin.binding,
    };
    let pins = changes.pins.iter().map(|(session, pin)| (u128::from_be_bytes(session.0), pin.as_ref().map(pinned)));
    let notes = changes.notes.iter();
    let notes = notes.filter_map(|note| Some((note.kind.to_owned(), note.name.clone(), note.text.clone()?)));
    serde_json::to_string(&Batch { pins: pins.collect(), notes: notes.collect() }).unwrap_or_default()
}

/// Takes up what another replica has told.
pub fn hear(pool: &LivePool, text: &str) {
    let batch: Batch = match serde_json::from_str(text) {
        Ok(batch) => batch,
        Err(error) => return tracing::warn!("what another replica tells cannot be read: {error}"),
    };
    let pins = batch.pins.into_iter().map(|(session, pin)| {
        let pin = pin.map(|pin| Pin {
            account: pin.account,
            used_at: pin.used_at,
            bare: pin.bare,
            prefix: pin.prefix,
            warm_until: pin.warm_until,
            binding: pin.binding,
        });
        (SessionKey(session.to_be_bytes()), pin)
    });
    pool.apply(Event::HeardPins { pins: pins.collect() });
    for kind in KINDS {
        let notes = batch.notes.iter().filter(|(of, ..)| of == kind.name);
        (kind.hear)(pool, notes.map(|(_, name, text)| (name.clone(), text.clone())).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_heard_as_it_was_told() {
        let session = SessionKey([255; 16]);
        let pin = Pin {
            account: AccountId("acme-1".into()),
            used_at: crate::clock::now(),
            bare: true,
            prefix: 7,
            warm_until: crate::clock::now(),
            binding: Binding::SealedReasoning,
        };
        let changes = Changes { pins: vec![(session, Some(pin.clone()))], ..Changes::default() };
        let pool = LivePool::default();
        hear(&pool, &text(&changes));
        assert_eq!(pool.read(|pool, now| pool.pins.get(session, now).cloned()), Some(pin));
        hear(&pool, &text(&Changes { pins: vec![(session, None)], ..Changes::default() }));
        assert!(pool.read(|pool, _| pool.pins.is_empty()));
        hear(&pool, "what no version writes");
        hear(&pool, r#"{"more":1}"#);
    }
}
