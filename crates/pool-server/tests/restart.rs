//! What the pool knows of conversations and accounts: told at the end of each request, and known after a restart.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use pool_core::ask::Rights;
use pool_core::eligible::eligible;
use pool_core::pins::Pin;
use pool_core::policy::Why;
use pool_core::sizes::Size;
use pool_core::{Ask, Binding, Client, Demand, ProviderId, SessionKey};
use pool_testkit::request::Request;
use pool_testkit::socket_client::{SocketClient, create};
use pool_testkit::{FakeAccount, FakeWindow, Fault, World};
use sqlx::sqlite::SqliteConnectOptions;
use support::{Rig, send_only, until};
use tokio::io::AsyncReadExt;

const CODEX: ProviderId = ProviderId("codex");

/// A prompt that is long enough to be cached.
fn long() -> String {
    "Words that fill a prompt. ".repeat(400)
}

/// A turn of Codex, its prompt long enough to be cached.
fn codex(conversation: &str) -> Request {
    let mut request = Request::codex(conversation);
    let mut body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
    body["instructions"] = long().into();
    request.body = body.to_string().into_bytes();
    request
}

fn key(conversation: &str) -> SessionKey {
    SessionKey::new(CODEX, "", conversation)
}

fn pin(rig: &Rig, conversation: &str) -> Option<Pin> {
    rig.app.pool.read(|pool, now| pool.pins.get(key(conversation), now).cloned())
}

/// The account that served each conversation last, by the provider's own books.
fn served(rig: &Rig) -> BTreeMap<String, String> {
    let books = rig.fake.books();
    books.inference().filter_map(|one| Some((one.header("thread-id")?.to_owned(), one.account.clone()?))).collect()
}

fn plans(count: usize) -> World {
    let names = ["one", "two", "three", "four", "five", "six"];
    names[..count].iter().fold(World::new(), |world, name| world.account(FakeAccount::chatgpt(name)))
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_stay_where_they_are_and_limits_are_known_after_a_restart() {
    let rig = Rig::start(plans(6)).await;
    let is_out = |rig: &Rig| {
        let demand = Demand::any(CODEX, Client::OwnCli);
        rig.app.pool.read(|pool, now| {
            let slot = pool.slots().find(|slot| slot.account.name == "six").expect("an account");
            eligible(slot, &demand, Rights::OWNER, now).is_err()
        })
    };
    rig.fake.account("six").limit("7d", Duration::from_hours(50));
    let mut conversations = Vec::new();
    // Until one has met the limit.
    while conversations.len() < 24 || !is_out(&rig) {
        assert!(conversations.len() < 100, "nobody asks it");
        let conversation = format!("c{}", conversations.len());
        assert_eq!(rig.send(&codex(&conversation)).await.status, Some(200));
        conversations.push(conversation);
    }
    let before = served(&rig);
    let known = |rig: &Rig| {
        rig.app.pool.read(|pool, _| {
            let slot = pool.slots().find(|slot| slot.account.name == "one").expect("an account").clone();
            slot.windows.iter().map(|window| (window.name.clone(), window.seen_at)).collect::<Vec<_>>()
        })
    };
    let (pins, windows): (Vec<_>, _) = (conversations.iter().map(|name| pin(&rig, name)).collect(), known(&rig));
    assert!(!windows.is_empty());
    let (fake, folder) = rig.stop().await;

    // The provider tells nothing until it is asked, and a probe has not asked yet.
    let rig = Rig::resume(fake, folder, |_| {}).await;
    assert!(is_out(&rig));
    for (name, at) in known(&rig) {
        assert!(windows.iter().any(|(known, seen)| *known == name && at >= *seen), "{name}: its age is honest");
    }
    assert_eq!(conversations.iter().map(|name| pin(&rig, name)).collect::<Vec<_>>(), pins);
    for conversation in &conversations {
        assert_eq!(rig.send(&codex(conversation)).await.status, Some(200));
    }
    assert_eq!(served(&rig), before);
    rig.stop().await;
}

/// What the account's windows have taught by themselves.
fn taught(rig: &Rig, name: &str) -> BTreeMap<String, Size> {
    rig.app.pool.read(|pool, _| {
        let slot = pool.slots().find(|slot| slot.account.name == name).expect("an account");
        slot.meters.iter().filter_map(|meter| Some((meter.window.clone(), meter.taught()?))).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_requests_have_taught_are_known_after_a_restart() {
    let window = FakeWindow::five_hours().capacity(40_000.0);
    let rig = Rig::start(World::new().account(FakeAccount::chatgpt("one").windows([window]))).await;
    let mut asked = 0;
    while taught(&rig, "one").is_empty() {
        assert_eq!(rig.send(&codex(&format!("c{asked}"))).await.status, Some(200));
        asked += 1;
        assert!(asked < 30, "readings teach nothing");
    }
    let known = taught(&rig, "one");
    let (_, size) = known.first_key_value().expect("a window");
    assert!(size.units > 10_000.0 && size.units < 160_000.0 && size.confidence > 0.5, "{size:?}");
    let (fake, folder) = rig.stop().await;
    let rig = Rig::resume(fake, folder, |_| {}).await;
    assert_eq!(taught(&rig, "one"), known);
    rig.settled().await;
    assert_eq!(taught(&rig, "one"), known, "a probe's reading does not stand in its way");
    let kept = pool_server::memory::sizes::put_away(&rig.app.ledger).await.expect("readable");
    assert_eq!(kept.accounts.len(), 1, "for whoever only looks");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_memory_costs_the_memory_and_not_the_start() {
    let rig = Rig::start(plans(2)).await;
    assert_eq!(rig.send(&codex("c")).await.status, Some(200));
    let (fake, folder) = rig.stop().await;
    let options = SqliteConnectOptions::new().filename(folder.root().join("data/proxy.db"));
    let file = sqlx::SqlitePool::connect_with(options).await.expect("opens");
    sqlx::raw_sql("DROP TABLE pins; UPDATE notes SET text = '{\"windows\": 5'").execute(&file).await.expect("harmed");
    file.close().await;
    let rig = Rig::resume(fake, folder, |_| {}).await;
    assert_eq!(pin(&rig, "c"), None);
    assert_eq!(rig.send(&codex("c")).await.status, Some(200));
    let found = pin(&rig, "c");
    assert!(found.is_some());
    let (fake, folder) = rig.stop().await;
    let rig = Rig::resume(fake, folder, |_| {}).await;
    assert_eq!(pin(&rig, "c").map(|pin| pin.account), found.map(|pin| pin.account), "the next restart remembers again");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_superfluous_pins_are_forgotten() {
    let rig = Rig::with(plans(2), |config| config.max_pins = 10).await;
    for number in 0..30 {
        assert_eq!(rig.send(&codex(&format!("c{number}"))).await.status, Some(200));
    }
    assert!(rig.app.pool.read(|pool, _| pool.pins.len()) <= 10);
    assert!(pin(&rig, "c29").is_some() && pin(&rig, "c0").is_none());
    let (fake, folder) = rig.stop().await;
    let rig = Rig::resume(fake, folder, |config| config.pin_idle = pool_core::Span::from_millis(1)).await;
    assert_eq!(pin(&rig, "c29"), None);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_tells_what_it_drew_and_light_ones_draw_nothing() {
    let rig = Rig::with(plans(1), |config| config.websockets = true).await;
    let seen = rig.send(&codex("http")).await;
    let tokens = rig.record_of(&seen).await.tokens.expect("told");
    let drawn = pin(&rig, "http").expect("pinned");
    assert_eq!((drawn.prefix, drawn.binding), (tokens.total(), Binding::Cache));
    let left = rig.app.pool.read(|_, now| drawn.warm_until.since(now));
    assert!(left > pool_core::Span::from_mins(28) && left <= pool_core::Span::from_mins(30), "{left}");

    let mut socket = SocketClient::codex(rig.addr, "socket").await.expect("granted");
    let mut turn = create("socket", None, "hi");
    turn["instructions"] = long().into();
    turn["input"]
        .as_array_mut()
        .expect("a list")
        .push(serde_json::json!({"type": "reasoning", "encrypted_content": "x"}));
    socket.turn(turn).await;
    until("the turn has told", || pin(&rig, "socket").is_some_and(|pin| pin.prefix > 1024)).await;
    let drawn = pin(&rig, "socket").expect("pinned");
    assert!(rig.app.pool.read(|_, now| drawn.is_warm(now)));
    assert_eq!(drawn.binding, Binding::SealedReasoning);
    rig.stop().await;

    let rig = Rig::start(World::new().account(FakeAccount::anthropic_key("key"))).await;
    let mut count = Request::claude("light");
    count.path = "/v1/messages/count_tokens?beta=true".into();
    assert_eq!(rig.send(&count).await.status, Some(200));
    assert_eq!(rig.app.pool.read(|pool, _| pool.pins.len()), 0);

    // Whoever leaves early has drawn what was told by then.
    rig.fake.account("key").fault(Fault::Paced(Duration::from_millis(200)));
    let mut stream = send_only(&Request::claude("left"), rig.addr).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("content_block_delta") {
        assert_ne!(stream.read_buf(&mut seen).await.expect("readable"), 0, "{}", String::from_utf8_lossy(&seen));
    }
    drop(stream);
    let session = SessionKey::new(ProviderId("claude"), "", "left");
    let prefix = || rig.app.pool.read(|pool, now| pool.pins.get(session, now).map_or(0, |pin| pin.prefix));
    until("the answer that was left has told", || prefix() > 0).await;
    assert_eq!(rig.recorded(1).await, 1);
    assert_eq!(rig.records().await[0].ending, "aborted");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agent_begins_on_its_parent_s_account() {
    // By itself everything would go to `roomy`.
    let window = |used| FakeWindow::week().used(used);
    let world = World::new()
        .account(FakeAccount::chatgpt("roomy").windows([window(0.1)]))
        .account(FakeAccount::chatgpt("tight").windows([window(0.6)]));
    let rig = Rig::start(world).await;
    let roomy = rig
        .app
        .pool
        .read(|pool, _| pool.slots().find(|slot| slot.account.name == "roomy").expect("an account").account.id.clone());
    let demand = Demand::any(CODEX, Client::OwnCli);
    drop(rig.app.pool.lease(&Ask::new(&demand, Some(key("mother"))).after(&[roomy])).expect("the other"));
    assert_eq!(rig.send(&codex("mother")).await.status, Some(200));
    let child = codex("child").header("x-codex-parent-thread-id", "mother");
    assert_eq!(rig.send(&child).await.status, Some(200));
    assert_eq!(rig.send(&codex("stranger")).await.status, Some(200));
    let served = served(&rig);
    assert_eq!((&*served["mother"], &*served["child"], &*served["stranger"]), ("tight", "tight", "roomy"));
    let again = Ask::new(&demand, Some(key("second child"))).within(Some(key("mother")));
    let lease = rig.app.pool.lease(&again).expect("somebody can serve");
    assert_eq!(lease.decision.why, Why::Parent);
    drop(lease);
    rig.stop().await;
}
