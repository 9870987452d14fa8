//! People's own limits: told in each client's own words, and nobody else's business.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use pool_core::alias::Aliases;
use pool_core::limits::{Amount, Budget, Limits, Period};
use pool_core::people::UserId;
use pool_server::people::Issued;
use pool_testkit::client::Seen;
use pool_testkit::request::Request;
use pool_testkit::socket_client::{Came, SocketClient, create};
use pool_testkit::{FakeAccount, Fault, Style, World};
use support::clients::{CLAUDE, CODE_ASSIST, CODEX, Client};
use support::people::{as_somebody, limited, somebody};
use support::{Rig, send_only, until};
use tokio::task::JoinHandle;

fn world() -> World {
    World::new()
        .account(FakeAccount::chatgpt("anna"))
        .account(FakeAccount::claude("carl"))
        .account(FakeAccount::gemini("gina"))
}

/// So many tokens a month: no test is so slow that it sees the next one.
fn budget(tokens: u64) -> Limits {
    Limits { budgets: vec![Budget { period: Period::Month, amount: Amount::Tokens(tokens) }], ..Limits::default() }
}

/// The end of the month that it is now, in seconds.
fn month_ends() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Period::Month.around(pool_core::UnixMs::from_secs(now.as_secs().cast_signed())).1.0 / 1000
}

async fn change(rig: &Rig, user: &UserId, limits: Limits) {
    rig.app.people.edit(user, false, |user| user.limits = limits).await.expect("changed");
}

async fn ask(rig: &Rig, client: &Client, issued: &Issued) -> Seen {
    rig.send(&as_somebody((client.request)("one"), issued)).await
}

/// Sends a request in the background.
fn send(rig: &Rig, request: Request) -> JoinHandle<Seen> {
    let addr = rig.addr;
    tokio::spawn(async move { request.send(addr, Duration::from_mins(1)).await.expect("connected") })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_is_told_in_its_own_words_and_others_go_on() {
    let mut rig = Rig::start(world()).await;
    let nadia = somebody(&rig, "Nadia").await;
    for client in [CODEX, CLAUDE, CODE_ASSIST] {
        let mira = limited(&rig, &format!("Mira {}", client.name.len()), budget(1)).await;
        let first = ask(&rig, &client, &mira).await;
        assert_eq!(first.status, Some(200), "{}: nothing was taken yet", client.name);
        rig.record_of(&first).await;
        let asked = rig.fake.books().inference().count();
        let told = ask(&rig, &client, &mira).await;
        let (text, body) = (told.text(), told.json());
        assert!((client.is_error)(&body) && told.status == Some(429), "{}: {:?} {text}", client.name, told.status);
        assert!(text.contains("You have used up your own limit in this pool, 1 tokens a month"), "{text}");
        let ends = month_ends();
        let retry: i64 = told.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
        let now = ends - retry;
        assert!(now > 1_700_000_000, "{}: {retry}", client.name);
        match client.name {
            "Codex CLI" => assert_eq!(body["error"]["resets_at"], ends),
            "Claude Code" => {
                let reset = told.header("anthropic-ratelimit-unified-overage-reset");
                assert_eq!(reset, Some(&*ends.to_string()));
                assert_eq!(told.header("x-should-retry"), Some("false"));
            }
            _ => assert!(text.contains("QUOTA_EXHAUSTED"), "{text}"),
        }
        assert_eq!(rig.record_of(&told).await.status, 429);
        assert_eq!(rig.fake.books().inference().count(), asked, "no account was asked");
        assert_eq!(ask(&rig, &client, &nadia).await.status, Some(200), "others are not affected");
        // It outlives a restart, and ends with the operator's word.
        rig = rig.restarted().await;
        assert_eq!(ask(&rig, &client, &mira).await.status, Some(429), "{}", client.name);
        change(&rig, &mira.credential.user, budget(1_000_000)).await;
        assert_eq!(ask(&rig, &client, &mira).await.status, Some(200), "{}", client.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_too_many_waits_for_the_end_of_another() {
    let rig = Rig::start(world()).await;
    rig.fake.fault(Fault::Paced(Duration::from_millis(20)));
    rig.fake.set_style(Style { extra_events: 20, ..Style::default() });
    let limits = Limits { streams: Some(1), ..Limits::default() };
    let mira = limited(&rig, "Mira", limits).await;
    let streams: Vec<_> = (0..3).map(|n| send(&rig, as_somebody((CLAUDE.request)(&format!("c{n}")), &mira))).collect();
    let mut most = 0;
    while !streams.iter().all(JoinHandle::is_finished) {
        let under_way = rig.app.pool.read(|pool, _| pool.slots().map(|slot| slot.in_flight).sum::<u32>());
        most = most.max(under_way);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for stream in streams {
        assert_eq!(stream.await.expect("no panic").status, Some(200));
    }
    assert_eq!(most, 1, "one at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_gives_the_place_back() {
    let rig = Rig::start(world()).await;
    rig.fake.fault(Fault::Silent);
    let mira = limited(&rig, "Mira", Limits { streams: Some(1), ..Limits::default() }).await;
    let left = send_only(&as_somebody((CLAUDE.request)("left"), &mira), rig.addr).await;
    until("it waits upstream", || rig.fake.books().inference().count() == 1).await;
    rig.fake.clear_faults();
    let next = send(&rig, as_somebody((CLAUDE.request)("next"), &mira));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!next.is_finished(), "it waits in turn");
    drop(left);
    assert_eq!(next.await.expect("no panic").status, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_too_fast_is_told_when_to_come_again() {
    let rig = Rig::start(world()).await;
    let mira = limited(&rig, "Mira", Limits { requests_per_minute: Some(2), ..Limits::default() }).await;
    for _ in 0..2 {
        assert_eq!(ask(&rig, &CLAUDE, &mira).await.status, Some(200));
    }
    // Half a minute is longer than anybody is kept waiting.
    let told = ask(&rig, &CLAUDE, &mira).await;
    assert_eq!(told.status, Some(429), "{}", told.text());
    assert!(
        told.text().contains("Your own limit in this pool is 2 requests a minute; try again in"),
        "{}",
        told.text()
    );
    let wait: u64 = told.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((20..=30).contains(&wait) && told.header("x-should-retry").is_none(), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_and_providers_that_are_not_theirs_are_refused_for_good() {
    let aliases = BTreeMap::from([("best".to_owned(), vec!["claude-opus-5".to_owned(), "claude-haiku-5".to_owned()])]);
    let rig = Rig::with(world(), |config| config.aliases = Aliases::new(aliases)).await;
    let own = |models: &[&str], providers: &[&str]| Limits {
        models: models.iter().map(|text| (*text).to_owned()).collect(),
        providers: providers.iter().map(|text| (*text).to_owned()).collect(),
        ..Limits::default()
    };
    let mira = limited(&rig, "Mira", own(&["claude-haiku*"], &[])).await;
    let nadia = limited(&rig, "Nadia", own(&[], &["claude"])).await;
    for (client, issued, status) in
        [(CLAUDE, &mira, 403), (CODEX, &mira, 400), (CODEX, &nadia, 400), (CLAUDE, &nadia, 200)]
    {
        let told = ask(&rig, &client, issued).await;
        assert_eq!(told.status, Some(status), "{}: {}", client.name, told.text());
        assert!(status == 200 || told.text().contains("Your access to this pool"), "{}", told.text());
    }
    // Of an alias' models they get those that they may use.
    let mut aliased = as_somebody((CLAUDE.request)("aliased"), &mira);
    let body = serde_json::from_slice::<serde_json::Value>(&aliased.body).expect("JSON");
    let text = String::from_utf8(aliased.body).expect("text");
    aliased.body = text.replace(body["model"].as_str().expect("a model"), "best").into_bytes();
    let served = rig.send(&aliased).await;
    assert_eq!(served.status, Some(200), "{}", served.text());
    assert_eq!(rig.record_of(&served).await.model.as_deref(), Some("claude-haiku-5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_hears_it_turn_by_turn() {
    let rig = Rig::start(world()).await;
    let mira = limited(&rig, "Mira", budget(0)).await;
    let bearer = format!("Bearer {}", mira.secret.expose());
    let headers = [
        ("authorization", &*bearer),
        ("user-agent", "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.169.0)"),
        ("originator", "codex_exec"),
        ("openai-beta", "responses_websockets=2026-02-06"),
        ("session-id", "one"),
        ("thread-id", "one"),
    ];
    let mut socket = SocketClient::connect(rig.addr, "/v1/responses", &headers).await.expect("granted");
    socket.send(create("one", None, "say hi")).await;
    let Came::Event(told) = socket.next().await else { panic!("no event") };
    assert_eq!((&told["type"], &told["status"]), (&"error".into(), &429.into()));
    assert_eq!(
        (&told["error"]["type"], &told["error"]["resets_at"]),
        (&"usage_limit_reached".into(), &month_ends().into())
    );
    assert!(told["headers"]["x-codex-promo-message"].as_str().is_some_and(|text| text.contains("0 tokens a month")));
    // The operator changes it: the next turn on the same socket is served.
    change(&rig, &mira.credential.user, Limits::default()).await;
    socket.send(create("one", None, "say hi")).await;
    loop {
        match socket.next().await {
            Came::Event(event) if event["type"] == "response.completed" => break,
            Came::Event(event) => assert_ne!(event["type"], "error", "{event}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_screens_show_the_pool_as_it_stands_for_who_asks() {
    let world = World::new()
        .account(FakeAccount::claude("full").used("5h", 0.8))
        .account(FakeAccount::claude("empty").used("5h", 0.2));
    let rig = Rig::start(world).await;
    let whose = |name: &str| {
        let found = |pool: &pool_core::Pool| {
            pool.slots().find(|slot| slot.account.name == name).map(|slot| slot.account.id.clone())
        };
        rig.app.pool.read(|pool, _| found(pool)).expect("an account")
    };
    let (mira, nadia) = (somebody(&rig, "Mira").await, limited(&rig, "Nadia", budget(1_000_000_000)).await);
    let full = whose("full");
    rig.app.people.edit(&mira.credential.user, false, |user| user.accounts = Some(vec![full])).await.expect("changed");
    let shown = async |issued: &Issued| {
        let seen = ask(&rig, &CLAUDE, issued).await;
        let told = |bar: &str| {
            let name = format!("anthropic-ratelimit-unified-{bar}-utilization");
            seen.header(&name).and_then(|text| text.parse::<f64>().ok())
        };
        let mut usage = as_somebody((CLAUDE.request)("one"), issued);
        (usage.method, usage.path, usage.body) = ("GET", "/api/oauth/usage".into(), Vec::new());
        let usage = rig.send(&usage).await.json();
        (told("5h"), told("7d"), usage["five_hour"]["utilization"].as_f64(), usage["seven_day"]["utilization"].as_f64())
    };
    let near = |told: Option<f64>, wanted: f64| told.is_some_and(|told| (told - wanted).abs() < 0.02 * wanted.max(1.0));
    let (short, _, percent, _) = shown(&mira).await;
    assert!(near(short, 0.8) && near(percent, 80.0), "all that is theirs: {short:?} {percent:?}");
    let (short, _, percent, _) = shown(&nadia).await;
    assert!(near(short, 0.5) && near(percent, 50.0), "all of the pool: {short:?} {percent:?}");
    // Their own limit is nearer to its end than the pool: a month takes the bar of the week.
    change(&rig, &nadia.credential.user, budget(1)).await;
    rig.recorded(2).await;
    let (_, _, short, week) = shown(&nadia).await;
    assert!(near(short, 50.0) && week == Some(100.0), "{short:?} {week:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_shows_ones_own_limit_beside_the_pool() {
    let rig = Rig::start(World::new().account(FakeAccount::chatgpt("anna").used("5h", 0.3))).await;
    let mira = limited(&rig, "Mira", budget(1_000_000_000)).await;
    let status = async || {
        let mut usage = as_somebody((CODEX.request)("one"), &mira);
        (usage.method, usage.path, usage.body) = ("GET", "/backend-api/wham/usage".into(), Vec::new());
        let limit = rig.send(&usage).await.json()["rate_limit"].clone();
        let bar = |name: &str| {
            let window = &limit[name];
            (window["used_percent"].as_u64(), window["limit_window_seconds"].as_u64().map(|secs| secs / 86_400))
        };
        (bar("primary_window"), bar("secondary_window"), limit["limit_reached"].as_bool())
    };
    let served = ask(&rig, &CODEX, &mira).await;
    assert_eq!(served.header("x-codex-primary-used-percent"), Some("30"));
    rig.record_of(&served).await;
    let (short, long, reached) = status().await;
    assert_eq!((short, reached), ((Some(30), Some(0)), Some(false)), "the pool's: {long:?}");
    change(&rig, &mira.credential.user, budget(1)).await;
    let (short, month, reached) = status().await;
    assert_eq!((short, month.0, reached), ((Some(30), Some(0)), Some(100), Some(true)));
    assert!(month.1.is_some_and(|days| days >= 28), "{month:?}");
}
