//! A try that came to nothing, and what the client is told if it was the last one.

use std::time::Duration;

use http::StatusCode;
use pool_core::Judgement;
use pool_core::people::Role;
use pool_core::pool::Slot;
use pool_core::quota::Scope;
use pool_core::verdict::{Cause, Fault, Until};
use pool_providers::reply::{Failure, Reply};

use super::answer::Broken;
use super::meter::Unserved;
use super::path::{Errand, GaveUp};
use crate::admit::Caller;
use crate::app::App;
use crate::upstream::UpstreamError;

/// A try that did not come to an answer for the client.
#[derive(Debug)]
pub struct Miss {
    pub judgement: Judgement,
    pub status: Option<StatusCode>,
    /// The provider's error, whole, if it is fit for the client.
    pub reply: Option<Box<Reply>>,
    pub kind: MissKind,
}

/// What it failed of, as far as the client's reply depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissKind {
    Replied,
    /// A page instead of JSON.
    Html,
    Redirect,
    NoReply,
    TimedOut,
    /// Nothing was sent: no usable credential could be had.
    NoCredential,
    /// The client's request cannot be carried to this account, or broke off on its way.
    Unfit(StatusCode),
}

impl Miss {
    /// No usable credential could be had.
    pub fn no_credential(why: &impl std::fmt::Display) -> Self {
        let judgement = Judgement::elsewhere(Fault::Account, format!("no fresh credential: {why}"));
        Self { judgement, status: None, reply: None, kind: MissKind::NoCredential }
    }

    /// No answer came.
    pub fn transport(error: &UpstreamError) -> Self {
        if let UpstreamError::Client(message) = error {
            return Self::unfit(Failure::BadRequest { status: StatusCode::BAD_REQUEST, message: message.clone() });
        }
        let judgement = Judgement::elsewhere(Fault::Provider, error.to_string()).cooling(
            Scope::Account,
            Cause::UpstreamFailing,
            Until::BackOff,
        );
        let kind = if matches!(error, UpstreamError::Timeout(_)) { MissKind::TimedOut } else { MissKind::NoReply };
        Self { judgement, status: None, reply: None, kind }
    }

    /// The head came, and then nothing meaningful.
    pub fn broken(status: StatusCode, broken: &Broken) -> Self {
        let mut miss = Self::transport(&UpstreamError::Broken(broken.to_string()));
        miss.status = Some(status);
        if matches!(broken, Broken::Silent(_)) {
            miss.kind = MissKind::TimedOut;
        }
        miss
    }

    /// The client's request cannot be carried to this account.
    pub fn unfit(failure: Failure) -> Self {
        let (kind, reason) = match failure {
            Failure::BadRequest { status, message } => (MissKind::Unfit(status), message),
            Failure::NotServed { message } => (MissKind::Unfit(StatusCode::NOT_FOUND), message),
            Failure::UpstreamDown { message, .. } => (MissKind::NoCredential, message),
            other => (MissKind::NoCredential, format!("{other:?}")),
        };
        // It costs the provider nothing, and another account may be able to take it.
        let judgement = Judgement::elsewhere(Fault::Account, reason);
        Self { judgement, status: None, reply: None, kind }
    }

    /// The end of the request, when this was its last try.
    pub fn into_end(self, errand: &Errand, unserved: Unserved) -> GaveUp {
        let Self { judgement, status, reply, kind } = self;
        let mut message = failed(&errand.app, &errand.caller, &judgement.reason);
        if !errand.received.can_be_sent() {
            message.push_str(" (this request was too large to be kept for another try)");
        }
        let down = |message| Failure::UpstreamDown { message, retry_after: RETRY_SOON };
        let (failure, status) = match kind {
            MissKind::Unfit(status) => (Failure::BadRequest { status, message: judgement.reason }, None),
            MissKind::TimedOut => (Failure::Timeout { message }, Some(StatusCode::GATEWAY_TIMEOUT)),
            MissKind::Redirect | MissKind::NoReply => (down(message), Some(StatusCode::BAD_GATEWAY)),
            MissKind::Html => (down(message), status),
            MissKind::Replied | MissKind::NoCredential => (down(message), None),
        };
        GaveUp { failure, upstream: reply.map(|reply| *reply), status, unserved }
    }
}

/// What the client is told of a try that failed. Friends do not learn what accounts are called, and some reasons name a file: they
/// are for whoever can mend it.
pub fn failed(app: &App, caller: &Caller, reason: &str) -> String {
    let named = |slot: &Slot| reason.contains(&slot.account.name) || reason.contains(&slot.account.file);
    if caller.role() == Role::Friend && app.pool.read(|pool, _| pool.slots().any(named)) {
        return "upstream failed: an account of the pool needs its operator".into();
    }
    format!("upstream failed: {reason}")
}

/// What a client is told to wait after trouble that should pass.
pub const RETRY_SOON: Duration = Duration::from_secs(2);
