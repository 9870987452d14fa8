//! Copies of the database's file: one made while the server writes, and one put in its place.
//!
//! A PostgreSQL server has its own tools, which do this better than we could: there, both say so.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteLockingMode};
use sqlx::{ConnectOptions, Connection as _, Row as _, SqliteConnection};

use crate::database::{self, Database, Location, OpenError};

/// Why a copy was not made, or not put back. Nothing was changed then, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("the ledger is on a PostgreSQL server ({place}): use its own tools, pg_dump and pg_restore")]
    OnServer { place: String },
    #[error("there is no database at {}; give --db-path, or run it in the folder that the server runs in", .0.display())]
    Absent(PathBuf),
    #[error("{} is there already; give another name, or move it away", .0.display())]
    Exists(PathBuf),
    #[error("{} is in use; stop the codex-pool that has it open", .0.display())]
    InUse(PathBuf),
    #[error("{} is a database that is in use, not a backup (there is a -wal file beside it); make one with: codex-pool backup FILE", .0.display())]
    Live(PathBuf),
    #[error("{} is no whole backup of codex-pool: {why}", .path.display())]
    Unsound { path: PathBuf, why: String },
    #[error("{} was made by a newer codex-pool; use that version", .0.display())]
    Newer(PathBuf),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the database cannot be copied: {0}")]
    Database(String),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(database::reason(&error))
    }
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    /// The database that was read, or that was put in place.
    pub database: PathBuf,
    pub records: u64,
    pub bytes: u64,
    /// Where the database went that was there before.
    pub kept: Option<PathBuf>,
}

/// Where a copy grows until it is whole.
pub fn part_of(path: &Path) -> PathBuf {
    beside(path, ".part")
}

/// The file that a location's database is in.
pub fn file_of(location: &Location) -> Result<PathBuf, BackupError> {
    match database::find(location.clone())?.location {
        Location::File(path) if path.is_file() => Ok(path),
        Location::File(path) => Err(BackupError::Absent(path)),
        Location::Server(url) => Err(BackupError::OnServer { place: url.to_string() }),
    }
}

/// Copies the database into a new file that only this user can read. The server may write meanwhile: the copy is of one moment.
pub async fn backup(location: &Location, to: &Path) -> Result<Copied, BackupError> {
    let from = file_of(location)?;
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let part = Part::create(to)?;
    let options =
        SqliteConnectOptions::new().filename(&from).create_if_missing(false).busy_timeout(Duration::from_secs(30));
    let mut connection = options.connect().await?;
    let copied = sqlx::query("VACUUM INTO $1").bind(part.path.display().to_string()).execute(&mut connection).await;
    // A copy that cannot be trusted is worse than none: it is read before it gets its name.
    copied?;
    connection.close().await?;
    let records = sound(&part.path).await.map_err(|error| match error {
        BackupError::Unsound { why, .. } => BackupError::Unsound { path: from.clone(), why },
        other => other,
    })?;
    let bytes = part.finish(to)?;
    Ok(Copied { database: from, records, bytes, kept: None })
}

/// Puts a backup in the place of the database, which is kept beside it, its name ending in `.before-restore-` and `stamp`.
pub async fn restore(location: &Location, from: &Path, stamp: &str) -> Result<Copied, BackupError> {
    let place = database::find(location.clone());
    let to = match (place.map(|found| found.location), location) {
        (Ok(Location::Server(url)), _) => return Err(BackupError::OnServer { place: url.to_string() }),
        // What is there may well be damaged beyond recognition.
        (Ok(Location::File(path)), _) => path,
        (Err(_), Location::File(path)) => path.clone(),
        (Err(error), Location::Server(_)) => return Err(error.into()),
    };
    if fs::metadata(beside(from, "-wal")).is_ok_and(|wal| wal.len() > 0) {
        return Err(BackupError::Live(from.to_owned()));
    }
    let records = sound(from).await?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { path, source }
    };
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        fs::create_dir_all(folder).map_err(io(folder))?;
    }
    let mut part = Part::create(&to)?;
    io::copy(&mut File::open(from).map_err(io(from))?, &mut part.file).map_err(io(&part.path))?;
    let mut kept = None;
    if to.exists() {
        free(&to).await?;
        let aside = beside(&to, &format!(".before-restore-{stamp}"));
        if aside.exists() {
            return Err(BackupError::Exists(aside));
        }
        fs::rename(&to, &aside).map_err(io(&to))?;
        for more in ["-wal", "-shm"] {
            let log = beside(&to, more);
            if log.exists() {
                fs::rename(&log, beside(&aside, more)).map_err(io(&log))?;
            }
        }
        kept = Some(aside);
    }
    let bytes = part.finish(&to)?;
    let location = Location::File(to.clone());
    let database = Database::at(&location, Duration::from_secs(5));
    database.prepare(&location).await?;
    database.close().await;
    Ok(Copied { database: to, records, bytes, kept })
}

/// Does nobody have this database open? What its log holds is then in the file itself. One that cannot be opened at all is nobody's.
async fn free(path: &Path) -> Result<(), BackupError> {
    let alone = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .locking_mode(SqliteLockingMode::Exclusive)
        .busy_timeout(Duration::from_millis(100));
    let taken = async {
        let mut connection = alone.connect().await?;
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await?;
        sqlx::query("COMMIT").execute(&mut connection).await?;
        connection.close().await
    };
    match taken.await {
        Err(error) if database::is_locked(&error) => Err(BackupError::InUse(path.to_owned())),
        _ => Ok(()),
    }
}

/// Is this a whole database of ours, of this version or an older one? How many records it holds.
async fn sound(path: &Path) -> Result<u64, BackupError> {
    let unsound = |why: String| BackupError::Unsound { path: path.to_owned(), why };
    if !path.is_file() {
        return Err(unsound("there is no such file".into()));
    }
    // Nothing is written beside it: it may lie where nothing can be.
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).read_only(true).immutable(true);
    let read = async {
        let mut connection = options.connect().await?;
        let checked: String = sqlx::query("PRAGMA quick_check(1)").fetch_one(&mut connection).await?.try_get(0)?;
        let version = one(&mut connection, "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations").await?;
        let records = one(&mut connection, "SELECT COUNT(*) FROM usage_records").await?;
        Ok::<_, sqlx::Error>((checked, version, records))
    };
    let (checked, version, records) = read.await.map_err(|error| unsound(database::reason(&error)))?;
    if checked != "ok" {
        return Err(unsound(checked));
    }
    if version > database::version() {
        return Err(BackupError::Newer(path.to_owned()));
    }
    Ok(u64::try_from(records).unwrap_or(0))
}

async fn one(connection: &mut SqliteConnection, text: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query(text).fetch_one(connection).await?.try_get(0)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A file that becomes another one when it is whole, and is removed if that does not happen.
struct Part {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl Part {
    fn create(of: &Path) -> Result<Self, BackupError> {
        let path = part_of(of);
        // One that was left behind by a process that was killed.
        let _ = fs::remove_file(&path);
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match created {
            Ok(file) => Ok(Self { path, file, finished: false }),
            Err(source) => Err(BackupError::Io { path, source }),
        }
    }

    /// On disk, and under its name. How long it is.
    fn finish(mut self, to: &Path) -> Result<u64, BackupError> {
        let done = (|| {
            self.file.sync_all()?;
            fs::rename(&self.path, to)?;
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()?;
            Ok(self.file.metadata()?.len())
        })();
        self.finished = done.is_ok();
        done.map_err(|source| BackupError::Io { path: to.to_owned(), source })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
