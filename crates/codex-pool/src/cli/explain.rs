//! `codex-pool explain`: why a request went where it went, or where the next one would go.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use pool_core::AccountId;
use pool_providers::Registry;
use pool_server::Config;
use pool_server::explain::{ExplainPage, Missing, answer, render};

use super::accounts::folder;
use super::{Output, client, terminal};
use crate::config::{self, Inputs};
use crate::problem::{Exit, Failure, Problem};

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(after_help = "Examples:\n  codex-pool explain last\n  codex-pool explain 0193f2c4\n  \
    codex-pool explain --next --provider claude --model claude-opus-5")]
pub(super) struct Asked {
    /// The request's id (reply header x-pool-request) or its beginning; `last`: the newest
    #[arg(value_name = "ID", required_unless_present = "next", conflicts_with = "next")]
    id: Option<String>,
    /// Where would the next request go? Nothing is sent
    #[arg(long, requires = "provider")]
    next: bool,
    /// Its provider: codex, claude, gemini
    #[arg(long, value_name = "NAME", requires = "next")]
    provider: Option<String>,
    /// Its model
    #[arg(long, value_name = "NAME", requires = "next")]
    model: Option<String>,
    /// What sends it: the provider's own CLI, or an SDK
    #[arg(long, value_name = "KIND", requires = "next", value_parser = ["own-cli", "sdk"])]
    client: Option<String>,
    /// Its conversation, by the id that the client sends
    #[arg(long, value_name = "ID", requires = "next")]
    session: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(inputs: &Inputs, registry: &Registry, asked: &Asked) -> Result<Output, Failure> {
    let settings = config::load_for_client(inputs)?;
    let fetched = client::ask(&settings.server, Method::GET, &asked.path(), Duration::from_secs(10));
    let (page, note) = match (fetched, &asked.id) {
        (Ok(page), _) => (page, String::new()),
        (Err(failure), Some(id)) if failure.exit == Exit::NotRunning && has_ledger(&settings.server) => {
            let note = format!("\nThe server is not running; read from {}.\n", settings.server.database());
            (from_database(&settings.server, registry, id)?, note)
        }
        (Err(failure), _) => return Err(failure),
    };
    if asked.json {
        return Ok(Output::json(&page, Exit::Fine));
    }
    Ok(Output::fine(render(&page.facts, &terminal::look(inputs)) + &note))
}

impl Asked {
    fn path(&self) -> String {
        if let Some(id) = &self.id {
            return format!("/api/explain/{}", encoded(id));
        }
        let Self { provider, model, client, session, .. } = self;
        let given = [("provider", provider), ("model", model), ("client", client), ("session", session)];
        let pairs = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
        format!("/api/explain?{}", pairs.collect::<Vec<_>>().join("&"))
    }
}

/// Percent-encoded wherever a path or a query could be misread.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn has_ledger(server: &Config) -> bool {
    server.database_url.is_some() || server.db_path.is_file()
}

/// Without a server: from the ledger, with names from the pool folder.
fn from_database(server: &Config, registry: &Registry, id: &str) -> Result<ExplainPage, Failure> {
    let entries = folder::read(&server.pool_dir, registry).unwrap_or_default();
    let accounts = entries.iter().filter_map(|entry| entry.account.as_ref().ok());
    let names: BTreeMap<AccountId, String> =
        accounts.map(|found| (found.account.id.clone(), found.account.name.clone())).collect();
    let runtime = super::serve::runtime()?;
    runtime.block_on(answer::request_in(&server.database(), id, names)).map_err(|missing| {
        if matches!(missing, Missing::Asked(_)) {
            return Failure::wrong_use(Problem::new(missing.to_string(), "", ""));
        }
        let mend = "Start the server, which knows what is not written yet: codex-pool serve";
        Problem::new(missing.to_string(), format!("looked in {}", server.database()), mend).into()
    })
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
