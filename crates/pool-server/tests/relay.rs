//! One request of each client through the pool: what goes up, what comes down, what is kept.

mod support;

use pool_testkit::request::{CLIENT_ACCOUNT, CREDENTIAL, Request};
use pool_testkit::{FakeAccount, World};
use support::Rig;

fn clients() -> Vec<(&'static str, Request)> {
    vec![
        ("codex", Request::codex("conversation-1")),
        ("claude", Request::claude("conversation-2")),
        ("gemini", Request::gemini()),
        ("code assist", Request::code_assist("conversation-3")),
        ("chat", Request::chat()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_served_and_nothing_of_it_reaches_the_provider() {
    let world = World::one_of_each().forbid(CREDENTIAL).forbid(CLIENT_ACCOUNT);
    let rig = Rig::start(world).await;
    for (name, request) in clients() {
        let seen = rig.send(&request).await;
        assert_eq!((seen.status, seen.whole), (Some(200), true), "{name}: {}", seen.text());
        assert!(seen.header("x-pool-request").is_some(), "{name}");
    }
    let books = rig.fake.books();
    assert_eq!(books.violations, [], "what a provider would take amiss");
    assert_eq!(books.accounts.values().map(|account| account.completed).sum::<u64>(), 5);
    assert_eq!(rig.recorded(5).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_account_is_replaced_before_the_client_sees_a_byte() {
    let world = World::new().account(FakeAccount::claude("one")).account(FakeAccount::claude("two"));
    let rig = Rig::start(world).await;
    rig.fake.account("one").limit("5h", std::time::Duration::from_hours(1));
    for turn in 0..4 {
        let seen = rig.send(&Request::claude(&format!("conversation-{turn}"))).await;
        assert_eq!(seen.status, Some(200), "{}", seen.text());
    }
    assert_eq!(rig.fake.books().account("two").completed, 4);
}
