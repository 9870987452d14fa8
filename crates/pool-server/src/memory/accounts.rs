//! What is known of the accounts' limits, a note each: an account that is spent until Friday is so after a restart as well.

use pool_core::memory::AccountMemory;
use pool_core::pool::Event;
use pool_core::{AccountId, Span};

use super::Kind;
use crate::pool::LivePool;

pub(super) const KIND: Kind = Kind {
    name: "account",
    // No limit lasts longer, nor does a file that is gone for so long deserve to be waited for.
    keep: Some(Span::from_hours(35 * 24)),
    changed,
    recall,
};

fn changed(pool: &LivePool) -> Vec<(String, Option<String>)> {
    let changed = pool.change(pool_core::Pool::take_changed_accounts);
    changed.into_iter().map(|(id, memory)| (id.to_string(), serde_json::to_string(&memory).ok())).collect()
}

fn recall(pool: &LivePool, notes: Vec<(String, String)>) {
    for (id, text) in notes {
        match serde_json::from_str::<AccountMemory>(&text) {
            Ok(memory) => pool.apply(Event::Recalled { id: AccountId(id.into()), memory }),
            Err(error) => tracing::warn!(account = id, "what was known of its limits cannot be read: {error}"),
        }
    }
}
