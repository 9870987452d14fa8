//! Sockets that last: who is gone without a word, what ends of old age, what comes out of turn.

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use pool_server::Config;
use pool_testkit::socket_client::{Came, SocketClient, create, response_id};
use pool_testkit::{FakeAccount, Fault, World};
use serde_json::{Value, json};
use support::Rig;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Four of them without an answer must not come about by a slow machine.
const PING: Duration = Duration::from_millis(250);

/// More than wait in the queue.
const TURNS: usize = 40;

/// What the upstream of a test does on a connection, one thing after the other.
#[derive(Clone, Debug)]
enum Act {
    /// Waits for a message, and says these.
    Answer(Vec<Value>),
    /// Says these unasked.
    Say(Vec<Value>),
    /// Keeps the connection, and neither reads nor writes any more.
    Deaf,
}

/// An upstream that plays these, one list a connection, the last one also on all that follow.
struct Upstream {
    base: String,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start(plays: Vec<Vec<Act>>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", port.local_addr().expect("bound"));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = port.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let acts = plays.get(number).or(plays.last()).cloned().unwrap_or_default();
                let socket = tokio_tungstenite::accept_async(stream).await.expect("a proper handshake");
                tokio::spawn(play(socket, acts.into()));
            }
        });
        Self { base, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn play(mut socket: WebSocketStream<TcpStream>, mut acts: VecDeque<Act>) {
    while let Some(act) = acts.pop_front() {
        let events = match act {
            Act::Deaf => return std::future::pending().await,
            Act::Say(events) => events,
            Act::Answer(events) => loop {
                match socket.next().await {
                    Some(Ok(Message::Text(_))) => break events,
                    Some(Ok(_)) => {}
                    _ => return,
                }
            },
        };
        for event in events {
            if socket.send(Message::text(event.to_string())).await.is_err() {
                return;
            }
        }
    }
    while let Some(Ok(_)) = socket.next().await {}
}

fn created() -> Value {
    json!({ "type": "response.created", "response": { "id": "resp_1" } })
}

fn added() -> Value {
    json!({ "type": "response.output_item.added", "item": { "type": "message" } })
}

fn completed() -> Value {
    let usage = json!({ "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 });
    json!({ "type": "response.completed", "response": { "id": "resp_1", "usage": usage } })
}

/// A turn that goes well.
fn well() -> Act {
    Act::Answer(vec![created(), added(), completed()])
}

/// What upstream says when a connection is 60 minutes old (`codex-rs/codex-api/src/endpoint/responses_websocket.rs`).
fn too_old() -> Value {
    let error = json!({ "type": "invalid_request_error", "code": "websocket_connection_limit_reached", "message": "60 minutes" });
    json!({ "type": "error", "status": 400, "error": error })
}

async fn rig(upstream: &Upstream, change: impl FnOnce(&mut Config)) -> Rig {
    let world = World::new().account(FakeAccount::chatgpt("one"));
    Rig::with(world, |config| {
        config.bases.responses.clone_from(&upstream.base);
        change(config);
    })
    .await
}

async fn connect(rig: &Rig) -> SocketClient {
    SocketClient::codex(rig.addr, "c1").await.expect("granted")
}

fn is_start_over(came: &[Came]) -> bool {
    matches!(came, [.., Came::Event(event)] if event["error"]["code"] == "previous_response_not_found")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_pings_is_gone() {
    let upstream = Upstream::start(vec![vec![well()]]).await;
    let rig = rig(&upstream, |config| config.timeouts.ping = PING).await;
    let mut alive = connect(&rig).await;
    // A client that is never asked for its next message answers nothing.
    let gone = connect(&rig).await;
    for _ in 0..100 {
        if rig.app.sockets.count() == 1 {
            break;
        }
        assert!(tokio::time::timeout(PING, alive.next()).await.is_err(), "whoever answers stays");
    }
    assert_eq!(rig.app.sockets.count(), 1);
    assert!(response_id(&alive.turn(create("c1", None, "hello")).await).is_some());
    drop(gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_answers_no_pings_is_gone() {
    // Between turns: the client is told to connect anew.
    let upstream = Upstream::start(vec![vec![well(), Act::Deaf], vec![well()]]).await;
    let between = rig(&upstream, |config| config.timeouts.ping = PING).await;
    let mut socket = connect(&between).await;
    assert!(response_id(&socket.turn(create("c1", None, "hello")).await).is_some());
    assert_eq!(socket.next().await, Came::Closed(Some(1001)));

    // In a turn that has shown nothing: it is made good on another connection, long before the limit of silence.
    let deaf = Act::Answer(vec![created()]);
    let upstream = Upstream::start(vec![vec![well(), deaf, Act::Deaf], vec![well()]]).await;
    let within = rig(&upstream, |config| {
        config.timeouts.ping = PING;
        // Signs of life to the client must not keep the pings from going out.
        config.timeouts.keep_alive = PING / 2;
    })
    .await;
    let mut socket = connect(&within).await;
    assert!(response_id(&socket.turn(create("c1", None, "hello")).await).is_some());
    let came = socket.turn(create("c1", None, "and again")).await;
    assert!(response_id(&came).is_some(), "{came:?}");
    assert_eq!(upstream.connections(), 2);
    assert_eq!(within.health("one"), "healthy");
    assert_eq!(within.recorded(2).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_old_age_before_anything_was_shown_is_made_good() {
    let old = Act::Answer(vec![created(), too_old()]);
    for (bound, connections) in [(false, 2), (true, 1)] {
        let upstream = Upstream::start(vec![vec![well(), old.clone()], vec![well()]]).await;
        let rig = rig(&upstream, |_| {}).await;
        let mut socket = connect(&rig).await;
        assert!(response_id(&socket.turn(create("c1", None, "hello")).await).is_some());
        let came = socket.turn(create("c1", bound.then_some("resp_1"), "and again")).await;
        assert_eq!((response_id(&came).is_some(), is_start_over(&came)), (!bound, bound), "{came:?}");
        assert_eq!(upstream.connections(), connections);
        assert_eq!(rig.health("one"), "healthy", "it is nobody's failure");
        let turns = if bound { 1 } else { 2 };
        assert_eq!(rig.recorded(turns).await, turns);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_old_age_later_is_the_clients_to_see() {
    // In the middle of an answer: Codex begins the turn anew by itself.
    let upstream = Upstream::start(vec![vec![Act::Answer(vec![created(), added(), too_old()])], vec![well()]]).await;
    let within = rig(&upstream, |_| {}).await;
    let mut socket = connect(&within).await;
    let came = socket.turn(create("c1", None, "hello")).await;
    assert_eq!(came.last(), Some(&Came::Event(too_old())));
    assert_eq!(within.health("one"), "healthy");
    assert_eq!(within.recorded(1).await, 1);
    assert_eq!(within.records().await[0].ending, "failed");
    let came = connect(&within).await.turn(create("c1", None, "hello")).await;
    assert!(response_id(&came).is_some(), "{came:?}");

    // Between turns: a clean close, as if it were our own limit.
    let upstream = Upstream::start(vec![vec![well(), Act::Say(vec![too_old()])]]).await;
    let between = rig(&upstream, |_| {}).await;
    let mut socket = connect(&between).await;
    assert!(response_id(&socket.turn(create("c1", None, "hello")).await).is_some());
    assert_eq!(socket.next().await, Came::Closed(Some(1001)));
    assert_eq!(between.recorded(1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_in_the_middle_of_a_turn_is_bridged_by_messages() {
    let world = World::new().account(FakeAccount::chatgpt("one"));
    let rig = Rig::with(world, |config| {
        config.timeouts.keep_alive = Duration::from_millis(50);
    })
    .await;
    rig.fake.account("one").fault_next(1, Fault::Silence(Duration::from_millis(800)));
    let came = connect(&rig).await.turn(create("c1", None, "hello")).await;
    let kinds: Vec<&str> = came
        .iter()
        .map(|came| if let Came::Event(event) = came { event["type"].as_str().unwrap_or("?") } else { "over" })
        .collect();
    let shown = kinds.iter().position(|kind| *kind == "response.output_item.added").expect("begun");
    let signs = kinds[shown..].iter().filter(|kind| **kind == "keepalive").count();
    assert!(signs >= 4, "{kinds:?}");
    assert!(response_id(&came).is_some(), "{kinds:?}");
    // They are no progress of upstream's.
    let rig = Rig::with(World::new().account(FakeAccount::chatgpt("one")), |config| {
        config.timeouts.keep_alive = Duration::from_millis(50);
        config.timeouts.upstream_idle = Duration::from_millis(300);
    })
    .await;
    rig.fake.account("one").fault_next(1, Fault::Silence(Duration::from_secs(20)));
    let came = connect(&rig).await.turn(create("c1", None, "hello")).await;
    assert_eq!(came.last(), Some(&Came::Closed(Some(1011))));
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_that_are_asked_for_at_once_run_one_after_the_other() {
    let world = World::new().account(FakeAccount::chatgpt("one"));
    let rig = Rig::start(world).await;
    // Some in lanes of their own (<https://developers.openai.com/api/docs/guides/websocket-mode>), with notes between them.
    rig.fake.account("one").fault_next(3, Fault::Paced(Duration::from_millis(30)));
    let mut socket = connect(&rig).await;
    for number in 0..TURNS {
        let mut turn = create("c1", None, &format!("number {number}"));
        if number % 2 == 1 {
            turn["stream_id"] = format!("lane {number}").into();
        }
        socket.send(turn).await;
        socket.send(json!({ "type": "response.processed", "response_id": "resp_of_another_turn" })).await;
    }
    let mut ids = Vec::new();
    while ids.len() < TURNS {
        let Came::Event(event) = socket.next().await else { panic!("the socket ended after {} turns", ids.len()) };
        assert_ne!(event["type"], "error", "{event}");
        if event["type"] == "response.completed" {
            ids.push(event["response"]["id"].as_str().expect("an id").to_owned());
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), TURNS, "every turn once");
    assert_eq!(rig.recorded(TURNS as u64).await, TURNS as u64);
    let books = rig.fake.books();
    let arrived: Vec<String> = books.inference().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect();
    for (number, body) in arrived.iter().enumerate() {
        assert!(body.contains(&format!("number {number}\"")), "{number}: {body}");
        assert_eq!(body.contains("stream_id"), number % 2 == 1);
    }
    let kept = rig.records().await.iter().filter_map(|kept| kept.tokens).map(|tokens| tokens.total()).sum::<u64>();
    assert_eq!(kept, books.total().total(), "the ledger against upstream's books");
    assert_eq!(books.violations, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_of_turn_leaves_the_records_as_they_are() {
    let world = World::new().account(FakeAccount::chatgpt("one"));
    let rig = Rig::start(world).await;
    let mut socket = connect(&rig).await;
    let first = socket.turn(create("c1", None, "hello")).await;
    let id = response_id(&first).expect("completed");
    // For a turn that is over, for none, and of no kind that there is.
    for odd in [
        json!({ "type": "response.cancel", "response_id": id }),
        json!({ "type": "response.cancel" }),
        json!({ "type": "response.append", "input": [] }),
        json!(["response.create"]),
        json!({ "type": "response.created", "response": { "id": "resp_of_the_clients_own" } }),
    ] {
        socket.send(odd.clone()).await;
        let Came::Event(error) = socket.next().await else { panic!("{odd}") };
        assert_eq!(error["error"]["code"], "invalid_message", "{odd}: upstream's own words");
    }
    // One that builds on an answer which nobody knows is told so, and the socket goes on.
    let came = socket.turn(create("c1", Some("resp_that_never_was"), "go on")).await;
    assert!(is_start_over(&came), "{came:?}");
    let came = socket.turn(create("c1", Some(&id), "go on")).await;
    assert!(response_id(&came).is_some(), "{came:?}");
    assert_eq!(rig.health("one"), "healthy");
    let books = rig.fake.books();
    let kept = rig.recorded(3).await;
    assert_eq!((kept, rig.records().await.iter().filter(|kept| kept.ending == "complete").count()), (3, 2));
    let sum = rig.records().await.iter().filter_map(|kept| kept.tokens).map(|tokens| tokens.total()).sum::<u64>();
    assert_eq!(sum, books.total().total());
}
