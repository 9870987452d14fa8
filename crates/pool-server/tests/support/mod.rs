//! A pool in front of a [`FakeUpstream`], both in this process, and requests as the real clients send them.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::request::Bases;
use pool_server::app::App;
use pool_server::{Config, Server};
use pool_testkit::client::Seen;
use pool_testkit::request::Request;
use pool_testkit::{FakeUpstream, TestPool, World};
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
        let fake = FakeUpstream::start(world).await.expect("the fake starts");
        let pool = TestPool::of(&fake).expect("a temporary pool");
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            pool_dir: pool.pool(),
            db_path: pool.root().join("data/proxy.db"),
            bases: bases(&fake),
            ..Config::default()
        };
        change(&mut config);
        let client = OauthClient { secret: Some(pool_core::Secret::new("made-up")), ..OauthClient::default() };
        let server = Server::start(config, Registry::new(client)).await.expect("the server starts");
        let (addr, app) = (server.address().expect("bound"), server.app().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let rig = Self { fake, pool, app, addr, stop: Some(stop), running: Some(running) };
        rig.settled().await;
        rig
    }

    /// Waits until the probes of the start have come back.
    async fn settled(&self) {
        until("the first probes come back", || {
            self.app.pool.read(|pool, _| pool.slots().all(|slot| !self.app.keeper.prober.is_checking(&slot.account.id)))
        })
        .await;
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
