//! Settings: from flags, environment and `config.toml`, in this order of precedence, to what the server needs.
//!
//! [`table`] lists them all, [`values`] holds what was said and where, and a file a section resolves it. All problems are
//! told at once.

mod access;
pub(crate) mod gemini;
mod limits;
mod listen;
mod log;
mod models;
mod reference;
mod routing;
pub(crate) mod table;
mod upstream;
mod values;
mod vault;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pool_providers::gemini::OauthClient;
use pool_server::Config;
use pool_store::PostgresUrl;

pub(crate) use log::{Format, Log};
pub(crate) use values::Origin;

use crate::problem::Problem;
use values::Values;

/// What the command line says about settings. Secrets are not among them: the arguments of a program can be read by others.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Flags {
    /// Settings file [default: ./config.toml if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address to listen on, or where the running server listens [default: 127.0.0.1:8989]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Folder with the credential files [default: pool]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) pool_dir: Option<String>,
    /// File of the usage ledger [default: ./data/proxy.db]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) db_path: Option<String>,
    /// Log at level debug
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

/// Everything that settings are read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) flags: Flags,
    pub(crate) env: BTreeMap<String, String>,
    /// Where `./config.toml` is looked for.
    pub(crate) folder: PathBuf,
    /// Where the listener listens that was handed over. It decides, not the setting.
    pub(crate) inherited: Option<SocketAddr>,
}

/// The resolved settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server: Config,
    pub(crate) log: Log,
    /// Whose Google logins Gemini accounts are.
    pub(crate) gemini_client: OauthClient,
    /// The settings file that was read.
    pub(crate) file: Option<PathBuf>,
    /// Usable, but the operator should know.
    pub(crate) warnings: Vec<Problem>,
    /// Given, and without effect in this version: key, where from, why.
    pub(crate) without_effect: Vec<(&'static str, Origin, &'static str)>,
}

impl Inputs {
    /// From this process.
    pub(crate) fn of_process(flags: Flags) -> Self {
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { flags, env: env.collect(), folder: PathBuf::from("."), inherited: None }
    }
}

/// Reads and resolves the settings for a server that listens: everything that is wrong, or the settings.
pub(crate) fn load(inputs: &Inputs) -> Result<Settings, Vec<Problem>> {
    resolve(inputs, true)
}

/// The same for commands that start no server: what only matters to one that listens is not held against them.
pub(crate) fn load_for_client(inputs: &Inputs) -> Result<Settings, Vec<Problem>> {
    resolve(inputs, false)
}

fn resolve(inputs: &Inputs, listens: bool) -> Result<Settings, Vec<Problem>> {
    let mut values = Values::default();
    let file = add_file(&mut values, inputs);
    values.add_env(&inputs.env);
    let flags = &inputs.flags;
    values.add_flag("listen_addr", flags.listen.clone());
    values.add_flag("pool_dir", flags.pool_dir.clone());
    values.add_flag("db_path", flags.db_path.clone());
    values.add_flag("debug", flags.debug.then(|| "true".to_owned()));

    let listen = listen::resolve(&mut values, inputs.inherited);
    let access = access::resolve(&mut values, listens.then_some(listen));
    let (bases, proxy) = upstream::resolve(&mut values);
    let limits = limits::resolve(&mut values);
    let log = log::resolve(&mut values);
    let gemini_client = gemini::resolve(&mut values);
    let routing = routing::resolve(&mut values, &inputs.folder);
    let aliases = models::resolve(&mut values);
    let database_url = database_url(&mut values);
    let vault_key = vault::resolve(&mut values, &inputs.folder, database_url.is_some());
    let server = Config {
        listen,
        pool_dir: values.text("pool_dir").into(),
        db_path: values.text("db_path").into(),
        database_url,
        vault_key,
        bases,
        proxy,
        timeouts: limits.timeouts,
        max_attempts: limits.max_attempts,
        disable_refresh: values.flag("disable_refresh"),
        websockets: values.flag("upstream.websockets"),
        socket_message_cap: limits.socket_message_cap,
        replay_cap: limits.replay_cap,
        replay_budget: limits.replay_budget,
        operator_token: access.operator_token,
        admin_password: access.admin_password,
        trusted_proxies: access.trusted_proxies,
        public_url: access.public_url,
        share_subscriptions: access.share_subscriptions,
        friends: access.friends,
        old_users: Some(values.text("pool_users.storage_path").into()),
        local_access: access.locally_open,
        max_connections: limits.max_connections,
        probe_every: limits.probe_every,
        retention: limits.retention,
        kinds: routing.kinds,
        prices: routing.prices,
        aliases,
        pin_idle: limits.pin_idle,
        max_pins: limits.max_pins,
        settings: Arc::new(values.told(file.as_deref())),
        ..Config::default()
    };
    check_unused(&mut values);
    if !values.problems.is_empty() {
        // What would only be warned of may well be the cause: a misspelt key, say.
        values.problems.append(&mut values.warnings);
        return Err(values.problems);
    }
    Ok(Settings {
        server,
        log,
        gemini_client,
        file,
        without_effect: values.without_effect(),
        warnings: values.warnings,
    })
}

fn database_url(values: &mut Values) -> Option<PostgresUrl> {
    const KEY: &str = "database_url";
    let address = values.optional(KEY)?;
    let read = address.parse();
    if read.is_err() {
        // What was given is not shown: it may hold a password.
        let mend = "Write it as postgres://user:password@host:5432/database?sslmode=verify-full; in a password, %40 is @ and %2F is /";
        values.wrong(KEY, "is not the address of a PostgreSQL database", mend);
    }
    read.ok()
}

/// The file that was named, or `./config.toml` if there is one.
fn add_file(values: &mut Values, inputs: &Inputs) -> Option<PathBuf> {
    let named = inputs.flags.config.clone().map(|path| (path, "the flag --config"));
    let from_env = || {
        let path = inputs.env.get("CONFIG_PATH").filter(|path| !path.is_empty())?;
        Some((PathBuf::from(path), "the environment variable CONFIG_PATH"))
    };
    let (path, named_by) = match named.or_else(from_env) {
        Some((path, by)) => (inputs.folder.join(path), Some(by)),
        None => (inputs.folder.join("config.toml"), None),
    };
    let shown = path.strip_prefix(".").unwrap_or(&path).to_owned();
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            values.add_file(&shown, &text);
            access::check_file_mode(values, &path, &shown);
            Some(shown)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named_by.is_none() => None,
        Err(error) => {
            let why = named_by.map_or_else(|| error.to_string(), |by| format!("{error} (named by {by})"));
            let mend = "Name a readable settings file, or none: everything has a default";
            values.problems.push(Problem::new(format!("cannot read {}", shown.display()), why, mend));
            None
        }
    }
}

/// Settings without effect still have to be of their type: one day they will have one.
fn check_unused(values: &mut Values) {
    for setting in table::SETTINGS {
        if setting.effect == table::Effect::Now {
            continue;
        }
        match setting.kind {
            table::Kind::Bool => drop(values.flag(setting.key)),
            table::Kind::Number(..) => drop(values.number(setting.key)),
            table::Kind::Text | table::Kind::Secret => drop(values.text(setting.key)),
            table::Kind::Section => {}
        }
    }
}

/// A path as text for messages.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
