//! What codex-pool keeps in a database: the ledger of usage, and the directory of people. Providers' credentials are never in it,
//! the pool's own only as hashes.

pub mod directory;
pub mod ledger;

pub use directory::{DirectoryStore, StoreError};
pub use ledger::{Health, Ledger, Opened, Options, Writer};
