//! Logs go to standard error: text for people, JSON for machines. What is logged never holds a secret; that is seen to where it
//! is logged (`pool_core::Secret` has nothing to print).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Format, Log};

/// Once, before the server starts.
pub(crate) fn start(log: &Log) {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        Format::Json => true,
        Format::Text => false,
        Format::Auto => !terminal,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&log.filter)).with_writer(std::io::stderr);
    // A subscriber that is already there is a test's: leave it.
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        builder.with_ansi(colour).with_target(false).compact().try_init()
    };
}
