//! A file of SQLite: where it lies, who may read it, how it is opened.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Found, OpenError};

/// The path itself, or the one beside it if a database of the Go original lies there: that one is left as it is.
pub(super) fn place(path: &Path) -> Result<Found, OpenError> {
    match kind(path).map_err(|source| OpenError::Io { place: shown(path), source })? {
        FileKind::Absent => Ok(Found { location: path.into(), fresh: true, note: None }),
        FileKind::Sqlite => Ok(Found { location: path.into(), fresh: false, note: None }),
        FileKind::Bolt => {
            let beside = path.with_extension("sqlite3");
            let there = kind(&beside);
            if beside == path || matches!(there, Ok(FileKind::Bolt | FileKind::Other)) {
                return Err(OpenError::NotOurs { place: shown(&beside) });
            }
            let note = format!(
                "{} is a database of the Go codex-pool and is left as it is; usage is written to {}",
                path.display(),
                beside.display()
            );
            Ok(Found { location: (&beside).into(), fresh: matches!(there, Ok(FileKind::Absent)), note: Some(note) })
        }
        FileKind::Other => Err(OpenError::NotOurs { place: shown(path) }),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

enum FileKind {
    /// Absent or empty.
    Absent,
    Sqlite,
    /// bbolt, which the Go original used: its page 0 and page 1 are meta pages with this magic after a 16-byte page header
    /// (`go.etcd.io/bbolt`, `internal/common/meta.go`).
    Bolt,
    Other,
}

fn kind(path: &Path) -> io::Result<FileKind> {
    const BOLT_MAGIC: [u8; 4] = 0xED0C_DAED_u32.to_le_bytes();
    let mut start = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(4096 + 20).read_to_end(&mut start)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileKind::Absent),
        Err(error) => return Err(error),
    };
    let magic_at = |offset: usize| start.get(offset..offset + 4) == Some(&BOLT_MAGIC);
    Ok(match () {
        () if start.is_empty() => FileKind::Absent,
        () if start.starts_with(b"SQLite format 3\0") => FileKind::Sqlite,
        () if magic_at(16) || magic_at(4096 + 16) => FileKind::Bolt,
        () => FileKind::Other,
    })
}

/// The connections; none is made yet.
pub(super) fn pool(path: &Path, busy: Duration) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        // Never by SQLite itself: the file has to be born with mode 0600.
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // A killed process loses nothing; a power cut can lose the last moments but never the file.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(busy);
    SqlitePoolOptions::new()
        .max_connections(3)
        .acquire_timeout(busy + Duration::from_secs(5))
        .connect_lazy_with(options)
}

/// One connection that only reads; it is made when it is needed.
pub(super) fn read_only(path: &Path, busy: Duration) -> SqlitePool {
    let options =
        SqliteConnectOptions::new().filename(path).create_if_missing(false).read_only(true).busy_timeout(busy);
    SqlitePoolOptions::new().max_connections(1).acquire_timeout(busy * 2).connect_lazy_with(options)
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database file.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(())
}
