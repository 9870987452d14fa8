//! Several processes on one PostgreSQL act as one: each tells the others what it has learned or changed, and hears them.
//!
//! Requests never wait for any of this. A replica that hears nothing goes on with what it knows, and when it hears again it reads
//! everything anew.

mod tally;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pool_core::Span;
use pool_providers::Registry;
use pool_store::events::{Apart, Bell};
use pool_store::{Events, Ledger, Vault, VaultError, directory, vault};
use tokio::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::memory::{self, told};
use crate::people::People;
use crate::pool::{LivePool, VaultHome};
use tally::Tally;

/// Without a bell events are looked for so often.
const LOOK: Duration = Duration::from_millis(400);
/// How long events are kept: longer than any question takes.
const KEEP: Duration = Duration::from_mins(10);
const SWEEP: Duration = Duration::from_mins(1);
/// Who has not looked for so long may have missed some.
const MISSED: Span = Span::from_mins(5);
/// For one question to the database.
const LIMIT: Duration = Duration::from_secs(5);
/// A bell that was lost is hung up anew after this time. Until then, looking does.
const NEW_BELL: Duration = Duration::from_secs(5);

/// The voice of this replica, and what it hears.
#[derive(Debug)]
pub struct Replicas {
    events: Events,
    replica: String,
    trouble: Mutex<Option<String>>,
}

/// This process as one of several.
#[derive(Debug)]
pub struct Membership {
    pub replicas: Arc<Replicas>,
    pub vault: Arc<VaultHome>,
    /// What requests have taken here.
    pub tally: Tally,
    /// From which event on it listens.
    since: i64,
}

/// Joins the replicas on the ledger's database, if there is a key for their vault. From here on nothing that they tell is missed.
pub async fn join(config: &Config, ledger: &Ledger, registry: Arc<Registry>) -> Result<Option<Membership>, VaultError> {
    let Some(key) = &config.vault_key else {
        return if Vault::is_beside(ledger).await? { Err(VaultError::NoKey) } else { Ok(None) };
    };
    // Nobody else's, also after a restart.
    let replica = format!("r-{}", uuid::Uuid::new_v4().simple());
    let vault = Vault::beside(ledger, key.clone(), &replica, config.claim).await?;
    let events = Events::beside(ledger, &replica).ok_or(VaultError::NoServer)?;
    let since = events.newest().await.map_err(|error| VaultError::Unreachable(error.0))?;
    let vault = Arc::new(VaultHome::open(vault, registry).await?);
    tracing::info!(replica, key = key.id(), "the accounts are those of the vault, which other replicas may share");
    let replicas = Arc::new(Replicas { events, replica, trouble: Mutex::default() });
    Ok(Some(Membership { replicas, vault, tally: Tally::default(), since }))
}

impl Membership {
    /// Hears the others and tells them what requests take, for ever.
    pub async fn run(&self, pool: &LivePool, people: &People, ledger: &Ledger) {
        let heard = Heard { pool, people, vault: &self.vault, ledger };
        tokio::join!(self.replicas.hear(self.since, heard), self.tell_taken());
    }

    async fn tell_taken(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(batch) = self.tally.take() else { continue };
            let text = serde_json::to_string(&batch).unwrap_or_default();
            if !self.replicas.tell(tally::TOPIC, &text).await {
                self.tally.put_back(batch);
            }
        }
    }

    /// Why the others cannot be reached, if so.
    pub fn trouble(&self) -> Option<String> {
        self.vault.trouble().or_else(|| self.replicas.trouble.lock().clone())
    }
}

/// What others may have changed.
struct Heard<'a> {
    pool: &'a LivePool,
    people: &'a People,
    vault: &'a VaultHome,
    ledger: &'a Ledger,
}

impl Replicas {
    /// This process's name among them.
    pub fn own_name(&self) -> &str {
        &self.replica
    }

    /// Tells the others. `false`: it did not get through.
    pub async fn tell(&self, topic: &str, body: &str) -> bool {
        let told = in_time(self.events.tell(topic, body)).await;
        if let Err(why) = &told {
            tracing::debug!(topic, "not told to the other replicas: {why}");
        }
        told.is_ok()
    }

    async fn hear(&self, mut last: i64, heard: Heard<'_>) {
        let mut bell = Rope::default();
        let mut sweep_at = Instant::now() + SWEEP;
        // Something was missed, or could not be read.
        let mut behind = false;
        // By the wall clock, which goes on while the machine sleeps.
        let mut looked_at = clock::now();
        loop {
            bell.wait(&self.events).await;
            let known = match in_time(self.events.since(last)).await {
                Ok(known) => known,
                Err(why) => {
                    self.note(Some(why.0));
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            behind |= self.note(None) || heard.vault.trouble().is_some();
            // Events may have been swept away unseen.
            behind |= clock::now().since(looked_at) > MISSED;
            looked_at = clock::now();
            let mut topics = BTreeSet::new();
            for event in known {
                last = event.id;
                if event.own {
                    continue;
                }
                match event.topic.as_str() {
                    told::TOPIC => told::hear(heard.pool, &event.body),
                    tally::TOPIC => tally::hear(heard.pool, heard.people, &event.body),
                    // Of several the newest state counts, so once is enough.
                    _ => drop(topics.insert((event.topic, event.body))),
                }
            }
            if behind {
                behind = read_anew(&heard).await.is_err();
                continue;
            }
            for (topic, body) in topics {
                behind |= take(&heard, &topic, &body).await.is_err();
            }
            if Instant::now() >= sweep_at {
                sweep_at = Instant::now() + SWEEP;
                let keep = i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
                let _ = in_time(self.events.sweep(keep)).await;
            }
        }
    }

    /// `true`: they are heard again.
    fn note(&self, trouble: Option<String>) -> bool {
        let mut known = self.trouble.lock();
        let again = known.is_some() && trouble.is_none();
        match (&*known, &trouble) {
            (None, Some(why)) => tracing::warn!("the other replicas are not heard: {why}"),
            (Some(_), None) => tracing::info!("the other replicas are heard again"),
            _ => {}
        }
        *known = trouble;
        again
    }
}

/// Something could not be read: everything is, later.
struct Behind;

async fn take(heard: &Heard<'_>, topic: &str, body: &str) -> Result<(), Behind> {
    match topic {
        vault::TOPIC => heard.vault.reload(body).await.map_err(|_| Behind),
        directory::TOPIC => reload_people(heard.people).await,
        // Of a newer version.
        _ => Ok(()),
    }
}

async fn read_anew(heard: &Heard<'_>) -> Result<(), Behind> {
    heard.vault.reload_all().await.map_err(|_| Behind)?;
    reload_people(heard.people).await?;
    memory::catch_up(heard.pool, heard.ledger).await;
    tracing::info!("caught up with the other replicas");
    Ok(())
}

async fn reload_people(people: &People) -> Result<(), Behind> {
    match tokio::time::timeout(LIMIT, people.reload()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!("{error}; what another replica has changed of it is read as soon as that works");
            Err(Behind)
        }
        Err(_) => Err(Behind),
    }
}

async fn in_time<T>(question: impl Future<Output = Result<T, Apart>>) -> Result<T, Apart> {
    let late = |_| Err(Apart("the database does not answer".into()));
    tokio::time::timeout(LIMIT, question).await.unwrap_or_else(late)
}

/// The bell, hung up anew when it was lost.
#[derive(Default)]
struct Rope {
    bell: Option<Bell>,
    next: Option<Instant>,
}

impl Rope {
    /// Until it rings, or it is time to look.
    async fn wait(&mut self, events: &Events) {
        let now = Instant::now();
        if self.bell.is_none() && self.next.is_none_or(|next| now >= next) {
            self.next = Some(now + NEW_BELL);
            self.bell = in_time(events.bell()).await.ok();
        }
        let Some(bell) = &mut self.bell else { return tokio::time::sleep(LOOK).await };
        // Only an error ends it; that the time is over does not harm it.
        if matches!(tokio::time::timeout(LOOK, bell.ring()).await, Ok(Err(_))) {
            self.bell = None;
        }
    }
}
