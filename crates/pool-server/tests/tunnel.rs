//! Realtime sockets through the pool: unread bytes both ways, on one account, with its credential; and what a client sees when
//! there is none.

mod support;

use std::time::{Duration, Instant};

use pool_testkit::request::CREDENTIAL;
use pool_testkit::socket_client::{Came, SocketClient};
use pool_testkit::{FakeAccount, Fault, Target, World};
use serde_json::json;
use support::{Rig, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// Two keys; the first is preferred.
fn two() -> World {
    let one = FakeAccount::openai_key("one").setting("priority", 5);
    World::new().account(one).account(FakeAccount::openai_key("two")).forbid(CREDENTIAL)
}

fn bearer() -> String {
    format!("Bearer {CREDENTIAL}")
}

async fn connect(rig: &Rig, path: &str) -> SocketClient {
    SocketClient::connect(rig.addr, path, &[("authorization", &bearer())]).await.expect("granted")
}

/// A handshake by hand, and whatever comes at once after it.
async fn shake_hands(rig: &Rig, path: &str, more: &str, early: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(rig.addr).await.expect("connected");
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
        rig.addr
    );
    stream.write_all(&[head.as_bytes(), early].concat()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await {
            Ok(Ok(1)) => answer.push(byte[0]),
            _ => break,
        }
    }
    (stream, String::from_utf8(answer).expect("a head"))
}

/// Handshakes that arrived, as (account, status).
fn arrived(rig: &Rig) -> Vec<(String, u16)> {
    let books = rig.fake.books();
    let sockets = books.log.iter().filter(|entry| entry.headers.contains_key("upgrade"));
    sockets.map(|entry| (entry.account.clone().unwrap_or_default(), entry.status.unwrap_or(0))).collect()
}

fn on(tries: &[(&str, u16)]) -> Vec<(String, u16)> {
    tries.iter().map(|(account, status)| ((*account).to_owned(), *status)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_back_as_they_were_sent_and_one_record_is_kept() {
    let rig = Rig::start(two()).await;
    let mut socket = connect(&rig, "/v1/realtime?model=gpt-realtime").await;
    let id = socket.headers["x-pool-request"].to_str().expect("text").to_owned();
    assert!(matches!(socket.next().await, Came::Event(event) if event["type"] == "session.created"));
    for size in [1, 1000, 300_000] {
        let said = json!({ "type": "input_audio_buffer.append", "audio": "x".repeat(size) });
        socket.send(said.clone()).await;
        assert_eq!(socket.next().await, Came::Event(said), "{size}");
    }
    socket.send_raw(Message::Close(None)).await;
    assert_eq!(socket.next().await, Came::Closed(None));
    assert!(matches!(socket.next().await, Came::Broke(_)), "upstream has closed its connection");
    drop(socket);
    until("the tunnel ends", || rig.app.sockets.count() == 0).await;
    assert_eq!(rig.recorded(1).await, 1);
    let kept = rig.records().await.remove(0);
    assert_eq!((kept.request_id, kept.model.as_deref()), (id, Some("gpt-realtime")));
    assert_eq!((kept.status, kept.ending.as_str(), kept.tokens, kept.attempts), (101, "complete", None, 1));
    assert_eq!(arrived(&rig), on(&[("one", 101)]));
    assert_eq!(rig.fake.books().violations, []);
    assert_eq!(rig.app.pool.read(|pool, _| pool.slots().map(|slot| slot.in_flight).sum::<u32>()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_not_read_in_between() {
    let rig = Rig::start(two()).await;
    let more = "sec-websocket-extensions: permessage-deflate\r\n";
    // What comes with the handshake waits for its grant.
    let (mut stream, head) = shake_hands(&rig, "/v1/realtime?model=raw", more, b"early bird").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    let mut heard = [0; 10];
    stream.read_exact(&mut heard).await.expect("echoed");
    assert_eq!(&heard, b"early bird");
    let all: Vec<u8> = (0..=255u8).cycle().take(1 << 20).collect();
    let (mut reading, mut writing) = stream.split();
    let mut heard = vec![0; all.len()];
    let (sent, read) = tokio::join!(writing.write_all(&all), reading.read_exact(&mut heard));
    assert!(sent.is_ok() && read.is_ok());
    assert!(heard == all, "every byte, as it was");
    let offered = rig.fake.books().log.iter().any(|entry| entry.header("sec-websocket-extensions").is_some());
    assert!(offered, "the two ends agree on their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_grant_another_account_takes_over() {
    for fault in [Fault::Limit, Fault::Revoked, Fault::ServerError, Fault::Reset, Fault::Status(404)] {
        let rig = Rig::start(two()).await;
        rig.fake.account("one").plan(Target::Handshake, None, fault.clone());
        let mut socket = connect(&rig, "/v1/realtime?model=gpt-realtime").await;
        assert!(matches!(socket.next().await, Came::Event(_)), "{fault:?}");
        assert_eq!(arrived(&rig).last(), Some(&("two".into(), 101)), "{fault:?}");
        assert_eq!(arrived(&rig).len(), 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_answer_is_a_reply_that_ends_the_connection() {
    let smuggled = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    for (fault, status) in
        [(Fault::Limit, 503), (Fault::BadRequest, 400), (Fault::Status(404), 404), (Fault::Overloaded, 503)]
    {
        let rig = Rig::start(two()).await;
        for name in ["one", "two"] {
            rig.fake.account(name).plan(Target::Handshake, None, fault.clone());
        }
        let before = rig.fake.books().log.len();
        let (mut stream, head) = shake_hands(&rig, "/v1/realtime?model=m", "", smuggled.as_bytes()).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{fault:?}: {head}");
        assert!(head.contains("connection: close") && head.contains("x-pool-request"), "{fault:?}: {head}");
        let mut rest = String::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut rest)).await;
        assert!(ended.is_ok(), "{fault:?}: it is closed");
        assert!(!rest.contains("HTTP/1.1"), "{fault:?}: nothing answers what came early: {rest}");
        let log = rig.fake.books().log;
        assert!(log[before..].iter().all(|entry| !entry.path.contains("models")), "{fault:?}: nor does it go up");
        assert_eq!(rig.app.sockets.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_grants_nothing_properly_grants_nothing() {
    let rig = Rig::start(two()).await;
    for more in ["content-length: 5\r\n", "transfer-encoding: chunked\r\n"] {
        let (_, head) = shake_hands(&rig, "/v1/realtime?model=m", more, b"hello").await;
        assert!(head.starts_with("HTTP/1.1 400"), "{more}: {head}");
    }
    assert_eq!(arrived(&rig), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_in_a_subprotocol_lets_in_and_goes_no_further() {
    const TOKEN: &str = "made-up-operator-token-of-32-chars";
    let rig = Rig::with(two().forbid(TOKEN), |config| {
        config.local_access = false;
        config.operator_token = Some(pool_core::Secret::new(TOKEN));
    })
    .await;
    let (_stream, head) = shake_hands(&rig, "/v1/realtime?model=raw", "", b"").await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    let more = format!("sec-websocket-protocol: realtime, openai-insecure-api-key.{TOKEN}, openai-organization.o\r\n");
    let (_stream, head) = shake_hands(&rig, "/v1/realtime?model=raw", &more, b"").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("sec-websocket-protocol: realtime\r\n"), "{head}");
    let books = rig.fake.books();
    let seen = books.log.iter().find(|entry| entry.headers.contains_key("upgrade")).expect("arrived");
    assert_eq!(seen.header("sec-websocket-protocol"), Some("realtime"));
    assert_eq!(books.violations, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_from_elsewhere_gets_nothing() {
    let rig = Rig::start(two()).await;
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let (_, head) = shake_hands(&rig, "/v1/realtime?model=m", &format!("origin: {origin}\r\n"), b"").await;
        assert!(head.starts_with("HTTP/1.1 403"), "{origin}: {head}");
    }
    assert_eq!(arrived(&rig), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calls_socket_is_on_the_calls_account() {
    let rig = Rig::start(two()).await;
    let call = |path: &str| pool_testkit::request::Request {
        method: "POST",
        path: path.into(),
        headers: vec![("authorization".into(), bearer()), ("content-type".into(), "application/sdp".into())],
        body: b"v=0".to_vec(),
    };
    rig.fake.account("one").plan(Target::Inference, Some(1), Fault::Limit);
    let begun = rig.send(&call("/v1/realtime/calls?model=gpt-realtime")).await;
    assert_eq!(begun.status, Some(201), "{}", begun.text());
    let place = begun.header("location").expect("a place").to_owned();
    let id = place.rsplit('/').next().expect("an id");
    // The first account could serve again.
    let one = rig
        .app
        .pool
        .read(|pool, _| pool.slots().find(|slot| slot.account.name == "one").map(|slot| slot.account.id.clone()));
    rig.app.pool.apply(pool_core::pool::Event::Cleared { id: one.expect("there") });
    let mut socket = connect(&rig, &format!("/v1/realtime?call_id={id}")).await;
    assert!(matches!(socket.next().await, Came::Event(_)));
    assert_eq!(arrived(&rig), on(&[("two", 101)]));
    let hung_up = rig.send(&call(&format!("{place}/hangup"))).await;
    assert_eq!(hung_up.status, Some(200), "{}", hung_up.text());

    // However it is written, a call that nobody knows leads nowhere.
    for unknown in ["call_id=rtc_made_up_0001", "call%5Fid=rtc%5Fmade_up"] {
        let refused =
            SocketClient::connect(rig.addr, &format!("/v1/realtime?{unknown}"), &[("authorization", &bearer())]).await;
        let refused = refused.expect_err("unknown");
        assert_eq!(refused.status, 404, "{unknown}");
        assert_eq!(refused.body["error"]["type"], "invalid_request_error");
    }
    assert_eq!(arrived(&rig).len(), 1);
}

type Headers<'a> = &'a [(&'a str, &'a str)];

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_and_kind_of_account_has_its_sockets() {
    let world = World::one_of_each().forbid(CREDENTIAL);
    let rig = Rig::start(world).await;
    let live = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    let in_query = format!("{live}?key={CREDENTIAL}&alt=x");
    let (key, bearer) = ([("x-goog-api-key", CREDENTIAL)], bearer());
    let codex = [("authorization", &*bearer), ("originator", "codex_cli_rs"), ("chatgpt-account-id", "client")];
    let cases: [(&str, Headers, &str); 4] = [
        (live, &key, "gum"),
        (&in_query, &[], "gum"),
        // ChatGPT's back end has no such socket, so the key is asked after it.
        ("/v1/realtime?intent=quicksilver&model=m", &codex, "oak"),
        ("/backend-api/codex/realtime?model=m", &codex, "oak"),
    ];
    for (path, headers, account) in cases {
        let mut socket = SocketClient::connect(rig.addr, path, headers).await.expect(path);
        assert!(matches!(socket.next().await, Came::Event(_)), "{path}");
        assert_eq!(arrived(&rig).last(), Some(&(account.to_owned(), 101)), "{path}");
    }
    let books = rig.fake.books();
    assert!(
        books
            .log
            .iter()
            .any(|entry| entry.path.ends_with("BidiGenerateContent") && entry.query.as_deref() == Some("alt=x"))
    );
    assert_eq!(books.violations, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_may_end_by_itself_within_the_drain_time_and_is_cut_at_its_end() {
    let rig = Rig::with(two(), |config| config.timeouts.drain = Duration::from_millis(800)).await;
    let mut socket = connect(&rig, "/v1/realtime?model=m").await;
    assert!(matches!(socket.next().await, Came::Event(_)));
    let begun = Instant::now();
    let stopped = tokio::spawn(rig.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let said = json!({ "type": "still.here" });
    socket.send(said.clone()).await;
    assert_eq!(socket.next().await, Came::Event(said), "it goes on meanwhile");
    assert!(matches!(socket.next().await, Came::Broke(_) | Came::Closed(_)));
    let (fake, pool) = stopped.await.expect("stopped");
    assert!(begun.elapsed() >= Duration::from_millis(800) && begun.elapsed() < Duration::from_secs(8));
    drop((fake, pool));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tunnel_ends() {
    let rig = Rig::with(two(), |config| config.timeouts.upstream_idle = Duration::from_millis(400)).await;
    let mut socket = connect(&rig, "/v1/realtime?model=m").await;
    assert!(matches!(socket.next().await, Came::Event(_)));
    assert!(matches!(socket.next().await, Came::Broke(_) | Came::Closed(_)));
    assert_eq!(rig.recorded(1).await, 1);
    assert_eq!(rig.records().await[0].ending, "incomplete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_account() {
    let rig = Rig::start(two()).await;
    let (stream, head) = shake_hands(&rig, "/v1/realtime?model=m", "", b"").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    until("a slot is taken", || rig.app.pool.read(|pool, _| pool.slots().any(|slot| slot.in_flight == 1))).await;
    drop(stream);
    until("it is given back", || rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.in_flight == 0))).await;
}
