//! What the operator should know of the pool's files: one line a file and topic, for status pages and logs. Never holds any of
//! a file's content.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use pool_core::UnixMs;
use serde::Serialize;

use crate::clock;

/// What a fault is about. One of each a file at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// It cannot be read as an account; if it once could, that reading still holds.
    Content,
    /// Another file holds the same account or the same key.
    Twice,
    /// A renewed token could not be written to it.
    Write,
    /// It works, and yet there is something to know.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Below the pool folder; `.` is the folder itself.
    pub file: String,
    pub topic: Topic,
    /// What is wrong and how to mend it.
    pub what: String,
    pub since: UnixMs,
}

/// Shared by those who find faults and those who show them.
#[derive(Debug, Default)]
pub struct Faults {
    known: Mutex<BTreeMap<(String, Topic), (String, UnixMs)>>,
}

/// A folder full of wrong files must not fill our memory; the log has them all.
const MOST: usize = 1000;

impl Faults {
    /// Logs it if it is news.
    pub fn set(&self, file: &str, topic: Topic, what: &str) {
        let mut known = self.known.lock();
        let key = (file.to_owned(), topic);
        if known.get(&key).is_some_and(|(old, _)| old == what) {
            return;
        }
        if topic == Topic::Write {
            tracing::error!(file, "{what}");
        } else {
            tracing::warn!(file, "{what}");
        }
        if known.len() < MOST || known.contains_key(&key) {
            known.insert(key, (what.to_owned(), clock::now()));
        }
    }

    pub fn clear(&self, file: &str, topic: Topic) {
        if self.known.lock().remove(&(file.to_owned(), topic)).is_some() {
            tracing::info!(file, "mended");
        }
    }

    /// The file is gone, and all that was wrong with it.
    pub fn forget(&self, file: &str) {
        self.known.lock().retain(|(name, _), _| name != file);
    }

    /// By file.
    pub fn list(&self) -> Vec<Fault> {
        let known = self.known.lock();
        let fault = |((file, topic), (what, since)): (&(String, Topic), &(String, UnixMs))| Fault {
            file: file.clone(),
            topic: *topic,
            what: what.clone(),
            since: *since,
        };
        known.iter().map(fault).collect()
    }
}
