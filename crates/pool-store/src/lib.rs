//! What codex-pool keeps in a database, of SQLite or of PostgreSQL: the ledger of usage, what the pool would be slow to learn again, and the directory of people.
//! On PostgreSQL also what several replicas share: the vault of credentials and the events that they tell each other. Providers'
//! credentials are in it only sealed, the pool's own only as hashes.

pub mod answers;
pub mod backup;
mod database;
pub mod directory;
pub mod events;
pub mod ledger;
pub mod memory;
#[cfg(test)]
mod rig;
pub mod vault;

pub use answers::Answers;
pub use database::{BadUrl, Location, OpenError, PostgresUrl};
pub use directory::{DirectoryStore, StoreError};
pub use events::{Events, Told};
pub use ledger::{Health, Ledger, Opened, Options, ReadError, Writer};
pub use memory::{Changes, Note, Room, Sweep};
pub use vault::{KeyError, Vault, VaultError, VaultKey};
