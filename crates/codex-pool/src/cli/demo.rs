//! `codex-pool demo`: the whole product with simulated providers on loopback.
//!
//! The server is the real one, up to the base URLs; only the providers and the clients are simulated. Nothing of the user's is
//! read or written: the pool folder and the ledger are temporary.

mod story;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::request::Bases;
use pool_server::{Config, Server, StartError};
use pool_testkit::{FakeAccount, FakeUpstream, Style, TestPool, World};
use tokio::sync::watch;

use super::{Output, serve};
use crate::config::{Format, Inputs, Log};
use crate::logging;
use crate::problem::{Failure, Problem};

/// Where the demo listens if nothing else is said; if that is taken, on any free port.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8989);

/// Everything that the story and the traffic act on.
#[derive(Debug)]
pub(super) struct Stage {
    fake: FakeUpstream,
    pool: TestPool,
    address: SocketAddr,
}

pub(super) fn run(inputs: &Inputs, seconds: Option<u64>) -> Result<Output, Failure> {
    let wanted = listen(inputs)?;
    logging::start(&Log { format: Format::Auto, filter: "error".into() });
    serve::runtime()?.block_on(play(wanted, seconds.map(Duration::from_secs)))
}

async fn play(wanted: Option<SocketAddr>, ends_after: Option<Duration>) -> Result<Output, Failure> {
    let broken = |error: std::io::Error| Failure::from(Problem::new("cannot set up the demo", error.to_string(), ""));
    let fake = FakeUpstream::start(world()).await.map_err(broken)?;
    let pool = TestPool::of(&fake).map_err(broken)?;
    let server = start(wanted, &fake, &pool).await?;
    let address = server.address().map_err(broken)?;
    println!("{}", story::opening(address));

    let stage = Arc::new(Stage { fake, pool, address });
    let (over, ended) = watch::channel(false);
    let (signal, at_once) = serve::stop_signals()?;
    let acting = async {
        tokio::select! {
            () = signal => {}
            () = story::tell(&stage) => {}
            () = traffic::run(&stage) => {}
            () = pause(ends_after) => {}
        }
        over.send_replace(true);
    };
    let mut ended_too = ended.clone();
    let stop = async move {
        // An error means that the other side is gone: that is the end, too.
        let _ = ended_too.wait_for(|over| *over).await;
    };
    let serving = server.run(stop, at_once);
    tokio::join!(acting, serving);
    println!("\n{}", story::closing(&stage));
    Ok(Output::fine(""))
}

async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// The address that the user named, which has to be this machine's own.
fn listen(inputs: &Inputs) -> Result<Option<SocketAddr>, Failure> {
    let Some(text) = &inputs.flags.listen else { return Ok(None) };
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        _ => Err(Failure::wrong_use(Problem::new(
            format!("the demo cannot listen on {text}"),
            "it is for this machine only",
            "Give a loopback address, as in: --listen 127.0.0.1:9000",
        ))),
    }
}

async fn start(wanted: Option<SocketAddr>, fake: &FakeUpstream, pool: &TestPool) -> Result<Server, Failure> {
    let config = |listen| Config {
        listen,
        pool_dir: pool.pool(),
        db_path: pool.root().join("data/demo.db"),
        bases: bases(fake),
        ..Config::default()
    };
    let registry = || Registry::new(OauthClient::default());
    match Server::start(config(wanted.unwrap_or(ADDRESS)), registry()).await {
        Err(StartError::Listen { .. }) if wanted.is_none() => {
            let any = SocketAddr::new(ADDRESS.ip(), 0);
            Server::start(config(any), registry()).await.map_err(|error| serve::not_started(&error))
        }
        started => started.map_err(|error| serve::not_started(&error)),
    }
}

/// Six accounts, three providers.
fn world() -> World {
    let style = Style { extra_events: 12, pace: Some(Duration::from_millis(60)), ..Style::default() };
    World::new()
        .style(style)
        .account(FakeAccount::chatgpt("anna").plan("pro").used("5h", 0.55).used("7d", 0.3))
        .account(FakeAccount::chatgpt("ben").used("5h", 0.7).used("7d", 0.45))
        .account(FakeAccount::claude("mia").used("5h", 0.2).used("7d", 0.5))
        .account(FakeAccount::claude("leo").used("5h", 0.35).used("7d", 0.6))
        .account(FakeAccount::anthropic_key("team-key"))
        .account(FakeAccount::gemini_key("gem-key"))
}

fn bases(fake: &FakeUpstream) -> Bases {
    let settings = fake.settings();
    let base =
        |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, base)| base.clone()).unwrap_or_default();
    Bases {
        responses: base("UPSTREAM_RESPONSES_BASE"),
        wham: base("UPSTREAM_WHAM_BASE"),
        refresh: base("UPSTREAM_REFRESH_BASE"),
        openai: base("UPSTREAM_OPENAI_BASE"),
        claude: base("UPSTREAM_CLAUDE_BASE"),
        claude_refresh: base("UPSTREAM_CLAUDE_REFRESH_BASE"),
        gemini: base("UPSTREAM_GEMINI_BASE"),
        gemini_api: base("UPSTREAM_GEMINI_API_BASE"),
        google_token: base("UPSTREAM_GOOGLE_TOKEN_BASE"),
    }
}
