//! Three servers in this process on one database and one fake provider, each with a pool folder of its own, and a gate in the way to
//! the database that a test can shut.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_server::app::App;
use pool_server::{Config, Server, StartError};
use pool_store::{Ledger, PostgresUrl, Vault, VaultKey};
use pool_testkit::client::Seen;
use pool_testkit::request::Request;
use pool_testkit::{FakeUpstream, PgServer, TestPool, World};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{bases, until};

/// Short, so that the tests are.
pub(crate) const CLAIM: Duration = Duration::from_millis(1500);

pub(crate) struct Circle {
    pub(crate) fake: FakeUpstream,
    pub(crate) members: Vec<Member>,
    pub(crate) gate: Gate,
    pub(crate) key: VaultKey,
}

pub(crate) struct Member {
    pub(crate) app: Arc<App>,
    pub(crate) addr: SocketAddr,
    pub(crate) pool: TestPool,
    running: JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Circle {
    /// `None` where PostgreSQL cannot be had.
    pub(crate) async fn of(replicas: usize, world: World) -> Option<Self> {
        let gate = Gate::before(PgServer::shared()?.database()).await;
        let fake = FakeUpstream::start(world).await.expect("the fake starts");
        let mut circle = Self { fake, members: Vec::new(), gate, key: VaultKey::make().expect("random") };
        for _ in 0..replicas {
            // Each brings a copy of every credential file.
            let pool = TestPool::of(&circle.fake).expect("a temporary pool");
            let member = circle.join_with(pool, circle.key.clone()).await.expect("the server starts");
            circle.members.push(member);
        }
        circle.settled().await;
        Some(circle)
    }

    /// One more replica, with nothing in its folder.
    pub(crate) async fn join(&self, key: VaultKey) -> Result<Member, StartError> {
        self.join_with(TestPool::empty().expect("a temporary pool"), key).await
    }

    async fn join_with(&self, pool: TestPool, key: VaultKey) -> Result<Member, StartError> {
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            pool_dir: pool.pool(),
            db_path: pool.root().join("data/proxy.db"),
            database_url: Some(self.gate.url()),
            vault_key: Some(key),
            claim: CLAIM,
            bases: bases(&self.fake),
            ..Config::default()
        };
        let server = Server::start(config, registry()).await?;
        let (addr, app) = (server.address().expect("bound"), server.app().clone());
        let running = tokio::spawn(server.run(std::future::pending(), std::future::pending()));
        Ok(Member { app, addr, pool, running })
    }

    async fn settled(&self) {
        until("the first probes come back", || {
            self.members.iter().all(|member| {
                let prober = &member.app.keeper.prober;
                member.app.pool.read(|pool, _| pool.slots().all(|slot| !prober.is_checking(&slot.account.id)))
            })
        })
        .await;
    }

    /// The vault as a replica that has nothing but a name.
    pub(crate) async fn vault(&self, replica: &str) -> Vault {
        let location = pool_store::Location::Server(self.gate.url());
        let opened = Ledger::open(location, pool_store::Options::default()).await.expect("a ledger");
        Vault::beside(&opened.ledger, self.key.clone(), replica, CLAIM).await.expect("the vault")
    }

    /// Requests spread over the replicas in turn, all at once.
    pub(crate) async fn crowd(&self, requests: Vec<Request>) -> Vec<Seen> {
        let sending = requests.into_iter().zip(self.members.iter().cycle()).map(|(request, member)| {
            let addr = member.addr;
            tokio::spawn(async move { request.send(addr, Duration::from_mins(1)).await.expect("connected") })
        });
        let mut seen = Vec::new();
        for sent in sending.collect::<Vec<_>>() {
            seen.push(sent.await.expect("no panic"));
        }
        seen
    }

    /// What each replica has for this account: its access token.
    pub(crate) fn tokens(&self, name: &str) -> Vec<String> {
        let token = |member: &Member| {
            member.app.pool.read(|pool, _| {
                let slot = pool.slots().find(|slot| slot.account.name == name);
                slot.map(|slot| slot.credentials.access.expose().to_owned()).unwrap_or_default()
            })
        };
        self.members.iter().map(token).collect()
    }

    pub(crate) async fn all_have(&self, name: &str, token: &str) {
        until("every replica has the token", || self.tokens(name).iter().all(|known| known == token)).await;
    }
}

impl Member {
    pub(crate) async fn send(&self, request: &Request) -> Seen {
        request.send(self.addr, Duration::from_secs(30)).await.expect("connected")
    }

    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.send(&Request { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() }).await
    }

    /// What keeps this account out, if anything.
    pub(crate) fn trouble(&self, name: &str) -> Option<String> {
        self.app.pool.read(|pool, now| {
            let slot = pool.slots().find(|slot| slot.account.name == name).expect("an account of this name");
            let hard = slot.cooldowns.iter().find(|cooldown| cooldown.is_running(now) && cooldown.is_hard());
            slot.needs_login.clone().or_else(|| hard.map(|cooldown| format!("{:?}", cooldown.cause)))
        })
    }
}

pub(crate) fn registry() -> Registry {
    Registry::new(OauthClient { secret: Some(pool_core::Secret::new("made-up")), ..OauthClient::default() })
}

/// A port that leads to the database as long as it is open.
pub(crate) struct Gate {
    port: u16,
    database: String,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(address: String) -> Self {
        let (_, place) = address.split_once('@').expect("an address");
        let (host, database) = place.split_once('/').expect("a database");
        let socket = PathBuf::from(host.replace("%2F", "/")).join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(through(near, socket.clone(), is_open.clone()));
            }
        });
        Self { port, database: database.to_owned(), open }
    }

    pub(crate) fn url(&self) -> PostgresUrl {
        let url =
            format!("postgres://tests:canary-of-a-password@127.0.0.1:{}/{}?sslmode=disable", self.port, self.database);
        url.parse().expect("an address")
    }

    /// Shut, it cuts every connection, and new ones come to nothing.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn through(mut near: TcpStream, socket: PathBuf, mut open: watch::Receiver<bool>) {
    if !*open.borrow_and_update() {
        return;
    }
    let Ok(mut far) = UnixStream::connect(socket).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
