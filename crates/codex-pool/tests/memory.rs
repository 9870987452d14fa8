//! What a killed program knows when it is started again.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pool_core::UnixMs;
use pool_store::Ledger;
use pool_store::ledger::Options;
use pool_testkit::request::Request;
use pool_testkit::{FakeAccount, World};
use rustix::process::Signal;
use support::{Connection, Rig, plain};

const CONVERSATIONS: usize = 12;

/// One turn of each conversation: which account served it, by the provider's own books.
async fn turn(rig: &Rig, addr: std::net::SocketAddr) -> BTreeMap<String, String> {
    let mut connection = Connection::open(addr).await.expect("connected");
    for number in 0..CONVERSATIONS {
        let mut request = Request::codex(&format!("c{number}"));
        let mut body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        // Long enough to be cached: a conversation without a cache has no reason to stay.
        body["instructions"] = "Words that fill a prompt. ".repeat(400).into();
        request.body = body.to_string().into_bytes();
        assert!(connection.is_open().await);
        let (status, _, body) = connection.send(plain(request)).await.expect("answered");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
    let books = rig.fake.books();
    books.inference().filter_map(|one| Some((one.header("thread-id")?.to_owned(), one.account.clone()?))).collect()
}

/// What the program has put away, seen from outside while it runs.
async fn put_away(rig: &Rig) -> (usize, usize) {
    let opened = Ledger::open(&rig.ledger(), Options::default()).await.expect("a ledger");
    let pins = opened.ledger.recall_pins(UnixMs(0), 1000).await;
    (pins.iter().filter(|(_, pin)| pin.prefix > 0).count(), opened.ledger.recall_notes("account").await.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_forgets_no_more_than_its_last_seconds() {
    let names = ["one", "two", "three", "four"];
    let world = names.iter().fold(World::new(), |world, name| world.account(FakeAccount::chatgpt(name)));
    let rig = Rig::new(world).await;
    rig.fake.account("four").limit("7d", Duration::from_hours(50));
    let mut pool = rig.start();
    let before = turn(&rig, pool.listens().await).await;
    let begun = Instant::now();
    while put_away(&rig).await != (CONVERSATIONS, names.len()) {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "it is not put away: {:?}\n{}",
            put_away(&rig).await,
            pool.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pool.signal(Signal::KILL);
    pool.ended().await;

    let mut pool = rig.start();
    let addr = pool.listens().await;
    assert!(pool.log().contains("conversations stay where they were"), "{}", pool.log());
    assert_eq!(turn(&rig, addr).await, before);
    pool.signal(Signal::TERM);
    assert_eq!(pool.ended().await, Some(0));
}
