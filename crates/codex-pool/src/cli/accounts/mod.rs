//! `codex-pool accounts …`: works on the credential files themselves, in the pool folder or in the vault; a running server sees
//! the change within a second.

mod add;
mod change;
pub(crate) mod folder;
mod list;
mod login;
mod select;
mod test;
mod wishes;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use pool_core::UnixMs;
use pool_providers::Registry;
use pool_server::Config;

use super::Output;
use super::vault::checkout::with_accounts;
use crate::config::{self, Inputs};
use crate::problem::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show every account, with its state if the server is running
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one account
    Show {
        /// Its name, id or file
        account: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add an account from a credential file, or from an API key
    Add(AddArguments),
    /// Sign in with the provider's own program, in a home of the pool's own
    Login {
        /// codex, claude or gemini
        provider: String,
        /// What the account is called; an account of this name is signed in again
        #[arg(long)]
        name: Option<String>,
        /// Put it in the place of another account of this name (which is archived)
        #[arg(long)]
        replace: bool,
    },
    /// Take an account out; running requests finish
    Pause {
        /// Its name, id or file
        account: String,
    },
    /// Let a paused account serve again
    Resume {
        /// Its name, id or file
        account: String,
    },
    /// Say how an account is to be used: priority, weight, reserve, `max_in_flight`, models, share, owner, `daily_spend_usd`
    Set {
        /// Its name, id or file
        account: String,
        /// key=value; nothing after the = for the default
        #[arg(required = true, value_name = "KEY=VALUE")]
        wishes: Vec<String>,
    },
    /// Move an account's file into the archive
    Remove {
        /// Its name, id or file
        account: String,
    },
    /// Ask the provider whether an account works, through the running server
    Test {
        /// Its name, id or file
        account: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddArguments {
    /// The credential file to copy, such as ~/.codex/auth.json
    #[arg(required_unless_present = "api_key", conflicts_with = "api_key")]
    file: Option<PathBuf>,
    /// Add an API key of this provider. The key itself is asked for, or read from standard input
    #[arg(long, value_name = "PROVIDER", num_args = 0..=1, default_missing_value = "")]
    api_key: Option<String>,
    /// Whose file it is, where that cannot be told
    #[arg(long, value_name = "PROVIDER", conflicts_with = "api_key")]
    provider: Option<String>,
    /// What the account is called: letters, digits, `.`, `_` and `-`
    #[arg(long)]
    name: Option<String>,
    /// Put it in the place of another account of this name (which is archived)
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(inputs: &Inputs, registry: &Registry, command: Command) -> Result<Output, Failure> {
    let settings = config::load_for_client(inputs)?;
    with_accounts(&settings.server, registry, |server| run_on(server, inputs, registry, command))
}

fn run_on(server: &Config, inputs: &Inputs, registry: &Registry, command: Command) -> Result<Output, Failure> {
    let dir = server.pool_dir.as_path();
    match command {
        Command::List { json } => list::list(inputs, server, registry, json),
        Command::Show { account, json } => list::show(inputs, server, registry, &account, json),
        Command::Add(arguments) => add::run(dir, registry, arguments),
        Command::Login { provider, name, replace } => {
            login::run(dir, registry, &login::Wanted { provider: &provider, name: name.as_deref(), replace })
        }
        Command::Pause { account } => change::set_disabled(dir, registry, &account, true),
        Command::Resume { account } => change::set_disabled(dir, registry, &account, false),
        Command::Set { account, wishes } => wishes::set(dir, registry, &account, &wishes),
        Command::Remove { account } => change::remove(dir, registry, &account, now()),
        Command::Test { account, json } => test::run(server, registry, &account, json),
    }
}

pub(super) fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
pub(crate) mod fruit;
#[cfg(test)]
mod tests;
