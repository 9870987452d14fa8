//! What codex-pool knows of each provider: its credential files, its requests, its replies. Pure: builds requests and
//! reads replies, sends nothing.
//!
//! One folder a provider. Everything outside meets a provider only through [`Provider`] and the one route table
//! ([`routes`]); a fourth provider is one more folder and one line in [`Registry::new`].

pub mod alias;
pub mod claude;
pub mod codex;
mod file;
pub mod gemini;
pub mod objects;
mod opening;
mod own;
pub mod provider;
mod quote;
pub mod reply;
pub mod request;
pub mod routes;
pub mod setup;
pub mod socket;

pub use file::settings as pool_keys;
pub use provider::{Provider, Registry};
