//! pool-server

pub mod status;
