//! Everything that codex-pool decides, and nothing that it does.
//!
//! This crate is pure: no clock, no randomness, no files, no sockets, no logging. The time is always a parameter
//! ([`UnixMs`]), a result is always a value. The server feeds it events and asks it questions; the simulator does the same
//! on a virtual clock.

pub mod account;
pub mod alias;
pub mod ask;
mod beside;
pub mod binding;
pub mod capacity;
pub mod choose;
pub mod decision;
pub mod demand;
pub mod eligible;
pub mod explain;
pub mod fair;
pub mod forecast;
pub mod guard;
mod learned;
pub mod limits;
mod live;
pub mod memory;
pub mod outlook;
pub mod owners;
pub mod people;
pub mod pins;
pub mod policy;
pub mod pool;
pub mod price;
pub mod quota;
pub mod refresh;
pub mod refusal;
pub mod retry;
pub mod scan;
pub mod secret;
pub mod sizes;
pub mod standing;
pub mod time;
pub mod trail;
pub mod usage;
pub mod verdict;
pub mod wishes;
mod worth;

pub use account::{Account, AccountId, AccountKind, Credentials, ProviderId, Settings};
pub use ask::Ask;
pub use binding::Binding;
pub use demand::{Client, Demand, SessionKey};
pub use pool::Pool;
pub use price::{MicroUsd, Prices};
pub use quota::{Fraction, QuotaWindow, Scope, Source};
pub use secret::Secret;
pub use time::{Span, UnixMs};
pub use trail::Trail;
pub use usage::{LatencyParts, TokenCounts, UsageRecord};
pub use verdict::{Judgement, Verdict};

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
