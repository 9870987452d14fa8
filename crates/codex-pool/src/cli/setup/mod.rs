//! `setup`: points a client on this machine at the pool, and back. The same as the scripts of `pool-server/src/setup/`, with the same
//! records, so that either undoes what the other did.

mod diff;
mod files;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;
use pool_core::Secret;
use pool_providers::setup::{SetUp, is_plain_key, is_plain_url};
use pool_providers::{Provider, Registry};

use super::{Output, client, terminal};
use crate::config::{self, Inputs};
use crate::problem::{Failure, Problem};
use files::Plan;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The client: codex, claude or gemini
    #[arg(value_name = "CLIENT")]
    client: String,
    /// The pool's address (default: the one that the settings name)
    #[arg(long, value_name = "URL", conflicts_with = "undo")]
    url: Option<String>,
    /// Bring back what stood in the client's files before
    #[arg(long)]
    undo: bool,
    /// Only show what would change
    #[arg(long, conflicts_with = "undo")]
    print: bool,
}

pub(super) fn run(inputs: &Inputs, registry: &Registry, arguments: &Arguments) -> Result<Output, Failure> {
    let (provider, set_up) = named(registry, &arguments.client)?;
    let places = places(inputs, provider, &set_up)?;
    if arguments.undo {
        return Ok(Output::fine(files::undo(&places.state)?));
    }
    if let Some(rival) = set_up.rivals.iter().find(|name| inputs.env.get(**name).is_some_and(|value| !value.is_empty())) {
        return Err(Problem::new(
            format!("{rival} is set in this shell"),
            "It would win over what is set up here",
            "Take it out of your shell's profile and open a new terminal",
        )
        .into());
    }
    let (url, key) = access(inputs, arguments)?;
    let plans = Plan::of_all(&set_up, &places, &url, key.expose())?;
    let changed: Vec<&Plan> = plans.iter().filter(|plan| plan.changes()).collect();
    if changed.is_empty() {
        return Ok(Output::fine(format!("{} already uses the pool at {url}.\n", set_up.client)));
    }
    let mut out = String::new();
    for plan in &changed {
        let _ = write!(out, "{}:\n{}", plan.file.display(), diff::shown(&plan.now, &plan.new));
    }
    if arguments.print {
        return Ok(Output::fine(out));
    }
    files::write_all(&changed, &places.state)?;
    let _ = write!(
        out,
        "\n{} now uses the pool at {url}.\n{}\nUndo: codex-pool setup {} --undo\n",
        set_up.client, set_up.note, arguments.client
    );
    Ok(Output::fine(out))
}

/// Where the client's files are, and what is kept of them.
#[derive(Debug)]
struct Places {
    folder: PathBuf,
    state: PathBuf,
}

fn places(inputs: &Inputs, provider: &dyn Provider, set_up: &SetUp) -> Result<Places, Failure> {
    let set = |name: &str| inputs.env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HOME").ok_or_else(|| Problem::new("HOME is not set", "", "Set it to your home folder"))?;
    let folder = set(set_up.folder_env).unwrap_or_else(|| home.join(set_up.folder));
    Ok(Places { folder, state: home.join(".codex-pool/undo").join(provider.id().0) })
}

fn named<'a>(registry: &'a Registry, name: &str) -> Result<(&'a dyn Provider, SetUp), Failure> {
    let found = registry.named(name).and_then(|provider| Some((provider, provider.set_up()?)));
    found.ok_or_else(|| {
        let known: Vec<&str> = registry.iter().map(|provider| provider.id().0).collect();
        Failure::wrong_use(Problem::new(
            format!("there is no client called {name}"),
            "",
            format!("Name one of {}", known.join(", ")),
        ))
    })
}

/// The pool's address, and what to show there. A pool that asks nobody on this machine gets any word.
fn access(inputs: &Inputs, arguments: &Arguments) -> Result<(String, Secret), Failure> {
    let config = config::load_for_client(inputs)?.server;
    let own = || config.public_url.clone().unwrap_or_else(|| format!("http://{}", client::reachable(config.listen)));
    let url = arguments.url.clone().unwrap_or_else(own).trim_end_matches('/').to_owned();
    if !is_plain_url(&url) {
        let why = "An address is http:// or https://, a name or number, and a port or path";
        return Err(Failure::wrong_use(Problem::new(format!("{url:?} cannot be set up"), why, "Give --url")));
    }
    let asked = arguments.url.is_none() && config.public_url.is_none() && is_open(&config)?;
    let key = if asked { Secret::new("pool") } else { terminal::read_secret(&format!("Your credential of {url}"))? };
    if !is_plain_key(key.expose()) {
        return Err(Problem::new("that is no credential of a pool", "", "Copy it again, or ask the pool's operator").into());
    }
    Ok((url, key))
}

/// Does the running pool serve this machine without a credential?
fn is_open(config: &pool_server::Config) -> Result<bool, Failure> {
    let anonymous = pool_server::Config { operator_token: None, ..config.clone() };
    client::admits(&anonymous, Method::GET, "/api/status", Duration::from_secs(10))
}
