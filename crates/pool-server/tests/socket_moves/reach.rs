//! Upstreams without sockets: who is asked, who waits, and what serves instead.

use std::time::{Duration, Instant};

use pool_server::Config;
use pool_testkit::request::Request;
use pool_testkit::socket_client::{SocketClient, create, response_id};
use pool_testkit::{FakeAccount, Fault, Target, World};

use crate::support::{Rig, until};

/// Upstream may take so long for a handshake. A third of it is long already.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Two subscriptions, the first with more left, and a paid key.
async fn rig() -> Rig {
    let two = FakeAccount::chatgpt("two").used("5h", 0.5).used("week", 0.5);
    let world = World::new().account(FakeAccount::chatgpt("one")).account(two).account(FakeAccount::openai_key("key"));
    Rig::with(world, |config: &mut Config| config.timeouts.handshake = HANDSHAKE).await
}

fn refuse(rig: &Rig, account: &str, fault: &Fault) {
    rig.fake.account(account).plan(Target::Handshake, None, fault.clone());
}

/// How a client's handshake ends: 101, or the status of the refusal.
async fn shake(rig: &Rig, conversation: &str) -> u16 {
    match SocketClient::codex(rig.addr, conversation).await {
        Ok(_) => 101,
        Err(refused) => refused.status,
    }
}

/// The accounts that were asked for a socket since the last look.
fn asked(rig: &Rig) -> Vec<String> {
    rig.fake
        .take_frames()
        .into_iter()
        .filter(|one| one.from_pool && one.what == "upgrade")
        .map(|one| one.account)
        .collect()
}

async fn over_http(rig: &Rig, conversation: &str) -> String {
    let seen = rig.send(&Request::codex(conversation)).await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    rig.fake.books().inference().last().and_then(|one| one.account.clone()).expect("served")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_sockets_is_asked_once_and_is_the_first_choice_over_http() {
    for fault in [Fault::Status(404), Fault::Status(405), Fault::Status(426), Fault::Status(501), Fault::Reset] {
        let rig = rig().await;
        rig.fake.keep_frames();
        refuse(&rig, "one", &fault);
        for (conversation, expected) in [("c1", &["one", "two"][..]), ("c2", &["two"]), ("c3", &["two"])] {
            assert_eq!(shake(&rig, conversation).await, 101, "{fault:?}");
            assert_eq!(asked(&rig), expected, "{fault:?}");
        }
        assert_eq!(over_http(&rig, "c4").await, "one", "{fault:?}");
        // Nobody else has them either, and a paid key is not used for the sake of a socket.
        refuse(&rig, "two", &fault);
        for (conversation, expected) in [("c5", &["two"][..]), ("c6", &[]), ("c7", &[])] {
            assert_eq!(shake(&rig, conversation).await, 426, "{fault:?}");
            assert_eq!(asked(&rig), expected, "{fault:?}");
            assert_eq!(over_http(&rig, conversation).await, "one", "{fault:?}");
        }
        assert_eq!(rig.fake.books().account("key").requests, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_where_its_cache_is_without_a_socket_if_need_be() {
    let rig = rig().await;
    rig.fake.keep_frames();
    let mut socket = SocketClient::codex(rig.addr, "c1").await.expect("granted");
    assert!(response_id(&socket.turn(create("c1", None, "hello")).await).is_some());
    socket.close().await;
    refuse(&rig, "one", &Fault::Status(404));
    asked(&rig);
    for expected in [&["one"][..], &[]] {
        assert_eq!(shake(&rig, "c1").await, 426);
        assert_eq!(asked(&rig), expected);
        assert_eq!(over_http(&rig, "c1").await, "one");
    }
    // A new conversation has nothing to lose.
    assert_eq!(shake(&rig, "c2").await, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_waits_for_a_silent_upstream() {
    let rig = rig().await;
    rig.fake.keep_frames();
    for account in ["one", "two", "key"] {
        refuse(&rig, account, &Fault::Silent);
    }
    let begun = Instant::now();
    let first = {
        let addr = rig.addr;
        tokio::spawn(async move { SocketClient::codex(addr, "c1").await.expect_err("silent").status })
    };
    until("it waits for longer than a handshake takes", || begun.elapsed() > HANDSHAKE / 2).await;
    for conversation in ["c2", "c3", "c4"] {
        assert_eq!(shake(&rig, conversation).await, 426, "at once");
    }
    assert!(!first.is_finished(), "the others did not wait for it");
    assert_eq!(first.await.expect("no panic"), 426);
    assert!(begun.elapsed() >= HANDSHAKE, "it waited for one account, and no longer");
    assert_eq!(shake(&rig, "c5").await, 426);
    assert_eq!(asked(&rig), ["one"], "nobody else was asked");
    assert_eq!(over_http(&rig, "c5").await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_lets_the_next_one_try() {
    let rig = rig().await;
    rig.fake.keep_frames();
    rig.fake.account("one").plan(Target::Handshake, Some(1), Fault::Silent);
    let client = tokio::spawn(SocketClient::codex(rig.addr, "c1"));
    let mut handshakes = Vec::new();
    until("it is asked", || {
        handshakes.extend(asked(&rig));
        handshakes == ["one"]
    })
    .await;
    client.abort();
    until("its place is free", || rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.in_flight == 0))).await;
    assert_eq!(shake(&rig, "c2").await, 101);
}
