//! What the server needs to know before it starts. The binary resolves settings into this; nothing here reads a file or the
//! environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pool_core::alias::Aliases;
use pool_core::wishes::KindOrder;
use pool_core::{Prices, Secret, Span};
use pool_providers::request::Bases;
use pool_store::{Location, PostgresUrl, VaultKey};

use crate::network::Block;
pub use crate::pages::settings::{Applies, Setting, Settings};

#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub pool_dir: PathBuf,
    /// The file of the ledger and the directory of users, unless `database_url` says otherwise. What this machine alone keeps (the
    /// operator's key) is beside it in any case.
    pub db_path: PathBuf,
    /// The PostgreSQL database that takes the file's place.
    pub database_url: Option<PostgresUrl>,
    /// The key of the vault: with it the accounts are those that several replicas share in that database.
    pub vault_key: Option<VaultKey>,
    /// For how long at a time one replica has the right to renew a token. It is prolonged while that goes on; of one that died it
    /// must run out first.
    pub claim: Duration,
    pub bases: Bases,
    /// The way out for networks that need one. Loopback upstreams are reached directly.
    pub proxy: Option<OutboundProxy>,
    pub timeouts: Timeouts,
    /// Tries that may fail in passing, for one request.
    pub max_attempts: u32,
    /// Never renew tokens (another program does).
    pub disable_refresh: bool,
    /// Carry WebSockets. If not, clients are told to use HTTP.
    pub websockets: bool,
    /// The longest message on a socket.
    pub socket_message_cap: usize,
    /// Bodies up to this size are kept so that they can be sent again.
    pub replay_cap: usize,
    /// All bodies kept at one time.
    pub replay_budget: usize,
    /// Who presents this may do everything.
    pub operator_token: Option<Secret>,
    /// Who types this on our pages is the operator.
    pub admin_password: Option<Secret>,
    /// Proxies whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<Block>,
    /// Set when a reverse proxy stands in front: then no visitor counts as local.
    pub public_url: Option<String>,
    /// May friends use subscriptions whose files do not say? `None`: the operator has not said.
    pub share_subscriptions: Option<bool>,
    pub friends: Friends,
    /// The users of the Go original, taken over at the first start. `None`: there are none.
    pub old_users: Option<PathBuf>,
    /// Local requests need no credential.
    pub local_access: bool,
    /// Connections at one time.
    pub max_connections: usize,
    /// Between two probes of an idle account.
    pub probe_every: Duration,
    /// How long the records of requests are kept, with their stories.
    pub retention: Duration,
    /// Which kind of account goes first.
    pub kinds: KindOrder,
    /// What models cost.
    pub prices: Arc<Prices>,
    /// Other names for models.
    pub aliases: Aliases,
    /// A conversation that has not been heard of for so long may begin on another account.
    pub pin_idle: Span,
    /// Conversations whose account is remembered. Of more, the longest idle are forgotten.
    pub max_pins: usize,
    /// All of this as it was said, for whoever asks.
    pub settings: Arc<Settings>,
}

impl Config {
    /// Where the ledger and the directory of users are.
    pub fn database(&self) -> Location {
        self.database_url.clone().map_or_else(|| Location::File(self.db_path.clone()), Location::Server)
    }

    /// Is the pool reached by https? Then so are its cookies.
    pub fn is_secure(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}

/// Friends mode: who knows the code comes in by themself.
#[derive(Clone, Debug)]
pub struct Friends {
    /// `None`: friends mode is off; invitations work all the same.
    pub code: Option<Secret>,
    /// Whose friends they are, on the landing page.
    pub name: String,
    /// The line under it.
    pub tagline: String,
    /// Do friends see who has used how much?
    pub leaderboard: bool,
}

impl Default for Friends {
    fn default() -> Self {
        Self { code: None, name: "PP".into(), tagline: String::new(), leaderboard: false }
    }
}

/// Which kind of outbound proxy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundProxy {
    /// `CONNECT` through an HTTP proxy, as `http://host:port`.
    Http(http::Uri),
    /// SOCKS5, names resolved by the proxy.
    Socks5(http::Uri),
}

/// Every wait has its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub tls: Duration,
    /// From the request sent to the head of the answer.
    pub response_head: Duration,
    /// The same for compaction, which thinks long before it speaks.
    pub response_head_long: Duration,
    /// From a WebSocket's handshake sent to its answer: Codex waits 15 s for its own.
    pub handshake: Duration,
    /// Sockets older than this end between turns: the provider ends them after an hour, wherever they stand.
    pub socket_life: Duration,
    /// Between two pieces of an answer.
    pub upstream_idle: Duration,
    /// A client that takes nothing.
    pub client_stall: Duration,
    /// A client's request head.
    pub head_read: Duration,
    /// Between two pieces of a client's request body.
    pub body_progress: Duration,
    /// How long connections are still accepted after the order to stop, while `/readyz` says `draining`.
    pub drain_notice: Duration,
    /// How long streams may go on after that.
    pub drain: Duration,
    /// How long the head of a successful answer is held back while its first meaningful event is awaited.
    pub hold: Duration,
    /// Between two signs of life to a client while upstream says nothing.
    pub keep_alive: Duration,
    /// Between two pings on each side of a WebSocket.
    pub ping: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            connect: secs(10),
            tls: secs(10),
            response_head: secs(600),
            response_head_long: secs(1200),
            handshake: secs(6),
            socket_life: secs(55 * 60),
            upstream_idle: secs(600),
            client_stall: secs(60),
            head_read: secs(15),
            body_progress: secs(30),
            drain_notice: Duration::ZERO,
            drain: secs(30),
            hold: secs(15),
            keep_alive: secs(15),
            ping: secs(30),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8989)),
            pool_dir: "pool".into(),
            db_path: "data/proxy.db".into(),
            database_url: None,
            vault_key: None,
            claim: Duration::from_secs(30),
            bases: Bases::default(),
            proxy: None,
            timeouts: Timeouts::default(),
            max_attempts: 3,
            disable_refresh: false,
            websockets: true,
            socket_message_cap: 64 << 20,
            replay_cap: 16 << 20,
            replay_budget: 256 << 20,
            operator_token: None,
            admin_password: None,
            trusted_proxies: Vec::new(),
            public_url: None,
            share_subscriptions: None,
            friends: Friends::default(),
            old_users: None,
            local_access: true,
            max_connections: 10_000,
            probe_every: Duration::from_mins(5),
            retention: Duration::from_hours(30 * 24),
            kinds: KindOrder::default(),
            prices: Arc::default(),
            aliases: Aliases::default(),
            pin_idle: Span::from_hours(24),
            max_pins: 100_000,
            settings: Arc::default(),
        }
    }
}
