//! Simulated OpenAI, Anthropic and Google on loopback, as strict as the real ones, for the demo, the tests and the benches.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use pool_testkit::{FakeAccount, FakeUpstream, Fault, World};
//!
//! let world = World::new().account(FakeAccount::chatgpt("anna")).account(FakeAccount::openai_key("oak"));
//! let fake = FakeUpstream::start(world).await?;
//! fake.account("anna").fault_next(1, Fault::Limit);
//! // … point the pool at `fake.settings()`, run a client, then read the books:
//! assert_eq!(fake.books().account("anna").requests, 1);
//! # Ok(()) }
//! ```
//!
//! One address serves every upstream base by path ([`FakeUpstream::settings`]); real clients can also be pointed straight at
//! it. [`World`] says who has which account, [`Fault`] what goes wrong, [`Books`] what came in.

#![allow(clippy::doc_markdown, reason = "names of companies are no code")]
#![allow(clippy::result_large_err, reason = "a refusal is an answer, and as large as one")]

mod account;
mod answer;
mod anthropic;
mod auth;
mod books;
mod chatgpt;
mod checks;
pub mod client;
mod control;
mod deliver;
mod echo;
mod exchange;
mod faults;
mod generate;
mod google;
mod http;
mod objects;
mod openai;
mod pool;
mod postgres;
pub mod request;
mod responses;
mod script;
mod socket;
pub mod socket_client;
pub mod sse;
mod state;
mod talk;
#[cfg(test)]
mod tests;
mod tokens;
mod upstream;
pub mod weight;
mod world;

pub use account::AccountHandle;
pub use books::{AccountBooks, Books, Ended, Frame, Logged, TokenCounts, Violation, payload_sha256};
pub use faults::Fault;
pub use pool::TestPool;
pub use postgres::PgServer;
pub use state::{Target, TokenFault};
pub use tokens::Refusal;
pub use upstream::FakeUpstream;
pub use world::{FakeAccount, FakeWindow, Kind, Style, Unit, World};

/// The words that end every final answer, unless a [`Style`] has others.
pub const MARKER: &str = "POOL-E2E-OK";
