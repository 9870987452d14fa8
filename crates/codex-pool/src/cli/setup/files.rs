//! The client's files: what each becomes, written whole or not at all, and what is kept to bring the old one back.
//!
//! In the record's folder, for each file: `at.NAME` its path, `before.NAME` what it was (absent: there was none), `after.NAME` what it
//! was made. What stood there first is kept, however often a client is set up.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pool_providers::setup::{self, SetUp};

use super::Places;
use crate::problem::{Failure, Problem};

/// A client's settings are far below this.
const MOST_BYTES: u64 = 16 << 20;

/// A file, and what it is to become.
#[derive(Debug)]
pub(super) struct Plan {
    name: &'static str,
    /// Behind its links.
    pub(super) file: PathBuf,
    pub(super) now: String,
    pub(super) new: String,
}

impl Plan {
    pub(super) fn changes(&self) -> bool {
        self.now != self.new
    }

    /// What all files of a client become; nothing is written.
    pub(super) fn of_all(set_up: &SetUp, places: &Places, url: &str, key: &str) -> Result<Vec<Self>, Failure> {
        set_up.files.iter().map(|file| Self::of(file, places, url, key)).collect()
    }

    fn of(file: &setup::File, places: &Places, url: &str, key: &str) -> Result<Self, Failure> {
        let path = behind(&places.folder.join(file.path))?;
        let kept = fs::read(places.state.join(format!("at.{}", file.path))).ok();
        if let Some(kept) = kept.filter(|kept| kept != path.as_os_str().as_bytes()) {
            let why = format!("It was set up before in {}", String::from_utf8_lossy(&kept));
            return Err(untouched(&path, &why, "Undo that first: codex-pool setup CLIENT --undo"));
        }
        let now = read(&path)?;
        let new = setup::edit(file, &now, url, key).map_err(|error| {
            untouched(&path, &error.to_string(), "Mend that, or write the settings by hand (README.md)")
        })?;
        check(&path, &new, url)?;
        Ok(Self { name: file.path, file: path, now, new })
    }
}

/// The edit was made line by line; whoever reads the file reads it as a whole.
fn check(path: &Path, new: &str, url: &str) -> Result<(), Failure> {
    if path.extension().is_none_or(|end| end != "toml") {
        return Ok(());
    }
    match toml::from_str::<toml::Table>(new) {
        Ok(table) if table.to_string().contains(url) => Ok(()),
        Ok(_) => Err(untouched(path, "the edit would have no effect", "Write the settings by hand (README.md)")),
        Err(error) => Err(untouched(path, error.message(), "It does not seem to be sound TOML: mend it first")),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(untouched(path, &error.to_string(), "")),
    };
    if !about.is_file() || about.len() > MOST_BYTES {
        return Err(untouched(path, "It is not a file of settings", ""));
    }
    // Root could write it all the same, but somebody meant it.
    if about.permissions().mode() & 0o200 == 0 {
        return Err(untouched(path, "It is read-only", "Make it writable first"));
    }
    let bytes = fs::read(path).map_err(|error| untouched(path, &error.to_string(), ""))?;
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(untouched(path, "It is not a text", "")),
    }
}

/// The file that a link leads to: the link stays.
fn behind(path: &Path) -> Result<PathBuf, Failure> {
    let mut at = path.to_owned();
    for _ in 0..20 {
        match fs::read_link(&at) {
            Ok(to) => at = at.parent().unwrap_or(Path::new("/")).join(to),
            Err(_) if at == path || at.exists() => return Ok(at),
            Err(_) => break,
        }
    }
    Err(untouched(path, "It is a link that leads nowhere", "Take the link away, or make its file"))
}

/// Writes them all; if one cannot be, those before are as they were.
pub(super) fn write_all(plans: &[&Plan], state: &Path) -> Result<(), Failure> {
    for plan in plans {
        if let Err(error) = write(plan, state) {
            let undone = undo(state);
            let mend = if undone.is_ok() { "" } else { "Bring it back with: codex-pool setup CLIENT --undo" };
            return Err(untouched(&plan.file, &format!("It could not be written: {error}"), mend));
        }
    }
    Ok(())
}

fn write(plan: &Plan, state: &Path) -> io::Result<()> {
    make_folder(state)?;
    let record = state.join(format!("at.{}", plan.name));
    if !record.exists() {
        if plan.file.exists() {
            copy_with_mode(&plan.file, &state.join(format!("before.{}", plan.name)))?;
        }
        put(&record, plan.file.as_os_str().as_bytes(), 0o600)?;
    }
    put(&state.join(format!("after.{}", plan.name)), plan.new.as_bytes(), 0o600)?;
    if let Some(folder) = plan.file.parent() {
        make_folder(folder)?;
    }
    put(&plan.file, plan.new.as_bytes(), 0o600)
}

/// Brings everything back that the record names, and tells what was done.
pub(super) fn undo(state: &Path) -> Result<String, Failure> {
    let mut told = String::new();
    for record in records(state) {
        let name = record.file_name().unwrap_or_default().as_bytes();
        let name = String::from_utf8_lossy(name.strip_prefix(b"at.").unwrap_or(name)).into_owned();
        let file = fs::read(&record).map_err(|error| untouched(&record, &error.to_string(), ""))?;
        let file = PathBuf::from(std::ffi::OsString::from_vec(file));
        let done = bring_back(state, &name, &file).and_then(|kept| fs::remove_file(&record).map(|()| kept));
        let kept = done.map_err(|error| untouched(&file, &format!("It could not be restored: {error}"), ""))?;
        if let Some(kept) = kept {
            let _ = writeln!(told, "You changed {} since: that version is now {}", file.display(), kept.display());
        }
        let _ = writeln!(told, "Restored {}", file.display());
    }
    let _ = fs::remove_file(state.join("undo.sh"));
    // What holds nothing any more goes, too.
    for folder in state.ancestors().take(3) {
        let _ = fs::remove_dir(folder);
    }
    Ok(if told.is_empty() { "There is nothing to undo.\n".to_owned() } else { told })
}

/// Where a version that was changed since is kept.
fn bring_back(state: &Path, name: &str, file: &Path) -> io::Result<Option<PathBuf>> {
    let (before, after) = (state.join(format!("before.{name}")), state.join(format!("after.{name}")));
    let now = if file.exists() { Some(fs::read(file)?) } else { None };
    let is = |path: &Path| fs::read(path).is_ok_and(|bytes| now.as_ref() == Some(&bytes));
    let changed = now.is_some() && !is(&after) && !is(&before);
    let mut kept = file.as_os_str().to_owned();
    kept.push(".with-codex-pool");
    if changed {
        copy_with_mode(file, Path::new(&kept))?;
    }
    if before.exists() {
        // What was not reached stays the very file that it was.
        if !is(&before) {
            copy_with_mode(&before, file)?;
        }
        fs::remove_file(&before)?;
    } else if file.exists() {
        fs::remove_file(file)?;
    }
    if after.exists() {
        fs::remove_file(&after)?;
    }
    Ok(changed.then(|| kept.into()))
}

fn records(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_record = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"at."));
    let mut records: Vec<PathBuf> = entries.filter(is_record).collect();
    records.sort();
    records
}

fn copy_with_mode(from: &Path, to: &Path) -> io::Result<()> {
    let mode = fs::metadata(from)?.permissions().mode() & 0o7777;
    put(to, &fs::read(from)?, mode)
}

/// The whole file, or the one that was there.
fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".codex-pool");
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn untouched(path: &Path, why: &str, mend: &str) -> Failure {
    Problem::new(format!("{} was not changed", path.display()), why, mend).into()
}
