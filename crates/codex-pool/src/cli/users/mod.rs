//! `codex-pool users …`: people, through the running server.

mod contributions;
mod limits;
mod show;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use http::Method;
use pool_core::limits::Limits;
use pool_core::people::Role;
use pool_server::Config;
use pool_server::roster::{
    AddKey, AddPerson, ChangePerson, Invite, Key, NewInvitation, NewKey, NewPerson, Person, Roster,
};
use serde_json::Value;

use super::{Output, client};
use crate::config::{self, Inputs};
use crate::problem::{Exit, Failure, Problem};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show everybody, their credentials and limits, and open invitations
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add somebody, with a first credential, which is shown once
    Add(AddArguments),
    /// Make a code that lets somebody in, once
    Invite(InviteArguments),
    /// Set somebody's limits; what is not said stays
    Limit(LimitArguments),
    /// Issue one more credential, for another machine
    Key(KeyArguments),
    /// Take a credential back; what runs on it ends within a second
    Revoke(RevokeArguments),
    /// Keep somebody out until they are resumed
    Pause(Whom),
    /// Let them in again
    Resume(Whom),
    /// Remove somebody with their credentials; what they used stays on record
    Remove(Whom),
    /// Show what the accounts that people brought gave to others, and what everybody used
    Contributions(contributions::Arguments),
    /// Print a link that signs the operator in on the pages, once, within 15 minutes
    SignIn {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Whom {
    /// Name or id
    user: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddArguments {
    /// What they are called
    name: String,
    /// What they may do
    #[arg(long, value_enum, default_value_t = RoleWord::User)]
    role: RoleWord,
    #[arg(long)]
    email: Option<String>,
    /// Accounts that they may use, by name; else all that are open to them
    #[arg(long = "account", value_name = "NAME")]
    accounts: Vec<String>,
    #[command(flatten)]
    key: KeyFlags,
    #[command(flatten)]
    limits: limits::Flags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InviteArguments {
    /// What they may do
    #[arg(long, value_enum, default_value_t = RoleWord::Friend)]
    role: RoleWord,
    /// What they are called; else they say so themselves
    #[arg(long)]
    name: Option<String>,
    /// How long the code works
    #[arg(long, default_value_t = 72)]
    hours: u32,
    /// Accounts that they may use, by name; else all that are open to them
    #[arg(long = "account", value_name = "NAME")]
    accounts: Vec<String>,
    #[command(flatten)]
    limits: limits::Flags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LimitArguments {
    /// Name or id
    user: String,
    /// Take all limits away before others are set
    #[arg(long)]
    none: bool,
    /// Accounts that they may use, by name; `all` for all that are open to them
    #[arg(long = "account", value_name = "NAME")]
    accounts: Vec<String>,
    /// What they may do
    #[arg(long, value_enum)]
    role: Option<RoleWord>,
    #[command(flatten)]
    limits: limits::Flags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeyArguments {
    /// Name or id
    user: String,
    #[command(flatten)]
    key: KeyFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeyFlags {
    /// Which machine or program will hold it
    #[arg(long, default_value = "")]
    label: String,
    /// Days that it works; 0: for ever [default: 90 for friends, else for ever]
    #[arg(long)]
    days: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArguments {
    /// Name or id
    user: String,
    /// The credential's id or its last characters, as `users list` shows them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    credential: Option<String>,
    /// Every one that they have
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleWord {
    Operator,
    User,
    Friend,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Operator => Self::Operator,
            RoleWord::User => Self::User,
            RoleWord::Friend => Self::Friend,
        }
    }
}

pub(super) fn run(inputs: &Inputs, command: Command) -> Result<Output, Failure> {
    let settings = config::load_for_client(inputs)?;
    let server = &settings.server;
    match command {
        Command::List { json } => list(server, json),
        Command::Add(arguments) => add(server, arguments),
        Command::Invite(arguments) => invite(server, arguments),
        Command::Limit(arguments) => limit(server, &arguments),
        Command::Key(arguments) => key(server, arguments),
        Command::Revoke(arguments) => revoke(server, &arguments),
        Command::Pause(whom) => pause(server, &whom, true),
        Command::Resume(whom) => pause(server, &whom, false),
        Command::Remove(whom) => remove(server, &whom),
        Command::Contributions(arguments) => contributions::run(server, &arguments),
        Command::SignIn { json } => sign_in(server, json),
    }
}

fn list(server: &Config, json: bool) -> Result<Output, Failure> {
    let roster = fetch(server)?;
    Ok(if json {
        Output::json(&roster, Exit::Fine)
    } else {
        Output::fine(show::roster(&roster, super::accounts::now()))
    })
}

fn add(server: &Config, arguments: AddArguments) -> Result<Output, Failure> {
    let form = AddPerson {
        name: arguments.name,
        role: arguments.role.into(),
        email: arguments.email,
        limits: arguments.limits.applied(Limits::default())?,
        accounts: Some(arguments.accounts).filter(|accounts| !accounts.is_empty()),
        label: arguments.key.label,
        days: arguments.key.days,
    };
    let added: NewPerson = client::tell(server, Method::POST, "/api/people", &form)?;
    Ok(if arguments.json { Output::json(&added, Exit::Fine) } else { Output::fine(show::added(&added)) })
}

fn invite(server: &Config, arguments: InviteArguments) -> Result<Output, Failure> {
    let form = Invite {
        role: arguments.role.into(),
        name: arguments.name,
        limits: arguments.limits.applied(Limits::default())?,
        accounts: Some(arguments.accounts).filter(|accounts| !accounts.is_empty()),
        hours: Some(arguments.hours),
    };
    let made: NewInvitation = client::tell(server, Method::POST, "/api/invitations", &form)?;
    let text = || show::invited(&made, &address(server));
    Ok(if arguments.json { Output::json(&made, Exit::Fine) } else { Output::fine(text()) })
}

fn limit(server: &Config, arguments: &LimitArguments) -> Result<Output, Failure> {
    let nothing = !arguments.none && arguments.accounts.is_empty() && arguments.role.is_none();
    if nothing && !arguments.limits.say_something() {
        let mend = "As in: codex-pool users limit mira --tokens 2000000/day --streams 2";
        return Err(Failure::wrong_use(Problem::new("say which limit", "", mend)));
    }
    let person = find(server, &arguments.user)?;
    let before = if arguments.none { Limits::default() } else { person.limits.clone() };
    let form = ChangePerson {
        limits: Some(arguments.limits.applied(before)?),
        role: arguments.role.map(Role::from),
        accounts: match arguments.accounts.as_slice() {
            [] => None,
            [all] if all == "all" => Some(None),
            names => Some(Some(names.to_vec())),
        },
        ..ChangePerson::default()
    };
    changed(server, &person, &form, arguments.json)
}

fn pause(server: &Config, whom: &Whom, paused: bool) -> Result<Output, Failure> {
    let person = find(server, &whom.user)?;
    changed(server, &person, &ChangePerson { paused: Some(paused), ..ChangePerson::default() }, whom.json)
}

fn changed(server: &Config, person: &Person, form: &ChangePerson, json: bool) -> Result<Output, Failure> {
    let person: Person = client::tell(server, Method::PATCH, &path(person), form)?;
    Ok(if json {
        Output::json(&person, Exit::Fine)
    } else {
        Output::fine(show::person(&person, super::accounts::now()))
    })
}

fn key(server: &Config, arguments: KeyArguments) -> Result<Output, Failure> {
    let person = find(server, &arguments.user)?;
    let form = AddKey { label: arguments.key.label, days: arguments.key.days };
    let made: NewKey = client::tell(server, Method::POST, &format!("{}/credentials", path(&person)), &form)?;
    Ok(if arguments.json { Output::json(&made, Exit::Fine) } else { Output::fine(show::key(&person.name, &made)) })
}

fn revoke(server: &Config, arguments: &RevokeArguments) -> Result<Output, Failure> {
    let person = find(server, &arguments.user)?;
    let now = super::accounts::now();
    let wanted = arguments.credential.as_deref();
    let fits = |key: &&Key| {
        key.works(now)
            && wanted.is_none_or(|wanted| {
                key.id == wanted || key.hint.trim_start_matches('…') == wanted.trim_start_matches('…')
            })
    };
    let keys: Vec<&Key> = person.credentials.iter().filter(fits).collect();
    if keys.is_empty() || (wanted.is_some() && keys.len() > 1) {
        let which = wanted.unwrap_or("that works");
        let what = if keys.is_empty() { "has no credential" } else { "has several credentials" };
        let mend = "See: codex-pool users list";
        return Err(Problem::new(format!("{} {what} {which}", person.name), "", mend).into());
    }
    for key in &keys {
        let path = format!("{}/credentials/{}", path(&person), key.id);
        client::ask::<Value>(server, Method::DELETE, &path, PATIENCE)?;
    }
    let ids: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
    if arguments.json {
        return Ok(Output::json(&serde_json::json!({ "revoked": ids }), Exit::Fine));
    }
    Ok(Output::fine(format!("Revoked {} of {}; what runs on it ends now\n", ids.join(", "), person.name)))
}

fn remove(server: &Config, whom: &Whom) -> Result<Output, Failure> {
    let person = find(server, &whom.user)?;
    let removed: Value = client::ask(server, Method::DELETE, &path(&person), PATIENCE)?;
    let text = || format!("Removed {} ({}); what they used stays on record\n", person.name, person.id);
    Ok(if whom.json { Output::json(&removed, Exit::Fine) } else { Output::fine(text()) })
}

fn sign_in(server: &Config, json: bool) -> Result<Output, Failure> {
    let made: Value = client::ask(server, Method::POST, "/api/sign-in", PATIENCE)?;
    let link = format!("{}{}", address(server), made["path"].as_str().unwrap_or_default());
    if json {
        return Ok(Output::json(&serde_json::json!({ "link": link }), Exit::Fine));
    }
    Ok(Output::fine(format!("Opens the pool's pages as its operator, once, within 15 minutes:\n{link}\n")))
}

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn fetch(server: &Config) -> Result<Roster, Failure> {
    client::ask(server, Method::GET, "/api/people", PATIENCE)
}

/// By name, without regard to case, or id.
pub(super) fn find(server: &Config, wanted: &str) -> Result<Person, Failure> {
    let fits = |person: &Person| person.id == wanted || person.name.to_lowercase() == wanted.to_lowercase();
    let found = fetch(server)?.people.into_iter().find(fits);
    found.ok_or_else(|| Problem::new(format!("nobody is called {wanted:?}"), "", "See: codex-pool users list").into())
}

pub(super) fn path(person: &Person) -> String {
    format!("/api/people/{}", person.id)
}

/// Where others reach the pool.
fn address(server: &Config) -> String {
    server.public_url.clone().unwrap_or_else(|| format!("http://{}", client::reachable(server.listen)))
}
