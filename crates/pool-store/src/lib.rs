//! What codex-pool keeps in a database: the ledger of usage, what the pool would be slow to learn again, and the directory of people.
//! Providers' credentials are never in it, the pool's own only as hashes.

pub mod directory;
pub mod ledger;
pub mod memory;
pub mod vault;

pub use directory::{DirectoryStore, StoreError};
pub use ledger::{Health, Ledger, Opened, Options, ReadError, Writer};
pub use memory::{Changes, Note, Room, Sweep};
