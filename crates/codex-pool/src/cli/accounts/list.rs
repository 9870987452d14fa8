//! `accounts list` and `accounts show`: what the files say, and what the running server knows of them.

use std::fmt::Write as _;

use pool_core::{Account, UnixMs};
use pool_providers::Registry;
use pool_server::status::{AccountStatus, State, StatusPage, render};
use serde_json::{Value, json};

use super::folder::{self, Entry};
use super::{select, wishes};
use crate::cli::{Output, status, terminal};
use crate::config::Inputs;
use crate::problem::{Exit, Failure};

pub(super) fn list(
    inputs: &Inputs,
    server: &pool_server::Config,
    registry: &Registry,
    json: bool,
) -> Result<Output, Failure> {
    let entries = folder::read(&server.pool_dir, registry)?;
    let live = status::fetch(server).ok();
    let faulty = entries.iter().any(|entry| entry.account.is_err());
    let exit = if faulty { Exit::Problem } else { Exit::Fine };
    if json {
        let list: Vec<Value> = entries.iter().map(|entry| as_json(entry, live.as_ref())).collect();
        return Ok(Output::json(&list, exit));
    }
    if entries.is_empty() {
        return Ok(Output::fine(format!("{}\n", folder::no_accounts(&server.pool_dir))));
    }
    Ok(Output { text: table(&entries, live.as_ref(), terminal::look(inputs).width), exit })
}

pub(super) fn show(
    inputs: &Inputs,
    server: &pool_server::Config,
    registry: &Registry,
    wanted: &str,
    json: bool,
) -> Result<Output, Failure> {
    let entries = folder::read(&server.pool_dir, registry)?;
    let entry = select::entry(&entries, wanted)?;
    let page = status::fetch(server).ok();
    if json {
        return Ok(Output::json(&as_json(entry, page.as_ref()), Exit::Fine));
    }
    let (_, account) = select::account(&entries, wanted)?;
    let live = page.as_ref().and_then(|page| state_of(page, account));
    let mut text = details(account, live, registry);
    match (&page, live) {
        (Some(page), Some(live)) => {
            let one = StatusPage {
                accounts: vec![live.clone()],
                files_with_faults: vec![],
                requests_in_flight: live.in_flight,
                ..page.clone()
            };
            let drawn = render(&one, &terminal::look(inputs), UnixMs(page.now_ms));
            let from = drawn.find("ACCOUNT").unwrap_or(0);
            text.push('\n');
            text += &drawn[from..];
        }
        (Some(_), None) => text += "\nThe running server does not have it: is its pool folder another one?\n",
        (None, _) => text += "\nThe server is not running: what is left is not known.\n",
    }
    Ok(Output::fine(text))
}

fn state_of<'a>(page: &'a StatusPage, account: &Account) -> Option<&'a AccountStatus> {
    page.accounts.iter().find(|live| live.id == *account.id.0)
}

fn details(account: &Account, live: Option<&AccountStatus>, registry: &Registry) -> String {
    let unknown = || "not known".to_owned();
    let mut out = String::new();
    let rows = [
        ("name", account.name.clone()),
        ("id", account.id.to_string()),
        ("account", folder::describe(account, registry)),
        ("plan", account.plan.clone().unwrap_or_else(unknown)),
        ("file", account.file.clone()),
        ("priority", account.settings.priority.to_string()),
        (
            "share",
            account
                .settings
                .share
                .map_or_else(|| "as the pool".into(), |share| if share { "yes" } else { "no" }.into()),
        ),
        ("state", word(account, live).to_owned()),
    ];
    for (key, value) in rows {
        let _ = writeln!(out, "{key:<9} {value}");
    }
    for (key, value) in wishes::told(account) {
        let _ = writeln!(out, "{key:<9} {value}");
    }
    if let Some(reason) = live.and_then(|live| live.reason.as_ref()) {
        let _ = writeln!(out, "{:<9} {reason}", "why");
    }
    out
}

fn word(account: &Account, live: Option<&AccountStatus>) -> &'static str {
    match live.map(|live| live.state) {
        _ if account.settings.disabled => "paused",
        None => "not known",
        Some(State::Ready) => "ready",
        Some(State::Cooling) => "cooling",
        Some(State::NeedsLogin) => "sign in",
        Some(State::Paused) => "paused",
        Some(State::Checking) => "checking",
    }
}

/// The column that is left out where no account has one.
const OWNER: usize = 4;

fn table(entries: &[Entry], live: Option<&StatusPage>, width: usize) -> String {
    let head = ["NAME", "PROVIDER", "KIND", "STATE", "OWNER", "FILE"].map(str::to_owned);
    let mut rows = vec![head];
    let mut faults = String::new();
    for entry in entries {
        match &entry.account {
            Ok(found) => {
                let account = &found.account;
                let state = word(account, live.and_then(|page| state_of(page, account)));
                let kind = folder::kind(account.kind).to_owned();
                let provider = account.provider.to_string();
                let owner = account.settings.owner.clone().unwrap_or_default();
                rows.push([account.name.clone(), provider, kind, state.to_owned(), owner, account.file.clone()]);
            }
            Err(fault) => {
                let _ = writeln!(faults, "{} is left out: {fault}", entry.file.rel);
            }
        }
    }
    let owned = rows.iter().skip(1).any(|row| !row[OWNER].is_empty());
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths[0] = widths[0].min(24);
    let mut out = String::new();
    for row in &rows {
        let columns = row.iter().zip(widths).enumerate().filter(|(column, _)| owned || *column != OWNER);
        let cells = columns.map(|(_, (cell, width))| format!("{cell:<width$.width$}"));
        let line: String = cells.collect::<Vec<_>>().join("  ").chars().take(width).collect();
        out += line.trim_end();
        out.push('\n');
    }
    for text in
        [faults.as_str(), if live.is_none() { "The server is not running: states are not known.\n" } else { "" }]
    {
        if !text.is_empty() {
            out = format!("{out}\n{text}");
        }
    }
    out
}

fn as_json(entry: &Entry, live: Option<&StatusPage>) -> Value {
    match &entry.account {
        Ok(found) => json!({
            "account": found.account,
            "warning": found.warning,
            "live": live.and_then(|page| state_of(page, &found.account)),
        }),
        Err(fault) => json!({ "file": entry.file.rel, "fault": fault }),
    }
}
