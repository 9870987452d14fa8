//! What codex-pool keeps in a database: for now the ledger of usage. Credentials are never in it.

pub mod ledger;

pub use ledger::{Health, Ledger, Opened, Options, Writer};
