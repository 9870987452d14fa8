//! `codex-pool status`: the running pool as a table, or as the JSON that the server sent.

use std::time::Duration;

use http::Method;
use pool_core::UnixMs;
use pool_server::status::{State, StatusPage, render};

use super::{Output, client, terminal};
use crate::config::{self, Inputs};
use crate::problem::{Exit, Failure};

pub(super) fn run(inputs: &Inputs, json: bool) -> Result<Output, Failure> {
    let settings = config::load_for_client(inputs)?;
    let page = fetch(&settings.server)?;
    let trouble = !page.files_with_faults.is_empty()
        || page.ledger.degraded.is_some()
        || page.accounts.iter().any(|account| account.state == State::NeedsLogin);
    let exit = if trouble { Exit::Problem } else { Exit::Fine };
    if json {
        return Ok(Output::json(&page, exit));
    }
    Ok(Output { text: render(&page, &terminal::look(inputs), UnixMs(page.now_ms)), exit })
}

pub(super) fn fetch(config: &pool_server::Config) -> Result<StatusPage, Failure> {
    client::ask(config, Method::GET, "/api/status", Duration::from_secs(10))
}
