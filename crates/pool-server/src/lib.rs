//! pool-server
