//! A pool in front of a [`FakeUpstream`], both in this process, and requests as the real clients send them.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod clients;
pub mod people;
pub mod process;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pool_core::pool::Slot;
use pool_core::{TokenCounts, UsageRecord};
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::request::Bases;
use pool_server::app::App;
use pool_server::{Config, Server};
use pool_store::ledger::{Filter, LONGEST_PAGE, Order};
use pool_testkit::client::Seen;
use pool_testkit::request::Request;
use pool_testkit::{FakeUpstream, PgServer, TestPool, World};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Everything that a test needs to hold.
pub struct Rig {
    pub fake: FakeUpstream,
    pub pool: TestPool,
    pub app: Arc<App>,
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl Rig {
    pub async fn start(world: World) -> Self {
        Self::with(world, |_| {}).await
    }

    /// With a changed configuration.
    pub async fn with(world: World, change: impl FnOnce(&mut Config)) -> Self {
        let rig = Self::launch(world, |_| {}, change).await;
        rig.settled().await;
        rig
    }

    /// With providers that are changed before the pool first speaks to them, and without waiting for what they then say.
    pub async fn launch(world: World, prepare: impl FnOnce(&FakeUpstream), change: impl FnOnce(&mut Config)) -> Self {
        let fake = FakeUpstream::start(world).await.expect("the fake starts");
        prepare(&fake);
        let pool = TestPool::of(&fake).expect("a temporary pool");
        Self::resume(fake, pool, change).await
    }

    /// With what an earlier rig has left (see [`Rig::stop`]).
    pub async fn resume(fake: FakeUpstream, pool: TestPool, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            pool_dir: pool.pool(),
            db_path: pool.root().join("data/proxy.db"),
            database_url: PgServer::database_of(pool.root()).map(|url| url.parse().expect("an address")),
            bases: bases(&fake),
            ..Config::default()
        };
        change(&mut config);
        let client = OauthClient { secret: Some(pool_core::Secret::new("made-up")), ..OauthClient::default() };
        let server = Server::start(config, Registry::new(client)).await.expect("the server starts");
        let (addr, app) = (server.address().expect("bound"), server.app().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let order = async move {
            let _ = stopped.await;
        };
        let running = tokio::spawn(server.run(order, std::future::pending()));
        Self { fake, pool, app, addr, stop: Some(stop), running: Some(running) }
    }

    /// Waits until the probes of the start have come back.
    pub async fn settled(&self) {
        until("the first probes come back", || {
            self.app.pool.read(|pool, _| pool.slots().all(|slot| !self.app.keeper.prober.is_checking(&slot.account.id)))
        })
        .await;
    }

    /// The server is stopped and another one started on the same folder.
    pub async fn restarted(self) -> Self {
        let (fake, pool) = self.stop().await;
        let rig = Self::resume(fake, pool, |_| {}).await;
        rig.settled().await;
        rig
    }

    pub async fn stop(mut self) -> (FakeUpstream, TestPool) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            running.await.expect("the server ends");
        }
        (self.fake, self.pool)
    }

    pub async fn send(&self, request: &Request) -> Seen {
        request.send(self.addr, Duration::from_secs(20)).await.expect("connected")
    }

    /// What the pool makes of an account: `healthy`, `troubled` (the last choice for a moment), `out: …` (kept out for a
    /// while), `parked` (waits for a person).
    pub fn health(&self, name: &str) -> String {
        self.app.pool.read(|pool, now| {
            let slot = pool.slots().find(|slot| slot.account.name == name).expect("an account of this name");
            health(slot, now)
        })
    }

    /// Every record in the ledger, in the order of arrival.
    pub async fn records(&self) -> Vec<Kept> {
        let ledger = &self.app.ledger;
        let page = ledger.records(&Filter::default(), Order::OldestFirst, None, LONGEST_PAGE).await.expect("readable");
        assert!(page.next.is_none(), "more than a page");
        page.records.iter().map(Kept::of).collect()
    }

    /// The record of the request that this answers, once it is written.
    pub async fn record_of(&self, seen: &Seen) -> Kept {
        let id = seen.header("x-pool-request").expect("a relayed answer").to_owned();
        for _ in 0..200 {
            if let Some(kept) = self.records().await.into_iter().find(|kept| kept.request_id == id) {
                return kept;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no record of {id}");
    }

    /// The ledger's count, once it has caught up with `at_least`.
    pub async fn recorded(&self, at_least: u64) -> u64 {
        for _ in 0..200 {
            let count = self.app.ledger.count().await.expect("readable");
            if count >= at_least {
                return count;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        self.app.ledger.count().await.expect("readable")
    }
}

fn health(slot: &Slot, now: pool_core::UnixMs) -> String {
    let running = || slot.cooldowns.iter().filter(|cooldown| cooldown.is_running(now));
    if slot.needs_login.is_some() {
        return "parked".into();
    }
    match (running().find(|cooldown| cooldown.is_hard()), running().next()) {
        (Some(out), _) => format!("out: {:?}", out.cause),
        (None, Some(_)) => "troubled".into(),
        (None, None) => "healthy".into(),
    }
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub request_id: String,
    pub account: String,
    pub model: Option<String>,
    pub status: i64,
    pub ending: String,
    pub attempts: i64,
    pub tokens: Option<TokenCounts>,
}

impl Kept {
    fn of(record: &UsageRecord) -> Self {
        let ending = serde_json::to_value(record.ending).expect("a word");
        Self {
            request_id: record.request_id.clone(),
            account: record.account.0.to_string(),
            model: record.model.clone(),
            status: i64::from(record.status),
            ending: ending.as_str().expect("a word").to_owned(),
            attempts: i64::from(record.attempts),
            tokens: record.tokens,
        }
    }
}

/// A request's head as it stands on the wire, for tests that hold the connection themselves. `length` is the body's.
pub fn head_of(request: &Request, addr: SocketAddr, length: usize) -> String {
    use std::fmt::Write as _;
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {addr}\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {length}\r\n\r\n");
    head
}

/// Connects and sends the request, and leaves the rest to the caller.
pub async fn send_only(request: &Request, addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    let head = head_of(request, addr, request.body.len());
    stream.write_all(&[head.as_bytes(), &request.body].concat()).await.expect("sent");
    stream
}

/// Waits up to 10 s.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

pub fn bases(fake: &FakeUpstream) -> Bases {
    let mut bases = Bases::default();
    for (name, value) in fake.settings() {
        let base = match name {
            "UPSTREAM_RESPONSES_BASE" => &mut bases.responses,
            "UPSTREAM_WHAM_BASE" => &mut bases.wham,
            "UPSTREAM_REFRESH_BASE" => &mut bases.refresh,
            "UPSTREAM_OPENAI_BASE" => &mut bases.openai,
            "UPSTREAM_CLAUDE_BASE" => &mut bases.claude,
            "UPSTREAM_CLAUDE_REFRESH_BASE" => &mut bases.claude_refresh,
            "UPSTREAM_GEMINI_BASE" => &mut bases.gemini,
            "UPSTREAM_GEMINI_API_BASE" => &mut bases.gemini_api,
            "UPSTREAM_GOOGLE_TOKEN_BASE" => &mut bases.google_token,
            other => panic!("unknown base {other}"),
        };
        *base = value;
    }
    bases
}
