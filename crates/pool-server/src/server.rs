//! From a configuration to a running server, and to its orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pool_core::pins::Pins;
use pool_providers::Registry;
use pool_providers::routes::Table;
use pool_store::Ledger;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::app::{App, Gauge};
use crate::config::Config;
use crate::edge;
use crate::memory;
use crate::pool::{self, Keeper, LivePool};
use crate::relay::receive::ReplayBudget;
use crate::relay::ws::Sockets;
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
    #[error(transparent)]
    Pool(#[from] pool::StartError),
    #[error("cannot open the usage ledger: {0}")]
    Ledger(#[from] pool_store::ledger::OpenError),
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

/// How long the ledger may take to write what is queued, at the end.
const LEDGER_CLOSE: Duration = Duration::from_secs(5);

/// How long a renewal under way may take to get its token to disk, at the end.
const RENEWAL_END: Duration = Duration::from_secs(35);

impl Server {
    /// Takes the pool folder, reads the accounts, opens the ledger and the port.
    pub async fn start(config: Config, registry: Registry) -> Result<Self, StartError> {
        if !config.listen.ip().is_loopback() && config.operator_token.is_none() {
            return Err(StartError::Unguarded(config.listen));
        }
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| StartError::Listen { address: config.listen, error })?;
        let registry = Arc::new(registry);
        let pool = Arc::new(LivePool::with_pins(Pins::new(config.max_pins, config.pin_idle)));
        let upstream = Arc::new(Upstream::new(&config));
        let keeper = Keeper::start(&config, registry.clone(), pool.clone(), upstream.clone())?;
        let opened = Ledger::open(&config.db_path, pool_store::ledger::Options::default()).await?;
        if let Some(note) = opened.note {
            tracing::warn!("{note}");
        }
        memory::recall(&pool, &opened.ledger).await;
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
            in_flight: Gauge::default(),
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

    /// Serves until `stop`, then lets streams finish, renewals be written and records be kept.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { app, listener, ledger_writer } = self;
        let remembering = tokio::spawn({
            let app = app.clone();
            async move { memory::run(&app.pool, &app.ledger).await }
        });
        edge::serve(app.clone(), listener, stop).await;
        app.keeper.shutdown(RENEWAL_END).await;
        remembering.abort();
        memory::put_away(&app.pool, &app.ledger, LEDGER_CLOSE).await;
        let lost = app.ledger.close(LEDGER_CLOSE).await;
        if lost > 0 {
            tracing::error!(lost, "usage records could not be written before the end");
        }
        ledger_writer.abort();
    }
}
