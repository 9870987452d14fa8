//! Commands on accounts work on the files of a folder. Where the accounts are in a vault, they get a folder for the moment, with what is
//! in the vault; what they have changed in it goes back, each file only over the version that was taken out.

use std::collections::BTreeMap;
use std::path::Path;

use pool_core::Secret;
use pool_providers::Registry;
use pool_server::Config;
use pool_server::pool::files::{self, ensure_private_dir, read_secret, write_new};
use pool_store::vault::Entry;
use pool_store::{Vault, VaultError};
use tempfile::TempDir;

use crate::cli::{Output, serve};
use crate::problem::{Failure, Problem};

/// Runs a command on the accounts, wherever they are.
pub(crate) fn with_accounts(
    server: &Config,
    registry: &Registry,
    command: impl FnOnce(&Config) -> Result<Output, Failure>,
) -> Result<Output, Failure> {
    let (Some(url), Some(key)) = (&server.database_url, &server.vault_key) else { return command(server) };
    let runtime = serve::runtime()?;
    let vault =
        runtime.block_on(Vault::connect(url, key.clone(), "a command")).map_err(|error| super::failed(&error))?;
    let entries = runtime.block_on(vault.all()).map_err(|error| super::failed(&error))?;
    // Beside the accounts' letter box, where only its owner can look; gone with the command.
    let folder = taken_out(&server.pool_dir, &entries).map_err(|error| no_folder(&server.pool_dir, &error))?;
    let done = command(&Config { pool_dir: folder.path().to_owned(), ..server.clone() });
    let back = runtime.block_on(put_back(&vault, registry, folder.path(), entries));
    keep_archive(folder.path(), &server.pool_dir).map_err(|error| no_folder(&server.pool_dir, &error))?;
    back?;
    let (from, to) = (folder.path().display().to_string(), server.pool_dir.display().to_string());
    // What it says of a file there holds for the letter box: what is put into that is in the vault within a second.
    done.map(|output| Output { text: output.text.replace(&from, &to), ..output })
}

fn taken_out(pool_dir: &Path, entries: &[Entry]) -> std::io::Result<TempDir> {
    ensure_private_dir(pool_dir)?;
    let folder = tempfile::Builder::new().prefix(".vault-").tempdir_in(pool_dir)?;
    for entry in entries {
        let Some(text) = &entry.text else { continue };
        let path = folder.path().join(&entry.name);
        ensure_private_dir(path.parent().unwrap_or(folder.path()))?;
        write_new(&path, text.expose().as_bytes()).map_err(|error| error.source)?;
    }
    Ok(folder)
}

async fn put_back(vault: &Vault, registry: &Registry, folder: &Path, entries: Vec<Entry>) -> Result<(), Failure> {
    let listed = files::scan(folder, registry).map_err(|error| no_folder(folder, &error))?;
    let mut now: BTreeMap<String, Secret> = BTreeMap::new();
    for file in listed {
        let bytes = read_secret(&file.path).map_err(|error| no_folder(&file.path, &error))?;
        now.insert(file.rel, Secret::new(String::from_utf8_lossy(&bytes)));
    }
    for entry in entries.into_iter().filter(|entry| entry.text.is_some()) {
        let written = match now.remove(&entry.name) {
            Some(text) if entry.text.as_ref() == Some(&text) => Ok(true),
            Some(text) if same_login(registry, &entry, &text) => {
                vault.edit(&entry.name, entry.version, &text).await.map(|version| version.is_some())
            }
            Some(text) => vault.replace(&entry.name, entry.version, &text, &[]).await.map(|version| version.is_some()),
            None => vault.remove(&entry.name).await,
        };
        told(&entry.name, written)?;
    }
    for (name, text) in now {
        told(&name, vault.insert(&name, &text).await)?;
    }
    Ok(())
}

/// Was only something beside the login changed? Then a renewal that is under way goes on.
fn same_login(registry: &Registry, entry: &Entry, text: &Secret) -> bool {
    let file = files::of_name(&entry.name, registry);
    let Some(provider) = file.provider.and_then(|id| registry.get(id)) else { return false };
    let login = |text: &Secret| {
        let content = provider.read_file(&entry.name, text.expose().as_bytes()).ok()?;
        Some((content.credentials.access, content.credentials.refresh))
    };
    let old = entry.text.as_ref().and_then(login);
    old.is_some() && old == login(text)
}

fn told(name: &str, written: Result<bool, VaultError>) -> Result<(), Failure> {
    match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(Problem::new(
            format!("{name} was changed in the vault at the same moment"),
            "its token was renewed, or somebody else changed it; what is there stays",
            "Run the command again",
        )
        .into()),
        Err(error) => Err(super::failed(&error)),
    }
}

/// What the command has put into the archive stays.
fn keep_archive(folder: &Path, pool_dir: &Path) -> std::io::Result<()> {
    let Ok(archived) = std::fs::read_dir(folder.join(".archive")) else { return Ok(()) };
    let archive = pool_dir.join(".archive");
    ensure_private_dir(&archive)?;
    for file in archived {
        let file = file?;
        std::fs::rename(file.path(), archive.join(file.file_name()))?;
    }
    Ok(())
}

fn no_folder(folder: &Path, error: &std::io::Error) -> Failure {
    let what = format!("cannot work in {}", folder.display());
    Problem::new(what, error.to_string(), "Make it a folder that you may write to").into()
}
