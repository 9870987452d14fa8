//! One process owns a pool folder: two that renew the same single-use token lose the account.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Held as long as it lives. The kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct PoolLock {
    file: File,
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
        let mut lock = Self::take(dir, File::try_lock)?;
        let io = |source| LockError::Io { path: dir.join(".lock"), source };
        lock.file
            .set_len(0)
            .and_then(|()| lock.file.rewind())
            .and_then(|()| writeln!(lock.file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(lock)
    }

    /// Takes the folder together with others who take it so. Nobody has it for himself then.
    pub fn share(dir: &Path) -> Result<Self, LockError> {
        Self::take(dir, File::try_lock_shared)
    }

    fn take(dir: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Self, LockError> {
        let path = dir.join(".lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let file = open(&path).map_err(io)?;
        match lock(&file) {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.take(32).read_to_string(&mut text);
                Err(LockError::Taken { dir: dir.to_owned(), pid: text.trim().parse().ok() })
            }
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

/// Held by whoever reads an account file in order to write it again, be it the server with a renewed token or a command that
/// pauses the account: otherwise the later of the two would put the other's old text back. For moments only.
#[derive(Debug)]
pub struct EditLock {
    _file: File,
}

impl EditLock {
    /// Waits two seconds at most; nobody needs it longer. Blocks the thread.
    pub fn acquire(dir: &Path) -> io::Result<Self> {
        let file = open(&dir.join(".edit.lock"))?;
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// A lock file is never removed: a second process would lock a new one while the first still holds the old.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
