//! The part that keeps the pool alive, against real files and a token endpoint on loopback.

#![allow(clippy::unwrap_used)]

mod files;
mod probe;
mod refresh;
mod support;
mod watch;
