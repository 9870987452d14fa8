//! pool-testkit
