//! `accounts pause|resume|remove`: changes to a file that is there.

use std::path::Path;

use pool_core::UnixMs;
use pool_providers::Registry;
use pool_server::pool::files::{self, keys};

use super::{folder, select};
use crate::cli::Output;
use crate::problem::{Failure, Problem};

/// Sets `disabled` in the account's file and changes nothing else.
pub(super) fn set_disabled(dir: &Path, registry: &Registry, wanted: &str, disabled: bool) -> Result<Output, Failure> {
    let entries = folder::read(dir, registry)?;
    let (entry, account) = select::account(&entries, wanted)?;
    let (done, word) = if disabled { ("is paused", "already paused") } else { ("serves again", "not paused") };
    if account.settings.disabled == disabled {
        return Ok(Output::fine(format!("{} is {word}.\n", account.name)));
    }
    let path = &entry.file.path;
    files::edit(dir, path, |text| keys::with_disabled(text, disabled).ok_or_else(|| "it is not a JSON object".into()))
        .map_err(|error| Problem::new(format!("cannot change {}", path.display()), error.to_string(), ""))?;
    let undo = if disabled { "resume" } else { "pause" };
    let name = quoted(&entry.file.rel);
    Ok(Output::fine(format!("{} {done}. Undo: codex-pool accounts {undo} {name}\n", account.name)))
}

/// Moves the account's file into the archive.
pub(super) fn remove(dir: &Path, registry: &Registry, wanted: &str, now: UnixMs) -> Result<Output, Failure> {
    let entries = folder::read(dir, registry)?;
    let entry = select::entry(&entries, wanted)?;
    let rel = &entry.file.rel;
    let archived = files::archive(dir, rel, now).map_err(|error| {
        Problem::new(format!("cannot archive {rel}"), error.to_string(), "Make the pool folder writable for this user")
    })?;
    let name = entry.account.as_ref().map_or(rel.as_str(), |found| found.account.name.as_str());
    let (from, to) = (quoted(&archived.display().to_string()), quoted(&entry.file.path.display().to_string()));
    Ok(Output::fine(format!("{name} is removed; its file is archived. Undo: mv {from} {to}\n")))
}

/// A word for the shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
