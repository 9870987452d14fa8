//! codex-pool: one endpoint in front of all AI accounts that a person or team owns.

mod config;
mod problem;

fn main() {}
