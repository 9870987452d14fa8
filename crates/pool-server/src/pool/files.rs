//! The pool folder: which files are accounts, how they are read, and how they are written without ever losing one.
//!
//! Two layouts live side by side: `<provider>/<name>.json`, and flat, where `<provider>_<name>.json` names its provider and any
//! other `<name>.json` belongs to the registry's default provider.

mod edit;
pub mod keys;
mod lock;
mod write;

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pool_core::ProviderId;
use pool_providers::Registry;

pub use edit::{EditError, edit};
pub use lock::{EditLock, LockError, PoolLock};
pub use write::{
    Step, WriteError, archive, ensure_private_dir, probe_write, sweep, write_new, write_secret, write_secret_with,
};

/// A credential file is a few kilobytes; what is larger is something else.
pub const FILE_CAP: u64 = 1 << 20;

/// A file that is, or wants to be, an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFile {
    pub path: PathBuf,
    /// Below the pool folder, with `/`, as `claude/work.json`. Printable: odd characters are escaped.
    pub rel: String,
    /// `None`: the folder has no provider's name (then there is a fault).
    pub provider: Option<ProviderId>,
    /// It is a link: read, but never written. Its target has an owner already, and one credential must not have two.
    pub linked: bool,
    /// It cannot be an account: why, and what to do.
    pub fault: Option<String>,
}

/// Every account file below `dir`, by path. Editors' leftovers, hidden files, other endings and deeper folders are passed over;
/// a `.json` that cannot be an account comes with its fault.
pub fn scan(dir: &Path, registry: &Registry) -> io::Result<Vec<PoolFile>> {
    let root = fs::canonicalize(dir)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_leftover(&name) {
            continue;
        }
        match entry.file_type() {
            // A link to a folder is not followed: it could lead anywhere.
            Ok(kind) if kind.is_dir() => scan_folder(&entry.path(), &root, &name, registry, &mut found)?,
            Ok(_) => {
                let owner = flat_owner(&name, registry);
                found.extend(consider(&entry, &root, &name, owner, "no provider is set for files outside a folder"));
            }
            // Gone since it was listed.
            Err(_) => {}
        }
    }
    found.sort_by(|a, b| a.rel.cmp(&b.rel));
    Ok(found)
}

fn scan_folder(
    dir: &Path,
    root: &Path,
    folder: &str,
    registry: &Registry,
    found: &mut Vec<PoolFile>,
) -> io::Result<()> {
    let provider = registry.named(folder).map(pool_providers::Provider::id);
    let known = registry.iter().map(|provider| provider.id().0).collect::<Vec<_>>().join(", ");
    let unknown = format!("its folder names no provider; move it into one of: {known}");
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if provider.is_some() && error.kind() != io::ErrorKind::NotFound => {
            // Not an empty folder: its accounts must not count as removed.
            return Err(io::Error::new(error.kind(), format!("{}: {error}", dir.display())));
        }
        Err(_) => return Ok(()),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_leftover(&name) {
            found.extend(consider(&entry, root, &format!("{folder}/{name}"), provider, &unknown));
        }
    }
    Ok(())
}

/// The file of this name in the vault: a place like one below a pool folder, of which only the name counts.
pub fn of_name(rel: &str, registry: &Registry) -> PoolFile {
    let provider = match rel.split_once('/') {
        Some((folder, _)) => registry.named(folder).map(pool_providers::Provider::id),
        None => flat_owner(rel, registry),
    };
    let fault = provider.is_none().then(|| "its name names no provider of this version".to_owned());
    PoolFile { path: rel.into(), rel: rel.to_owned(), provider, linked: false, fault }
}

/// What editors, our own writes and version control leave lying about for a moment.
fn is_leftover(name: &str) -> bool {
    let ends = |ending: &str| name.ends_with(ending);
    name.starts_with('.')
        || name.starts_with('#')
        || name == "4913"
        || ["~", ".tmp", ".swp", ".bak"].into_iter().any(ends)
}

/// `<id>_…` names its provider; everything else is the default's.
fn flat_owner(name: &str, registry: &Registry) -> Option<ProviderId> {
    let prefix = name.split_once('_').map(|(prefix, _)| prefix);
    let owner = prefix.and_then(|prefix| registry.named(prefix)).or_else(|| registry.flat_default());
    owner.map(pool_providers::Provider::id)
}

fn consider(
    entry: &DirEntry,
    root: &Path,
    rel: &str,
    provider: Option<ProviderId>,
    no_provider: &str,
) -> Option<PoolFile> {
    let path = entry.path();
    if path.extension()? != "json" {
        return None;
    }
    let kind = entry.file_type().ok()?;
    let linked = kind.is_symlink();
    if linked && fs::metadata(&path).is_ok_and(|target| target.is_dir()) || !linked && !kind.is_file() {
        return None;
    }
    let fault = linked.then(|| link_fault(&path, root)).flatten();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let fault = fault.or_else(|| check_name(name).err()).or_else(|| provider.is_none().then(|| no_provider.to_owned()));
    Some(PoolFile { rel: rel.escape_debug().to_string(), path, provider, linked, fault })
}

/// A link is fine while it stays within the pool folder (that is how Kubernetes mounts secrets).
fn link_fault(path: &Path, root: &Path) -> Option<String> {
    let fault = match fs::canonicalize(path) {
        Ok(target) if target.starts_with(root) => return None,
        Ok(_) => {
            "it is a link that leads out of the pool folder; copy the file here instead, and let only one program renew it"
        }
        Err(_) => "it is a link that leads nowhere; remove it or mend its target",
    };
    Some(fault.to_owned())
}

/// Is this a file name that an account may have? Names end up in paths, logs and pages.
pub fn check_name(name: &str) -> Result<(), String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(safe) {
        return Ok(());
    }
    Err("its name is not usable; rename it with letters, digits, `.`, `_` and `-` only, 64 at most".to_owned())
}

/// Reads a credential file.
///
/// # Errors
/// What the system says; also if it is not a regular file (a pipe would hang us) or larger than [`FILE_CAP`].
pub fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(nonblock as i32).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if about.len() > FILE_CAP {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than a credential file can be"));
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    file.take(FILE_CAP).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Is the file's mode 0600 or narrower?
pub fn check_private(path: &Path) -> io::Result<bool> {
    Ok(is_private(&fs::metadata(path)?))
}

/// Makes a file that gives anybody more than mode 0600 one of mode 0600. `true`: that was needed.
pub fn make_private(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    if is_private(&file.metadata()?) {
        return Ok(false);
    }
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(true)
}

fn is_private(about: &fs::Metadata) -> bool {
    let wider = about.mode() & 0o7777 & !0o600;
    wider == 0
}
