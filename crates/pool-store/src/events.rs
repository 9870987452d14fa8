//! What replicas on one PostgreSQL tell each other: a table with numbers, so that one who was cut off catches up, and a bell
//! (`LISTEN`/`NOTIFY`), so that nobody has to look all the time.
//!
//! The table is the truth, the bell only says when to look: behind a pooler of connections it may never ring.

use sqlx::postgres::PgListener;

use crate::database::{Connection, Database, Row, reason, sql};
use crate::ledger::Ledger;

/// Milliseconds since the Unix epoch by the database's clock: replicas need not agree on the time.
pub(crate) const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const CHANNEL: &str = "codex_pool";
/// Any number, the same in every version: events get their numbers in the order in which they can be seen.
const ORDER_LOCK: i64 = 0x636f_6465_7870;
/// In one look.
const MOST: i64 = 500;

/// The table, as one replica sees it.
#[derive(Clone, Debug)]
pub struct Events {
    database: Database,
    replica: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: i64,
    /// This replica has told it itself.
    pub own: bool,
    pub topic: String,
    /// Empty if `own`.
    pub body: String,
}

/// Why events could not be told or read, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other replicas cannot be reached: {0}")]
pub struct Apart(pub String);

impl From<sqlx::Error> for Apart {
    fn from(error: sqlx::Error) -> Self {
        Self(reason(&error))
    }
}

/// Rings when somebody has told something.
#[derive(Debug)]
pub struct Bell(PgListener);

impl Events {
    /// In the database of the ledger; `None` if that is a file. `replica` must be no other process's name.
    pub fn beside(ledger: &Ledger, replica: &str) -> Option<Self> {
        let database = ledger.database();
        matches!(database, Database::Postgres(_)).then(|| Self { database, replica: replica.to_owned() })
    }

    /// The number of the last event there is.
    pub async fn newest(&self) -> Result<i64, Apart> {
        let rows = self.database.all(sql("SELECT COALESCE(MAX(id), 0) AS id FROM events")).await?;
        Ok(rows.first().map(|row| row.get("id")).transpose()?.unwrap_or(0))
    }

    pub async fn tell(&self, topic: &str, body: &str) -> Result<(), Apart> {
        let mut transaction = self.database.begin().await?;
        tell(&mut transaction, &self.replica, topic, body).await?;
        Ok(transaction.commit().await?)
    }

    /// What was told after the event of this number, the oldest first; some hundred at most.
    pub async fn since(&self, id: i64) -> Result<Vec<Told>, Apart> {
        const SINCE: &str = "SELECT id, topic, CASE WHEN replica = $2 THEN 1::bigint ELSE 0 END AS own, \
             CASE WHEN replica = $2 THEN '' ELSE body END AS body FROM events WHERE id > $1 ORDER BY id LIMIT $3";
        let rows = self.database.all(sql(SINCE).bind(id).bind(&self.replica).bind(MOST)).await?;
        let told = |row: &Row| -> Result<Told, sqlx::Error> {
            Ok(Told {
                id: row.get("id")?,
                own: row.get::<i64>("own")? == 1,
                topic: row.get("topic")?,
                body: row.get("body")?,
            })
        };
        Ok(rows.iter().map(told).collect::<Result<_, _>>()?)
    }

    /// Forgets what is older than this.
    pub async fn sweep(&self, older_than_ms: i64) -> Result<(), Apart> {
        const SWEEP: &str =
            "DELETE FROM events WHERE at_ms < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1";
        self.database.run(sql(SWEEP).bind(older_than_ms)).await?;
        Ok(())
    }

    /// A connection of its own, which is told of every event.
    pub async fn bell(&self) -> Result<Bell, Apart> {
        let Database::Postgres(pool) = &self.database else { return Err(Apart("there is no server".into())) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Bell(listener))
    }
}

impl Bell {
    /// Waits for the next ring. After an error it never rings again.
    pub async fn ring(&mut self) -> Result<(), Apart> {
        match self.0.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(Apart("the connection was lost".into())),
        }
    }
}

/// The same within a transaction: it is told when that is committed, and only then.
pub(crate) async fn tell(to: &mut Connection, replica: &str, topic: &str, body: &str) -> Result<(), sqlx::Error> {
    const TELL: &str = "INSERT INTO events (replica, topic, body, at_ms) \
         VALUES ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)";
    // Held until the commit. Without it a reader could see number 8 before number 7, and never look for that again.
    to.all(sql("SELECT pg_advisory_xact_lock($1)::text").bind(ORDER_LOCK)).await?;
    to.run(sql(TELL).bind(replica).bind(topic).bind(body)).await?;
    to.all(sql("SELECT pg_notify($1, '')::text").bind(CHANNEL)).await?;
    Ok(())
}
