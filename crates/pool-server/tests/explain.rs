//! What people are told of real requests: a new one, one that stays, one that moved, one that nobody could take, turns on a
//! socket, and the next one. The texts are in `snapshots/`; `UPDATE=1 cargo test -p pool-server --test explain` writes them anew.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use pool_core::pool::Event;
use pool_core::usage::Drawn;
use pool_core::{Client, SessionKey, Span, UnixMs};
use pool_providers::Provider;
use pool_server::explain::{ExplainPage, Facts, Subject, render};
use pool_server::status::Look;
use pool_testkit::client::Seen;
use pool_testkit::request::Request;
use pool_testkit::socket_client::{NotGranted, SocketClient, create};
use pool_testkit::{FakeAccount, Fault, World};
use support::Rig;
use support::clients::{CHAT, CLAUDE, CLIENTS, CODEX};

/// Sunday noon: when every request of a snapshot came.
const NOON: UnixMs = UnixMs(1_800_187_200_000);

async fn get(rig: &Rig, path: &str) -> Seen {
    let request = Request { method: "GET", path: path.into(), headers: vec![], body: vec![] };
    rig.send(&request).await
}

async fn explained(rig: &Rig, path: &str) -> ExplainPage {
    let seen = get(rig, path).await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    serde_json::from_str(&seen.text()).expect("a page")
}

async fn explained_answer(rig: &Rig, seen: &Seen) -> ExplainPage {
    let id = seen.header("x-pool-request").expect("an id");
    explained(rig, &format!("/api/explain/{id}")).await
}

/// The page as if it had all come about on Sunday noon, with a made-up id: every time moved by the same span, then those that
/// were measured made round.
fn normalised(page: &ExplainPage) -> Facts {
    let mut facts = page.facts.clone();
    let came = match &facts.subject {
        Subject::Request { record, .. } => record.at.0,
        Subject::Next { .. } => facts.now_ms,
    };
    let mut value = serde_json::to_value(&facts).expect("JSON");
    move_times(&mut value, NOON.0 - came);
    facts = serde_json::from_value(value).expect("facts");
    if let Subject::Request { record, trail } = &mut facts.subject {
        // Where the time went is told, and is no longer than it took.
        let parts = record.parts.expect("measured");
        let sum = parts.choose_us / 1000 + parts.wait_ms + parts.connect_ms + parts.upstream_ms;
        assert!(sum <= record.total_ms, "{parts:?} of {}", record.total_ms);
        assert!(parts.upstream_ms > 0 || record.account.is_nobody() || record.total_ms < 5, "{parts:?}");
        record.request_id = "0193a1b2c3d4e5f60718293a4b5c6d7e".into();
        let trail = trail.as_mut().expect("a story");
        let steps = |count: usize| Span::from_millis(400 * count as u64);
        for (index, attempt) in trail.attempts.iter_mut().enumerate() {
            attempt.at = NOON + steps(index + 1);
            if let Some(decision) = &mut attempt.decision {
                Arc::make_mut(decision).at = NOON + steps(index);
            }
        }
        let end = steps(trail.attempts.len());
        if let Some(refused) = &mut trail.refused {
            refused.at = NOON + end;
        }
        record.first_byte_ms = end.0 + 200;
        record.total_ms = if record.account.is_nobody() { end.0 } else { end.0 + 3500 };
        facts.now_ms += 5 * 60_000;
    }
    facts
}

/// Times in a snapshot are as exact as this, in milliseconds.
const STEP: i64 = 5 * 60_000;

/// Moves what looks like a moment of our days, and rounds it: how long the test took must not show.
fn move_times(value: &mut serde_json::Value, by: i64) {
    match value {
        serde_json::Value::Number(number) => {
            let Some(moment) = number.as_i64().filter(|moment| (1_600_000_000_000..2_500_000_000_000).contains(moment))
            else {
                return;
            };
            *value = (NOON.0 + (moment + by - NOON.0 + STEP / 2).div_euclid(STEP) * STEP).into();
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(|one| move_times(one, by)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|one| move_times(one, by)),
        _ => {}
    }
}

fn look(width: usize) -> Look {
    Look { width, colour: false, ascii: false, zone: TimeZone::UTC }
}

/// Holds the page against the text that is kept of it.
fn hold(name: &str, page: &ExplainPage) {
    let facts = normalised(page);
    let text = render(&facts, &look(80));
    for width in [40, 60, 80, 120] {
        let longest = render(&facts, &look(width)).lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(width), "{name}: {longest:?} columns of {width}\n{}", render(&facts, &look(width)));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/explain_{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &text).expect("writes");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, kept,
        "{name} is told differently now; if that is meant: UPDATE=1 cargo test -p pool-server --test explain"
    );
}

/// Three subscriptions, of which one is spent, and a paid key.
async fn household() -> Rig {
    let used = |name: &str, share| FakeAccount::claude(name).used("5h", share).used("week", 0.3);
    let world = World::new()
        .account(used("claude-work", 0.19))
        .account(used("claude-alt", 0.56))
        .account(used("claude-spent", 0.9))
        .account(FakeAccount::anthropic_key("paid-key"));
    let limit = |fake: &pool_testkit::FakeUpstream| fake.account("claude-spent").limit("5h", Duration::from_mins(40));
    let rig = Rig::launch(world, limit, |_| {}).await;
    rig.settled().await;
    rig
}

fn account(rig: &Rig, name: &str) -> pool_core::AccountId {
    rig.app.pool.read(|pool, _| {
        let slot = pool.slots().find(|slot| slot.account.name == name);
        slot.expect("an account of this name").account.id.clone()
    })
}

/// The conversation as the pool knows it.
fn session(rig: &Rig, page: &ExplainPage, conversation: &str) -> SessionKey {
    let Subject::Request { record, .. } = &page.facts.subject else { panic!("a request") };
    let provider = rig.app.registry.iter().map(Provider::id).find(|id| id.0 == record.provider).expect("a provider");
    let session = SessionKey::new(provider, "", conversation);
    assert_eq!(record.session, Some(session.short()));
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_a_pinned_a_moved_and_a_refused_request_are_told() {
    let rig = household().await;
    let send = async || {
        let seen = rig.send(&(CLAUDE.request)("a conversation")).await;
        let page = explained_answer(&rig, &seen).await;
        (seen, page)
    };
    let (seen, new) = send().await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    hold("new", &new);

    // What the answer has put into the account's cache, as a long conversation would.
    let session = session(&rig, &new, "a conversation");
    let cache = |name: &str, prefix: u64| {
        let drawn = Drawn { units: 1e5, prefix, warm: Span::from_mins(5) };
        let id = account(&rig, name);
        rig.app.pool.apply(Event::Drew { id, user: None, session: Some(session), families: vec![], drawn });
    };
    cache("claude-work", 118_231);
    hold("pinned", &send().await.1);

    cache("claude-work", 121_007);
    rig.fake.account("claude-work").limit("5h", Duration::from_mins(95));
    let (seen, moved) = send().await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    hold("moved", &moved);

    cache("claude-alt", 123_456);
    rig.fake.account("claude-alt").limit("5h", Duration::from_mins(150));
    rig.fake.account("paid-key").fault(Fault::Unpaid);
    let (seen, refused) = send().await;
    assert_eq!(seen.status, Some(429), "{}", seen.text());
    hold("refused", &refused);

    let next = |query: &str| format!("/api/explain?provider=claude&model=claude-opus-5{query}");
    hold("next_refused", &explained(&rig, &next("&client=sdk")).await);
    rig.app.pool.apply(Event::Cleared { id: account(&rig, "claude-alt") });
    hold("next", &explained(&rig, &next("")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_in_passing_is_told_try_by_try() {
    let rig =
        Rig::start(World::new().account(FakeAccount::chatgpt("codex-work")).account(FakeAccount::chatgpt("codex-alt")))
            .await;
    rig.fake.fault(Fault::Overloaded);
    let seen = rig.send(&(CODEX.request)("a conversation")).await;
    let page = explained_answer(&rig, &seen).await;
    let Subject::Request { record, trail: Some(trail) } = &page.facts.subject else { panic!("{page:?}") };
    assert_eq!((i64::from(record.status), record.tokens), (i64::from(seen.status.expect("a status")), None));
    assert!(record.account.is_nobody() && record.attempts as usize == trail.attempts.len() && record.attempts >= 2);
    assert!(page.told.sentence.starts_with("Nobody could serve it"), "{}", page.told.sentence);
    for attempt in &trail.attempts {
        assert!(
            page.told.steps.iter().any(|step| step.text.starts_with(&format!("{} fails: ", attempt.name))),
            "{page:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_there_is_an_answer_is_told_of() {
    let rig = Rig::start(World::new().account(FakeAccount::claude("slow"))).await;
    rig.fake.account("slow").fault(Fault::SlowHead(Duration::from_mins(1)));
    drop({
        let stream = support::send_only(&(CLAUDE.request)("a conversation"), rig.addr).await;
        support::until("the account is asked", || rig.fake.books().inference().count() > 0).await;
        stream
    });
    assert_eq!(rig.recorded(1).await, 1);
    let page = explained(&rig, "/api/explain/last").await;
    assert!(page.told.sentence.starts_with("The client left before slow answered: "), "{}", page.told.sentence);
    assert_eq!(page.told.steps.last().map(|step| step.text.as_str()), Some("the client left"));
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_on_a_socket_are_told_each_by_itself() {
    let world = World::new().account(FakeAccount::chatgpt("one")).account(FakeAccount::chatgpt("two").used("5h", 0.5));
    let rig = Rig::with(world, |config| config.websockets = true).await;
    let mut socket = SocketClient::codex(rig.addr, "c1").await.expect("granted");
    let id = socket.headers["x-pool-request"].to_str().expect("text").to_owned();
    socket.turn(create("c1", None, "hello")).await;
    rig.fake.account("one").limit("5h", Duration::from_mins(30));
    socket.turn(create("c1", None, "hello again")).await;
    let first = explained(&rig, &format!("/api/explain/{id}.1")).await;
    assert!(first.told.sentence.starts_with("one served it: "), "{}", first.told.sentence);
    let second = explained(&rig, &format!("/api/explain/{id}.2")).await;
    assert!(second.told.sentence.starts_with("two served it after one failed ("), "{}", second.told.sentence);
    // The socket's own id is the beginning of both.
    let seen = get(&rig, &format!("/api/explain/{id}")).await;
    assert_eq!(seen.status, Some(409));
    assert!(seen.text().contains(&format!("{id}.2, {id}.1")), "{}", seen.text());

    for account in ["one", "two"] {
        rig.fake.account(account).limit("5h", Duration::from_mins(30));
    }
    socket.turn(create("c1", None, "once more")).await;
    let third = explained(&rig, "/api/explain/last").await;
    assert!(third.told.sentence.starts_with("Nobody could take it: "), "{}", third.told.sentence);
    let Subject::Request { record, .. } = &third.facts.subject else { panic!("{third:?}") };
    assert_eq!((record.request_id.clone(), record.status), (format!("{id}.3"), 429));
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_the_next_request_changes_nothing() {
    let rig = household().await;
    let state = || rig.app.pool.read(|pool, _| format!("{:?} {:?}", pool.slots().collect::<Vec<_>>(), pool.pins));
    let before = state();
    for (query, client, chosen) in [
        ("provider=claude&model=claude-opus-5", Client::OwnCli, "claude-work"),
        ("provider=claude&client=own-cli&session=abc", Client::OwnCli, "claude-work"),
        ("provider=claude&model=claude-opus-5&client=sdk", Client::Other, "paid-key"),
    ] {
        let page = explained(&rig, &format!("/api/explain?{query}")).await;
        let Subject::Next { client: asked, decision: Some(decision), .. } = &page.facts.subject else {
            panic!("{page:?}");
        };
        assert_eq!((*asked, page.facts.names[&decision.chosen].as_str()), (client, chosen), "{query}");
        assert!(page.told.sentence.starts_with(&format!("{chosen} would serve it: ")), "{}", page.told.sentence);
        assert_eq!(page.told.accounts.len(), 4, "{query}");
    }
    assert_eq!(state(), before);
    assert_eq!(rig.app.ledger.count().await.expect("counts"), 0);
    for (path, status, part) in [
        ("/api/explain", 400, "say which provider: "),
        ("/api/explain?provider=acme", 400, "no provider \\\"acme\\\""),
        ("/api/explain?provider=claude&client=curl", 400, "own-cli or sdk"),
        ("/api/explain/x'or'1", 400, "no id of a request"),
        ("/api/explain/0193", 404, "no request's id begins with 0193"),
        ("/api/explain/last", 404, "no request yet"),
    ] {
        let seen = get(&rig, path).await;
        assert_eq!(seen.status, Some(status), "{path}: {}", seen.text());
        assert!(seen.text().contains(part), "{path}: {}", seen.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_alone_is_told() {
    let token = "made-up-operator-token-of-32-chars";
    let closed = |config: &mut pool_server::Config| {
        config.local_access = false;
        config.operator_token = Some(pool_core::Secret::new(token));
    };
    let rig = Rig::with(World::new().account(FakeAccount::claude("work")), closed).await;
    for path in ["/api/explain/last", "/api/explain?provider=claude"] {
        let mut request = Request { method: "GET", path: path.into(), headers: vec![], body: vec![] };
        assert_eq!(rig.send(&request).await.status, Some(401), "{path}");
        request.headers.push(("authorization".into(), format!("Bearer {token}")));
        assert_ne!(rig.send(&request).await.status, Some(401), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_relayed_request_names_its_request() {
    let rig = Rig::with(World::new(), |config| config.websockets = false).await;
    for client in CLIENTS {
        let seen = rig.send(&(client.request)("one")).await;
        assert!(seen.status >= Some(400), "{}: there are no accounts", client.name);
        let page = explained_answer(&rig, &seen).await;
        assert_eq!(
            page.told.sentence, "Nobody could take it: there is no account of this provider.",
            "{}",
            client.name
        );
    }
    // What cannot even be read was never decided; its id is the log's.
    let mut garbled = (CHAT.request)("one");
    garbled.headers.push(("content-encoding".into(), "gzip".into()));
    let seen = rig.send(&garbled).await;
    assert!(seen.status >= Some(400) && seen.header("x-pool-request").is_some(), "{:?}", seen.headers);
    // A WebSocket is told to use HTTP: sockets are off here.
    match SocketClient::codex(rig.addr, "c1").await {
        Err(NotGranted { status: 426, headers, .. }) => assert!(headers.contains_key("x-pool-request")),
        other => panic!("{other:?}"),
    }
}
