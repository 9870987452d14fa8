//! The vault.
pub mod key;
pub mod seal;
