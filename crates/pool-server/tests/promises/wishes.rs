//! What the operator wishes, end to end: other names for models, requests at one time, a day's spending, models and pauses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pool_core::alias::Aliases;
use pool_testkit::client::Seen;

use pool_testkit::request::Request;
use pool_testkit::socket_client::{SocketClient, create, response_id};

use pool_testkit::{FakeAccount, FakeWindow, Fault, World};

use crate::support::clients::{CLIENTS, WORLDS};
use crate::support::{Rig, until};
use crate::{send_all, together};

fn aliases(list: &[(&str, &[&str])]) -> Aliases {
    let owned = |models: &[&str]| models.iter().map(|model| (*model).to_owned()).collect();
    Aliases::new(list.iter().map(|(alias, models)| ((*alias).to_owned(), owned(models))).collect::<BTreeMap<_, _>>())
}

/// The same request for another model, wherever it names one.
fn asking(mut request: Request, model: &str, instead_of: &str) -> Request {
    let replaced = |text: &str| text.replace(instead_of, model);
    request.path = replaced(&request.path);
    request.body = replaced(&String::from_utf8(request.body).expect("text")).into_bytes();
    request
}

fn models_asked(rig: &Rig) -> Vec<String> {
    rig.fake.books().inference().filter_map(|request| request.model.clone()).collect()
}

fn list(path: &str, header: (&str, &str)) -> Request {
    let headers = vec![(header.0.to_owned(), header.1.to_owned())];
    Request { method: "GET", path: path.into(), headers, body: Vec::new() }
}

const OPUS: &str = "claude-opus-5-5";
const SONNET: &str = "claude-sonnet-5-5";

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_served_by_an_alias_and_only_the_name_changes() {
    const MODELS: [(&str, &str); 6] = [
        ("codex", "gpt-6.1-sol"),
        ("claude", OPUS),
        ("code", "gemini-3-flash-preview"),
        ("chat", "gpt-6.1-sol"),
        ("gem", "gemini-3.8-flash"),
        ("sdk", OPUS),
    ];
    for world in WORLDS {
        let accounts = world.iter().map(|at| (CLIENTS[*at].account)(&format!("account-{at}")));
        let rig = Rig::with(accounts.fold(World::new(), World::account), |config| {
            config.aliases = aliases(&MODELS.map(|(alias, model)| (alias, &*vec![model].leak())));
        })
        .await;
        for at in world {
            let (client, (alias, model)) = (&CLIENTS[*at], MODELS[*at]);
            let plain = (client.request)("conversation");
            let asked = asking(plain.clone(), alias, model);
            let seen = rig.send(&asked).await;
            assert_eq!((seen.status, seen.whole), (Some(200), true), "{}: {}", client.name, seen.text());
            let served = rig.fake.books().inference().last().expect("a request").clone();
            assert_eq!(served.model.as_deref(), Some(model), "{}", client.name);
            assert_eq!(rig.record_of(&seen).await.model.as_deref(), Some(model), "{}", client.name);
            // The very bytes that the model's own name would have sent.
            rig.send(&plain).await;
            let direct = rig.fake.books().inference().last().expect("a request").clone();
            assert_eq!(served.body_sha256, direct.body_sha256, "{}", client.name);
        }
        assert_eq!(rig.fake.books().violations, []);
    }
}

fn with_opus_spent(name: &str) -> FakeAccount {
    let opus = FakeWindow::family("opus", Duration::from_hours(168)).used(1.0);
    FakeAccount::claude(name).windows([FakeWindow::five_hours(), FakeWindow::week(), opus])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_spent_everywhere_gives_way_to_the_next_behind_the_alias() {
    let world = World::new().account(with_opus_spent("one")).account(with_opus_spent("two"));
    let rig = Rig::with(world, |config| config.aliases = aliases(&[("best", &[OPUS, SONNET])])).await;
    let asked = |conversation: &str| asking(Request::claude(conversation), "best", OPUS);
    for turn in 0..3 {
        let seen = rig.send(&asked("conversation")).await;
        assert_eq!(seen.status, Some(200), "{turn}: {}", seen.text());
        assert_eq!(rig.record_of(&seen).await.model.as_deref(), Some(SONNET));
    }
    let asked_of_opus = models_asked(&rig).iter().filter(|model| *model == OPUS).count();
    assert!(asked_of_opus <= 2, "each account refuses once, and is believed");
    // Who asks for the model itself has no other.
    let seen = rig.send(&Request::claude("other")).await;
    assert_eq!(seen.status, Some(429), "{}", seen.text());
    // When nothing is left, the client hears of what it asked for.
    for name in ["one", "two"] {
        rig.fake.account(name).limit("5h", Duration::from_mins(40));
    }
    let seen = rig.send(&asked("conversation")).await;
    assert_eq!(seen.status, Some(429), "{}", seen.text());
    assert!(["(in 40 min)", "(in 39 min)"].iter().any(|when| seen.text().contains(when)), "{}", seen.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_the_preferred_model_goes_before_another_model() {
    let world = World::new().account(with_opus_spent("spent")).account(FakeAccount::claude("fresh"));
    let rig = Rig::with(world, |config| config.aliases = aliases(&[("best", &[OPUS, SONNET])])).await;
    for turn in 0..4 {
        let seen = rig.send(&asking(Request::claude(&format!("conversation-{turn}")), "best", OPUS)).await;
        assert_eq!(rig.record_of(&seen).await.model.as_deref(), Some(OPUS), "{}", seen.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_stand_in_the_lists_of_models() {
    let world = World::new()
        .account(FakeAccount::openai_key("openai"))
        .account(FakeAccount::anthropic_key("anthropic"))
        .account(FakeAccount::gemini_key("google"));
    let all: [(&str, &[&str]); 4] = [
        ("fast", &["gpt-5.4-mini"]),
        ("claude-best", &[OPUS, SONNET]),
        ("flash", &["gemini-3.8-flash"]),
        (SONNET, &[SONNET, "claude-haiku-5-5"]),
    ];
    let rig = Rig::with(world, |config| config.aliases = aliases(&all)).await;
    for (request, list, key, first, second) in [
        (list("/v1/models", ("user-agent", "OpenAI/Python 3.54.0")), "data", "id", "fast", None),
        (list("/v1/models?limit=1000", ("anthropic-version", "2023-06-01")), "data", "id", "claude-best", Some(OPUS)),
        (
            list("/v1beta/models", ("x-goog-api-key", "pool")),
            "models",
            "name",
            "models/flash",
            Some("models/gemini-3.8-flash"),
        ),
    ] {
        let seen = rig.send(&request).await;
        assert_eq!((seen.status, seen.whole), (Some(200), true), "{}", seen.text());
        let json = seen.json();
        assert_eq!(json[list][0][key], first, "{json}");
        let next = json[list][1][key].as_str().expect("the provider's own follow");
        assert!(second.is_none_or(|second| next == second), "{json}");
        let sonnets = json[list].as_array().expect("a list").iter().filter(|entry| entry[key] == SONNET).count();
        assert!(sonnets <= 1, "its own alias is no news: {json}");
    }
    let next_page = rig.send(&self::list("/v1/models?after_id=x", ("anthropic-version", "2023-06-01"))).await;
    assert!(!next_page.text().contains("claude-best"), "{}", next_page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_on_a_socket_is_served_by_an_alias_and_waits_its_turn() {
    let account = FakeAccount::chatgpt("one").lacks_model("gpt-6.1-sol").setting("max_in_flight", 1);
    let rig = Rig::with(World::new().account(account), |config| {
        config.websockets = true;
        config.aliases = aliases(&[("best", &["gpt-6.1-sol", "gpt-6-sol"])]);
    })
    .await;
    rig.fake.account("one").fault(Fault::Paced(Duration::from_millis(20)));
    let turns = ["c1", "c2", "c3"].map(|conversation| {
        let addr = rig.addr;
        async move {
            let mut socket = SocketClient::codex(addr, conversation).await.expect("granted");
            let mut first = create(conversation, None, "hello");
            first["model"] = "best".into();
            let came = socket.turn(first).await;
            let id = response_id(&came).unwrap_or_else(|| panic!("{came:?}"));
            let mut second = create(conversation, Some(&id), "go on");
            second["model"] = "best".into();
            response_id(&socket.turn(second).await).is_some()
        }
    });
    assert_eq!(together(turns).await, [true; 3]);
    rig.recorded(6).await;
    assert!(rig.records().await.iter().all(|kept| kept.model.as_deref() == Some("gpt-6-sol")));
    let refused = models_asked(&rig).iter().filter(|model| *model == "gpt-6.1-sol").count();
    assert_eq!(refused, 1, "an account that lacks a model is believed");
}

fn ok(answers: &[Seen]) -> usize {
    answers.iter().filter(|seen| seen.status == Some(200) && seen.whole).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_what_an_account_may_take_wait_their_turn() {
    let world = World::new().account(FakeAccount::claude("one").setting("max_in_flight", 2));
    let rig = Rig::start(world).await;
    rig.fake.account("one").fault(Fault::SlowHead(Duration::from_millis(150)));
    let requests = (0..8).map(|number| Request::claude(&format!("conversation-{number}"))).collect();
    let begun = Instant::now();
    let answers = send_all(&rig, requests).await;
    assert_eq!(ok(&answers), 8, "{:?}", answers.iter().map(|seen| seen.status).collect::<Vec<_>>());
    assert!(begun.elapsed() >= Duration::from_millis(4 * 150), "two at a time: {:?}", begun.elapsed());
    until("the slots come back", || rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.in_flight == 0))).await;
}

/// A day must not end in the middle of a test about it.
async fn away_from_midnight() {
    const DAY: u64 = 24 * 3600;
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    while now() % DAY > DAY - 60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_cost_enough_today_rests_until_midnight_also_after_a_restart() {
    away_from_midnight().await;
    let key = FakeAccount::anthropic_key("key").setting("daily_spend_usd", 0.000_01);
    let rig = Rig::start(World::new().account(key)).await;
    let request = |conversation: &str| (CLIENTS[5].request)(conversation);
    let seen = rig.send(&request("first")).await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    until("it is counted", || rig.app.pool.read(|pool, now| pool.slots().all(|slot| slot.book.spent(now).0 > 0))).await;
    let spent = rig.app.pool.read(|pool, now| pool.slots().map(|slot| slot.book.spent(now)).next());
    let refused = |seen: &Seen| {
        assert_eq!(seen.status, Some(429), "{}", seen.text());
        assert!(seen.text().contains("at their limit · resets 12:00 AM UTC"), "{}", seen.text());
    };
    refused(&rig.send(&request("second")).await);
    rig.recorded(1).await;
    let rig = rig.restarted().await;
    assert_eq!(rig.app.pool.read(|pool, now| pool.slots().map(|slot| slot.book.spent(now)).next()), spent);
    refused(&rig.send(&request("third")).await);
    assert_eq!(models_asked(&rig).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_in_a_file_take_effect_within_a_second_and_requests_go_on() {
    let rig = Rig::start(World::new().account(FakeAccount::claude("one")).account(FakeAccount::claude("two"))).await;
    let change = |name: &str, key: &str, value: serde_json::Value| {
        let (file, text) = rig.fake.account(name).credential_file();
        let mut content: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        content[key] = value;
        rig.pool.write(&file, &content.to_string()).expect("writes");
    };
    change("one", "models", serde_json::json!(["*-sonnet-*"]));
    change("two", "priority", serde_json::json!(-5));
    until("the wishes are read", || {
        rig.app.pool.read(|pool, _| {
            let count =
                |is: fn(&pool_core::Settings) -> bool| pool.slots().filter(|slot| is(&slot.account.settings)).count();
            count(|settings| settings.models.is_some()) == 1 && count(|settings| settings.priority == -5) == 1
        })
    })
    .await;
    let seen = rig.send(&Request::claude("opus")).await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    let seen = rig.send(&asking(Request::claude("sonnet"), SONNET, OPUS)).await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    let served = |name: &str| rig.fake.books().account(name).completed;
    assert_eq!((served("one"), served("two")), (1, 1), "opus cannot go to the one, sonnet goes there first");
    change("two", "models", serde_json::json!("claude-haiku-*"));
    until("the wish is read", || {
        rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.account.settings.models.is_some()))
    })
    .await;
    let seen = rig.send(&Request::claude("opus")).await;
    assert_eq!(seen.status, Some(403), "{}", seen.text());
    assert!(seen.text().contains("2 are kept for other models"), "{}", seen.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_model_gives_way_after_the_tries_that_any_request_has() {
    let rig = Rig::with(World::new().account(FakeAccount::claude("one")), |config| {
        config.aliases = aliases(&[("best", &[OPUS, SONNET])]);
    })
    .await;
    rig.fake.account("one").fault_next(3, Fault::Overloaded);
    let seen = rig.send(&asking(Request::claude("conversation"), "best", OPUS)).await;
    assert_eq!(seen.status, Some(200), "{}", seen.text());
    assert_eq!(models_asked(&rig), [OPUS, OPUS, OPUS, SONNET]);
    rig.fake.account("one").fault_next(3, Fault::Overloaded);
    let seen = rig.send(&Request::claude("other")).await;
    assert_eq!(seen.status, Some(529), "who asks for the model itself has no other: {}", seen.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_socket_an_overloaded_model_gives_way_too() {
    let rig = Rig::with(World::new().account(FakeAccount::chatgpt("one")), |config| {
        config.websockets = true;
        config.aliases = aliases(&[("best", &["gpt-6.1-sol", "gpt-6-sol"])]);
    })
    .await;
    rig.fake.account("one").fault_next(3, Fault::Overloaded);
    let mut socket = SocketClient::codex(rig.addr, "c1").await.expect("granted");
    let mut first = create("c1", None, "hello");
    first["model"] = "best".into();
    let came = socket.turn(first).await;
    assert!(response_id(&came).is_some(), "{came:?}");
    assert_eq!(models_asked(&rig), ["gpt-6.1-sol", "gpt-6.1-sol", "gpt-6.1-sol", "gpt-6-sol"]);
}
