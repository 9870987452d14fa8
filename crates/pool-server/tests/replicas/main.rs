//! Several replicas on one PostgreSQL act as one, also when one dies or the database is away.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod away;
mod circle;
mod renewal;
mod spread;
