//! The living pool: the core's state machine with its lock, the files it comes from, and what keeps it fresh.

pub mod faults;
pub mod files;
mod flights;
pub mod home;
pub mod line;
pub mod live;
pub mod prober;
pub mod refresher;
pub mod shelf;
mod watcher;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pool_core::{Account, AccountKind};
use pool_providers::Registry;
use pool_providers::request::Bases;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::upstream::SharedUpstream;

use files::PoolLock;
use home::Folder;

pub use faults::{Fault, Faults, Topic};
pub use home::{Home, VaultHome, Writer};
pub use live::{Lease, LivePool};
pub use prober::{ProbeFailure, ProbeReport, Prober};
pub use refresher::{RefreshFailure, Refresher, Why};
pub use shelf::Shelf;

/// What the tasks that keep the pool alive have in common.
#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    live: Arc<LivePool>,
    shelf: Arc<Shelf>,
    /// Where several replicas share the accounts.
    vault: Option<Arc<VaultHome>>,
    faults: Arc<Faults>,
    upstream: SharedUpstream,
    bases: Bases,
    disable_refresh: bool,
    probe_every: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where the accounts live, and the folder that was taken.
struct Ground {
    home: Arc<dyn Home>,
    vault: Option<Arc<VaultHome>>,
    faults: Arc<Faults>,
    lock: PoolLock,
}

/// Owns the pool folder and keeps the pool alive: reads and watches the files, renews the tokens, probes the accounts.
#[derive(Debug)]
pub struct Keeper {
    pub refresher: Refresher,
    pub prober: Prober,
    pub faults: Arc<Faults>,
    shelf: Arc<Shelf>,
    tasks: TaskTracker,
    stop: CancellationToken,
    // Given back last.
    _lock: PoolLock,
}

/// What a person can do about a credential that is of no use any more.
pub fn what_mends(account: &Account) -> String {
    match account.kind {
        AccountKind::ApiKey => format!("put a valid key into {}", account.file),
        AccountKind::Subscription => format!("sign in again with `codex-pool accounts login {}`", account.provider),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the pool folder {} cannot be used: {source}; make it a folder that the user of codex-pool may read and write", .dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] files::LockError),
}

impl Keeper {
    /// Takes the pool folder (making it if there is none), reads every account into `live` and starts what keeps them fresh.
    pub fn start(
        config: &Config,
        registry: Arc<Registry>,
        live: Arc<LivePool>,
        upstream: SharedUpstream,
    ) -> Result<Self, StartError> {
        Self::start_with(config, registry, live, upstream, Box::new(files::write_secret))
    }

    /// The same with another way to write files.
    pub fn start_with(
        config: &Config,
        registry: Arc<Registry>,
        live: Arc<LivePool>,
        upstream: SharedUpstream,
        write: Writer,
    ) -> Result<Self, StartError> {
        let lock = ready_folder(&config.pool_dir, PoolLock::acquire)?;
        let home = Arc::new(Folder::new(config.pool_dir.clone(), registry.clone(), write));
        let ground = Ground { home, vault: None, faults: Arc::default(), lock };
        Self::start_on(ground, config, registry, live, upstream)
    }

    /// The same with the accounts of the vault, of which other replicas live as well. The pool folder is its letter box.
    pub async fn start_in(
        vault: Arc<VaultHome>,
        config: &Config,
        registry: Arc<Registry>,
        live: Arc<LivePool>,
        upstream: SharedUpstream,
    ) -> Result<Self, StartError> {
        let lock = ready_folder(&config.pool_dir, PoolLock::share)?;
        let faults = Arc::<Faults>::default();
        let (letter_box, dir, told) = (vault.clone(), config.pool_dir.clone(), faults.clone());
        // So that the first request finds what lies there.
        let _ = tokio::task::spawn_blocking(move || letter_box.take_in(&dir, &told)).await;
        let ground = Ground { home: vault.clone(), vault: Some(vault), faults, lock };
        Self::start_on(ground, config, registry, live, upstream)
    }

    fn start_on(
        ground: Ground,
        config: &Config,
        registry: Arc<Registry>,
        live: Arc<LivePool>,
        upstream: SharedUpstream,
    ) -> Result<Self, StartError> {
        let Ground { home, vault, faults, lock } = ground;
        let dir = config.pool_dir.clone();
        let shelf = Shelf::new(dir.clone(), home, registry.clone(), live.clone(), faults.clone());
        let loaded = shelf.load().map_err(|source| StartError::Folder { dir, source })?;
        let shared = Shared {
            registry,
            live,
            shelf: Arc::new(shelf),
            vault,
            faults: faults.clone(),
            upstream,
            bases: config.bases.clone(),
            disable_refresh: config.disable_refresh,
            probe_every: config.probe_every,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let refresher = Refresher::new(shared.clone());
        let prober = Prober::new(shared.clone(), refresher.clone());
        prober.probe_soon(loaded.changed);
        let (tasks, stop, shelf) = (shared.tasks.clone(), shared.stop.clone(), shared.shelf.clone());
        tasks.spawn(watcher::run(shared, prober.clone()));
        tasks.spawn(refresher.clone().run());
        tasks.spawn(prober.clone().run());
        Ok(Self { refresher, prober, faults, shelf, tasks, stop, _lock: lock })
    }

    /// Changes the content of an account's file, wherever that lives.
    ///
    /// # Errors
    /// In words for the operator: it is as it was.
    pub async fn edit(
        &self,
        file: &str,
        change: impl Fn(&[u8]) -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Result<(), String> {
        let (home, file) = (self.shelf.home().clone(), file.to_owned());
        let edited = tokio::task::spawn_blocking(move || home.edit(&file, &change)).await;
        edited.unwrap_or_else(|_| Err("codex-pool is stopping".into()))
    }

    /// Looks into the folder now. What changed there is found within a second without this, too.
    pub async fn reload(&self) {
        let shelf = self.shelf.clone();
        if let Ok(found) = tokio::task::spawn_blocking(move || shelf.rescan()).await {
            self.prober.probe_soon(found.changed);
        }
    }

    /// Stops, waiting up to `limit` for a renewal under way: its token must get to disk. `false`: it did not end in time.
    pub async fn shutdown(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(limit, self.tasks.wait()).await.is_ok();
        if !ended {
            tracing::error!("a token renewal did not end within {limit:?}; its account may need a new sign-in");
        }
        self.refresher.save_all().await;
        ended
    }
}

/// Makes the folder if there is none, takes it, and clears it of what killed writes have left.
fn ready_folder(dir: &Path, take: fn(&Path) -> Result<PoolLock, files::LockError>) -> Result<PoolLock, StartError> {
    files::ensure_private_dir(dir).map_err(|source| StartError::Folder { dir: dir.to_owned(), source })?;
    let lock = take(dir)?;
    if let Err(error) = files::sweep(dir) {
        tracing::warn!("leftovers of killed writes stay in {}: {error}", dir.display());
    }
    Ok(lock)
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
