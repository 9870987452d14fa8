//! The usage ledger: one record a request, with the story of how it was decided beside it, for a while; and for good, what
//! they sum up to by hour and by day.
//!
//! The proxy hands a record over and goes on: [`Ledger::record`] never waits. One [`Writer`] task takes the records from a
//! bounded queue and writes them in batches. While the disk is full or the database is busy, records wait up to the bound;
//! beyond it they are counted as lost. A record counts once however often it is handed over.

mod days;
mod explained;
mod portions;
mod read;
mod records;
mod rollup;
mod story;
mod sums;
mod sweep;
mod write;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pool_core::{Trail, UsageRecord};
use tokio::sync::{mpsc, watch};

use crate::database::{self, Database, Location, OpenError};
use crate::memory::Changes;

pub use days::DayUse;
pub use explained::{Found, Kept, Wanted, look_up};
pub use portions::Portion;
pub use read::{AccountTotals, ReadError, Use};
pub use records::{Cursor, Filter, LONGEST_PAGE, Order, Page};
pub use rollup::Checked;
pub use sums::{Asked, Dimension, Step, UsageSums, Used};
pub use write::Writer;

/// Bounds of the ledger. The defaults are right for everything but tests.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Records that may wait.
    pub queue: usize,
    /// Records in one transaction.
    pub batch: usize,
    /// A record waits at most this long for others to share its transaction.
    pub linger: Duration,
    /// How long one attempt waits for another program's lock on the file.
    pub busy: Duration,
    /// The pause after the first failed write; it doubles up to `max_pause`.
    pub first_pause: Duration,
    pub max_pause: Duration,
    /// How long records and their stories are kept. What they sum up to by hour and day stays.
    pub retention: Duration,
}

/// What the queue holds.
#[derive(Debug)]
struct Entry {
    record: UsageRecord,
    story: Option<Trail>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 10_000,
            batch: 200,
            linger: Duration::from_millis(250),
            busy: Duration::from_secs(5),
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(15),
            retention: Duration::from_hours(30 * 24),
        }
    }
}

/// A ledger that is ready to take records.
#[derive(Debug)]
pub struct Opened {
    pub ledger: Ledger,
    /// Has to be run as a task of its own, or nothing is ever written.
    pub writer: Writer,
    /// Where the records really go.
    pub location: Location,
    /// There was nothing in it before. Never said of a server.
    pub fresh: bool,
    /// What the operator should be told once, at the start.
    pub note: Option<String>,
}

/// The handle that everybody shares.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Entry>,
    memory: mpsc::Sender<Changes>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    /// `None`: fine. Else why nothing can be written now.
    trouble: Mutex<Option<String>>,
    /// Accepted and not yet written, wherever they wait.
    waiting: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    /// Records are being lost: that was said, and is not said again.
    overflowing: AtomicBool,
    closing: watch::Sender<bool>,
    closed: watch::Sender<bool>,
}

/// How the ledger is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `None`: fine. Else why records cannot be written now, in plain words.
    pub degraded: Option<String>,
    /// Waiting to be written.
    pub queued: u64,
    /// Written since the start.
    pub written: u64,
    /// Lost since the start: the queue was full.
    pub dropped: u64,
}

impl Ledger {
    /// Opens the ledger, creating its file (mode 0600) and folder (0700) or its tables if need be.
    ///
    /// A disk that is full or a server that cannot be reached does not fail the opening: the ledger starts degraded and the
    /// writer goes on trying. A file that is no database of ours does fail it.
    pub async fn open(location: impl Into<Location>, options: Options) -> Result<Opened, OpenError> {
        let found = database::find(location.into())?;
        let database = Database::at(&found.location, options.busy);
        let trouble = match database.prepare(&found.location).await {
            Ok(()) => None,
            Err(fault) => Some(fault.passing()?),
        };
        let ready = trouble.is_none();
        let (queue, records) = mpsc::channel(options.queue.max(1));
        // One batch on its way and one being written: whoever brings more waits.
        let (memory, changes) = mpsc::channel(1);
        let shared = Arc::new(Shared::new(database, trouble));
        let writer = Writer::new(Arc::clone(&shared), records, changes, options, found.location.clone(), ready);
        Ok(Opened {
            ledger: Self { shared, queue, memory },
            writer,
            location: found.location,
            fresh: found.fresh,
            note: found.note,
        })
    }

    /// A ledger that is only read: nothing is made, brought up to date or written.
    pub fn read_only(location: impl Into<Location>) -> Result<Self, OpenError> {
        let found = database::find(location.into())?;
        let shared = Shared::new(Database::read_only(&found.location, Duration::from_secs(5)), None);
        shared.closing.send_replace(true);
        Ok(Self { shared: Arc::new(shared), queue: mpsc::channel(1).0, memory: mpsc::channel(1).0 })
    }

    /// The database that the ledger is in.
    pub(crate) fn database(&self) -> Database {
        self.shared.database.clone()
    }

    pub(crate) fn memory(&self) -> &mpsc::Sender<Changes> {
        &self.memory
    }

    /// Takes a record without waiting. `false`: the queue is full or the ledger is closed, and the record is lost (counted in
    /// [`Health::dropped`]).
    pub fn record(&self, record: UsageRecord) -> bool {
        self.take(Entry { record, story: None })
    }

    /// The same with the story of how the request was decided, for [`Ledger::explained`].
    pub fn keep(&self, record: UsageRecord, story: Trail) -> bool {
        self.take(Entry { record, story: Some(story) })
    }

    fn take(&self, entry: Entry) -> bool {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let taken = !*self.shared.closing.borrow() && self.queue.try_send(entry).is_ok();
        if !taken {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            if !self.shared.overflowing.swap(true, Ordering::Relaxed) {
                tracing::error!("usage records are being lost: the queue for the database is full");
            }
        }
        taken
    }

    pub fn health(&self) -> Health {
        Health {
            degraded: self.shared.trouble().clone(),
            queued: self.shared.waiting.load(Ordering::Relaxed),
            written: self.shared.written.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }

    /// Takes no more records, writes what waits, and closes the database: at most `deadline` long. Returns how many records were
    /// still waiting when it ended.
    pub async fn close(&self, deadline: Duration) -> u64 {
        self.shared.closing.send_replace(true);
        let mut closed = self.shared.closed.subscribe();
        let done = tokio::time::timeout(deadline, closed.wait_for(|closed| *closed)).await.is_ok();
        if done {
            self.shared.database.close().await;
        }
        self.shared.waiting.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn new(database: Database, trouble: Option<String>) -> Self {
        Self {
            database,
            trouble: Mutex::new(trouble),
            waiting: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            overflowing: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            closed: watch::Sender::new(false),
        }
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // Nothing that holds this lock can leave it half changed.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod speed;
#[cfg(test)]
pub(crate) mod tests;
