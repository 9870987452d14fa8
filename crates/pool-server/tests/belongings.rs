//! What requests create upstream belongs to one account and to one caller: files, batches, stored responses, calls.

mod support;

use std::time::Duration;

use pool_core::owners::{Creator, ObjectKey};
use pool_core::pool::Event;
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{AccountId, ProviderId, Scope, Span};
use pool_testkit::client::Seen;
use pool_testkit::request::{CREDENTIAL, Request};
use pool_testkit::{FakeAccount, Fault, Target, World};
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

/// The accounts on which the calls below a path arrived, in order.
fn on(rig: &Rig, path: &str) -> Vec<String> {
    let books = rig.fake.books();
    let there = books.log.iter().filter(|entry| entry.path.contains(path));
    there.map(|entry| entry.account.clone().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_back_where_it_was_uploaded() {
    let rig = Rig::start(keys(FakeAccount::openai_key)).await;
    let content: Vec<u8> = (0..=255u8).cycle().take(70_000).collect();
    keep_out(&rig, "one", true);
    let file = good(&rig, &form(Sdk::OpenAi, "/v1/files", &content)).await.json();
    keep_out(&rig, "one", false);
    let id = file["id"].as_str().expect("an id");
    let read = good(&rig, &ask(Sdk::OpenAi, "GET", &format!("/v1/files/{id}/content"), &Value::Null)).await;
    assert_eq!(read.body, content);
    assert_eq!(on(&rig, "/v1/files"), ["two", "two"]);
    assert_eq!(rig.fake.books().violations, []);
}
