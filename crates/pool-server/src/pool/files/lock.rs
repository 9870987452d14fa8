//! One process owns a pool folder: two that renew the same single-use token lose the account.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Held as long as it lives. The kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct PoolLock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "{} is already in use by another codex-pool{}; stop that one, or give this one a pool folder of its own",
        .dir.display(),
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Taken { dir: PathBuf, pid: Option<u32> },
    #[error("could not lock {}: {source}; the user that runs codex-pool must be able to write there", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl PoolLock {
    /// Takes the folder for this process, or says who has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(".lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        // Never removed: a second process would lock a new file while the first still holds the old one.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.take(32).read_to_string(&mut text);
                return Err(LockError::Taken { dir: dir.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self { _file: file })
    }
}
