//! The simulator: the real [`pool_core::Pool`] on a virtual clock, over a trace of conversations and a pool of accounts whose true
//! quotas and caches it plays itself. It compares our policy with others.
//!
//! Like the core it is pure: no clock, no files, no randomness but [`rng::Rng`], which the same seed makes the same everywhere.
//! What the pool is told is what the relay would know (readings, refusals, the tokens of a reply), never the truth.

pub mod engine;
pub mod foresight;
pub mod generate;
pub mod grid;
pub mod options;
mod outside;
pub mod policies;
pub mod pool_file;
pub mod replay;
pub mod report;
pub mod rng;
mod talk;
pub mod trace;
mod warm_up;
mod world;

pub use engine::{Scenario, run};
pub use options::{Failure, Options};
pub use policies::Contestant;
pub use pool_file::AccountSpec;
pub use report::{Outcome, Served};
pub use trace::{Session, Step};
