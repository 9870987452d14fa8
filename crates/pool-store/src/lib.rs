//! pool-store
