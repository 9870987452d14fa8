//! The end of the program: nobody is cut who can finish in time, and what is cut is seen to be cut (P-9).

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use pool_core::UnixMs;
use pool_store::Ledger;
use pool_testkit::request::Request;
use pool_testkit::socket_client::{Came, SocketClient, create};
use pool_testkit::{FakeAccount, Style, TokenFault, World, payload_sha256};
use rustix::process::Signal;
use support::{Connection, Rig, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const STREAMS: usize = 100;
const SOCKETS: usize = 20;

/// Answers that take this long.
fn world(lasts: Duration) -> World {
    let pace = Duration::from_millis(50);
    let extra_events = lasts.div_duration_f32(pace) as usize;
    let style = Style { extra_events, pace: Some(pace), ..Style::default() };
    World::new().style(style).account(FakeAccount::chatgpt("one")).account(FakeAccount::chatgpt("two"))
}

/// Streams and turns that are under way: what was received, and how it ended.
struct Work {
    streams: JoinSet<Result<Bytes, String>>,
    turns: JoinSet<Came>,
}

impl Work {
    /// Begins them and waits until the client has the first bytes of each.
    async fn begin(rig: &Rig, addr: SocketAddr, streams: usize, turns: usize) -> Self {
        let flowing = Arc::new(AtomicUsize::new(0));
        let mut work = Self { streams: JoinSet::new(), turns: JoinSet::new() };
        for n in 0..streams {
            work.streams.spawn(stream(addr, format!("stream {n}"), flowing.clone()));
        }
        for n in 0..turns {
            work.turns.spawn(turn(addr, format!("turn {n}"), flowing.clone()));
        }
        until("all of it is under way", || flowing.load(Ordering::Relaxed) == streams + turns).await;
        assert_eq!(rig.fake.books().inference().count(), streams + turns);
        work
    }

    /// Every stream was cut, and its client can tell.
    async fn was_cut(mut self) {
        while let Some(ended) = self.streams.join_next().await {
            let ended = ended.expect("no panic");
            assert!(ended.is_err(), "it looks whole: {ended:?}");
        }
        while let Some(ended) = self.turns.join_next().await {
            assert_eq!(ended.expect("no panic"), Came::Closed(Some(1012)));
        }
    }
}

async fn stream(addr: SocketAddr, name: String, flowing: Arc<AtomicUsize>) -> Result<Bytes, String> {
    let mut connection = Connection::open(addr).await?;
    let answer = connection.begin(support::plain(Request::codex(&name))).await?;
    assert_eq!(answer.status(), 200);
    flowing.fetch_add(1, Ordering::Relaxed);
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(body.to_bytes())
}

/// How the socket ends whose turn this is: if not with the turn, the turn was whole.
async fn turn(addr: SocketAddr, name: String, flowing: Arc<AtomicUsize>) -> Came {
    let mut socket = SocketClient::codex(addr, &name).await.expect("granted");
    socket.patience = Duration::from_secs(30);
    socket.send(create(&name, None, "go")).await;
    let mut whole = false;
    loop {
        match socket.next().await {
            Came::Event(event) if event["type"] == "response.created" => drop(flowing.fetch_add(1, Ordering::Relaxed)),
            Came::Event(event) => whole |= event["type"] == "response.completed",
            end if whole => return Came::Broke(format!("after the turn: {end:?}")),
            end => return end,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_finishes_and_nothing_new_begins() {
    let rig = Rig::new(world(Duration::from_secs(4))).await;
    let mut pool = rig.start();
    let addr = pool.listens().await;
    let mut idle = Vec::new();
    for n in 0..SOCKETS / 2 {
        idle.push(SocketClient::codex(addr, &format!("idle {n}")).await.expect("granted"));
    }
    let mut work = Work::begin(&rig, addr, STREAMS, SOCKETS / 2).await;

    pool.signal(Signal::TERM);
    let told = Instant::now();
    pool.says("stopping").await;
    let refused = TcpStream::connect(addr).await.map_err(|error| error.kind());
    assert_eq!(refused.map(drop), Err(std::io::ErrorKind::ConnectionRefused));
    for socket in &mut idle {
        assert_eq!(socket.next().await, Came::Closed(Some(1012)), "between turns");
    }
    let idle_closed = told.elapsed();

    let mut received: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(body) = work.streams.join_next().await {
        let body = body.expect("no panic").expect("not cut");
        *received.entry(payload_sha256(&body)).or_default() += 1;
    }
    while let Some(ended) = work.turns.join_next().await {
        assert_eq!(ended.expect("no panic"), Came::Broke(format!("after the turn: {:?}", Came::Closed(Some(1012)))));
    }
    assert_eq!(pool.ended().await, Some(0), "{}", pool.log());
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    let books = rig.fake.books();
    for entry in books.inference().filter(|entry| entry.method == "POST") {
        *sent.entry(entry.payload_sha256.clone().expect("a whole answer")).or_default() += 1;
    }
    assert_eq!(received, sent, "every byte");
    assert!(pool.log().contains("nothing was cut"), "{}", pool.log());
    println!(
        "{STREAMS} streams and {SOCKETS} sockets: none cut; idle sockets closed after {idle_closed:.1?}, exit after {:.1?}",
        told.elapsed()
    );
}

/// Records of requests that were cut are kept too.
async fn records(rig: &Rig) -> u64 {
    let opened = Ledger::open(&rig.ledger(), pool_store::ledger::Options::default()).await.expect("it opens");
    let totals = opened.ledger.totals_since(UnixMs(0)).await.expect("readable");
    totals.iter().map(|account| account.requests).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_connected_before_the_order_is_served() {
    let rig = Rig::new(world(Duration::from_millis(100))).await;
    let mut pool = rig.start();
    let addr = pool.listens().await;
    // Held still, so that the connections and the order come at one time.
    pool.signal(Signal::STOP);
    let mut waiting = JoinSet::new();
    for n in 0..50 {
        let mut connection = Connection::open(addr).await.expect("the system accepts for it");
        let request = support::plain(Request::codex(&format!("waiting {n}")));
        waiting.spawn(async move { connection.send(request).await });
    }
    pool.signal(Signal::TERM);
    pool.signal(Signal::CONT);
    while let Some(answer) = waiting.join_next().await {
        let (status, headers, _) = answer.expect("no panic").expect("served");
        assert_eq!((status.as_u16(), &headers["connection"]), (200, &HeaderValue::from_static("close")));
    }
    assert_eq!(pool.ended().await, Some(0), "{}", pool.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_just_being_sent_is_served() {
    let rig = Rig::new(world(Duration::from_millis(100))).await;
    let mut pool = rig.start();
    let addr = pool.listens().await;
    let mut connections = Vec::new();
    for before in ["", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        stream.write_all(before.as_bytes()).await.expect("sent");
        if !before.is_empty() {
            assert!(stream.read(&mut [0; 4096]).await.expect("answered") > 0);
        }
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: loc").await.expect("sent");
        connections.push(stream);
    }
    pool.signal(Signal::TERM);
    pool.says("stopping").await;
    // Longer than a connection without a request would be kept.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for mut stream in connections {
        stream.write_all(b"alhost\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("not reset");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("draining\n"), "{answer:?}");
    }
    assert_eq!(pool.ended().await, Some(0), "{}", pool.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_of_the_drain_time_what_is_left_is_cut() {
    let rig = Rig::new(world(Duration::from_secs(20))).await.set("POOL_TIMEOUT_DRAIN_SECONDS", "1");
    let mut pool = rig.start();
    let work = Work::begin(&rig, pool.listens().await, 10, 5).await;
    pool.signal(Signal::INT);
    let told = Instant::now();
    assert_eq!(pool.ended().await, Some(0), "{}", pool.log());
    let took = told.elapsed();
    // At most two seconds after the drain time, and one for a machine with other things to do.
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(1 + 2 + 1), "{took:?}");
    work.was_cut().await;
    assert!(pool.log().contains("requests_cut=15 sockets_cut=5"), "{}", pool.log());
    assert_eq!(records(&rig).await, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_costs_no_token() {
    let late = FakeAccount::chatgpt("late").first_token_left(Duration::ZERO);
    let rig = Rig::new(world(Duration::from_secs(20)).account(late)).await;
    let late = rig.fake.account("late");
    let (file, old) = (late.credential_file().0, late.refresh_token().expect("it has one"));
    rig.folder.remove(&file).expect("it was there");
    let mut pool = rig.start();
    let work = Work::begin(&rig, pool.listens().await, 10, 5).await;
    pool.signal(Signal::TERM);
    pool.says("stopping").await;
    // A renewal begins: whose token is not written down, that account is lost.
    late.token_fault(1, TokenFault::Delay(Duration::from_millis(300)));
    rig.folder.add(&late).expect("written");
    until("a renewal is under way", || late.books().refresh_calls == 1).await;
    pool.signal(Signal::TERM);
    let told = Instant::now();
    assert_eq!(pool.ended().await, Some(0), "{}", pool.log());
    // It takes about one; the bound is for a machine with other things to do.
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    work.was_cut().await;
    let renewed = late.refresh_token().expect("it has one");
    assert_ne!(renewed, old);
    assert!(rig.folder.read(&file).expect("there").contains(&renewed), "{}", pool.log());
    assert_eq!(records(&rig).await, 15);
}
