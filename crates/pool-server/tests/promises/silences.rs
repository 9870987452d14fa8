//! Long silences of upstream in the middle of an answer: the client sees signs of life, and nothing else of them.

use std::io::Write as _;
use std::time::Duration;

use pool_testkit::client::Seen;
use pool_testkit::{Fault, World, payload_sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::Rig;
use crate::support::clients::{CHAT, CLAUDE, CLIENTS, CODE_ASSIST, CODEX, Client, GEMINI, MESSAGES};

const SIGN: Duration = Duration::from_millis(40);
const SILENCE: Duration = Duration::from_millis(800);

const COMMENT: &str = ": keep-alive\n\n";
const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// The sign of life that this client gets.
fn sign(client: &Client) -> &'static str {
    match client.name {
        name if name == CODEX.name => "event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n",
        name if name == CHAT.name => COMMENT,
        name if name == CLAUDE.name || name == MESSAGES.name => PING,
        name if name == GEMINI.name || name == CODE_ASSIST.name => "\r\n",
        name => panic!("no sign known for {name}"),
    }
}

async fn rig(client: &Client, idle: Duration) -> Rig {
    let rig = Rig::with(World::new().account((client.account)("anna")), |config| {
        config.timeouts.keep_alive = SIGN;
        config.timeouts.upstream_idle = idle;
    })
    .await;
    rig.fake.fault(Fault::Silence(SILENCE));
    rig
}

async fn notices_nothing(client: Client) {
    let rig = rig(&client, Duration::from_mins(1)).await;
    let seen = rig.send(&(client.request)("one")).await;
    let text = seen.text();
    let what = format!("{}: {text}", client.name);
    assert_eq!((seen.status, seen.whole), (Some(200), true), "{what}");
    // An empty line cannot be told from those that end events, and counts for nothing anyway.
    let (found, rest) = match sign(&client) {
        "\r\n" => (text.split("\r\n\r\n\r\n").count() - 1, text),
        sign => (text.matches(sign).count(), text.replace(sign, "")),
    };
    // One every 40 ms of 800, on a slow machine; none in what is no stream.
    assert_eq!(found >= 5, client.streams, "{found} signs for {what}");
    assert!(client.streams || found == 0, "{found} signs for {what}");
    let books = rig.fake.books();
    let sent = books.inference().last().and_then(|entry| entry.payload_sha256.clone());
    if client.name != CODE_ASSIST.name {
        assert_eq!(Some(payload_sha256(rest.as_bytes())), sent, "{what}");
    }
    assert_eq!(books.inference().count(), 1);
    assert_eq!(rig.record_of(&seen).await.ending, "complete", "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_through_a_long_silence() {
    futures_util::future::join_all(CLIENTS.map(notices_nothing)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_to_the_client_do_not_count_as_progress_of_upstream() {
    let rig = rig(&CLAUDE, SILENCE / 3).await;
    let seen = rig.send(&(CLAUDE.request)("one")).await;
    assert_eq!((seen.status, seen.whole), (Some(200), false), "{}", seen.text());
    assert!(seen.text().contains(PING) && !seen.text().contains(CLAUDE.terminal), "{}", seen.text());
    assert_eq!(rig.record_of(&seen).await.ending, "incomplete");
}

/// Answers with these pieces, a silence between any two.
async fn answers(head: &'static str, pieces: Vec<Vec<u8>>) -> String {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", port.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = port.accept().await {
            let mut request = vec![0; 64 << 10];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}connection: close\r\n\r\n").as_bytes()).await;
            for piece in &pieces {
                let _ = stream.write_all(piece).await;
                tokio::time::sleep(SIGN * 5).await;
            }
        }
    });
    base
}

async fn answered(head: &'static str, pieces: Vec<Vec<u8>>) -> Seen {
    let base = answers(head, pieces).await;
    let rig = Rig::with(World::new().account((CLAUDE.account)("clara")), |config| {
        config.bases.claude = base;
        config.timeouts.keep_alive = SIGN;
    })
    .await;
    rig.send(&(CLAUDE.request)("one")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_into_what_is_encoded_or_is_no_stream() {
    let recorded = include_str!("../../../pool-providers/fixtures/claude_final.sse").replace(PING, "");
    let (begin, rest) = recorded.split_at(1000);
    let plain = [begin, rest].map(|piece| piece.as_bytes().to_vec());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain.concat()).expect("encodes");
    let packed = packed.finish().expect("encodes");
    let halves = packed.split_at(packed.len() / 2);
    let halves = vec![halves.0.to_vec(), halves.1.to_vec()];

    let seen = answered("content-type: text/event-stream\r\ncontent-encoding: gzip\r\n", halves).await;
    assert_eq!(seen.body, packed);
    let seen = answered("content-type: application/json\r\n", plain.to_vec()).await;
    assert_eq!(seen.text(), recorded);
    // In the middle of an event there is none either; between two there is.
    let seen = answered("content-type: text/event-stream\r\n", plain.to_vec()).await;
    assert_eq!(seen.text(), recorded);
    let (begin, rest) = recorded.split_at(begin.rfind("\n\n").map_or(0, |at| at + 2));
    let cut = [begin, rest].map(|piece| piece.as_bytes().to_vec());
    let seen = answered("content-type: text/event-stream\r\n", cut.to_vec()).await;
    assert!(seen.text().contains(PING), "{}", seen.text());
    assert_eq!(seen.text().replace(PING, ""), recorded);
}
