//! Which conversation is this? Every client of every dialect: all turns of one conversation have one name, two conversations
//! have two.

use std::collections::HashSet;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pool_core::{Binding, Demand};
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::request::{Body, Head};
use pool_providers::routes::{Kind, Table};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn demand(method: &Method, target: &str, headers: &HeaderMap, body: &[u8]) -> Demand {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new(OauthClient::default()));
    static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(&REGISTRY));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let head = Head { method, path, query, headers };
    let route = TABLE.find(&head).expect("a route");
    let provider = REGISTRY.get(route.provider).expect("its provider");
    let mut demand = provider.demand(route, &head, &Body { bytes: body.to_vec().into(), whole: true });
    demand.light |= route.kind == Kind::Relay { light: true };
    demand
}

fn headers(pairs: &Value) -> HeaderMap {
    let pairs = pairs.as_array().into_iter().flatten();
    pairs
        .filter_map(|pair| {
            let name: HeaderName = pair[0].as_str()?.to_ascii_lowercase().parse().ok()?;
            Some((name, HeaderValue::from_bytes(pair[1].as_str()?.as_bytes()).ok()?))
        })
        .collect()
}

/// The model calls of a recording, in order: over HTTP, or as messages on the socket that the first exchange opens.
fn calls(recording: &str) -> Vec<Demand> {
    const MODEL_CALLS: [&str; 5] = ["/responses", "/v1/messages", "/chat/completions", "enerateContent", "countTokens"];
    let recording: Value = serde_json::from_str(recording).expect("JSON");
    let exchanges = recording["exchanges"].as_array().expect("exchanges");
    let mut handshake = HeaderMap::new();
    let mut found = Vec::new();
    for exchange in exchanges {
        let request = &exchange["request"];
        if exchange["websocket"] == "recv" {
            let body = exchange["message"].to_string();
            found.push(demand(&Method::GET, "/v1/responses", &handshake, body.as_bytes()));
            continue;
        }
        let Some(target) = request["url"].as_str().filter(|url| MODEL_CALLS.iter().any(|call| url.contains(call)))
        else {
            continue;
        };
        let headers = headers(&request["headers"]);
        match request["method"].as_str() {
            Some("GET") => handshake = headers,
            _ => found.push(demand(&Method::POST, target, &headers, request["body"].to_string().as_bytes())),
        }
    }
    found
}

#[test]
fn every_recorded_client_keeps_one_name_through_its_conversation() {
    let recordings = [
        ("Codex", include_str!("../fixtures/codex_http.json"), 2),
        ("Codex with a key", include_str!("../fixtures/codex_http_apikey.json"), 2),
        ("Codex on a socket", include_str!("../fixtures/codex_ws.json"), 3),
        ("Codex on a socket of its own", include_str!("../fixtures/codex_builtin_ws.json"), 3),
        ("Claude Code with a key", include_str!("../fixtures/claude_apikey.json"), 2),
        ("Claude Code with a token", include_str!("../fixtures/claude_authtoken.json"), 2),
        ("Claude Code with a login", include_str!("../fixtures/claude_oauth_env.json"), 2),
        ("Gemini CLI with a key", include_str!("../fixtures/gemini_apikey.json"), 3),
        ("Gemini CLI with Code Assist", include_str!("../fixtures/gemini_gca.json"), 3),
    ];
    let mut all = HashSet::new();
    for (client, recording, count) in recordings {
        let calls = calls(recording);
        assert_eq!(calls.len(), count, "{client}");
        let names: HashSet<_> = calls.iter().map(|call| call.session.clone().expect("a name")).collect();
        assert_eq!(names.len(), 1, "{client}: {names:?}");
        assert!(calls.iter().all(|call| call.parent.is_none()), "{client}: nobody's part");
        all.extend(names);
    }
    assert_eq!(all.len(), recordings.len(), "two conversations, two names");
}

/// A conversation as one of the dialects writes it, up to its `turn`th question.
type Dialect = fn(system: &str, question: &str, turn: usize) -> (&'static str, Value);

/// Question and answer in turns. What a client changes from turn to turn is changed here too.
fn talk(question: &str, turn: usize, line: impl Fn(bool, &str, usize) -> Value) -> Vec<Value> {
    let mut lines = vec![line(true, question, 0)];
    for nth in 1..=turn {
        lines.push(line(false, "An answer.", nth));
        lines.push(line(true, "And then?", nth));
    }
    lines
}

fn responses(system: &str, question: &str, turn: usize) -> (&'static str, Value) {
    let input = talk(question, turn, |user, text, nth| {
        if user {
            return json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
        }
        json!({"type": "message", "id": format!("msg_{nth}"), "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]})
    });
    ("/v1/responses", json!({"model": "gpt-6-sol", "instructions": system, "input": input, "store": false}))
}

fn responses_from_a_text(system: &str, question: &str, turn: usize) -> (&'static str, Value) {
    let (path, mut body) = responses(system, question, turn);
    if turn == 0 {
        body["input"] = question.into();
    }
    (path, body)
}

fn chat(system: &str, question: &str, turn: usize) -> (&'static str, Value) {
    let mut messages = vec![json!({"role": "system", "content": system})];
    messages.extend(talk(
        question,
        turn,
        |user, text, _| json!({"role": if user { "user" } else { "assistant" }, "content": text}),
    ));
    ("/v1/chat/completions", json!({"model": "gpt-6-sol", "messages": messages, "user": format!("call-{turn}")}))
}

fn messages(system: &str, question: &str, turn: usize) -> (&'static str, Value) {
    // The marker moves to the last message.
    let lines = talk(question, turn, |user, text, nth| {
        let mut block = json!({"type": "text", "text": text});
        if nth == turn {
            block["cache_control"] = json!({"type": "ephemeral"});
        }
        json!({"role": if user { "user" } else { "assistant" }, "content": [block]})
    });
    let system = format!("{system} It is 2026-11-22, 10:{turn:02}.");
    ("/v1/messages", json!({"model": "claude-opus-5", "max_tokens": 9, "system": system, "messages": lines}))
}

fn contents(system: &str, question: &str, turn: usize) -> (&'static str, Value) {
    let lines = talk(question, turn, |user, text, _| {
        if user {
            return json!({"role": "user", "parts": [{"text": text}]});
        }
        json!({"role": "model", "parts": [{"text": text, "thoughtSignature": "c2ln"}]})
    });
    let instruction = json!({"parts": [{"text": system}]});
    ("/v1beta/models/gemini-3.8-flash:generateContent", json!({"contents": lines, "systemInstruction": instruction}))
}

const DIALECTS: [(&str, Dialect); 5] = [
    ("Responses", responses),
    ("Responses, begun with a text", responses_from_a_text),
    ("Chat Completions", chat),
    ("Messages", messages),
    ("generateContent", contents),
];

fn session((path, body): &(&str, Value)) -> Option<String> {
    demand(&Method::POST, path, &HeaderMap::new(), body.to_string().as_bytes()).session
}

#[test]
fn every_sdk_s_conversation_has_one_name_and_another_one_another() {
    let system = "You are an agent with a long system prompt. ".repeat(3000);
    for (dialect, write) in DIALECTS {
        let name = session(&write(&system, "Mend the roof.", 0));
        assert!(name.is_some(), "{dialect}");
        for turn in 1..4 {
            assert_eq!(session(&write(&system, "Mend the roof.", turn)), name, "{dialect}, turn {turn}");
        }
        for (why, other) in [
            ("another question to the same agent", write(&system, "Mend the door.", 0)),
            ("another agent", write("Be kind.", "Mend the roof.", 2)),
        ] {
            assert_ne!(session(&other), name, "{dialect}: {why}");
        }
    }
}

#[test]
fn the_recorded_sdks_are_named_by_their_opening() {
    let calls = calls(include_str!("../fixtures/sdks.json"));
    let mut by_provider = HashSet::new();
    for call in &calls {
        let name = call.session.clone().expect("a name");
        assert!(name.starts_with("opening-"), "{name}");
        by_provider.insert((call.provider, name));
    }
    assert!(calls.len() >= 10, "{}", calls.len());
    assert_eq!(by_provider.len(), 3, "all say the same two words: one opening a provider");
}

/// The same object with its members in another order and spaces between them.
fn rewritten(body: &Value, seed: usize) -> String {
    let Some(object) = body.as_object() else { return body.to_string() };
    let mut members: Vec<_> = object.iter().collect();
    let turn = seed % members.len().max(1);
    members.rotate_left(turn);
    let space = [" ", "\n\t", ""][seed % 3];
    let text: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{space}{}{space}:{space}{value}{space}", Value::from(key.as_str())))
        .collect();
    format!("{{{}}}", text.join(","))
}

proptest! {
    #[test]
    fn the_form_of_the_json_does_not_matter(
        dialect in 0..DIALECTS.len(),
        turn in 0_usize..4,
        seed in 0_usize..60,
        question in "\\PC{1,40}",
        unrelated in proptest::collection::btree_map("x_[a-z]{1,8}", "\\PC{0,20}", 0..4),
    ) {
        let (path, body) = DIALECTS[dialect].1("Be kind.", &question, turn);
        let name = session(&(path, body.clone()));
        prop_assert!(name.is_some());
        let mut changed: Map<String, Value> = body.as_object().expect("an object").clone();
        changed.extend(unrelated.into_iter().map(|(key, value)| (key, value.into())));
        let text = rewritten(&Value::Object(changed), seed);
        let again = demand(&Method::POST, path, &HeaderMap::new(), text.as_bytes()).session;
        prop_assert_eq!(again, name);
    }
}

#[test]
fn a_long_body_is_named_by_its_beginning() {
    for (dialect, write) in DIALECTS {
        let name = session(&write("Be kind.", "Mend the roof.", 0));
        let (path, body) = write("Be kind.", "Mend the roof.", 6_000);
        let text = body.to_string();
        assert!(text.len() > 400_000, "{dialect}: {}", text.len());
        let begun = std::time::Instant::now();
        let whole = demand(&Method::POST, path, &HeaderMap::new(), text.as_bytes()).session;
        assert!(begun.elapsed().as_secs() < 5, "{dialect}: not even unoptimised");
        assert_eq!(whole, name, "{dialect}");
    }
    // What is not kept of a body is not seen: the system text may be, or not, but the turns begin in what is.
    let (path, body) = chat("Be kind.", "Mend the roof.", 2000);
    let text = body.to_string();
    let (start, all) = (text.as_bytes()[..64 << 10].to_vec(), text.as_bytes());
    let named = |bytes: &[u8]| demand(&Method::POST, path, &HeaderMap::new(), bytes).session;
    assert_eq!(named(&start), named(all));
}

#[test]
fn sub_agents_name_their_parents() {
    let with = |pairs: &[(&str, &str)], path: &str, body: &Value| {
        let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let is_message = body["type"] == "response.create";
        let method = if is_message { Method::GET } else { Method::POST };
        let pairs = pairs.iter().chain(upgrade.iter().filter(|_| is_message));
        let pairs: Value = pairs.map(|(name, value)| json!([name, value])).collect();
        let demand = demand(&method, path, &headers(&pairs), body.to_string().as_bytes());
        (demand.session, demand.parent)
    };
    let some = |text: &str| Some(text.to_owned());
    let (codex, claude) = ("/v1/responses", "/v1/messages");
    let metadata = |ids: Value| json!({"metadata": {"user_id": ids.to_string()}});
    let socket = json!({"type": "response.create", "client_metadata":
        {"thread_id": "child", "session_id": "root", "x-codex-parent-thread-id": "mother"}});
    for (what, pairs, path, body, session, parent) in [
        ("a thread", &[("thread-id", "t"), ("session-id", "t")][..], codex, json!({}), some("t"), None),
        (
            "a sub-agent",
            &[("thread-id", "c"), ("session-id", "root"), ("x-codex-parent-thread-id", "p")],
            codex,
            json!({}),
            some("c"),
            some("p"),
        ),
        (
            "one that names the session only",
            &[("thread-id", "c"), ("session-id", "root")],
            codex,
            json!({}),
            some("c"),
            some("root"),
        ),
        ("one on a socket of its own", &[("thread-id", "child")], codex, socket.clone(), some("child"), some("mother")),
        ("on another's socket", &[("thread-id", "mother")], codex, socket, some("child"), some("mother")),
        ("the main agent", &[("x-claude-code-session-id", "s")], claude, json!({}), some("s"), None),
        (
            "its sub-agent",
            &[("x-claude-code-session-id", "s"), ("x-claude-code-agent-id", "a")],
            claude,
            json!({}),
            some("s/a"),
            some("s"),
        ),
        (
            "that one's",
            &[
                ("x-claude-code-session-id", "s"),
                ("x-claude-code-agent-id", "b"),
                ("x-claude-code-parent-agent-id", "a"),
            ],
            claude,
            json!({}),
            some("s/b"),
            some("s/a"),
        ),
        (
            "a session of a session",
            &[],
            claude,
            metadata(json!({"session_id": "s2", "parent_session_id": "s1"})),
            some("s2"),
            some("s1"),
        ),
        (
            "its own parent",
            &[],
            claude,
            metadata(json!({"session_id": "s", "parent_session_id": "s"})),
            some("s"),
            None,
        ),
    ] {
        assert_eq!(with(pairs, path, &body), (session, parent), "{what}");
    }
}

#[test]
fn what_binds_is_told() {
    let bound = |pairs: &[(&str, &str)], path: &str, body: &Value| {
        let pairs: Value = pairs.iter().map(|(name, value)| json!([name, value])).collect();
        demand(&Method::POST, path, &headers(&pairs), body.to_string().as_bytes()).binding
    };
    let (codex, claude, gemini) = ("/v1/responses", "/v1/messages", "/v1beta/models/m:generateContent");
    let sealed = json!({"input": [{"type": "reasoning", "encrypted_content": "gAAA"}]});
    let signed = json!({"messages": [{"content": [{"type": "thinking", "thinking": "", "signature": "Eo"}]}]});
    let part = json!({"contents": [{"role": "model", "parts": [{"thoughtSignature": "c2ln"}]}]});
    for (path, body, binding) in [
        (codex, json!({"input": "hi"}), Binding::Cache),
        (codex, sealed.clone(), Binding::SealedReasoning),
        (codex, json!({"previous_response_id": "resp_1", "input": sealed["input"]}), Binding::StoredAnswer),
        (codex, json!({"conversation": "conv_1"}), Binding::Conversation),
        (codex, json!({"client_metadata": {"x-codex-turn-state": "m.x"}}), Binding::TurnState),
        (claude, json!({"messages": []}), Binding::Cache),
        (claude, signed, Binding::SignedThinking),
        (claude, json!({"container": "c"}), Binding::Container),
        (claude, json!({"source": {"file_id": "file_1"}}), Binding::File),
        (gemini, json!({"contents": []}), Binding::Cache),
        (gemini, part, Binding::SignedThinking),
        (gemini, json!({"cachedContent": "cachedContents/1"}), Binding::CachedContent),
    ] {
        assert_eq!(bound(&[], path, &body), binding, "{body}");
    }
    assert_eq!(bound(&[("x-codex-turn-state", "m.x")], codex, &json!({})), Binding::TurnState);
}
