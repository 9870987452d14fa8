//! Whoever only waits costs next to nothing (P-10 d, P-11). Alone in its process, whose memory and time are what is measured:
//! the other ends of all connections are in it too.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_testkit::request::Request;
use pool_testkit::{FakeAccount, World, client};
use support::Rig;
use support::process::{cpu_time, open_files, resident_kib};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Connections that are opened at a time.
const AT_ONCE: usize = 50;

/// Reads to the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// An upstream that grants every socket, keeps it, and says nothing.
async fn grants_everything() -> String {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", port.local_addr().expect("bound"));
    let kept = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = port.accept().await {
            let asked = head(&mut stream).await;
            let key = asked.split("sec-websocket-key: ").nth(1).and_then(|rest| rest.lines().next()).expect("a key");
            let accept = derive_accept_key(key.as_bytes());
            let granted = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
            );
            stream.write_all(granted.as_bytes()).await.expect("sent");
            kept.lock().push(stream);
        }
    });
    base
}

/// A connection on which this was asked and answered with this status.
async fn asked(addr: SocketAddr, request: &str, status: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let answer = head(&mut stream).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    let length = answer.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await.expect("a body");
    stream
}

/// Opens so many of them; what each costs in bytes, and the share of a processor that all of them take.
async fn cost(addr: SocketAddr, count: usize, request: &str, status: &str) -> (u64, f64, Vec<TcpStream>) {
    let base = resident_kib();
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let some = (0..AT_ONCE.min(count - streams.len())).map(|_| asked(addr, request, status));
        streams.extend(futures_util::future::join_all(some).await);
    }
    let each = resident_kib().saturating_sub(base) * 1024 / count as u64;
    let (before, begun) = (cpu_time(), Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let share = cpu_time().saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    (each, share, streams)
}

/// The longest that a request to the pool itself takes.
async fn slowest(rig: &Rig) -> Duration {
    let mut most = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        let seen =
            client::send(rig.addr, "GET", "/healthz", &[], b"", Duration::from_secs(5)).await.expect("connected");
        assert_eq!(seen.status, Some(200));
        most = most.max(begun.elapsed());
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_waits_costs_next_to_nothing() {
    let upstream = grants_everything().await;
    let rig = Rig::with(World::new().account(FakeAccount::chatgpt("one")), |config| {
        config.bases.responses = upstream;
    })
    .await;
    let (addr, room) = (rig.addr, open_files().saturating_sub(500));
    // What is set up once and for all does not count.
    drop(asked(addr, &format!("GET /healthz HTTP/1.1\r\nhost: {addr}\r\n\r\n"), "200").await);

    let count = 1000.min(room / 6);
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {addr}\r\n\r\n");
    let (each, share, connections) = cost(addr, count, &request, "200").await;
    let slow = slowest(&rig).await;
    println!(
        "{count} idle connections: {each} bytes each, {:.1} % of a processor, a request took {slow:?}",
        share * 100.0
    );
    assert!(each < 20 << 10, "{each} bytes for an idle connection");
    assert!(share < 0.05, "{share} of a processor for idle connections");
    assert!(slow < Duration::from_millis(300), "{slow:?} beside idle connections");

    // The others stay: their memory would be used again, and hide what the next ones take.
    let count = 2000.min(room / 6);
    let mut request = format!(
        "GET /v1/responses HTTP/1.1\r\nhost: {addr}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in &Request::codex("idle").headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request += "\r\n";
    let (each, share, sockets) = cost(addr, count, &request, "101").await;
    assert_eq!(rig.app.sockets.count(), count);
    let slow = slowest(&rig).await;
    println!("{count} idle sockets: {each} bytes each, {:.1} % of a processor, a request took {slow:?}", share * 100.0);
    assert!(each < 32 << 10, "{each} bytes for an idle socket, with the four ends of its two connections");
    assert!(share < 0.05, "{share} of a processor for idle sockets");
    assert!(slow < Duration::from_millis(300), "{slow:?} beside idle sockets");
    assert_eq!(rig.app.in_flight.count(), 0);
    drop((connections, sockets));
    support::until("all sockets are gone", || rig.app.sockets.count() == 0).await;
}
