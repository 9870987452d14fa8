//! What requests have created upstream and whose it is, a note each: a file is found after a restart, by its creator only.

use pool_core::owners::{self, ObjectKey, Owned};
use pool_core::pool::Event;
use pool_store::Note;

use super::Kind;
use crate::pool::LivePool;

const NAME: &str = "owned";

pub(super) const KIND: Kind = Kind { name: NAME, keep: Some(owners::IDLE), changed, recall, hear: recall };

/// In one batch. More of them wait for the next.
const MOST: usize = 5_000;

fn changed(pool: &LivePool) -> Vec<Note> {
    let changed = pool.change(|pool| pool.owners.take_changed(MOST));
    let note = |(key, owned): (ObjectKey, Option<Owned>)| Note {
        kind: NAME,
        name: name(key),
        text: owned.and_then(|owned| serde_json::to_string(&owned).ok()),
    };
    changed.into_iter().map(note).collect()
}

fn recall(pool: &LivePool, notes: Vec<(String, String)>) {
    let count = notes.len();
    let read = |(name, text): (String, String)| Some((key(&name)?, serde_json::from_str(&text).ok()?));
    let owned: Vec<_> = notes.into_iter().filter_map(read).collect();
    if owned.len() < count {
        tracing::warn!(
            count = count - owned.len(),
            "whose some stored things are cannot be read: nobody will find them"
        );
    }
    pool.apply(Event::Recollected { owned });
}

/// In hexadecimal digits.
fn name(key: ObjectKey) -> String {
    format!("{:032x}", u128::from_be_bytes(key.0))
}

fn key(name: &str) -> Option<ObjectKey> {
    u128::from_str_radix(name, 16).ok().map(|number| ObjectKey(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_key() {
        for bytes in [[0; 16], [255; 16], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]] {
            assert_eq!(key(&name(ObjectKey(bytes))), Some(ObjectKey(bytes)));
        }
        assert_eq!((name(ObjectKey([0; 16])).len(), key("what a hand has written")), (32, None));
    }
}
