//! Slow clients go away, and nobody else notices them (P-12).

use std::time::{Duration, Instant};

use pool_testkit::{World, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::clients::CODEX;
use crate::support::{Rig, head_of};
use crate::together;

const LIMIT: Duration = Duration::from_secs(1);

/// Sends the pieces 100 ms apart until the pool closes; the time that took, and what it said.
async fn dribble(addr: std::net::SocketAddr, begin: Vec<u8>, piece: &'static [u8]) -> (Duration, String) {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    let begun = Instant::now();
    stream.write_all(&begin).await.expect("sent");
    let (mut reading, mut writing) = stream.into_split();
    let writer = tokio::spawn(async move {
        while writing.write_all(piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(15), reading.read_to_end(&mut said)).await;
    let took = begun.elapsed();
    writer.abort();
    (took, String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_go_away_and_health_stays_quick() {
    let rig = Rig::with(World::new().account((CODEX.account)("anna")), |config| {
        config.timeouts.head_read = LIMIT;
        config.timeouts.body_progress = LIMIT;
    })
    .await;
    let addr = rig.addr;
    let body_head = format!(
        "POST /v1/responses HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{{"
    );
    // Requests, and handshakes of sockets.
    let begun =
        ["GET /healthz HTTP/1.1\r\n", "GET /v1/responses HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"];
    let heads = (0..100).map(move |n| dribble(addr, begun[n % 2].into(), b"x-slow: 1\r\n"));
    let bodies = (0..50).map(move |_| dribble(addr, body_head.clone().into_bytes(), b""));
    let slow = tokio::spawn(together(heads.chain(bodies)));
    let mut times = Vec::new();
    while !slow.is_finished() {
        let begun = Instant::now();
        let seen = client::send(addr, "GET", "/healthz", &[], b"", Duration::from_secs(5)).await.expect("connected");
        assert_eq!(seen.status, Some(200));
        times.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    assert!(p99 < Duration::from_millis(300), "health took {p99:?}");
    for (took, said) in slow.await.expect("no panic") {
        assert!(took < 5 * LIMIT, "one was kept for {took:?}");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
    assert_eq!(rig.app.in_flight.count(), 0);
    assert_eq!(rig.fake.books().inference().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_stalls_on_its_way_up_costs_no_account() {
    let rig = Rig::with(World::new().account((CODEX.account)("anna")), |config| {
        config.timeouts.body_progress = LIMIT;
        config.replay_cap = 64 << 10;
    })
    .await;
    let head = head_of(&(CODEX.request)("one"), rig.addr, 1_000_000);
    let body = format!("{{\"model\":\"gpt-6.1-sol\",\"input\":\"{}", "x".repeat(300_000));
    let begin = [head, body].concat().into_bytes();
    let (took, said) = dribble(rig.addr, begin, b"").await;
    assert!(took < 5 * LIMIT, "{took:?}");
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("no progress"), "{said}");
    assert_eq!(rig.health("anna"), "healthy");
}
