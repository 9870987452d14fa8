//! Set-up in one line: the scripts that point a client at this pool, and the credential that a one-time code brings.
//!
//! `GET` hands out a script and uses nothing up, so that a chat program's preview of the line does no harm; the script itself redeems
//! its code with `POST`, when nothing can go wrong any more. What a client needs is its provider's knowledge
//! ([`pool_providers::setup::SetUp`]); here is how it gets there.

mod pages;
pub mod script;

pub use pages::{
    LINE, Line, MadeLine, address, config, line, make_line, new_line, redeem, renew, with_code, without_code,
};
