//! The two databases behind one door: a file of SQLite for one process, a PostgreSQL server for several.
//!
//! There is one text of SQL for both, and whoever asks a question does not see which of them answers: [`sql`] takes the
//! text, `bind` the values, [`Database::all`] or [`Connection::run`] carry it out. What differs is in this folder: opening,
//! errors, how a transaction begins.

mod error;
mod postgres;
mod sqlite;
mod statement;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};

pub use error::OpenError;
pub(crate) use error::{is_locked, is_passing, reason};
pub use postgres::{BadUrl, PostgresUrl};
pub(crate) use statement::{Row, Statement, Value, built, rows, sql};

/// The tables, for both databases.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The same with what PostgreSQL alone needs.
static POSTGRES_MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    static MORE: Migrator = sqlx::migrate!("./migrations/postgres");
    let mut all: Vec<_> = MIGRATIONS.iter().chain(MORE.iter()).cloned().collect();
    all.sort_by_key(|migration| migration.version);
    Migrator { migrations: Cow::Owned(all), ..Migrator::DEFAULT }
});

/// The newest of the migrations that this version knows.
pub(crate) fn version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// A statement that takes longer is given up, and its connection with it: a server that is frozen, or a network that drops
/// everything, must not hold its callers for ever.
const PATIENCE: Duration = Duration::from_mins(2);
const LONG_PATIENCE: Duration = Duration::from_hours(2);

/// For so long tables are brought up to date beside others who do the same, and the pause between two tries.
const RACE: Duration = Duration::from_secs(2);
const RACE_PAUSE: Duration = Duration::from_millis(25);

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of SQLite.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(PostgresUrl),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

/// What is found at a location before anything is opened.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where to open it.
    pub(crate) location: Location,
    /// Nothing is there yet. Of a server that is never said.
    pub(crate) fresh: bool,
    pub(crate) note: Option<String>,
}

/// A database: clones share its connections.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// One connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    to: To,
    patience: Duration,
}

#[derive(Debug)]
enum To {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// What is written through it counts after [`Transaction::commit`], or not at all. One that is dropped takes its connection
/// with it: whatever state a failure has left that in, nobody else gets it.
#[derive(Debug)]
pub(crate) struct Transaction {
    connection: Connection,
    open: bool,
}

/// Looks where the database goes, and that nothing of others is there.
pub(crate) fn find(location: Location) -> Result<Found, OpenError> {
    match location {
        Location::File(path) => sqlite::place(&path),
        Location::Server(_) => Ok(Found { location, fresh: false, note: None }),
    }
}

impl Database {
    /// The connections; none is made yet. `busy`: how long an attempt waits for the lock of another program on the file.
    pub(crate) fn at(location: &Location, busy: Duration) -> Self {
        match location {
            Location::File(path) => Self::Sqlite(sqlite::pool(path, busy)),
            Location::Server(url) => Self::Postgres(postgres::pool(url)),
        }
    }

    /// One connection that only reads; it is made when it is needed.
    pub(crate) fn read_only(location: &Location, busy: Duration) -> Self {
        match location {
            Location::File(path) => Self::Sqlite(sqlite::read_only(path, busy)),
            Location::Server(url) => Self::Postgres(postgres::read_only(url)),
        }
    }

    /// Makes the file if it is absent, keeps others out of it, and brings the tables up to date. Several processes may do so at
    /// once: on PostgreSQL an advisory lock lets one after the other in.
    pub(crate) async fn prepare(&self, location: &Location) -> Result<(), OpenError> {
        if let Location::File(path) = location {
            sqlite::create_private(path).map_err(|source| OpenError::Io { place: location.to_string(), source })?;
        }
        let begun = Instant::now();
        let mut migrated = self.migrate().await;
        // Of those who make the same file's tables at once, the slower find them made.
        while begun.elapsed() < RACE {
            match &migrated {
                Err(error) if is_of_a_race(error) => tokio::time::sleep(RACE_PAUSE).await,
                _ => break,
            }
            migrated = self.migrate().await;
        }
        match migrated {
            Ok(()) => Ok(()),
            Err(MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_)) => {
                Err(OpenError::Newer { place: location.to_string() })
            }
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                Err(OpenError::of(location, error))
            }
            Err(other) => Err(OpenError::of(location, sqlx::Error::Migrate(Box::new(other)))),
        }
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        let mut connection = self.connection().await.map_err(MigrateError::Execute)?;
        let migrated = match &mut connection.to {
            To::Sqlite(connection) => MIGRATIONS.run_direct(None, &mut **connection, false).await,
            To::Postgres(connection) => POSTGRES_MIGRATIONS.run_direct(None, &mut **connection, false).await,
        };
        if migrated.is_err() {
            // A migration that failed half way leaves its transaction open, and what is written there later is never committed.
            connection.give_up();
        }
        migrated
    }

    pub(crate) async fn connection(&self) -> Result<Connection, sqlx::Error> {
        let to = match self {
            Self::Sqlite(pool) => To::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => To::Postgres(pool.acquire().await?),
        };
        Ok(Connection { to, patience: PATIENCE })
    }

    /// Begins to write. On SQLite the one lock there is is taken at once, so that nothing fails later for want of it.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let begin = match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        };
        let mut transaction = Transaction { connection: self.connection().await?, open: true };
        transaction.run(sql(begin)).await?;
        Ok(transaction)
    }

    /// Every row of an answer.
    pub(crate) async fn all(&self, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        self.connection().await?.all(statement).await
    }

    /// Carries out one statement by itself: how many rows it has changed.
    pub(crate) async fn run(&self, statement: Statement) -> Result<u64, sqlx::Error> {
        self.connection().await?.run(statement).await
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Connection {
    /// For what is known to take long: nobody but who asked for it waits.
    pub(crate) fn be_patient(&mut self) {
        self.patience = LONG_PATIENCE;
    }

    pub(crate) async fn all(&mut self, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        let patience = self.patience;
        let asked = async {
            Ok(match &mut self.to {
                To::Sqlite(connection) => {
                    let rows = statement.for_sqlite()?.fetch_all(&mut **connection).await?;
                    rows.into_iter().map(Row::Sqlite).collect()
                }
                To::Postgres(connection) => {
                    let rows = statement.for_postgres()?.fetch_all(&mut **connection).await?;
                    rows.into_iter().map(Row::Postgres).collect()
                }
            })
        };
        let answer = in_time(patience, asked).await;
        self.checked(answer)
    }

    pub(crate) async fn run(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        let patience = self.patience;
        let asked = async {
            Ok(match &mut self.to {
                To::Sqlite(connection) => statement.for_sqlite()?.execute(&mut **connection).await?.rows_affected(),
                To::Postgres(connection) => statement.for_postgres()?.execute(&mut **connection).await?.rows_affected(),
            })
        };
        let answer = in_time(patience, asked).await;
        self.checked(answer)
    }

    /// Several statements without values, as in a migration.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match &mut self.to {
            To::Sqlite(connection) => sqlx::raw_sql(text).execute(&mut **connection).await.map(|_| ()),
            To::Postgres(connection) => sqlx::raw_sql(text).execute(&mut **connection).await.map(|_| ()),
        }
    }

    /// Closed instead of given back, whenever it is dropped.
    fn give_up(&mut self) {
        match &mut self.to {
            To::Sqlite(connection) => connection.close_on_drop(),
            To::Postgres(connection) => connection.close_on_drop(),
        }
    }

    fn checked<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if matches!(answer, Err(sqlx::Error::Io(_))) {
            self.give_up();
        }
        answer
    }
}

/// Has somebody else made a table, or noted that they had, a moment before? Or are they at it: SQLite does not wait for a lock
/// that it would need in the middle of a transaction.
fn is_of_a_race(error: &MigrateError) -> bool {
    match error {
        MigrateError::ExecuteMigration(error, _) => is_locked(error) || !is_passing(error),
        MigrateError::Execute(error) => {
            is_locked(error) || error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
        }
        _ => false,
    }
}

async fn in_time<T>(patience: Duration, asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = |_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(patience, asked).await.unwrap_or_else(late)
}

impl Transaction {
    /// Everything that is read from here on is of one moment. On SQLite it is so in any case.
    pub(crate) async fn stand_still(&mut self) -> Result<(), sqlx::Error> {
        if matches!(self.connection.to, To::Postgres(_)) {
            self.run(sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")).await?;
        }
        Ok(())
    }

    /// Keeps others from writing these tables until the end. On SQLite nobody else writes in any case.
    pub(crate) async fn lock(&mut self, tables: &[&str]) -> Result<(), sqlx::Error> {
        if matches!(self.connection.to, To::Postgres(_)) {
            self.run(built(format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", tables.join(", ")))).await?;
        }
        Ok(())
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.run(sql("COMMIT")).await?;
        self.open = false;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open {
            self.connection.give_up();
        }
    }
}
