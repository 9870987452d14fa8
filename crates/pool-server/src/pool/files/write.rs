//! Writing secrets: whole or not at all, and never readable by others.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use pool_core::UnixMs;
use tempfile::NamedTempFile;

use super::check_name;

/// The steps of a write, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncFolder,
}

impl Step {
    fn told(self) -> &'static str {
        match self {
            Self::Create => "create a temporary file beside",
            Self::Write => "write the new content of",
            Self::Sync => "bring to disk the new content of",
            Self::Rename => "put into place",
            Self::SyncFolder => "bring to disk the folder of",
        }
    }
}

/// A write that failed. Until [`Step::SyncFolder`] the old file is as it was.
#[derive(Debug, thiserror::Error)]
#[error("could not {} {}: {source}; {}", .step.told(), .path.display(), mend(.source))]
pub struct WriteError {
    pub step: Step,
    pub path: PathBuf,
    pub source: io::Error,
}

fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room on that disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let the user that runs codex-pool write to that folder"
        }
        io::ErrorKind::NotFound => "the folder is gone: make it again",
        io::ErrorKind::AlreadyExists => "choose another name",
        _ => "look at that disk",
    }
}

const TEMP_PREFIX: &str = ".codex-pool-";
const TEMP_SUFFIX: &str = ".tmp";

/// Replaces the file at `path` by one with this content, mode 0600: a temporary file beside it, synced, renamed over it, and
/// the folder synced. Whoever reads `path` meanwhile finds the old content or the new one.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_secret_with(path, bytes, &|_| Ok(()))
}

/// The same, asking `before` ahead of each step: tests let it fail there.
pub fn write_secret_with(path: &Path, bytes: &[u8], before: &dyn Fn(Step) -> io::Result<()>) -> Result<(), WriteError> {
    write(path, bytes, true, before)
}

/// The same for a file that must not exist yet.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write(path, bytes, false, &|_| Ok(()))
}

fn write(path: &Path, bytes: &[u8], replace: bool, before: &dyn Fn(Step) -> io::Result<()>) -> Result<(), WriteError> {
    let failed = |step| move |source| WriteError { step, path: path.to_owned(), source };
    let mut temp = before(Step::Create).and_then(|()| make_temp(path)).map_err(failed(Step::Create))?;
    before(Step::Write).and_then(|()| temp.write_all(bytes)).map_err(failed(Step::Write))?;
    before(Step::Sync).and_then(|()| temp.as_file().sync_all()).map_err(failed(Step::Sync))?;
    before(Step::Rename)
        .and_then(|()| {
            let placed = if replace { temp.persist(path) } else { temp.persist_noclobber(path) };
            placed.map(drop).map_err(|failure| failure.error)
        })
        .map_err(failed(Step::Rename))?;
    before(Step::SyncFolder).and_then(|()| sync_folder(folder_of(path))).map_err(failed(Step::SyncFolder))
}

/// Could `path` be written now? Makes and drops a file of some size beside it.
pub fn probe_write(path: &Path) -> Result<(), WriteError> {
    const SIZE: usize = 16 << 10;
    let failed = |step| move |source| WriteError { step, path: path.to_owned(), source };
    let mut temp = make_temp(path).map_err(failed(Step::Create))?;
    temp.write_all(&[0; SIZE]).map_err(failed(Step::Write))
}

fn make_temp(path: &Path) -> io::Result<NamedTempFile> {
    refuse_link(path)?;
    let private = Permissions::from_mode(0o600);
    let temp = tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .suffix(TEMP_SUFFIX)
        .permissions(private.clone())
        .tempfile_in(folder_of(path))?;
    // The umask may have taken the owner's rights away.
    temp.as_file().set_permissions(private)?;
    Ok(temp)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A rename would put a file in the link's place and leave its target, with the now useless token, behind.
fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link, and links are never written"))
        }
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the folder, and those above it, for this user alone; an existing one is closed to others.
pub fn ensure_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let about = fs::metadata(path)?;
    if about.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Moves an account's file (`rel` below the pool folder) into `.archive/` and tells where it is now. Nothing is unlinked.
///
/// # Errors
/// What the system says; also if `rel` is not one or two plain names.
pub fn archive(pool_dir: &Path, rel: &str, now: UnixMs) -> io::Result<PathBuf> {
    let parts: Vec<_> = Path::new(rel).components().collect();
    let plain = |part: &Component<'_>| matches!(part, Component::Normal(name) if name.to_str().is_some_and(|name| check_name(name).is_ok()));
    if !(1..=2).contains(&parts.len()) || !parts.iter().all(plain) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of an account file"));
    }
    let from = pool_dir.join(rel);
    let folder = pool_dir.join(".archive");
    ensure_private_dir(&folder)?;
    let stem = format!("{}-{}", now.0, rel.replace('/', "-"));
    let taken = |to: &PathBuf| fs::symlink_metadata(to).is_ok();
    let numbered = (2..).map(|number| folder.join(format!("{stem}.{number}")));
    let to = std::iter::once(folder.join(&stem)).chain(numbered).find(|to| !taken(to)).unwrap_or_default();
    fs::rename(&from, &to)?;
    sync_folder(&folder)?;
    sync_folder(from.parent().unwrap_or(pool_dir))?;
    Ok(to)
}

/// Removes what writes that were killed have left behind. Young ones may be another command's write under way.
pub fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(about) = entry.metadata() else { continue };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if about.is_dir() && !name.starts_with('.') {
            sweep(&entry.path())?;
        } else if about.is_file() && name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX) && is_old(&about) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_old(about: &fs::Metadata) -> bool {
    let written = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    written.elapsed().is_ok_and(|age| age > Duration::from_mins(1))
}
