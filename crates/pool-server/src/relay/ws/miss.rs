//! A try on a socket that came to nothing, and what it says of sockets.

use http::StatusCode;
use pool_core::Judgement;
use pool_core::Scope;
use pool_core::pool::PinState;
use pool_core::verdict::{Cause, Fault, Until, Verdict};

use super::reach::Refusal;
use crate::pool::Lease;

/// Why an account's handshake came to nothing.
#[derive(Debug)]
pub struct Miss {
    pub judgement: Judgement,
    pub status: Option<StatusCode>,
    pub socket: Socket,
}

/// What a failure says of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Nothing: it is about the account.
    Beside,
    /// There is none at this account; maybe at another.
    Refused(Refusal),
    /// There is none to be had now: HTTP.
    Nowhere,
}

impl Miss {
    /// What a message has told.
    pub fn of(judgement: Judgement, status: Option<u16>) -> Self {
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        Self { judgement, status, socket: Socket::Beside }
    }

    /// The connection itself failed.
    pub fn broken(why: impl Into<String>) -> Self {
        let judgement =
            Judgement::elsewhere(Fault::Provider, why).cooling(Scope::Account, Cause::UpstreamFailing, Until::BackOff);
        Self { judgement, status: None, socket: Socket::Refused(Refusal::Broken) }
    }

    pub fn has_no_sockets(&self) -> bool {
        self.socket == Socket::Refused(Refusal::NoSockets)
    }

    /// Is the client better served over HTTP than by another account's socket?
    pub fn ends_the_search(&self, lease: &Lease) -> bool {
        match self.socket {
            Socket::Nowhere => true,
            Socket::Refused(_) => lease.pin == PinState::Kept,
            Socket::Beside => self.judgement.verdict == Verdict::Fatal,
        }
    }

    /// It is not the account's doing that there is no socket here: HTTP may work all the same.
    pub fn nowhere(why: impl Into<String>) -> Self {
        Self { judgement: Judgement::fatal(why), status: None, socket: Socket::Nowhere }
    }
}
