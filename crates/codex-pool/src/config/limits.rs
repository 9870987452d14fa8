//! Bounds of time and memory.

use std::time::Duration;

use pool_core::Span;
use pool_server::config::Timeouts;

use super::values::Values;

pub(super) struct Limits {
    pub(super) timeouts: Timeouts,
    pub(super) max_attempts: u32,
    pub(super) replay_cap: usize,
    pub(super) replay_budget: usize,
    pub(super) socket_message_cap: usize,
    pub(super) max_connections: usize,
    pub(super) probe_every: Duration,
    pub(super) pin_idle: Span,
    pub(super) max_pins: usize,
    pub(super) retention: Duration,
}

pub(super) fn resolve(values: &mut Values) -> Limits {
    let timeouts = Timeouts {
        connect: values.seconds("timeouts.connect_seconds"),
        tls: values.seconds("timeouts.tls_seconds"),
        response_head: values.seconds("timeouts.response_head_seconds"),
        response_head_long: values.seconds("timeouts.response_head_long_seconds"),
        handshake: values.seconds("timeouts.handshake_seconds"),
        socket_life: values.seconds("timeouts.socket_life_seconds"),
        upstream_idle: values.seconds("timeouts.upstream_idle_seconds"),
        client_stall: values.seconds("timeouts.client_stall_seconds"),
        head_read: values.seconds("timeouts.head_read_seconds"),
        body_progress: values.seconds("timeouts.body_progress_seconds"),
        drain_notice: values.seconds("timeouts.drain_notice_seconds"),
        drain: values.seconds("timeouts.drain_seconds"),
        hold: values.seconds("timeouts.hold_seconds"),
        keep_alive: values.seconds("timeouts.keep_alive_seconds"),
        ping: values.seconds("timeouts.ping_seconds"),
    };
    let replay_cap = values.number("max_inmem_body_bytes") as usize;
    let replay_budget = values.number("max_replay_bytes") as usize;
    if replay_budget < replay_cap {
        values.wrong(
            "max_replay_bytes",
            format_args!("is less than max_inmem_body_bytes ({replay_cap}): the largest bodies could never be kept"),
            "Raise the one or lower the other",
        );
    }
    Limits {
        timeouts,
        max_attempts: values.number("max_attempts") as u32,
        replay_cap,
        replay_budget,
        socket_message_cap: values.number("max_socket_message_bytes") as usize,
        max_connections: values.number("max_connections") as usize,
        probe_every: values.seconds("probe_seconds"),
        pin_idle: Span::from_secs(values.number("routing.pin_idle_seconds")),
        max_pins: values.number("routing.max_pins") as usize,
        retention: Duration::from_hours(24 * values.number("usage_retention_days")),
    }
}
