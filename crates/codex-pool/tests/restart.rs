//! The start with a listener that somebody else holds, and the restart that refuses nobody (P-9).

mod support;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pool_testkit::request::Request;
use pool_testkit::{FakeAccount, World};
use rustix::process::Signal;
use support::{Connection, Rig, plain};
use tokio::net::{TcpStream, UnixDatagram};

const REQUESTS: usize = 10_000;
const RESTARTS: usize = 6;
/// At one time.
const CLIENTS: u64 = 40;

fn world() -> World {
    // Without limits: only the restarts are to matter.
    let account = |name| FakeAccount::openai_key(name).windows([]);
    World::new().account(account("one")).account(account("two"))
}

/// A listener as systemd holds it.
fn held(addr: &str) -> TcpListener {
    TcpListener::bind(addr).expect("a port")
}

/// A part of the load: without a pause a client opens a connection for each request, else it keeps one and pauses between two.
async fn client(
    addr: SocketAddr,
    pause: Option<Duration>,
    sent: Arc<AtomicUsize>,
) -> (BTreeMap<String, usize>, Duration) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut kept, mut slowest) = (None, Duration::ZERO);
    while sent.fetch_add(1, Ordering::Relaxed) < REQUESTS {
        let begun = Instant::now();
        let outcome = match exchange(addr, kept.take()).await {
            Ok((status, connection)) => {
                kept = pause.map(|_| connection);
                status
            }
            Err(error) => error,
        };
        slowest = slowest.max(begun.elapsed());
        *outcomes.entry(outcome).or_default() += 1;
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    (outcomes, slowest)
}

async fn exchange(addr: SocketAddr, kept: Option<Connection>) -> Result<(String, Connection), String> {
    let mut open = None;
    if let Some(mut connection) = kept
        && connection.is_open().await
    {
        open = Some(connection);
    }
    let mut connection = match open {
        Some(connection) => connection,
        None => Connection::open(addr).await?,
    };
    let (status, _, body) = connection.send(plain(Request::chat())).await?;
    let whole = serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|body| body["choices"].is_array());
    Ok((format!("{} {}", status.as_u16(), if whole { "whole" } else { "strange" }), connection))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_refuses_nobody() {
    let rig = Rig::new(world()).await.set("POOL_LOG", "warn,codex_pool=info");
    let listener = held("127.0.0.1:0");
    let addr = listener.local_addr().expect("bound");
    let mut pool = rig.start_on(&listener);
    assert_eq!(pool.listens().await, addr);
    let begun = Instant::now();
    let sent = Arc::new(AtomicUsize::new(0));
    let pause = |n: u64| (n.is_multiple_of(2)).then_some(Duration::from_millis(n / 2));
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(client(addr, pause(n), sent.clone()))).collect();
    let mut pauses = Vec::new();
    for restart in 1..=RESTARTS {
        while sent.load(Ordering::Relaxed) < restart * REQUESTS / (RESTARTS + 1) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let stopped = Instant::now();
        pool.signal(Signal::TERM);
        assert_eq!(pool.ended().await, Some(0), "{}", pool.log());
        pool = rig.start_on(&listener);
        pool.listens().await;
        pauses.push(stopped.elapsed());
    }
    let (mut outcomes, mut slowest) = (BTreeMap::<String, usize>::new(), Duration::ZERO);
    for client in clients {
        let (one, slow) = client.await.expect("no panic");
        for (outcome, count) in one {
            *outcomes.entry(outcome).or_default() += count;
        }
        slowest = slowest.max(slow);
    }
    println!(
        "{outcomes:?} in {:.1?}, {RESTARTS} restarts of {:.1?} at most, slowest request {slowest:.1?}",
        begun.elapsed(),
        pauses.iter().max().expect("some")
    );
    assert_eq!(outcomes, BTreeMap::from([("200 whole".to_owned(), REQUESTS)]), "{}", pool.log());
    let served = rig.fake.books().inference().count();
    assert_eq!(served, REQUESTS, "each request once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_that_is_handed_over_decides() {
    let rig = Rig::new(world()).await.set("PROXY_LISTEN_ADDR", "127.0.0.1:1");
    let listener = held("127.0.0.1:0");
    let pool = rig.start_on(&listener);
    assert_eq!(pool.listens().await, listener.local_addr().expect("bound"));
    let log = pool.log();
    assert!(log.contains("a listener that was handed over"), "{log}");
    assert!(log.contains("listen_addr has no effect"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_cannot_be_used_is_refused() {
    for (address, variable, value, why) in [
        ("0.0.0.0:0", "POOL_LOG", "info", "refusing to listen on 0.0.0.0"),
        ("127.0.0.1:0", "FDS", "2", "there are 2, and the pool listens on one"),
    ] {
        let rig = Rig::new(world()).await.set(variable, value);
        let mut pool = rig.start_on(&held(address));
        assert_eq!(pool.ended().await, Some(1), "{address}");
        pool.says(why).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told() {
    let mut rig = Rig::new(world()).await;
    let path = rig.folder.root().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    rig = rig.set("NOTIFY_SOCKET", path.to_str().expect("text"));
    let told = async || {
        let mut said = [0; 64];
        let length = tokio::time::timeout(Duration::from_secs(30), manager.recv(&mut said)).await;
        String::from_utf8_lossy(&said[..length.expect("told in time").expect("received")]).trim().to_owned()
    };
    let mut pool = rig.start();
    assert_eq!(told().await, "READY=1");
    pool.listens().await;
    pool.signal(Signal::TERM);
    assert_eq!(told().await, "STOPPING=1");
    assert_eq!(pool.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_gets_time_to_notice() {
    let rig = Rig::new(world()).await.set("POOL_TIMEOUT_DRAIN_NOTICE_SECONDS", "2");
    let mut pool = rig.start();
    let addr = pool.listens().await;
    pool.signal(Signal::TERM);
    let told = Instant::now();
    pool.says("not ready any more").await;
    let mut connection = Connection::open(addr).await.expect("accepted");
    let (status, _, body) = connection.get("/readyz").await.expect("answered");
    assert_eq!((status.as_u16(), &*body), (503, &b"draining\n"[..]));
    let mut connection = Connection::open(addr).await.expect("accepted");
    let (status, headers, _) = connection.send(plain(Request::chat())).await.expect("answered");
    assert_eq!((status.as_u16(), headers["connection"].as_bytes()), (200, &b"close"[..]));
    pool.says("stopping").await;
    assert!(told.elapsed() >= Duration::from_secs(2));
    assert!(TcpStream::connect(addr).await.is_err());
    assert_eq!(pool.ended().await, Some(0), "{}", pool.log());
}
