//! The file behind the ledger: where it lies, who may read it, how it is opened.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} is not a database of codex-pool; move it away, or set db_path to another file")]
    NotOurs { path: PathBuf },
    #[error("{path} is damaged ({why}); move it away to start an empty ledger, or put a backup in its place")]
    Damaged { path: PathBuf, why: String },
    #[error("{path} was written by a newer codex-pool; use that version, or set db_path to another file")]
    Newer { path: PathBuf },
    #[error("{path} cannot be opened: {source}; make it and its folder writable for this user, or set db_path")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} cannot be opened: {source}")]
    Database { path: PathBuf, source: Box<sqlx::Error> },
}

impl OpenError {
    /// Trouble that may go by itself (a full disk, a lock) as its reason; the rest is an error.
    pub(super) fn passing(self) -> Result<String, Self> {
        match &self {
            Self::Database { source, .. } if is_passing(source) => Ok(reason(source)),
            Self::Io { source, .. } if is_full(source) => Ok("the disk is full".into()),
            _ => Err(self),
        }
    }
}

/// Where the ledger goes.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) note: Option<String>,
}

/// The path itself, or the one beside it if a database of the Go original lies there: that one is left as it is.
pub(super) fn place(path: &Path) -> Result<Place, OpenError> {
    match kind(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })? {
        FileKind::Absent | FileKind::Sqlite => Ok(Place { path: path.to_owned(), note: None }),
        FileKind::Bolt => {
            let beside = path.with_extension("sqlite3");
            if beside == path || matches!(kind(&beside), Ok(FileKind::Bolt | FileKind::Other)) {
                return Err(OpenError::NotOurs { path: beside });
            }
            let note = format!(
                "{} is a database of the Go codex-pool and is left as it is; usage is written to {}",
                path.display(),
                beside.display()
            );
            Ok(Place { path: beside, note: Some(note) })
        }
        FileKind::Other => Err(OpenError::NotOurs { path: path.to_owned() }),
    }
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

/// Makes the file if it is absent, keeps others out of it, and brings its tables up to date.
pub(super) async fn prepare(path: &Path, pool: &SqlitePool) -> Result<(), OpenError> {
    create_private(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let path = path.to_owned();
    match migrate(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_)) => Err(OpenError::Newer { path }),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(classify(path, error)),
        Err(other) => Err(classify(path, sqlx::Error::Migrate(Box::new(other)))),
    }
}

async fn migrate(pool: &SqlitePool) -> Result<(), MigrateError> {
    let mut connection = pool.acquire().await.map_err(MigrateError::Execute)?;
    let migrated = MIGRATIONS.run_direct(None, &mut *connection, false).await;
    if migrated.is_err() {
        // A migration that failed half way leaves its transaction open, and what is written there later is never committed.
        connection.close_on_drop();
    }
    migrated
}

fn classify(path: PathBuf, error: sqlx::Error) -> OpenError {
    match code(&error) {
        Some(11 | 26) => OpenError::Damaged { path, why: reason(&error) },
        _ => OpenError::Database { path, source: Box::new(error) },
    }
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database file.
fn create_private(path: &Path) -> io::Result<()> {
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

/// SQLite's primary result code (<https://www.sqlite.org/rescode.html>).
fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|extended| extended & 0xff)
}

/// May the trouble go by itself?
pub(crate) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        // Busy, locked, I/O (a quota or a file size limit comes as one), full, cannot open (no room for the -shm file).
        sqlx::Error::Database(_) => matches!(code(error), Some(5 | 6 | 10 | 13 | 14)),
        sqlx::Error::Io(source) => is_full(source),
        sqlx::Error::PoolTimedOut => true,
        _ => false,
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why a write failed, in plain words.
pub(crate) fn reason(error: &sqlx::Error) -> String {
    match code(error) {
        Some(5 | 6) => "another program holds the database locked".into(),
        Some(8) => "the database file is read-only".into(),
        Some(10) => "the disk gives errors or has no room left".into(),
        Some(11 | 26) => "the database file is damaged; move it away and restart".into(),
        Some(13) => "the disk is full".into(),
        Some(14) => "the database file cannot be opened".into(),
        _ => error.to_string(),
    }
}
