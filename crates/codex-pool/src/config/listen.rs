//! Where the server listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::values::Values;
use crate::problem::Problem;

const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8989);

/// `inherited`: where a listener that was handed over listens. The setting cannot change that.
pub(super) fn resolve(values: &mut Values, inherited: Option<SocketAddr>) -> SocketAddr {
    let text = values.text("listen_addr");
    let said = parse(&text).unwrap_or_else(|| {
        values.wrong(
            "listen_addr",
            format_args!("is not an address with a port: {text}"),
            "Write an IP address and a port, as in: 127.0.0.1:8989",
        );
        DEFAULT
    });
    let Some(inherited) = inherited else { return said };
    if inherited != said && values.is_said("listen_addr") {
        values.warnings.push(Problem::new(
            format!("listen_addr has no effect: the listener was handed over, and it listens on {inherited}"),
            format!("{text}, from {}", values.origin("listen_addr")),
            "Take the line out, or change ListenStream= in the .socket unit",
        ));
    }
    inherited
}

/// `127.0.0.1:8989`, `[::1]:8989`, `localhost:8989`, and the Go original's `:8989` for every address.
fn parse(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::new(DEFAULT.ip(), port.parse().ok()?));
    }
    if let Some(port) = text.strip_prefix(':') {
        return Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port.parse().ok()?));
    }
    text.parse().ok()
}
