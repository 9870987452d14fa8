//! What a provider's folder knows of its sockets: turns, each a message of the client's and the messages that answer it.
//!
//! Pure, like everything here. The relay moves messages and changes accounts; what a message means is asked here.

use bytes::Bytes;
use pool_core::quota::QuotaWindow;
use pool_core::standing::Standing;
use pool_core::{Account, Demand, Judgement, TokenCounts, UnixMs};

use crate::reply::{Reply, Stage};

/// One client's socket. One turn runs at a time.
pub trait SocketTurns: Send {
    /// What a message of the client's is. Its demand is read by [`crate::Provider::demand`]: there, `bound` says that it builds
    /// on an answer that only this connection to this account remembers.
    fn asked(&self, message: &[u8]) -> Asked;

    /// A turn begins on this account, or begins again: what an earlier try has told is forgotten.
    fn begin(&mut self, account: &Account, demand: &Demand, now: UnixMs);

    /// What a message from upstream means, for the turn under way if there is one.
    fn hear(&mut self, message: &[u8], now: UnixMs) -> Heard;

    /// The turn came to nothing and nobody waits for it any more.
    fn end(&mut self);

    /// How far the turn has come. [`Stage::Ended`] also before the first.
    fn stage(&self) -> Stage;

    /// Tokens that the turn has told so far.
    fn usage(&self) -> Option<TokenCounts>;

    /// The model that answers, if it is named.
    fn model(&self) -> Option<&str>;

    /// The message that makes the client send the whole conversation again, showing nothing.
    fn start_over(&self) -> Bytes;

    /// A failure of the turn, as a message in the client's dialect: the reply that the same request would get over HTTP.
    fn refuse(&self, reply: &Reply) -> Bytes;

    /// A message that the client of a turn counts as a sign of life, and passes over.
    fn keep_alive(&self) -> Bytes;

    /// The limits of the pool as a message. `None`: none are known.
    fn limits(&self, standing: &Standing, now: UnixMs) -> Option<Bytes>;
}

/// A message of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It begins a turn.
    Turn,
    /// Anything else: for the upstream of the socket, whichever that is.
    Aside,
}

/// A message of upstream's.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub fate: Fate,
    /// Quota readings found.
    pub windows: Vec<QuotaWindow>,
    /// The turn failed with it. If nothing meaningful was shown and the verdict is neither to deliver nor fatal, another try
    /// can be made in place of showing it.
    pub failure: Option<Judgement>,
    /// The status that an error names.
    pub status: Option<u16>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes before anything meaningful: kept back, so that the account can still change.
    Hold,
    /// To the client, after all that was kept back.
    Show,
    /// It tells the limits of one account: the pool's take its place.
    Limits,
    /// Upstream ends the connection because of its age: nobody's failure. A turn of which nothing was shown, or the next
    /// one, needs another.
    Expired,
}
