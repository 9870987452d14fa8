//! `codex-pool vault …`: the key of the vault that several replicas share, and how the vault is doing.

pub(super) mod checkout;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use pool_server::Config;
use pool_store::{KeyError, PostgresUrl, Vault, VaultError, VaultKey};
use serde_json::json;

use super::{Output, serve};
use crate::config::{self, Inputs};
use crate::problem::{Exit, Failure, Problem};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new key, for the first replica; the others get a copy
    Init {
        /// The key file to make; it must not exist yet
        #[arg(default_value = "vault.key")]
        file: PathBuf,
    },
    /// Show which key seals the vault, what is in it, and whether this key opens it
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Seal everything with another key, which is made if its file is not there
    Rekey {
        /// File of the new key
        file: PathBuf,
    },
}

pub(super) fn run(inputs: &Inputs, command: &Command) -> Result<Output, Failure> {
    match command {
        Command::Init { file } => init(file),
        Command::Status { json } => status(&config::load_for_client(inputs)?.server, *json),
        Command::Rekey { file } => rekey(&config::load_for_client(inputs)?.server, file),
    }
}

fn init(file: &Path) -> Result<Output, Failure> {
    let key = make(file)?;
    let shown = file.display();
    Ok(Output::fine(format!(
        "A new vault key, {}, is in {shown}, for you alone.\n\
         Copy it to every replica (scp -p {shown} replica:), and to a safe place: without it nothing in the vault can be read.\n\
         Then set on each: vault_key_file = \"{shown}\" and database_url.\n",
        key.id()
    )))
}

fn make(file: &Path) -> Result<VaultKey, Failure> {
    let key = VaultKey::make().map_err(|error| no_key(&error))?;
    key.write_new(file).map_err(|error| no_key(&error))?;
    Ok(key)
}

fn status(server: &Config, json: bool) -> Result<Output, Failure> {
    let (url, key) = place(server)?;
    let status = serve::runtime()?.block_on(Vault::status(&url, &key)).map_err(|error| failed(&error))?;
    let opens = status.key_id.as_deref().is_none_or(|id| id == key.id());
    let exit = if opens && status.unsealable.is_empty() { Exit::Fine } else { Exit::Problem };
    if json {
        let value = json!({
            "database": url.to_string(),
            "vault_key": status.key_id,
            "this_key": key.id(),
            "files": status.files,
            "cannot_be_opened": status.unsealable,
            "need_a_sign_in": status.refused,
            "being_renewed": status.claimed,
        });
        return Ok(Output::json(&value, exit));
    }
    let mut text = format!("{url}\n");
    let line = match status.key_id {
        None => "empty: the first replica that starts seals it with this key".to_owned(),
        Some(id) if opens => format!("sealed with the key {id}, which is this replica's"),
        Some(id) => format!("sealed with the key {id}; this replica has {}: copy the right one here", key.id()),
    };
    let _ = writeln!(text, "  {line}");
    let _ = writeln!(text, "  {} files, {} of them being renewed now", status.files, status.claimed);
    for (names, what) in
        [(status.unsealable, "this key does not open"), (status.refused, "a person must sign in again for")]
    {
        if !names.is_empty() {
            let _ = writeln!(text, "  {what}: {}", names.join(", "));
        }
    }
    Ok(Output { text, exit })
}

fn rekey(server: &Config, file: &Path) -> Result<Output, Failure> {
    let (url, key) = place(server)?;
    let new = if file.exists() { VaultKey::read(file).map_err(|error| no_key(&error))? } else { make(file)? };
    let sealed = serve::runtime()?.block_on(async {
        let vault = Vault::connect(&url, key, "a command").await?;
        vault.rekey(&new).await
    });
    let files = sealed.map_err(|error| failed(&error))?;
    let shown = file.display();
    Ok(Output::fine(format!(
        "{files} files are sealed with the key {} now, which is in {shown}.\n\
         Until it has that key a replica that runs serves on and renews nothing: copy {shown} to each, set vault_key_file, restart one \
         after the other.\n",
        new.id()
    )))
}

/// Where the vault is, and this replica's key to it.
fn place(server: &Config) -> Result<(PostgresUrl, VaultKey), Failure> {
    match (&server.database_url, &server.vault_key) {
        (Some(url), Some(key)) => Ok((url.clone(), key.clone())),
        _ => Err(Failure::wrong_use(Problem::new(
            "there is no vault",
            "it needs database_url and vault_key_file",
            "See docs/REPLICAS.md. The key: codex-pool vault init",
        ))),
    }
}

fn no_key(error: &KeyError) -> Failure {
    Problem::new("there is no key", error.to_string(), "").into()
}

fn failed(error: &VaultError) -> Failure {
    Problem::new("the vault cannot be used", error.to_string(), "").into()
}
