//! The relay: one request from its arrival to its last byte.

pub mod answer;
pub mod body;
pub mod headers;
pub mod receive;
pub mod tap;
pub mod wrap;
