//! Sockets: a client's WebSocket and one upstream, with everything that a request over HTTP has.
//!
//! - [`open`]: the client's handshake, answered once an account's own has succeeded; else 426, upon which clients fall back
//!   to HTTP.
//! - [`talk`]: messages both ways, turn by turn, as the provider's [`SocketTurns`] understand them; [`queue`]: those that wait.
//! - [`reach`], [`seek`]: where sockets can be had, and which account one is opened on.
//! - [`moves`]: which account serves a turn, and what becomes of one that fails.
//! - [`turn`]: a turn under way: its slot, its tries, its record.
//! - [`tunnel`], [`pipe`]: sockets that nobody here reads: bytes both ways on one account.
//! - [`handshake`], [`link`]: RFC 6455, as far as the library leaves it to us.
//!
//! One account a socket. A turn that fails before anything meaningful moves to another one behind the client's back if it
//! stands by itself; if it builds on what only the old connection remembers, the client is told to send everything anew.
//!
//! [`SocketTurns`]: pool_providers::socket::SocketTurns

mod handshake;
mod link;
mod miss;
mod moves;
mod open;
mod pipe;
mod queue;
mod reach;
mod seek;
mod talk;
mod tunnel;
mod turn;

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use open::upgrade;
pub use tunnel::tunnel;

/// Every open socket, for the order to stop.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    tasks: TaskTracker,
    /// Sockets end between turns.
    stop: CancellationToken,
    /// They end now.
    cut: CancellationToken,
    /// Where new ones can be had.
    reach: Arc<Mutex<reach::Reach>>,
}

impl Sockets {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Closes every socket as soon as no turn runs on it, and waits for the last.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Closes what is left, turns or not.
    pub async fn cut(&self) {
        self.cut.cancel();
        let _ = tokio::time::timeout(link::GOODBYE * 2, self.tasks.wait()).await;
    }
}
