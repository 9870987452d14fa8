//! What goes wrong with a database, in plain words: may it pass by itself, and what mends it.

use std::io;

use super::Location;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{place} is not a database of codex-pool; move it away, or set db_path to another file")]
    NotOurs { place: String },
    #[error("{place} is damaged ({why}); move it away to start an empty ledger, or put a backup in its place")]
    Damaged { place: String, why: String },
    #[error("{place} was written by a newer codex-pool; use that version, or another database")]
    Newer { place: String },
    #[error("{place} cannot be opened: {source}; make it and its folder writable for this user, or set db_path")]
    Io { place: String, source: io::Error },
    #[error("{place} cannot be opened: {}", reason(.source))]
    Database { place: String, source: Box<sqlx::Error> },
}

impl OpenError {
    pub(crate) fn of(location: &Location, error: sqlx::Error) -> Self {
        let place = location.to_string();
        match Code::of(&error) {
            Some(Code::Sqlite(11 | 26)) => Self::Damaged { place, why: reason(&error) },
            _ => Self::Database { place, source: Box::new(error) },
        }
    }

    /// Trouble that may go by itself (a full disk, a lock, a server that restarts) as its reason; the rest is an error.
    pub(crate) fn passing(self) -> Result<String, Self> {
        match &self {
            Self::Database { source, .. } if is_passing(source) => Ok(reason(source)),
            Self::Io { source, .. } if is_full(source) => Ok("the disk is full".into()),
            _ => Err(self),
        }
    }
}

/// What a database calls an error.
enum Code {
    /// The primary result code (<https://www.sqlite.org/rescode.html>).
    Sqlite(u32),
    /// The SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
    Postgres(String),
}

impl Code {
    fn of(error: &sqlx::Error) -> Option<Self> {
        let error = error.as_database_error()?;
        let code = error.code()?;
        if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            return Some(Self::Postgres(code.into_owned()));
        }
        code.parse::<u32>().ok().map(|extended| Self::Sqlite(extended & 0xff))
    }
}

/// May the trouble go by itself?
pub(crate) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => match Code::of(error) {
            // Busy, locked, I/O (a quota or a file size limit comes as one), full, cannot open (no room for the -shm file).
            Some(Code::Sqlite(code)) => matches!(code, 5 | 6 | 10 | 13 | 14),
            // Connection, out of resources (a full disk is 53100), shut down or starting, deadlock, lock not to be had, a
            // stand-by that takes no writes.
            Some(Code::Postgres(state)) => {
                ["08", "53", "57P0", "40", "55P03", "25006", "58"].iter().any(|class| state.starts_with(class))
            }
            None => false,
        },
        // Of a file, only a full disk goes by itself; of a server, any trouble on the way to it may.
        sqlx::Error::Io(source) => is_full(source) || is_of_network(source),
        sqlx::Error::PoolTimedOut => true,
        _ => false,
    }
}

/// Does somebody else hold the file of SQLite?
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    matches!(Code::of(error), Some(Code::Sqlite(5 | 6)))
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn is_of_network(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::NotConnected
            | Kind::TimedOut
            | Kind::UnexpectedEof
    )
}

/// Why a statement failed, in plain words.
pub(crate) fn reason(error: &sqlx::Error) -> String {
    match Code::of(error) {
        Some(Code::Sqlite(5 | 6)) => "another program holds the database locked".into(),
        Some(Code::Sqlite(8)) => "the database file is read-only".into(),
        Some(Code::Sqlite(10)) => "the disk gives errors or has no room left".into(),
        Some(Code::Sqlite(11 | 26)) => "the database file is damaged; move it away and restart".into(),
        Some(Code::Sqlite(13)) => "the disk is full".into(),
        Some(Code::Sqlite(14)) => "the database file cannot be opened".into(),
        Some(Code::Postgres(state)) if state == "53100" => "the database server's disk is full".into(),
        Some(Code::Postgres(state)) if state.starts_with("57P") => "the database server is stopping or starting".into(),
        Some(Code::Postgres(state)) if state == "3D000" => {
            format!("{}; make it with: createdb NAME", error.as_database_error().map_or("", |error| error.message()))
        }
        Some(Code::Postgres(_)) => {
            format!("the database server says: {}", error.as_database_error().map_or("", |error| error.message()))
        }
        _ => match error {
            sqlx::Error::PoolTimedOut => "no connection to the database could be had in time".into(),
            sqlx::Error::Io(source) if is_of_network(source) => {
                format!("the database server cannot be reached: {source}")
            }
            _ => error.to_string(),
        },
    }
}
