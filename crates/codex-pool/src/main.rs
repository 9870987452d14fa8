//! codex-pool: one endpoint in front of all AI accounts that a person or team owns.
//!
//! This crate is the command line: it resolves settings, hands them to the server, and tells people what goes on. Everything
//! that forwards, decides or keeps lives in the other crates.

mod cli;
mod config;
mod logging;
mod problem;
mod systemd;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
