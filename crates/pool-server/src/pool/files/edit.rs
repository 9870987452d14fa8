//! Changing an account's file: what is read is what is replaced.

use std::io;
use std::path::{Path, PathBuf};

use super::{EditLock, WriteError, read_secret, write_secret};

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("could not lock {} for an edit: {source}; try again in a moment", .dir.display())]
    Lock { dir: PathBuf, source: io::Error },
    #[error("could not read {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// What the change itself says. The file is as it was.
    #[error("{0}")]
    Change(String),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Replaces the content of `path`, an account's file below `pool_dir`, by what `change` makes of it. Nobody else who edits this
/// way, such as a server with a renewed token, comes between the reading and the writing. Blocks the thread, for two seconds
/// at most where somebody else is at it.
pub fn edit(
    pool_dir: &Path,
    path: &Path,
    change: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<(), EditError> {
    let _lock = EditLock::acquire(pool_dir).map_err(|source| EditError::Lock { dir: pool_dir.to_owned(), source })?;
    let old = read_secret(path).map_err(|source| EditError::Read { path: path.to_owned(), source })?;
    let new = change(&old).map_err(EditError::Change)?;
    Ok(write_secret(path, &new)?)
}
