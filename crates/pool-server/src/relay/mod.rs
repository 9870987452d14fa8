//! The relay: one request from its arrival to its last byte.

pub mod body;
