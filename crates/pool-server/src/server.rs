//! From a configuration to a running server, and to its orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pool_core::Pool;
use pool_core::pins::Pins;
use pool_providers::Registry;
use pool_providers::routes::Table;
use pool_store::{Answers, DirectoryStore, Ledger, StoreError, VaultError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::app::{App, Gauge};
use crate::config::Config;
use crate::door::{self, Door};
use crate::edge;
use crate::events;
use crate::friends::{self, Answered};
use crate::memory;
use crate::notices;
use crate::people::People;
use crate::pool::{self, Keeper, LivePool};
use crate::relay::receive::ReplayBudget;
use crate::relay::ws::Sockets;
use crate::replicas;
use crate::spend::Till;
use crate::upstream::Upstream;

/// A server that is ready to accept.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    ledger_writer: JoinHandle<()>,
}

/// Why the server did not start: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "listening on {0} would let everybody on the network use these accounts: set `operator_token` (or \
         POOL_OPERATOR_TOKEN) to a random text of 32 characters or more, or listen on 127.0.0.1"
    )]
    Unguarded(SocketAddr),
    #[error("cannot listen on {address}: {}", listen_advice(.error))]
    Listen { address: SocketAddr, error: io::Error },
    #[error("the listener that was handed over cannot be used: {0}")]
    Inherited(io::Error),
    #[error(transparent)]
    Pool(#[from] pool::StartError),
    #[error("cannot open the usage ledger: {0}")]
    Ledger(#[from] pool_store::OpenError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{0}; without it nobody could be told from anybody else, so the pool does not start")]
    People(#[from] StoreError),
}

fn listen_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is taken, perhaps by another codex-pool (`codex-pool status` tells); stop that or give another --listen".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; see `ip address`".into(),
        io::ErrorKind::PermissionDenied => "not permitted; ports below 1024 need a right, take another".into(),
        _ => error.to_string(),
    }
}

/// How long each of these may take when the end is wanted at once: a token that is written is worth a second.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// How long the ledger may take to write what is queued, at the end.
const LEDGER_CLOSE: Duration = Duration::from_secs(5);

/// How long a renewal under way may take to get its token to disk, at the end.
const RENEWAL_END: Duration = Duration::from_secs(35);

impl Server {
    /// Takes the port, the pool folder and the ledger, and reads the accounts.
    pub async fn start(config: Config, registry: Registry) -> Result<Self, StartError> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| StartError::Listen { address: config.listen, error })?;
        Self::start_with(config, registry, listener).await
    }

    /// The same with a listener that somebody else holds for us, whatever `config.listen` says.
    pub async fn start_on(
        listener: std::net::TcpListener,
        config: Config,
        registry: Registry,
    ) -> Result<Self, StartError> {
        let listen = listener.local_addr().map_err(StartError::Inherited)?;
        let config = Config { listen, ..config };
        listener.set_nonblocking(true).map_err(StartError::Inherited)?;
        let listener = TcpListener::from_std(listener).map_err(StartError::Inherited)?;
        Self::start_with(config, registry, listener).await
    }

    async fn start_with(config: Config, registry: Registry, listener: TcpListener) -> Result<Self, StartError> {
        let registry = Arc::new(registry);
        let pins = Pins::new(config.max_pins, config.pin_idle);
        let pool = Arc::new(LivePool::new(Pool::with_pins(pins).in_order(config.kinds)));
        let upstream = Arc::new(Upstream::new(&config));
        let options = pool_store::ledger::Options { retention: config.retention, ..Default::default() };
        let opened = Ledger::open(config.database(), options).await?;
        if let Some(note) = opened.note {
            tracing::warn!("{note}");
        }
        let membership = replicas::join(&config, &opened.ledger, registry.clone()).await?;
        let (keeper, directory) = match &membership {
            None => (
                Keeper::start(&config, registry.clone(), pool.clone(), upstream.clone())?,
                DirectoryStore::beside(&opened.ledger),
            ),
            Some(member) => (
                Keeper::start_in(member.vault.clone(), &config, registry.clone(), pool.clone(), upstream.clone())
                    .await?,
                DirectoryStore::beside(&opened.ledger).telling_as(member.replicas.own_name()),
            ),
        };
        let people = People::start(directory, opened.fresh).await?;
        guard(&config, people.is_empty())?;
        let answered = Answered::recall(Answers::beside(&opened.ledger)).await;
        friends::import(&config, &people, &answered).await;
        if let Err(error) = friends::open(&config, &people).await {
            tracing::warn!("{error}; friends mode cannot begin yet");
        }
        notices::tell_once(&config, config.friends.code.is_some(), &answered).await;
        let door = open_door(&config);
        memory::recall(&pool, &opened.ledger).await;
        let till = Till::new(config.prices.clone(), pool.clone());
        till.take_up(&opened.ledger).await;
        people.take_up(&opened.ledger, &config.prices).await;
        memory::burn::take_up(&pool, &opened.ledger).await;
        let ledger_writer = tokio::spawn(opened.writer.run());
        let app = Arc::new(App {
            table: Table::new(&registry),
            replay: ReplayBudget::new(config.replay_budget),
            config,
            registry,
            pool,
            keeper,
            upstream,
            ledger: opened.ledger,
            people,
            membership,
            answered,
            door,
            till,
            in_flight: Gauge::default(),
            events: Arc::default(),
            sockets: Sockets::default(),
            draining: AtomicBool::new(false),
        });
        Ok(Self { app, listener, ledger_writer })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until `stop`, then lets streams finish, renewals be written and records be kept. `at_once`, if it comes after
    /// that, cuts this short: what is left is cut, and tokens and records get a last moment.
    pub async fn run(self, stop: impl Future<Output = ()>, at_once: impl Future<Output = ()> + Send + 'static) {
        let Self { app, listener, ledger_writer } = self;
        let of = app.clone();
        let remembering = AbortOnDropHandle::new(tokio::spawn(async move {
            let replicas = of.membership.as_ref().map(|member| &*member.replicas);
            memory::run(&of.pool, &of.ledger, replicas).await;
        }));
        let of = app.clone();
        let hearing = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(member) = &of.membership {
                Box::pin(member.run(&of.pool, &of.people, &of.ledger)).await;
            }
        }));
        let of = app.clone();
        let watching = AbortOnDropHandle::new(tokio::spawn(async move { events::watch::run(&of).await }));
        let hurry = CancellationToken::new();
        let order = hurry.clone();
        let hurrying = tokio::spawn(async move {
            at_once.await;
            order.cancel();
        });
        let mut told = None;
        let stop = async {
            stop.await;
            told = Some(Instant::now());
        };
        let drained = edge::serve(app.clone(), listener, stop, &hurry).await;
        tokio::select! {
            biased;
            _ = app.keeper.shutdown(RENEWAL_END) => {}
            () = hurry.cancelled() => drop(app.keeper.shutdown(LAST_MOMENT).await),
        }
        drop((remembering, hearing, watching));
        let limit = if hurry.is_cancelled() { LAST_MOMENT } else { LEDGER_CLOSE };
        memory::put_away(&app.pool, &app.ledger, limit).await;
        let lost = app.ledger.close(limit).await;
        if lost > 0 {
            tracing::error!(lost, "usage records could not be written before the end");
        }
        ledger_writer.abort();
        hurrying.abort();
        drained.tell(told.map(|told| told.elapsed()).unwrap_or_default());
    }
}

/// The door of our pages, with a key for the terminal of whoever runs us.
fn open_door(config: &Config) -> Door {
    match door::write_key(&config.db_path) {
        Ok(key) => Door::with_machine_key(&key),
        Err(error) => {
            let path = door::key_file(&config.db_path);
            tracing::warn!(
                "{} cannot be written ({error}): once the pool has users, commands on this machine need POOL_OPERATOR_TOKEN",
                path.display()
            );
            Door::default()
        }
    }
}

/// Nobody but this machine may use a pool without a credential.
fn guard(config: &Config, without_users: bool) -> Result<(), StartError> {
    let has_secret = config.operator_token.is_some() || config.admin_password.is_some();
    if config.listen.ip().is_loopback() || has_secret || !without_users {
        return Ok(());
    }
    Err(StartError::Unguarded(config.listen))
}
