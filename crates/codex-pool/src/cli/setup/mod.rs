//! `setup`: points a client on this machine at the pool, and back. The same as the scripts of `pool-server/src/setup/`, with the same
//! records, so that either undoes what the other did.

mod diff;
mod files;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use http::Method;
use pool_core::Secret;
use pool_providers::setup::{SetUp, is_plain_key, is_plain_url};
use pool_providers::{Provider, Registry};
use pool_server::Config;
use pool_server::roster::{AddKey, NewKey};
use pool_server::setup::MadeLine;
use serde_json::{Value, json};

use super::{Output, client, terminal, users};
use crate::config::{self, Inputs};
use crate::problem::{Exit, Failure, Problem};
use files::Plan;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The client: codex, claude or gemini
    #[arg(value_name = "CLIENT")]
    client: String,
    /// Whose credential it gets, by name or id; a new one is made (default: you are asked for one)
    #[arg(long, value_name = "NAME", conflicts_with = "undo")]
    user: Option<String>,
    /// Make a line for another machine of that person, with a one-time code, and change nothing here
    #[arg(long, requires = "user", conflicts_with = "print")]
    line: bool,
    /// The pool's address, if it is another than the settings name
    #[arg(long, value_name = "URL", conflicts_with_all = ["undo", "user"])]
    url: Option<String>,
    /// Bring back what stood in the client's files before
    #[arg(long)]
    undo: bool,
    /// Only show what would change
    #[arg(long, conflicts_with = "undo")]
    print: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(inputs: &Inputs, registry: &Registry, arguments: &Arguments) -> Result<Output, Failure> {
    let (provider, set_up) = named(registry, &arguments.client)?;
    let places = places(inputs, provider, &set_up)?;
    if arguments.undo {
        let told = files::undo(&places.state)?;
        let lines = || json!({ "client": set_up.client, "done": told.lines().collect::<Vec<_>>() });
        return Ok(if arguments.json { Output::json(&lines(), Exit::Fine) } else { Output::fine(told) });
    }
    let server = config::load_for_client(inputs)?.server;
    if let Some(user) = arguments.user.as_deref().filter(|_| arguments.line) {
        return line(&server, user, provider, arguments.json);
    }
    if let Some(rival) = set_up.rivals.iter().find(|name| inputs.env.get(**name).is_some_and(|value| !value.is_empty()))
    {
        return Err(Problem::new(
            format!("{rival} is set in this shell"),
            "It would win over what is set up here",
            "Take it out of your shell's profile and open a new terminal",
        )
        .into());
    }
    let url = address(&server, arguments)?;
    // With a stand-in first: a credential is made, or asked for, when nothing else can go wrong.
    let mut plans = Plan::of_all(&set_up, &places, &url, "pool")?;
    if !arguments.print {
        plans = Plan::of_all(&set_up, &places, &url, key(&server, arguments, &url, provider)?.expose())?;
    }
    let changed: Vec<&Plan> = plans.iter().filter(|plan| plan.changes()).collect();
    if !arguments.print && !changed.is_empty() {
        files::write_all(&changed, &places.state)?;
    }
    if arguments.json {
        return Ok(Output::json(&as_json(&set_up, &url, &changed, arguments), Exit::Fine));
    }
    if changed.is_empty() {
        return Ok(Output::fine(format!("{} already uses the pool at {url}.\n", set_up.client)));
    }
    let mut out = String::new();
    for plan in &changed {
        let _ = write!(out, "{}:\n{}", plan.file.display(), diff::shown(&plan.now, &plan.new));
    }
    if !arguments.print {
        let (client, note, name) = (set_up.client, set_up.note, &arguments.client);
        let _ = write!(out, "\n{client} now uses the pool at {url}.\n{note}\nUndo: codex-pool setup {name} --undo\n");
    }
    Ok(Output::fine(out))
}

/// What was done, or would be. Secrets are masked as they are for people.
fn as_json(set_up: &SetUp, url: &str, changed: &[&Plan], arguments: &Arguments) -> Value {
    let file = |plan: &&Plan| json!({ "file": plan.file, "change": diff::shown(&plan.now, &plan.new) });
    let written = !arguments.print && !changed.is_empty();
    json!({
        "client": set_up.client, "url": url, "changes": changed.iter().map(file).collect::<Vec<_>>(),
        "written": written, "note": set_up.note,
        "undo": written.then(|| format!("codex-pool setup {} --undo", arguments.client)),
    })
}

/// A line that somebody runs elsewhere.
fn line(server: &Config, user: &str, provider: &dyn Provider, json: bool) -> Result<Output, Failure> {
    let person = users::find(server, user)?;
    let path = format!("{}/setup/{}", users::path(&person), provider.id().0);
    let made: MadeLine = client::tell(server, Method::POST, &path, &json!({}))?;
    if json {
        return Ok(Output::json(&made, Exit::Fine));
    }
    Ok(Output::fine(format!(
        "For {}, once, within a day:\n\n  {}\n\nIn PowerShell:\n\n  {}\n",
        person.name, made.line.sh, made.line.powershell
    )))
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

fn address(server: &Config, arguments: &Arguments) -> Result<String, Failure> {
    let own = || server.public_url.clone().unwrap_or_else(|| format!("http://{}", client::reachable(server.listen)));
    let url = arguments.url.clone().unwrap_or_else(own).trim_end_matches('/').to_owned();
    if is_plain_url(&url) {
        return Ok(url);
    }
    let why = "An address is http:// or https://, a name or number, and a port or path";
    Err(Failure::wrong_use(Problem::new(format!("{url:?} cannot be set up"), why, "Give --url")))
}

/// What the client shows. A pool that asks nobody on this machine gets any word.
fn key(server: &Config, arguments: &Arguments, url: &str, provider: &dyn Provider) -> Result<Secret, Failure> {
    if let Some(user) = &arguments.user {
        let person = users::find(server, user)?;
        let form = AddKey { label: format!("{} on the pool's machine", provider.title()), days: None };
        let made: NewKey = client::tell(server, Method::POST, &format!("{}/credentials", users::path(&person)), &form)?;
        return Ok(Secret::new(made.secret));
    }
    let local = arguments.url.is_none() && server.public_url.is_none() && server.local_access;
    if local && users::fetch(server)?.people.is_empty() {
        return Ok(Secret::new("pool"));
    }
    let key = terminal::read_secret(&format!("Your credential of {url} (or give --user)"))?;
    if is_plain_key(key.expose()) {
        return Ok(key);
    }
    Err(Problem::new("that is no credential of a pool", "", "Copy it again, or ask the pool's operator").into())
}
