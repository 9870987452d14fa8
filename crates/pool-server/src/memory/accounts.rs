//! What is known of the accounts' limits, a note each: an account that is spent until Friday is so after a restart as well.

use pool_core::memory::AccountMemory;
use pool_core::pool::Event;
use pool_core::{AccountId, Pool, Span};
use pool_store::Note;

use super::Kind;
use crate::pool::LivePool;

const NAME: &str = "account";

pub(super) const KIND: Kind = Kind {
    name: NAME,
    // No limit lasts longer, nor does a file that is gone for so long deserve to be waited for.
    keep: Some(Span::from_hours(35 * 24)),
    changed,
    recall,
    hear,
};

fn changed(pool: &LivePool) -> Vec<Note> {
    let changed = pool.change(Pool::take_changed_accounts);
    let note = |(id, memory): (AccountId, AccountMemory)| Note {
        kind: NAME,
        name: id.to_string(),
        text: serde_json::to_string(&memory).ok(),
    };
    changed.into_iter().map(note).collect()
}

fn recall(pool: &LivePool, notes: Vec<(String, String)>) {
    read(notes, |id, memory| pool.apply(Event::Recalled { id, memory }));
}

fn hear(pool: &LivePool, notes: Vec<(String, String)>) {
    read(notes, |id, memory| pool.apply(Event::Heard { id, memory }));
}

fn read(notes: Vec<(String, String)>, take: impl Fn(AccountId, AccountMemory)) {
    for (id, text) in notes {
        match serde_json::from_str::<AccountMemory>(&text) {
            Ok(memory) => take(AccountId(id.into()), memory),
            Err(error) => tracing::warn!(account = id, "what was known of its limits cannot be read: {error}"),
        }
    }
}
