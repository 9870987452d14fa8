//! `accounts test`: one probe through the running server, which alone may use and renew the credential.

use std::fmt::Write as _;
use std::time::Duration;

use http::Method;
use pool_providers::Registry;
use pool_server::status::TestResult;

use super::{folder, select};
use crate::cli::{Output, client};
use crate::problem::{Exit, Failure};

pub(super) fn run(
    server: &pool_server::Config,
    registry: &Registry,
    wanted: &str,
    json: bool,
) -> Result<Output, Failure> {
    let entries = folder::read(&server.pool_dir, registry)?;
    let (_, account) = select::account(&entries, wanted)?;
    let path = format!("/api/accounts/{}/test", account.id);
    let result: TestResult = client::ask(server, Method::POST, &path, Duration::from_secs(90))?;
    let exit = if result.ok { Exit::Fine } else { Exit::Problem };
    if json {
        return Ok(Output::json(&result, exit));
    }
    let (word, said) = match &result.error {
        Some(error) => ("fail", error.message.as_str()),
        None => ("ok", "the provider takes its credential"),
    };
    let mut text = format!("{word:<4}  {}: {said}\n", account.name);
    for window in result.account.iter().flat_map(|account| &account.windows) {
        let family = window.family.as_deref().map(|family| format!(" {family}")).unwrap_or_default();
        let _ = writeln!(text, "      {}{family}: {:.0}% left", window.name, window.left.get() * 100.0);
    }
    Ok(Output { text, exit })
}
