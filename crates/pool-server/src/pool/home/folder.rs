//! The pool folder of one process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use pool_core::{Credentials, ProviderId, Secret};
use pool_providers::Registry;

use super::spent::{self, Spent};
use super::{Change, Claim, Home, NoRight, Replaced, Right, Unread};
use crate::pool::files::{
    EditLock, PoolFile, WriteError, check_private, edit, make_private, probe_write, read_secret, scan,
};

/// How secrets get to disk. A parameter, so that tests can let it fail.
pub type Writer = Box<dyn Fn(&Path, &[u8]) -> Result<(), WriteError> + Send + Sync>;

/// See the module's page.
pub struct Folder {
    dir: PathBuf,
    registry: Arc<Registry>,
    write: Writer,
    spent: Mutex<Spent>,
}

impl Folder {
    pub fn new(dir: PathBuf, registry: Arc<Registry>, write: Writer) -> Self {
        let spent = Mutex::new(Spent::load(&dir));
        Self { dir, registry, write, spent }
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Home for Folder {
    fn list(&self) -> io::Result<Vec<PoolFile>> {
        scan(&self.dir, &self.registry)
    }

    fn read(&self, file: &PoolFile) -> Result<Vec<u8>, Unread> {
        read_secret(&file.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unread::Missing,
            _ => Unread::Because(format!(
                "it cannot be read: {error}; make it a file that the user of codex-pool may read"
            )),
        })
    }

    fn close_to_others(&self, file: &PoolFile) -> Result<(), String> {
        if file.linked || check_private(&file.path).unwrap_or(true) {
            return Ok(());
        }
        let changed = make_private(&file.path).map_err(|error| {
            format!("others can read it, and its mode could not be changed: {error}; run chmod 600 on it")
        })?;
        if changed {
            tracing::warn!(file = file.rel, "others could read this file; its mode is 0600 now");
        }
        Ok(())
    }

    fn probe_write(&self, file: &PoolFile) -> Result<(), String> {
        probe_write(&file.path).map_err(|error| error.to_string())
    }

    /// That nobody can lock is no reason to lose a token.
    fn lock_edits(&self) -> Option<EditLock> {
        EditLock::acquire(&self.dir).ok()
    }

    /// The lock keeps others away between the reading and this.
    fn replace(&self, file: &PoolFile, _old: &Secret, new: &[u8], spent: &[String]) -> Result<Replaced, String> {
        (self.write)(&file.path, new).map_err(|error| error.to_string())?;
        self.spend(spent);
        Ok(Replaced::Written)
    }

    fn edit(&self, file: &str, change: Change<'_>) -> Result<(), String> {
        edit(&self.dir, &self.dir.join(file), change).map_err(|error| error.to_string())
    }

    fn spend(&self, spent: &[String]) {
        let mut known = self.spent.lock();
        for hash in spent {
            known.add(&self.dir, hash);
        }
    }

    fn is_spent(&self, provider: ProviderId, credentials: &Credentials) -> bool {
        spent::hash(provider, credentials).is_some_and(|hash| self.spent.lock().holds(&hash))
    }

    /// The folder has one owner: there is nobody to ask.
    fn claim<'a>(&'a self, _file: &'a str) -> BoxFuture<'a, Result<Right, NoRight>> {
        Box::pin(ready(Ok(Right::Ours(Claim::alone()))))
    }
}
