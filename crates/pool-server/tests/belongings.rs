//! What requests create upstream belongs to one account and to one caller: files, batches, stored responses, calls.

mod support;

use pool_core::owners::Owned;
use pool_core::pool::Event;
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{AccountId, Scope, Span};
use pool_server::Config;
use pool_testkit::client::Seen;
use pool_testkit::request::{CREDENTIAL, Request};
use pool_testkit::socket_client::{Came, SocketClient, response_id};
use pool_testkit::{FakeAccount, World};
use serde_json::{Value, json};
use support::Rig;

/// Which SDK asks.
#[derive(Clone, Copy, PartialEq)]
enum Sdk {
    OpenAi,
    Anthropic,
    Google,
}

fn ask(sdk: Sdk, method: &'static str, path: &str, body: &Value) -> Request {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let headers = match sdk {
        Sdk::OpenAi => {
            text(&[("authorization", &format!("Bearer {CREDENTIAL}")), ("user-agent", "OpenAI/Python 3.54.0")])
        }
        Sdk::Anthropic => text(&[("x-api-key", CREDENTIAL), ("anthropic-version", "2023-06-01")]),
        Sdk::Google => text(&[("x-goog-api-key", CREDENTIAL), ("user-agent", "google-genai-sdk/3.4.0 gl-python/3.11")]),
    };
    let empty = body.is_null();
    let request =
        Request { method, path: path.into(), headers, body: if empty { Vec::new() } else { body.to_string().into() } };
    if empty { request } else { request.header("content-type", "application/json") }
}

/// A form with one file in it.
fn form(sdk: Sdk, path: &str, content: &[u8]) -> Request {
    let before = "--edge\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
                  --edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    let mut request = ask(sdk, "POST", path, &Value::Null).header("content-type", "multipart/form-data; boundary=edge");
    request.body = [before.as_bytes(), content, b"\r\n--edge--\r\n"].concat();
    request
}

/// Two keys of this kind; the first is preferred.
fn keys(kind: fn(&str) -> FakeAccount) -> World {
    World::new().account(kind("one").setting("priority", 5)).account(kind("two")).forbid(CREDENTIAL)
}

async fn good(rig: &Rig, request: &Request) -> Seen {
    let seen = rig.send(request).await;
    assert!(
        seen.status.is_some_and(|status| status < 300),
        "{} {}: {:?} {}",
        request.method,
        request.path,
        seen.status,
        seen.text()
    );
    seen
}

fn id_of(rig: &Rig, name: &str) -> AccountId {
    let find = |slot: &pool_core::pool::Slot| (slot.account.name == name).then(|| slot.account.id.clone());
    rig.app.pool.read(|pool, _| pool.slots().find_map(find)).expect("an account of this name")
}

/// Keeps the preferred account out, so that what is new is made on the other; or lets it in again.
fn keep_out(rig: &Rig, name: &str, out: bool) {
    let id = id_of(rig, name);
    let (scope, cause, until) = (Scope::Account, Cause::QuotaSpent, Until::For(Span::from_hours(1)));
    rig.app.pool.apply(if out {
        Event::Penalised { id, penalty: Penalty { scope, cause, until } }
    } else {
        Event::Cleared { id }
    });
}

/// The accounts on which the calls below a path arrived, in order. (Reads of the models are the pool's own.)
fn on(rig: &Rig, path: &str) -> Vec<String> {
    let books = rig.fake.books();
    let there = books.log.iter().filter(|entry| entry.path.contains(path) && !entry.path.ends_with("/models"));
    there.map(|entry| entry.account.clone().unwrap_or_default()).collect()
}

/// Something that can be created, read and deleted, and another request that leans on it.
struct Thing {
    sdk: Sdk,
    account: fn(&str) -> FakeAccount,
    create: fn() -> Request,
    /// Where the answer names it.
    told: &'static str,
    /// Where it is read.
    place: &'static str,
}

const THINGS: [Thing; 10] = [
    Thing {
        sdk: Sdk::OpenAi,
        account: FakeAccount::openai_key,
        create: || form(Sdk::OpenAi, "/v1/files", b"hello"),
        told: "/id",
        place: "/v1/files/{}",
    },
    Thing {
        sdk: Sdk::OpenAi,
        account: FakeAccount::openai_key,
        create: || ask(Sdk::OpenAi, "POST", "/v1/batches", &json!({ "endpoint": "/v1/responses" })),
        told: "/id",
        place: "/v1/batches/{}",
    },
    Thing {
        sdk: Sdk::OpenAi,
        account: FakeAccount::openai_key,
        create: || ask(Sdk::OpenAi, "POST", "/v1/conversations", &json!({})),
        told: "/id",
        place: "/v1/conversations/{}/items",
    },
    Thing {
        sdk: Sdk::OpenAi,
        account: FakeAccount::openai_key,
        create: || ask(Sdk::OpenAi, "POST", "/v1/vector_stores", &json!({ "name": "v" })),
        told: "/id",
        place: "/v1/vector_stores/{}/files",
    },
    Thing {
        sdk: Sdk::OpenAi,
        account: FakeAccount::openai_key,
        create: || ask(Sdk::OpenAi, "POST", "/v1/responses", &json!({ "model": "gpt-6-luna", "input": "say hi" })),
        told: "/id",
        place: "/v1/responses/{}",
    },
    Thing {
        sdk: Sdk::Anthropic,
        account: FakeAccount::anthropic_key,
        create: || form(Sdk::Anthropic, "/v1/files", b"hello"),
        told: "/id",
        place: "/v1/files/{}",
    },
    Thing {
        sdk: Sdk::Anthropic,
        account: FakeAccount::anthropic_key,
        create: || ask(Sdk::Anthropic, "POST", "/v1/messages/batches", &json!({ "requests": [] })),
        told: "/id",
        place: "/v1/messages/batches/{}/results",
    },
    Thing {
        sdk: Sdk::Google,
        account: FakeAccount::gemini_key,
        create: || form(Sdk::Google, "/upload/v1beta/files", b"hello"),
        told: "/file/name",
        place: "/v1beta/{}",
    },
    Thing {
        sdk: Sdk::Google,
        account: FakeAccount::gemini_key,
        create: || ask(Sdk::Google, "POST", "/v1beta/cachedContents", &json!({ "model": "models/gemini-3.8-flash" })),
        told: "/name",
        place: "/v1beta/{}",
    },
    Thing {
        sdk: Sdk::Google,
        account: FakeAccount::gemini_key,
        create: || {
            ask(Sdk::Google, "POST", "/v1beta/models/gemini-3.8-flash:batchGenerateContent", &json!({ "batch": {} }))
        },
        told: "/name",
        place: "/v1beta/{}",
    },
];

impl Thing {
    fn id(&self, created: &Seen) -> String {
        let id = created.json().pointer(self.told).and_then(Value::as_str).map(str::to_owned);
        id.unwrap_or_else(|| panic!("{}: {}", self.place, created.text()))
    }

    fn read(&self, id: &str) -> Request {
        ask(self.sdk, "GET", &self.place.replace("{}", id), &Value::Null)
    }
}

/// A pool that asks for a credential on whose callers something can be tried: local ones, and the operator.
async fn guarded(world: World) -> Rig {
    Rig::with(world, |config| config.operator_token = Some(pool_core::Secret::new(TOKEN))).await
}

const TOKEN: &str = "made-up-operator-token-of-32-chars";

/// The same request from somebody else: through a proxy nobody is local.
fn from_another(mut request: Request) -> Request {
    request.headers.retain(|(name, _)| name != "authorization" && name != "x-api-key" && name != "x-goog-api-key");
    request.header("authorization", &format!("Bearer {TOKEN}")).header("x-forwarded-for", "203.0.113.9")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_created_is_read_where_it_lives_and_by_its_creator_only() {
    for thing in &THINGS {
        let rig = guarded(keys(thing.account)).await;
        keep_out(&rig, "one", true);
        let created = good(&rig, &(thing.create)()).await;
        keep_out(&rig, "one", false);
        let id = thing.id(&created);
        let before = rig.fake.books().log.len();
        good(&rig, &thing.read(&id)).await;
        let log = rig.fake.books().log;
        assert_eq!(
            log[before..].iter().filter_map(|entry| entry.account.as_deref()).collect::<Vec<_>>(),
            ["two"],
            "{id}"
        );

        // To another it is as if it had never been.
        let foreign = rig.send(&from_another(thing.read(&id))).await;
        let made_up = id.replace("fake", "nobodys");
        let unknown = rig.send(&from_another(thing.read(&made_up))).await;
        assert_eq!((foreign.status, unknown.status), (Some(404), Some(404)), "{id}: {}", foreign.text());
        assert_eq!(foreign.text().replace(&id, "it"), unknown.text().replace(&made_up, "it"));
        assert_eq!(rig.send(&thing.read(&made_up)).await.status, Some(404));
        assert_eq!(rig.fake.books().log.len(), before + 1, "{id}: nothing of that went up");
        assert_eq!(rig.fake.books().violations, [], "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_owner_is_spent_nobody_stands_in() {
    let rig = Rig::start(keys(FakeAccount::openai_key)).await;
    let first = good(&rig, &(THINGS[4].create)()).await.json();
    keep_out(&rig, "one", true);
    let next = json!({ "model": "gpt-6-luna", "input": "go on", "previous_response_id": first["id"] });
    let refused = rig.send(&ask(Sdk::OpenAi, "POST", "/v1/responses", &next)).await;
    assert_eq!(refused.status, Some(429), "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(on(&rig, "/v1/responses"), ["one"]);
    // What leans on nothing goes on.
    good(&rig, &(THINGS[4].create)()).await;
    assert_eq!(on(&rig, "/v1/responses"), ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_names_something_goes_to_its_owner_however_it_is_written() {
    let rig = guarded(keys(FakeAccount::openai_key)).await;
    keep_out(&rig, "one", true);
    let file =
        good(&rig, &form(Sdk::OpenAi, "/v1/files", b"hello")).await.json()["id"].as_str().expect("an id").to_owned();
    keep_out(&rig, "one", false);
    let with = |id: &str| {
        let part = json!({ "type": "input_file", "file_id": "HERE" });
        let body = json!({ "model": "gpt-6-luna", "input": [{ "role": "user", "content": [part] }], "store": false });
        let mut request = ask(Sdk::OpenAi, "POST", "/v1/responses", &body);
        request.body = body.to_string().replace("HERE", id).into_bytes();
        request
    };
    let escaped = format!("\\u0066{}", &file[1..]);
    for id in [&file, &escaped] {
        good(&rig, &with(id)).await;
        let refused = rig.send(&from_another(with(id))).await;
        assert_eq!(refused.status, Some(404), "{}", refused.text());
    }
    assert_eq!(on(&rig, "/v1/responses"), ["two", "two"]);
    // What nobody knows goes where it would, and the provider says what it is.
    let unknown = rig.send(&with("file-fakeofnobody")).await;
    assert_eq!(unknown.status, Some(404));
    assert_eq!(on(&rig, "/v1/responses"), ["two", "two", "one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_responses_stays_with_its_account() {
    for stream in [false, true] {
        let rig = guarded(keys(FakeAccount::openai_key)).await;
        let turn = |previous: Option<&str>, number: usize| {
            let mut body = json!({ "model": "gpt-6-luna", "input": format!("turn {number}"), "stream": stream });
            if let Some(previous) = previous {
                body["previous_response_id"] = previous.into();
            }
            ask(Sdk::OpenAi, "POST", "/v1/responses", &body)
        };
        let id = |seen: &Seen| {
            let text = seen.text();
            let at = text.find("resp_fake").expect("an id");
            text[at..].split('"').next().expect("its end").to_owned()
        };
        keep_out(&rig, "one", true);
        let mut previous = id(&good(&rig, &turn(None, 0)).await);
        keep_out(&rig, "one", false);
        for number in 1..4 {
            let other = rig.send(&from_another(turn(Some(&previous), number))).await;
            assert_eq!(other.json()["error"]["code"], "previous_response_not_found", "{}", other.text());
            previous = id(&good(&rig, &turn(Some(&previous), number)).await);
        }
        assert_eq!(on(&rig, "/v1/responses"), ["two"; 4], "streamed: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_on_a_socket_keeps_to_the_same() {
    let rig = guarded(keys(FakeAccount::openai_key)).await;
    keep_out(&rig, "one", true);
    let file = good(&rig, &form(Sdk::OpenAi, "/v1/files", b"hello")).await.json()["id"].clone();
    keep_out(&rig, "one", false);
    let turn = json!({
        "type": "response.create", "model": "gpt-6-luna", "store": false,
        "input": [{ "role": "user", "content": [{ "type": "input_file", "file_id": file }] }],
    });
    let own = [("authorization", "Bearer made-up")];
    let others = format!("Bearer {TOKEN}");
    let others = [("authorization", &*others), ("x-forwarded-for", "203.0.113.9")];
    let mut socket = SocketClient::connect(rig.addr, "/v1/responses", &own).await.expect("granted");
    let came = socket.turn(turn.clone()).await;
    assert!(response_id(&came).is_some(), "{came:?}");
    assert_eq!(rig.fake.books().inference().map(|one| one.account.clone()).collect::<Vec<_>>(), [Some("two".into())]);
    let mut socket = SocketClient::connect(rig.addr, "/v1/responses", &others).await.expect("granted");
    let came = socket.turn(turn).await;
    assert!(matches!(&came[..], [Came::Event(event)] if event["status"] == 404), "{came:?}");
    assert_eq!(rig.fake.books().inference().count(), 1, "nothing of that went up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_not_remembered() {
    let rig = Rig::start(keys(FakeAccount::openai_key)).await;
    let body = json!({ "model": "gpt-6-luna", "input": "say hi", "store": false });
    good(&rig, &ask(Sdk::OpenAi, "POST", "/v1/responses", &body)).await;
    assert!(rig.app.pool.read(|pool, _| pool.owners.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_finds_its_input_and_its_output_is_its_creators() {
    let rig = Rig::start(keys(FakeAccount::openai_key)).await;
    keep_out(&rig, "one", true);
    let file = good(&rig, &form(Sdk::OpenAi, "/v1/files", b"{}")).await.json();
    keep_out(&rig, "one", false);
    let body = json!({ "endpoint": "/v1/responses", "input_file_id": file["id"], "completion_window": "24h" });
    let batch = good(&rig, &ask(Sdk::OpenAi, "POST", "/v1/batches", &body)).await.json();
    let read = ask(Sdk::OpenAi, "GET", &format!("/v1/batches/{}", batch["id"].as_str().expect("an id")), &Value::Null);
    let output = good(&rig, &read).await.json()["output_file_id"].as_str().expect("an id").to_owned();
    let results = good(&rig, &ask(Sdk::OpenAi, "GET", &format!("/v1/files/{output}/content"), &Value::Null)).await;
    assert!(results.text().contains("custom_id"));
    assert_eq!(on(&rig, "/openai/v1/"), ["two"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_goes_on_goes_on_here() {
    let rig = Rig::start(keys(FakeAccount::gemini_key)).await;
    keep_out(&rig, "one", true);
    let start = ask(Sdk::Google, "POST", "/upload/v1beta/files", &json!({ "file": { "display_name": "a" } }))
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start");
    let started = good(&rig, &start).await;
    keep_out(&rig, "one", false);
    let url = started.header("x-goog-upload-url").expect("an address").to_owned();
    let ours = format!("http://{}/upload/v1beta/files?", rig.addr);
    assert!(url.starts_with(&ours), "{url}");
    let mut end = ask(Sdk::Google, "POST", url.split_once(&rig.addr.to_string()).expect("a path").1, &Value::Null)
        .header("x-goog-upload-command", "upload, finalize")
        .header("x-goog-upload-offset", "0");
    end.body = vec![7; 50_000];
    let ended = good(&rig, &end).await;
    assert_eq!(ended.header("x-goog-upload-status"), Some("final"));
    let name = ended.json()["file"]["name"].as_str().expect("a name").to_owned();
    let uri = ended.json()["file"]["uri"].as_str().expect("an address").to_owned();
    let read = good(&rig, &ask(Sdk::Google, "GET", &format!("/v1beta/{name}:download?alt=media"), &Value::Null)).await;
    assert_eq!(read.body.len(), 50_000);
    let part = json!({ "fileData": { "fileUri": uri, "mimeType": "text/plain" } });
    let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "say hi" }, part] }] });
    good(&rig, &ask(Sdk::Google, "POST", "/v1beta/models/gemini-3.8-flash:generateContent", &body)).await;
    assert_eq!(on(&rig, "/google/"), ["two"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_caller_has_kept_comes_together_and_what_lives_apart_is_said() {
    let rig = Rig::start(keys(FakeAccount::openai_key)).await;
    let upload = async || good(&rig, &form(Sdk::OpenAi, "/v1/files", b"x")).await.json()["id"].clone();
    let first = upload().await;
    keep_out(&rig, "one", true);
    let second = upload().await;
    keep_out(&rig, "one", false);
    let third = upload().await;
    assert_eq!(on(&rig, "/v1/files"), ["one", "two", "two"], "it stays where the last went");
    let with = |ids: &[&Value]| {
        let body = json!({ "model": "gpt-6-luna", "input": "x", "store": false, "files": ids });
        ask(Sdk::OpenAi, "POST", "/v1/responses", &body)
    };
    good(&rig, &with(&[&second, &third])).await;
    let apart = rig.send(&with(&[&first, &second])).await;
    assert_eq!(apart.status, Some(400));
    assert!(apart.text().contains("different accounts"), "{}", apart.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_refused_with_the_reason() {
    let rig = Rig::start(World::one_of_each()).await;
    for (sdk, path) in [
        (Sdk::OpenAi, "/v1/files"),
        (Sdk::OpenAi, "/v1/batches?limit=2"),
        (Sdk::OpenAi, "/v1/vector_stores"),
        (Sdk::Anthropic, "/v1/files"),
        (Sdk::Anthropic, "/v1/messages/batches"),
        (Sdk::Google, "/v1beta/files"),
        (Sdk::Google, "/v1beta/cachedContents"),
        (Sdk::Google, "/v1beta/batches"),
        (Sdk::Google, "/v1/files"),
        (Sdk::Google, "/v1/batches"),
    ] {
        let before = rig.fake.books().log.len();
        let seen = rig.send(&ask(sdk, "GET", path, &Value::Null)).await;
        assert_eq!(seen.status, Some(404), "{path}");
        assert!(seen.text().contains("Keep the ids"), "{path}: {}", seen.text());
        assert_eq!(rig.fake.books().log.len(), before, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_keep_nothing_for_sdks() {
    let rig = Rig::start(World::new().account(FakeAccount::claude("one")).account(FakeAccount::chatgpt("two"))).await;
    for thing in THINGS.iter().filter(|thing| thing.sdk != Sdk::Google) {
        let seen = rig.send(&(thing.create)()).await;
        assert_eq!(seen.status, Some(403), "{}: {}", thing.place, seen.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_larger_than_what_is_kept_for_replay_streams_once() {
    let rig = Rig::with(keys(FakeAccount::openai_key), |config| config.replay_cap = 100_000).await;
    let content = vec![9; 3 << 20];
    let file = good(&rig, &form(Sdk::OpenAi, "/v1/files", &content)).await.json();
    let id = file["id"].as_str().expect("an id");
    let read = good(&rig, &ask(Sdk::OpenAi, "GET", &format!("/v1/files/{id}/content"), &Value::Null)).await;
    assert!(read.body == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_created_before_a_restart_is_its_creators_after_it() {
    for thing in &THINGS {
        let rig = guarded(keys(thing.account)).await;
        keep_out(&rig, "one", true);
        let id = thing.id(&good(&rig, &(thing.create)()).await);
        keep_out(&rig, "one", false);
        let (fake, folder) = rig.stop().await;

        let guard = |config: &mut Config| config.operator_token = Some(pool_core::Secret::new(TOKEN));
        let rig = Rig::resume(fake, folder, guard).await;
        // Whatever probes it begins with are behind it.
        rig.settled().await;
        let before = rig.fake.books().log.len();
        let foreign = rig.send(&from_another(thing.read(&id))).await;
        assert_eq!(foreign.status, Some(404), "{id}: {}", foreign.text());
        assert_eq!(rig.fake.books().log.len(), before, "{id}: nothing of that went up");
        good(&rig, &thing.read(&id)).await;
        let log = rig.fake.books().log;
        let asked: Vec<_> = log[before..].iter().filter_map(|entry| entry.account.as_deref()).collect();
        assert_eq!(asked, ["two"], "{id}");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_survives_as_plain_data() {
    let rig = Rig::start(keys(FakeAccount::openai_key)).await;
    let created = good(&rig, &(THINGS[0].create)()).await;
    let id = THINGS[0].id(&created);
    let kept: Vec<_> =
        rig.app.pool.read(|pool, _| pool.owners.iter().map(|(key, owned)| (key, owned.clone())).collect());
    assert_eq!(kept.len(), 1);
    let another = Rig::start(keys(FakeAccount::openai_key)).await;
    assert_eq!(another.send(&THINGS[0].read(&id)).await.status, Some(404));
    let id_there = id_of(&another, "one");
    let owned = kept.into_iter().map(|(key, owned)| (key, Owned { account: id_there.clone(), ..owned })).collect();
    another.app.pool.apply(Event::Recollected { owned });
    another.send(&THINGS[0].read(&id)).await;
    assert_eq!(on(&another, "/v1/files"), ["one"], "asked where it was said to live");
}
