//! What goes up is the client's own request but for the closed list of edits; conversations stay where they are; the records
//! agree with the provider's books.

use std::collections::BTreeMap;
use std::time::Duration;

use pool_core::UnixMs;
use pool_testkit::request::{CLIENT_ACCOUNT, CREDENTIAL};
use pool_testkit::{FakeAccount, Fault, TokenCounts, World, client};
use serde_json::Value;

use crate::send_all;
use crate::support::clients::{CHAT, CLAUDE, CODE_ASSIST, CODEX, GEMINI};
use crate::support::{Rig, until};

/// Names that may differ between what came in and what goes out.
const EDITED: [&str; 15] = [
    "host",
    "connection",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "accept-encoding",
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "chatgpt-account-id",
    // The recorded ones are of no account here.
    "x-codex-turn-state",
    "anthropic-beta",
    "cookie",
    "te",
    "expect",
];

struct Recorded {
    file: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Value,
}

/// The recorded requests to models.
fn recorded() -> Vec<Recorded> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../pool-providers/fixtures");
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).expect("the fixtures") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let recording: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
        for exchange in recording["exchanges"].as_array().into_iter().flatten() {
            let request = &exchange["request"];
            let url = request["url"].as_str().unwrap_or_default();
            let model = ["/responses", "/messages", "enerateContent", "/chat/completions"]
                .iter()
                .any(|part| url.contains(part));
            if request["method"] != "POST" || !model || url.contains("count_tokens") || !request["body"].is_object() {
                continue;
            }
            let headers = request["headers"].as_array().into_iter().flatten();
            let headers = headers.map(|pair| {
                (
                    pair[0].as_str().unwrap_or_default().to_ascii_lowercase(),
                    pair[1].as_str().unwrap_or_default().to_owned(),
                )
            });
            found.push(Recorded {
                file: name.clone(),
                url: url.to_owned(),
                headers: headers.collect(),
                body: request["body"].clone(),
            });
        }
    }
    found.sort_by(|a, b| (&a.file, &a.url).cmp(&(&b.file, &b.url)));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_request_goes_up_as_it_was_but_for_the_closed_list() {
    let rig = Rig::start(World::one_of_each()).await;
    let recorded = recorded();
    assert!(recorded.len() > 20, "only {} recorded requests", recorded.len());
    for Recorded { file, url, headers, body } in recorded {
        let what = format!("{file} {url}");
        for (name, value) in &headers {
            if ["authorization", "x-api-key", "x-goog-api-key", "chatgpt-account-id"].contains(&name.as_str()) {
                rig.fake.forbid(value.trim_start_matches("Bearer "));
            }
        }
        let encoding = headers.iter().find(|(name, _)| name == "content-encoding").map(|(_, value)| value.as_str());
        let plain = serde_json::to_vec(&body).expect("JSON");
        let wire =
            if encoding == Some("zstd") { zstd::encode_all(&plain[..], 3).expect("encodes") } else { plain.clone() };
        let sent: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| !["host", "connection", "content-length", "transfer-encoding"].contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let before = rig.fake.books().inference().count();
        client::send(rig.addr, "POST", &url, &sent, &wire, Duration::from_secs(10)).await.expect("connected");
        let books = rig.fake.books();
        let Some(up) = books.inference().nth(before) else { panic!("{what} was not passed on") };

        let kept: Vec<(&str, &[u8])> = sent
            .iter()
            .filter(|(name, _)| !EDITED.contains(name))
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let arrived: Vec<(&str, &[u8])> = up
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .filter(|(name, _)| !EDITED.contains(name))
            .collect();
        assert_eq!(arrived, kept, "{what}: headers, in their order");
        let betas = |list: &str| list.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
        let asked = sent.iter().filter(|(name, _)| *name == "anthropic-beta").flat_map(|(_, list)| betas(list));
        let passed = betas(up.header("anthropic-beta").unwrap_or_default());
        for beta in asked.filter(|beta| beta != "oauth-2025-04-20") {
            assert!(passed.contains(&beta), "{what}: {beta} was lost");
        }
        if up.headers.contains_key("content-encoding") {
            assert_eq!(up.body, wire, "{what}: a compressed body goes as it came");
        } else {
            let arrived: Value = serde_json::from_slice(&up.body).unwrap_or_else(|_| panic!("{what}: no JSON went up"));
            assert!(same_but_for_accounts(&body, &arrived), "{what}: {arrived}");
        }
    }
    assert_eq!(rig.fake.books().violations, []);
}

/// The same document, but for Gemini's project and the account in Claude's metadata; a Code Assist body may go unwrapped.
fn same_but_for_accounts(sent: &Value, arrived: &Value) -> bool {
    let scrubbed = |value: &Value| {
        let mut value = value.clone();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("project");
        }
        if let Some(user) =
            value["metadata"]["user_id"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
        {
            value["metadata"]["user_id"] = Value::Null;
            value["session"] = user["session_id"].clone();
        }
        value.to_string()
    };
    scrubbed(sent) == scrubbed(arrived)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_on_one_account_also_when_its_requests_come_at_once() {
    for client in [CODEX, CLAUDE, CODE_ASSIST] {
        let world = World::new()
            .account((client.account)("one"))
            .account((client.account)("two"))
            .account((client.account)("three"))
            .forbid(CREDENTIAL)
            .forbid(CLIENT_ACCOUNT);
        let rig = Rig::start(world).await;
        for _ in 0..2 {
            let requests = (0..90).map(|n| (client.request)(&format!("conversation {}", n % 15))).collect();
            for seen in send_all(&rig, requests).await {
                assert_eq!(seen.status, Some(200), "{}: {}", client.name, seen.text());
            }
        }
        let books = rig.fake.books();
        assert_eq!(books.wandering(), [], "{}", client.name);
        assert_eq!(books.violations, []);
        assert!(books.accounts.values().filter(|page| page.completed > 0).count() > 1, "all on one account");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_state_goes_back_to_its_own_account_only() {
    let rig = Rig::start(World::new().account(FakeAccount::chatgpt("one")).account(FakeAccount::chatgpt("two"))).await;
    let first = rig.send(&(CODEX.request)("turn")).await;
    let state = first.header("x-codex-turn-state").expect("a turn state").to_owned();
    let again = (CODEX.request)("turn").header("x-codex-turn-state", &state);
    assert_eq!(rig.send(&again).await.status, Some(200));
    let books = rig.fake.books();
    let echoed: Vec<_> = books.inference().map(|entry| entry.header("x-codex-turn-state").map(str::to_owned)).collect();
    let handed_out = state.split_once('.').map(|(_, own)| own.to_owned());
    assert_eq!(echoed, [None, handed_out], "as it was handed out");

    let home = books.inference().last().and_then(|entry| entry.account.clone()).expect("an account");
    rig.fake.account(&home).limit("5h", Duration::from_hours(1));
    // The client keeps the state for the whole turn, wherever the conversation is by now.
    for _ in 0..3 {
        let seen = rig.send(&again).await;
        assert_eq!(seen.status, Some(200), "{}", seen.text());
    }
    let books = rig.fake.books();
    let moved: Vec<_> = books.inference().filter(|entry| entry.account.as_ref() != Some(&home)).collect();
    assert_eq!(moved.len(), 3);
    assert!(moved.iter().all(|entry| entry.header("x-codex-turn-state").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_agree_with_the_providers_books() {
    let rig = Rig::start(World::one_of_each().account(FakeAccount::openai_key("olm"))).await;
    let clients = [CODEX, CLAUDE, CODE_ASSIST, GEMINI, CHAT];
    let mut sent = 0;
    for (round, fault) in
        [Fault::Fine, Fault::Overloaded, Fault::Tiny, Fault::OverloadFirst, Fault::HugeEvent { mib: 1 }, Fault::Reset]
            .into_iter()
            .enumerate()
    {
        rig.fake.clear_faults();
        // Only where it spoils all of an answer: of a plain one the simulated provider keeps no account then.
        for streaming in ["anna", "ben", "clara", "carl", "gina", "greg", "gum"] {
            rig.fake.account(streaming).fault_next(1, fault.clone());
        }
        let requests: Vec<_> = (0..60).map(|n| (clients[n % 5].request)(&format!("{}", (round + n) % 17))).collect();
        sent += requests.len();
        for seen in send_all(&rig, requests).await {
            assert_eq!((seen.status, seen.whole), (Some(200), true), "{}", seen.text());
        }
    }
    assert_eq!(rig.recorded(sent as u64).await, sent as u64);
    let completed = || rig.fake.books().accounts.values().map(|page| page.completed).sum::<u64>();
    until("the provider has closed its books", || completed() == sent as u64).await;
    let names: BTreeMap<_, _> = rig
        .app
        .pool
        .read(|pool, _| pool.slots().map(|slot| (slot.account.id.clone(), slot.account.name.clone())).collect());
    let books = rig.fake.books();
    for totals in rig.app.ledger.totals_since(UnixMs(0)).await.expect("readable") {
        let page = books.account(&names[&totals.account]);
        let told = TokenCounts {
            input: totals.tokens.input,
            cache_read: totals.tokens.cache_read,
            cache_write_5m: totals.tokens.cache_write_5m,
            cache_write_1h: totals.tokens.cache_write_1h,
            output: totals.tokens.output,
            reasoning: totals.tokens.reasoning,
        };
        assert_eq!((totals.requests, told), (page.completed, page.tokens), "{}", names[&totals.account]);
    }
    assert!(rig.records().await.iter().all(|kept| kept.ending == "complete"));
}
