//! Every rule that a provider enforces.

use std::time::Duration;

use serde_json::json;

use super::{Ask, EACH, fake};
use crate::{Ended, FakeAccount, FakeUpstream, World, client, payload_sha256, sse};

#[tokio::test]
async fn sound_requests_are_answered_and_booked() {
    let fake = fake().await;
    for account in EACH {
        let seen = Ask::of(&fake, account).send(&fake).await;
        assert_eq!(seen.status, Some(200), "{account}: {}", seen.text());
        assert!(seen.whole);
        let said: String =
            sse::events(&seen.body).iter().map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect();
        assert!(said.contains("POOL-E") && said.contains("oken"), "{account}: {said}");
        let books = fake.books();
        let page = books.account(account);
        assert_eq!((page.requests, page.completed), (1, 1), "{account}");
        assert!(page.tokens.input > 0 && page.tokens.output > 0, "{account}");
        let entry = books.inference().last().expect("logged");
        assert_eq!((entry.account.as_deref(), entry.ended), (Some(account), Ended::Whole));
        assert_eq!(entry.payload_sha256.as_deref(), Some(payload_sha256(&seen.body).as_str()), "{account}");
        assert_eq!(entry.tokens, Some(page.tokens));
    }
    assert!(fake.books().violations.is_empty(), "{:?}", fake.books().violations);
}

#[tokio::test]
async fn each_rule_is_enforced() {
    let fake = fake().await;
    let of = |name: &str| Ask::of(&fake, name);
    let key = fake.account("ash").access_token();
    let gum = fake.account("gum").access_token();
    let oauth = fake.account("clara").access_token();
    let foreign_seal =
        json!([{ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA-from-elsewhere" }]);
    let cases = [
        ("unknown bearer", of("anna").with("authorization", "Bearer nobody"), 401, "Unauthorized"),
        ("no bearer", of("anna").without("authorization"), 401, "Unauthorized"),
        ("foreign workspace", of("anna").with("chatgpt-account-id", "another"), 403, "invalid_workspace_selected"),
        ("stored", of("anna").body("store", json!(true)), 400, "Store must be set to false"),
        ("not streamed", of("anna").body("stream", json!(false)), 400, "Stream must be set to true"),
        ("no instructions", of("anna").lacking("instructions"), 400, "Instructions are required"),
        ("previous response", of("anna").body("previous_response_id", json!("resp_1")), 400, "previous_response_id"),
        ("foreign reasoning", of("anna").body("input", foreign_seal.clone()), 400, "invalid_encrypted_content"),
        ("foreign reasoning, key", of("oak").body("input", foreign_seal), 400, "invalid_encrypted_content"),
        ("foreign turn state", of("anna").with("x-codex-turn-state", "ts-other"), 400, "invalid_turn_state"),
        (
            "foreign response",
            of("oak").body("previous_response_id", json!("resp_1")),
            400,
            "previous_response_not_found",
        ),
        (
            "OpenAI key in the wrong header",
            of("oak").without("authorization").with("x-api-key", "sk-x"),
            401,
            "API key",
        ),
        ("no OAuth beta", of("clara").with("anthropic-beta", "other"), 401, "OAuth authentication"),
        (
            "OAuth token as key",
            of("clara").without("authorization").with("x-api-key", &oauth),
            401,
            "invalid x-api-key",
        ),
        (
            "Anthropic key as bearer",
            of("ash").without("x-api-key").with("authorization", &format!("Bearer {key}")),
            401,
            "Invalid bearer",
        ),
        ("no version", of("ash").without("anthropic-version"), 400, "anthropic-version"),
        ("no max_tokens", of("ash").lacking("max_tokens"), 400, "max_tokens: Field required"),
        (
            "made-up signature",
            of("ash").body(
                "messages",
                json!([{ "role": "assistant", "content": [{ "type": "thinking", "thinking": "", "signature": "x" }] }]),
            ),
            400,
            "Invalid `signature`",
        ),
        ("foreign project", of("gina").body("project", json!("other-project")), 403, "CONSUMER_INVALID"),
        ("no request", of("gina").lacking("request"), 400, "request is required"),
        ("Google login unknown", of("gina").with("authorization", "Bearer ya29.x"), 401, "UNAUTHENTICATED"),
        (
            "Code Assist field on the public API",
            of("gum").body("session_id", json!("s")),
            400,
            "Unknown name \\\"session_id\\\"",
        ),
        ("Gemini key unknown", of("gum").with("x-goog-api-key", "AIzaOther"), 400, "API_KEY_INVALID"),
        (
            "Gemini key as bearer",
            of("gum").without("x-goog-api-key").with("authorization", &format!("Bearer {gum}")),
            401,
            "UNAUTHENTICATED",
        ),
        ("no such path", of("oak").path("/openai/v1/fine_tuning/jobs"), 404, "not_found"),
    ];
    for (name, ask, status, words) in cases {
        let seen = ask.send(&fake).await;
        assert_eq!(seen.status, Some(status), "{name}: {}", seen.text());
        assert!(seen.text().contains(words), "{name}: {}", seen.text());
    }
}

#[tokio::test]
async fn encoded_bodies_are_for_chatgpt_only() {
    let fake = fake().await;
    for (account, status) in [("anna", 200), ("oak", 400), ("clara", 400), ("gum", 415)] {
        let ask = Ask::of(&fake, account).with("content-encoding", "zstd");
        let packed = zstd::encode_all(ask.body.to_string().as_bytes(), 3).expect("zstd");
        assert_eq!(ask.send_bytes(&fake, &packed).await.status, Some(status), "{account}");
    }
    fake.forbid("hidden-inside");
    let ask = Ask::of(&fake, "anna").with("content-encoding", "zstd").body("note", json!("hidden-inside "));
    let packed = zstd::encode_all(ask.body.to_string().as_bytes(), 3).expect("zstd");
    ask.send_bytes(&fake, &packed).await;
    assert_eq!(fake.books().violations.len(), 1);
}

#[tokio::test]
async fn answers_are_compressed_when_asked() {
    let fake = fake().await;
    for coding in ["gzip", "br", "zstd", "deflate"] {
        let seen = Ask::of(&fake, "anna").with("accept-encoding", coding).send(&fake).await;
        assert_eq!(seen.header("content-encoding"), Some(coding));
    }
    let plain = Ask::of(&fake, "anna").with("accept-encoding", "identity").send(&fake).await;
    assert_eq!(plain.header("content-encoding"), None);
}

#[tokio::test]
async fn what_should_never_arrive_is_noted() {
    let fake = fake().await;
    fake.forbid("pool-secret");
    let cases = [
        (Ask::of(&fake, "ash").with("authorization", "Bearer x"), "x-api-key beside authorization"),
        (Ask::of(&fake, "oak").with("chatgpt-account-id", "x"), "not ChatGPT's"),
        (Ask::of(&fake, "oak").with("x-forwarded-for", "10.0.0.1"), "x-forwarded-for"),
        (Ask::of(&fake, "oak").with("cookie", "a=b"), "cookie"),
        (Ask::of(&fake, "oak").with("x-note", "has pool-secret in it"), "header x-note"),
        (Ask::of(&fake, "oak").body("input", json!("pool-secret")), "in the body"),
        (Ask::of(&fake, "oak").path("/openai/v1/responses?k=pool-secret"), "in the path"),
    ];
    for (at, (ask, words)) in cases.into_iter().enumerate() {
        ask.send(&fake).await;
        let violations = fake.books().violations;
        assert_eq!(violations.len(), at + 1, "{words}: {violations:?}");
        assert!(violations[at].what.contains(words), "{violations:?}");
    }
}

#[tokio::test]
async fn a_tool_is_called_first_and_then_the_marker_comes() {
    let fake = fake().await;
    let tool = json!([{ "type": "function", "name": "weather", "parameters": { "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] } }]);
    let ask = Ask::of(&fake, "oak").body("tools", tool).body("stream", json!(false));
    let first = ask.send(&fake).await.json();
    assert_eq!(first["output"][0]["type"], "function_call");
    assert_eq!(first["output"][0]["name"], "weather");
    let result = json!([
        { "type": "message", "role": "user", "content": "say hi" },
        first["output"][0],
        { "type": "function_call_output", "call_id": "call_1", "output": "sunny" },
    ]);
    let second = ask.body("input", result).send(&fake).await.json();
    assert_eq!(second["output"][0]["content"][0]["text"], "POOL-E2E-OK (tool result seen: true)");
}

#[tokio::test]
async fn reasoning_and_turn_state_are_good_on_their_own_account() {
    let fake = fake().await;
    let ask = Ask::of(&fake, "anna").body("include", json!(["reasoning.encrypted_content"]));
    let seen = ask.send(&fake).await;
    let state = seen.header("x-codex-turn-state").expect("turn state").to_owned();
    let events = sse::events(&seen.body);
    let done = events.iter().find(|event| event.name == "response.completed").expect("completed");
    let done: serde_json::Value = serde_json::from_slice(&done.data).expect("JSON");
    let mut input = ask.body["input"].clone();
    input.as_array_mut().expect("a list").insert(0, done["response"]["output"][0].clone());
    let same = ask.clone().body("input", input.clone()).with("x-codex-turn-state", &state);
    assert_eq!(same.send(&fake).await.status, Some(200));
    let other = Ask::of(&fake, "ben").body("input", input);
    assert_eq!(other.send(&fake).await.status, Some(400));
    assert_eq!(Ask::of(&fake, "ben").with("x-codex-turn-state", &state).send(&fake).await.status, Some(400));
}

#[tokio::test]
async fn a_conversation_that_moves_finds_a_cold_cache() {
    let fake = fake().await;
    let long = json!([{ "type": "message", "role": "user", "content": "word ".repeat(500) }]);
    for account in ["anna", "anna", "ben"] {
        Ask::of(&fake, account).body("input", long.clone()).send(&fake).await;
    }
    let books = fake.books();
    assert!(books.account("anna").tokens.cache_read > 500);
    assert_eq!(books.account("ben").tokens.cache_read, 0);
}

#[tokio::test]
async fn windows_fill_and_refuse_and_are_told_alike() {
    let small =
        FakeAccount::chatgpt("s").windows([crate::FakeWindow::five_hours().capacity(50.0), crate::FakeWindow::week()]);
    let fake = FakeUpstream::start(World::new().account(small)).await.expect("listens");
    let ask = Ask::of(&fake, "s");
    assert_eq!(ask.send(&fake).await.status, Some(200));
    assert!(fake.account("s").used("5h").expect("known") > 1.0);
    let refused = ask.send(&fake).await;
    assert_eq!(refused.status, Some(429));
    assert_eq!(refused.json()["error"]["type"], "usage_limit_reached");
    assert_eq!(refused.header("x-codex-primary-window-minutes"), Some("300"));
    assert_eq!(refused.json()["error"]["resets_at"], fake.account("s").resets_at("5h").expect("known"));
    let token = format!("Bearer {}", fake.account("s").access_token());
    let headers = [("authorization", token.as_str())];
    let usage =
        client::send(fake.addr(), "GET", "/chatgpt/backend-api/wham/usage", &headers, b"", Duration::from_secs(1));
    let usage = usage.await.expect("connects").json();
    assert_eq!(usage["rate_limit"]["limit_reached"], true);
    assert_eq!(fake.books().account("s").probes, 1);
}
