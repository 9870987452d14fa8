//! What codex-pool keeps in a database: the ledger of usage, and what the pool would be slow to learn again. Credentials are
//! never in it.

pub mod ledger;
pub mod memory;

pub use ledger::{Health, Ledger, Opened, Options, ReadError, Writer};
pub use memory::{Changes, Note, Room, Sweep};
