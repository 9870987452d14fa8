//! The living pool: the core's state machine with its lock, the files it comes from, and what keeps it fresh.

pub mod files;
pub mod live;

pub use live::{Lease, LivePool};
