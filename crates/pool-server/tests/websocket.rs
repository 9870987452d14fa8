//! Codex's socket through the pool: what goes up, what comes down, what is kept; and what the client sees of failures.

mod support;

use std::time::{Duration, Instant};

use pool_core::UnixMs;
use pool_server::Config;
use pool_testkit::request::{CLIENT_ACCOUNT, CREDENTIAL};
use pool_testkit::socket_client::{Came, NotGranted, SocketClient, create, response_id};
use pool_testkit::{Ended, FakeAccount, Fault, Target, TokenCounts, World};
use serde_json::{Value, json};
use support::{Rig, until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Sockets are carried unless `change` says otherwise.
async fn sockets(world: World, change: impl FnOnce(&mut Config)) -> Rig {
    Rig::with(world, change).await
}

/// Two subscriptions: the first conversation goes to `one`, which has more left.
fn two() -> World {
    let two = FakeAccount::chatgpt("two").used("5h", 0.5).used("week", 0.5);
    World::new().account(FakeAccount::chatgpt("one")).account(two).forbid(CREDENTIAL).forbid(CLIENT_ACCOUNT)
}

async fn connect(rig: &Rig, conversation: &str) -> SocketClient {
    SocketClient::codex(rig.addr, conversation).await.expect("granted")
}

fn kinds(came: &[Came]) -> Vec<String> {
    let kind = |came: &Came| match came {
        Came::Event(event) => event["type"].as_str().unwrap_or("?").to_owned(),
        other => format!("{other:?}"),
    };
    came.iter().map(kind).collect()
}

fn last(came: &[Came]) -> Value {
    match came.last() {
        Some(Came::Event(event)) => event.clone(),
        other => panic!("no event at the end: {other:?}"),
    }
}

/// What makes Codex connect anew and send everything, showing nothing (measured on Codex CLI 0.169.0).
fn starts_over(came: &[Came]) -> bool {
    match came {
        [.., Came::Event(event)] => event["error"]["code"] == "previous_response_not_found",
        _ => false,
    }
}

/// Model requests that arrived, as (account, status).
fn tries(rig: &Rig) -> Vec<(String, u16)> {
    let books = rig.fake.books();
    books.inference().map(|one| (one.account.clone().unwrap_or_default(), one.status.unwrap_or(0))).collect()
}

/// All tokens in the ledger.
async fn kept(rig: &Rig) -> TokenCounts {
    let mut sum = TokenCounts::default();
    for account in rig.app.ledger.totals_since(UnixMs(0)).await.expect("readable") {
        let one = account.tokens;
        sum += TokenCounts {
            input: one.input,
            cache_read: one.cache_read,
            cache_write_5m: one.cache_write_5m,
            cache_write_1h: one.cache_write_1h,
            output: one.output,
            reasoning: one.reasoning,
        };
    }
    sum
}

fn on(tries: &[(&str, u16)]) -> Vec<(String, u16)> {
    tries.iter().map(|(account, status)| ((*account).to_owned(), *status)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_on_its_account_and_every_turn_is_counted() {
    let rig = sockets(two(), |_| {}).await;
    let mut socket = connect(&rig, "c1").await;
    assert!(socket.headers.contains_key("x-pool-request"));
    assert!(!socket.headers.contains_key("sec-websocket-extensions"));
    // The mean of both accounts, not the 0 % of the one that serves.
    assert_eq!(socket.headers["x-codex-primary-used-percent"], "25");
    let mut warm = create("c1", None, "");
    (warm["generate"], warm["input"]) = (false.into(), json!([]));
    let mut came = socket.turn(warm).await;
    assert_eq!(kinds(&came), ["response.created", "response.completed"]);
    for turn in 0..3 {
        came = socket.turn(create("c1", response_id(&came).as_deref(), "go on")).await;
        assert!(response_id(&came).is_some(), "turn {turn}: {came:?}");
        assert!(kinds(&came).contains(&"response.output_item.done".to_owned()));
        for event in &came {
            let Came::Event(event) = event else { continue };
            if event["type"] == "codex.rate_limits" {
                assert_eq!(event["plan_type"], "pro");
                assert_eq!(event["rate_limits"]["primary"]["used_percent"], 25.0, "the pool's, not the account's");
            }
        }
    }
    assert_eq!(rig.recorded(4).await, 4);
    let books = rig.fake.books();
    assert_eq!(books.violations, []);
    assert_eq!((books.account("one").completed, books.account("two").requests), (4, 0));
    assert_eq!(kept(&rig).await, books.total(), "the ledger against upstream's books");
    let idle = rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.in_flight == 0));
    assert!(idle, "an idle socket holds no slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_stands_alone_moves_behind_the_clients_back() {
    for (fault, status) in [
        (Fault::Limit, 429),
        (Fault::Throttle { retry_after: 30 }, 429),
        (Fault::Overloaded, 503),
        (Fault::OverloadFirst, 200),
        (Fault::ServerError, 500),
        (Fault::Unpaid, 402),
        (Fault::CloseBeforeHead, 200),
        (Fault::Reset, 200),
        (Fault::CutFirst, 200),
    ] {
        let rig = sockets(two(), |_| {}).await;
        rig.fake.account("one").fault_next(1, fault.clone());
        let mut socket = connect(&rig, "c1").await;
        let came = socket.turn(create("c1", None, "hello")).await;
        let id = response_id(&came).unwrap_or_else(|| panic!("{fault:?}: {came:?}"));
        assert_eq!(kinds(&came).iter().filter(|kind| *kind == "response.created").count(), 1, "{fault:?}");
        assert_eq!(tries(&rig), on(&[("one", status), ("two", 200)]), "{fault:?}");
        // The next turn builds on the answer of the account that gave it.
        let came = socket.turn(create("c1", Some(&id), "go on")).await;
        assert!(response_id(&came).is_some(), "{fault:?}: {came:?}");
        assert_eq!(rig.fake.books().violations, [], "{fault:?}");
        assert_eq!(rig.recorded(2).await, 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_builds_on_the_old_connection_makes_the_client_start_over() {
    for (fault, home) in [
        (Fault::Limit, "two"),
        (Fault::Overloaded, "one"),
        (Fault::OverloadFirst, "one"),
        (Fault::Revoked, "one"),
        (Fault::CloseBeforeHead, "one"),
        (Fault::CutFirst, "one"),
    ] {
        let rig = sockets(two(), |_| {}).await;
        let mut socket = connect(&rig, "c1").await;
        let first = socket.turn(create("c1", None, "hello")).await;
        let id = response_id(&first).expect("completed");
        if fault == Fault::Revoked {
            rig.fake.account("one").revoke_access();
        }
        rig.fake.account("one").fault_next(1, fault.clone());
        let came = socket.turn(create("c1", Some(&id), "go on")).await;
        assert!(starts_over(&came), "{fault:?}: {came:?}");

        // What Codex does then.
        let mut socket = connect(&rig, "c1").await;
        let came = socket.turn(create("c1", None, "hello, go on")).await;
        assert!(response_id(&came).is_some(), "{fault:?}: {came:?}");
        assert_eq!(tries(&rig).last().map(|(account, _)| account.as_str()), Some(home), "{fault:?}");
        assert_eq!(rig.recorded(2).await, 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_goes_between_turns_is_left() {
    let rig = sockets(two(), |_| {}).await;
    let mut socket = connect(&rig, "c1").await;
    let first = socket.turn(create("c1", None, "hello")).await;
    let id = response_id(&first).expect("completed");
    // The operator takes it out: no request has to fail for that.
    let (file, text) = rig.fake.account("one").credential_file();
    let mut text: Value = serde_json::from_str(&text).expect("JSON");
    text["disabled"] = true.into();
    std::fs::write(rig.pool.pool().join(&file), text.to_string()).expect("written");
    until("the pause is seen", || rig.app.pool.read(|pool, _| pool.slots().any(|slot| slot.account.settings.disabled)))
        .await;
    let came = socket.turn(create("c1", Some(&id), "go on")).await;
    assert!(starts_over(&came), "{came:?}");
    // A turn that stands alone moves on the very same socket.
    let came = socket.turn(create("c1", None, "hello, go on")).await;
    assert!(response_id(&came).is_some(), "{came:?}");
    assert_eq!(tries(&rig).last(), Some(&("two".to_owned(), 200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_something_meaningful_the_client_sees_what_happens() {
    for (fault, end) in [
        (Fault::CutMid, "Closed(Some(1011))"),
        (Fault::RstMid, "Closed(Some(1011))"),
        (Fault::NoTerminal, "Closed(Some(1011))"),
        (Fault::ErrMid, "response.failed"),
    ] {
        let rig = sockets(two(), |_| {}).await;
        rig.fake.account("one").fault_next(1, fault.clone());
        let mut socket = connect(&rig, "c1").await;
        let came = kinds(&socket.turn(create("c1", None, "hello")).await);
        assert!(came.contains(&"response.output_item.added".to_owned()), "{fault:?}: {came:?}");
        assert_eq!(came.last().map(String::as_str), Some(end), "{fault:?}");
        assert_eq!(tries(&rig).len(), 1, "{fault:?}: nothing is tried again");
        assert_eq!(rig.recorded(1).await, 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upstream_refuses_at_the_handshake_another_account_grants_or_http_does() {
    for (fault, expected) in [
        (Fault::Limit, 429),
        (Fault::Expired, 400),
        (Fault::Status(503), 426),
        (Fault::Reset, 426),
        (Fault::Garbage, 426),
        (Fault::CdnHtml, 426),
    ] {
        let rig = sockets(two(), |_| {}).await;
        rig.fake.account("one").plan(Target::Handshake, None, fault.clone());
        let mut socket = connect(&rig, "c1").await;
        let came = socket.turn(create("c1", None, "hello")).await;
        assert!(response_id(&came).is_some(), "{fault:?}: {came:?}");
        assert_eq!(tries(&rig), on(&[("two", 200)]), "{fault:?}");

        rig.fake.account("two").plan(Target::Handshake, None, fault.clone());
        let refused = SocketClient::codex(rig.addr, "c2").await.expect_err("none is left");
        assert_eq!(refused.status, expected, "{fault:?}: {}", refused.body);
        if expected == 429 {
            assert_eq!(refused.body["error"]["type"], "usage_limit_reached");
            assert!(refused.body["error"]["resets_at"].is_u64() && refused.headers.contains_key("retry-after"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_account_at_its_limit_the_client_gets_its_own_limit_message() {
    let rig = sockets(two(), |_| {}).await;
    let mut socket = connect(&rig, "c1").await;
    for account in ["one", "two"] {
        rig.fake.account(account).limit("5h", Duration::from_mins(30));
    }
    let begun = Instant::now();
    socket.turn(create("c1", None, "hello")).await;
    let came = socket.turn(create("c1", None, "hello")).await;
    let error = last(&came);
    assert_eq!((error["type"].as_str(), error["status"].as_u64()), (Some("error"), Some(429)), "{error}");
    assert_eq!(error["error"]["type"], "usage_limit_reached");
    assert_eq!(error["error"]["plan_type"], Value::Null);
    assert_eq!(error["error"]["resets_at"].as_u64(), rig.fake.account("one").resets_at("5h"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let NotGranted { status, body, .. } = SocketClient::codex(rig.addr, "c2").await.expect_err("nothing is left");
    assert_eq!((status, &body["error"]["type"]), (429, &json!("usage_limit_reached")));
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_or_malformed_handshakes_are_declined() {
    let rig = sockets(two(), |config| config.websockets = false).await;
    assert_eq!(SocketClient::codex(rig.addr, "c1").await.expect_err("off").status, 426);
    rig.stop().await;
    let rig = sockets(two(), |_| {}).await;
    for (path, name, value, status) in [
        ("/v1/responses", "sec-websocket-version", "8", 400),
        ("/v1/responses", "origin", "https://elsewhere.invalid", 403),
        ("/v1/realtime/nowhere", "x-nothing", "", 404),
    ] {
        let refused = SocketClient::connect(rig.addr, path, &[("originator", "codex_exec"), (name, value)]).await;
        assert_eq!(refused.expect_err("declined").status, status, "{path} {name}");
    }
    assert!(rig.fake.books().log.iter().all(|one| !one.headers.contains_key("upgrade")), "nothing went up");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_judged_by_the_standard() {
    let rig = sockets(two(), |config| config.socket_message_cap = 1 << 20).await;
    // In pieces, with control frames between them.
    let mut socket = connect(&rig, "c1").await;
    let text = create("c1", None, "hello").to_string().into_bytes();
    let (front, rest) = text.split_at(40);
    socket.send_raw(Message::Frame(Frame::message(front.to_vec(), OpCode::Data(Data::Text), false))).await;
    socket.send_raw(Message::Ping("are you there".into())).await;
    socket.send_raw(Message::Frame(Frame::message(rest.to_vec(), OpCode::Data(Data::Continue), true))).await;
    let mut came = Vec::new();
    while response_id(&came).is_none() && came.len() < 50 {
        came.push(socket.next().await);
    }
    assert!(response_id(&came).is_some(), "{came:?}");

    let long = "x".repeat((1 << 20) + 1);
    for (what, message, code) in [
        ("too long", Message::text(long), 1009),
        ("no UTF-8", Message::Frame(Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true)), 1007),
        ("out of turn", Message::Frame(Frame::message(vec![b'x'], OpCode::Data(Data::Continue), true)), 1002),
    ] {
        let mut socket = connect(&rig, "c1").await;
        socket.send_raw(message).await;
        assert_eq!(socket.next().await, Came::Closed(Some(code)), "{what}");
    }
    // What is not understood goes up, and its answer comes down.
    let mut socket = connect(&rig, "c1").await;
    socket.send_raw(Message::text("not JSON")).await;
    assert_eq!(last(&[socket.next().await])["error"]["code"], "invalid_message");
    until("all have gone", || rig.app.sockets.count() <= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_upstream_and_leaves_one_record() {
    let rig = sockets(two(), |_| {}).await;
    for fault in [Fault::Stall, Fault::Silent] {
        rig.fake.account("one").fault_next(1, fault.clone());
        let mut socket = connect(&rig, "c1").await;
        socket.patience = Duration::from_millis(300);
        let came = socket.turn(create("c1", None, "hello")).await;
        assert_eq!(came.last(), Some(&Came::Silence), "{fault:?}");
        let left = Instant::now();
        drop(socket);
        until("upstream is free", || {
            rig.fake.books().inference().last().is_some_and(|turn| turn.ended == Ended::PeerLeft)
        })
        .await;
        assert!(left.elapsed() < Duration::from_secs(2), "{fault:?}: {:?}", left.elapsed());
    }
    assert_eq!(rig.recorded(2).await, 2);
    assert!(rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.in_flight == 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_socket_is_no_request_that_dribbles() {
    let rig = sockets(two(), |config| {
        config.timeouts.head_read = Duration::from_millis(100);
        config.timeouts.body_progress = Duration::from_millis(100);
        config.timeouts.upstream_idle = Duration::from_millis(300);
    })
    .await;
    let mut socket = connect(&rig, "c1").await;
    let first = socket.turn(create("c1", None, "hello")).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let came = socket.turn(create("c1", response_id(&first).as_deref(), "go on")).await;
    assert!(response_id(&came).is_some(), "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_to_stop_lets_turns_end_and_closes_sockets_with_1012() {
    let rig = sockets(two(), |config| config.timeouts.drain = Duration::from_secs(10)).await;
    let mut idle = connect(&rig, "c1").await;
    let mut busy = connect(&rig, "c2").await;
    rig.fake.account("one").fault_next(1, Fault::Paced(Duration::from_millis(100)));
    busy.send(create("c2", None, "hello")).await;
    assert!(matches!(busy.next().await, Came::Event(_)));
    let begun = Instant::now();
    let stopped = tokio::spawn(rig.stop());
    assert_eq!(idle.next().await, Came::Closed(Some(1012)));
    assert!(begun.elapsed() < Duration::from_secs(1));
    let mut came = Vec::new();
    while response_id(&came).is_none() && came.len() < 100 {
        came.push(busy.next().await);
    }
    assert!(response_id(&came).is_some(), "the turn came to its end: {:?}", came.last());
    assert_eq!(busy.next().await, Came::Closed(Some(1012)));
    stopped.await.expect("stopped");
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_drain_time_is_the_end() {
    let rig = sockets(two(), |config| config.timeouts.drain = Duration::from_millis(300)).await;
    let mut busy = connect(&rig, "c1").await;
    rig.fake.account("one").fault_next(1, Fault::Stall);
    busy.send(create("c1", None, "hello")).await;
    while !matches!(busy.next().await, Came::Event(event) if event["type"] == "response.output_item.added") {}
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(busy.next().await, Came::Closed(Some(1012)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_retire_between_turns_and_long_waits_show_signs_of_life() {
    let rig = sockets(two(), |config| {
        config.timeouts.socket_life = Duration::from_millis(700);
        config.timeouts.keep_alive = Duration::from_millis(100);
    })
    .await;
    let mut socket = connect(&rig, "c1").await;
    rig.fake.account("one").fault_next(1, Fault::SlowHead(Duration::from_millis(900)));
    let came = kinds(&socket.turn(create("c1", None, "hello")).await);
    assert_eq!(came.last().map(String::as_str), Some("response.completed"), "the turn outlived the limit: {came:?}");
    let signs = came.iter().take_while(|kind| *kind == "keepalive").count();
    assert!(signs >= 3, "{came:?}");
    assert_eq!(socket.next().await, Came::Closed(Some(1001)));
}
