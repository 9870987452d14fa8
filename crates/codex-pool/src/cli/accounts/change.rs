//! `accounts pause|resume|remove`: changes to a file that is there.

use std::path::Path;

use pool_core::UnixMs;
use pool_providers::Registry;
use pool_server::pool::files;

use super::{folder, keys, select};
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
    edit(&entry.file.path, |text| keys::with_disabled(text, disabled))?;
    let undo = if disabled { "resume" } else { "pause" };
    let name = quoted(&entry.file.rel);
    Ok(Output::fine(format!("{} {done}. Undo: codex-pool accounts {undo} {name}\n", account.name)))
}

/// Reads, edits and replaces a file. The server may renew the token in it at any moment: what was written between our reading
/// and our writing is read again, never overwritten.
fn edit(path: &Path, change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<(), Problem> {
    const TRIES: usize = 10;
    let failed = |why: String| Problem::new(format!("cannot change {}", path.display()), why, "");
    let read = || files::read_secret(path).map_err(|error| failed(error.to_string()));
    for _ in 0..TRIES {
        let before = read()?;
        let after = change(&before).ok_or_else(|| failed("it is not a JSON object".into()))?;
        let unchanged = |step| match step {
            files::Step::Rename if files::read_secret(path)? != before => {
                Err(std::io::Error::new(std::io::ErrorKind::Interrupted, "changed meanwhile"))
            }
            _ => Ok(()),
        };
        match files::write_secret_with(path, &after, &unchanged) {
            Ok(()) => return Ok(()),
            Err(error) if error.source.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Err(failed("another program keeps changing it".into()))
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
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
