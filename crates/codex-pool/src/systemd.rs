//! Under systemd, or what works like it: the listener that it holds for us, and what it wants to be told.
//!
//! The protocols are those of `sd_listen_fds(3)` and `sd_notify(3)`. Whoever holds the listener beyond our end refuses nobody
//! while we restart: connections wait.

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::problem::{Failure, Problem};

/// The listener that this process was started with, if it was. To be called once and early: it takes the environment's word
/// away, so that no child believes it.
pub(crate) fn inherited() -> Result<Option<TcpListener>, Failure> {
    let mut handed_over = ListenFd::from_env();
    let unusable = |why: String| {
        let mend = "In the .socket unit: one ListenStream= with an IP address and a port, and no Accept=yes";
        Failure::from(Problem::new("cannot use the sockets that were handed over (LISTEN_FDS)", why, mend))
    };
    match handed_over.len() {
        0 => return Ok(None),
        1 => {}
        // Connections to the others would wait for ever.
        count => return Err(unusable(format!("there are {count}, and the pool listens on one"))),
    }
    let listener = handed_over.take_tcp_listener(0).map_err(|error| unusable(error.to_string()))?;
    if let Some(listener) = &listener
        && !rustix::net::sockopt::socket_acceptconn(listener).unwrap_or(true)
    {
        return Err(unusable("it is a connection, not a listener".into()));
    }
    Ok(listener)
}

/// The server takes requests.
pub(crate) fn tell_ready() {
    tell(sd_notify::NotifyState::Ready);
}

/// The server drains.
pub(crate) fn tell_stopping() {
    tell(sd_notify::NotifyState::Stopping);
}

/// Does nothing where nobody wants to know.
fn tell(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager cannot be told (NOTIFY_SOCKET): {error}");
    }
}
