use http::{HeaderMap, HeaderName, Method};
use pool_core::AccountKind;
use serde_json::{Value, json};

use super::super::fixtures;
use super::super::routes::ROUTES;
use super::*;

fn route(id: &str) -> &'static Route {
    ROUTES.iter().find(|route| route.id == id).expect("a row")
}

type Pairs = [(&'static str, &'static str)];

fn headers(pairs: &Pairs) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value")))
        .collect()
}

fn demand(id: &str, pairs: &Pairs, body: &Value) -> Demand {
    let route = route(id);
    let headers = headers(pairs);
    let head = Head { method: &Method::POST, path: route.path, query: None, headers: &headers };
    of(route, &head, &Body { bytes: body.to_string().into(), whole: true })
}

#[test]
fn the_recorded_clients_are_told_apart() {
    for recording in [
        include_str!("../../fixtures/codex_http.json"),
        include_str!("../../fixtures/codex_http_apikey.json"),
        include_str!("../../fixtures/codex_builtin_zstd.json"),
    ] {
        for request in fixtures::requests(recording) {
            assert_eq!(client(&request.head()), Client::OwnCli, "{}", request.head().path);
        }
    }
    for (name, value, expected) in [
        ("user-agent", "codex_cli_rs/0.21.0 (Debian 12)", Client::OwnCli),
        ("user-agent", "codex-tui/0.169.0", Client::OwnCli),
        ("originator", "codex_vscode", Client::OwnCli),
        ("originator", "Codex Desktop", Client::OwnCli),
        ("user-agent", "OpenAI/Python 3.54.0", Client::Other),
        ("user-agent", "curl/8 codex_exec", Client::Other),
        ("accept", "codex_exec", Client::Other),
    ] {
        let headers = headers(&[(name, value)]);
        let head = Head { method: &Method::POST, path: "/v1/responses", query: None, headers: &headers };
        assert_eq!(client(&head), expected, "{name}: {value}");
    }
}

#[test]
fn a_recorded_turn_names_its_thread() {
    let recorded = fixtures::requests(include_str!("../../fixtures/codex_http.json"));
    let turns: Vec<_> = recorded.iter().filter(|request| request.head().path == "/v1/responses").collect();
    let demands: Vec<_> = turns.iter().map(|turn| of(route("responses"), &turn.head(), &turn.body())).collect();
    assert_eq!(demands.len(), 2);
    let thread = turns[0].body["prompt_cache_key"].as_str();
    assert_eq!(demands[0].session.as_deref(), thread);
    assert_eq!(demands[0].session, demands[1].session);
    assert_eq!(demands[0].model.as_deref(), Some("gpt-6.1-sol"));
    assert_eq!(demands[0].families, ["model:gpt-6.1-sol"]);
    assert!(!demands[0].is_bound() && !demands[0].light && demands[0].kinds.is_empty());
}

#[test]
fn a_session_is_read_wherever_it_stands() {
    let body =
        json!({"client_metadata": {"session_id": "s2", "thread_id": "t2"}, "prompt_cache_key": "k", "input": "x"});
    let session = |pairs: &Pairs, body: &Value| demand("responses", pairs, body).session;
    let cases: &[(&Pairs, Value, &str)] = &[
        (&[("session-id", "s"), ("thread-id", "t")], body.clone(), "t"),
        (&[("session_id", "s")], body.clone(), "s"),
        (&[("conversation_id", "c")], body.clone(), "c"),
        (&[("thread-id", "")], body, "t2"),
        (&[("originator", "codex_exec")], json!({"prompt_cache_key": "k", "input": "x"}), "k"),
        (&[], json!({"prompt_cache_key": "k", "previous_response_id": "resp_1", "input": "x"}), "k"),
        (&[], json!({"client_metadata": {"session_id": "s2", "thread_id": "t2"}}), "t2"),
        (&[], json!({"client_metadata": {"session_id": "s2"}, "prompt_cache_key": ""}), "s2"),
        (&[], json!({"conversation": "conv_1"}), "conv_1"),
        (&[], json!({"conversation": {"id": "conv_2"}}), "conv_2"),
    ];
    for (pairs, body, expected) in cases {
        assert_eq!(session(pairs, body).as_deref(), Some(*expected), "{body}");
    }
    // One key for all that begins alike: two conversations of one program.
    let of = |input: &str| session(&[], &json!({"prompt_cache_key": "k", "input": input})).expect("a name");
    assert!(of("x").starts_with("k/opening-"), "{}", of("x"));
    assert_ne!(of("x"), of("y"));
}

#[test]
fn a_conversation_without_a_name_keeps_its_opening() {
    let chat = |turns: &[(&str, &str)]| {
        let messages: Vec<_> = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        demand("chat completions", &[], &json!({"model": "m", "messages": messages})).session
    };
    let first = chat(&[("system", "Be kind."), ("user", "Hello")]);
    let later = chat(&[("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi"), ("user", "How are you?")]);
    assert!(first.is_some());
    assert_eq!(first, later);
    assert_ne!(first, chat(&[("system", "Be kind."), ("user", "Hello!")]));
    assert_ne!(first, chat(&[("system", "Be rude."), ("user", "Hello")]));
    assert_eq!(chat(&[("system", "Be kind.")]), None);

    let responses = |body: Value| demand("responses", &[], &body).session;
    let turn = json!({"type": "message", "role": "user", "content": "Hello"});
    let one = responses(json!({"instructions": "Be kind.", "input": [turn]}));
    let two = responses(json!({"instructions": "Be kind.", "input": [turn, {"type": "reasoning", "id": "r"}, turn]}));
    assert!(one.is_some());
    assert_eq!(one, two);
    assert_ne!(one, responses(json!({"instructions": "Be rude.", "input": [turn]})));
    // The short form of the first turn, and ids that appear later, are the same conversation.
    let with_id = json!({"id": "msg_1", "role": "user", "content": "Hello"});
    assert_eq!(responses(json!({"instructions": "Be kind.", "input": "Hello"})), one);
    assert_eq!(responses(json!({"instructions": "Be kind.", "input": [with_id]})), one);
    // Continued from a stored response, the opening is elsewhere.
    assert_eq!(responses(json!({"previous_response_id": "resp_1", "input": [turn]})), None);
    assert_eq!(responses(json!({"input": 5})), None);
    assert_eq!(demand("embeddings", &[], &json!({"input": "Hello"})).session, None);
}

#[test]
fn what_leans_on_one_account_is_bound() {
    for (body, bound) in [
        (json!({"previous_response_id": "resp_1"}), true),
        (json!({"conversation": {"id": "conv_1"}}), true),
        (json!({"previous_response_id": null, "conversation": null}), false),
        (json!({"input": [{"previous_response_id": "resp_1"}]}), false),
    ] {
        assert_eq!(demand("responses", &[], &body).is_bound(), bound, "{body}");
    }
}

#[test]
fn what_chatgpt_does_not_have_needs_a_key() {
    for (id, only_keys) in [
        ("responses at root", false),
        ("compact", false),
        ("images", false),
        ("chat completions at root", true),
        ("embeddings", true),
        ("speech", true),
        ("models", true),
    ] {
        let kinds = demand(id, &[], &json!({})).kinds;
        assert_eq!(kinds == [AccountKind::ApiKey], only_keys, "{id}");
    }
}

#[test]
fn an_upload_names_its_model_in_a_part() {
    let form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--x\r\n\
                Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n";
    let headers = headers(&[("content-type", "multipart/form-data; boundary=x")]);
    let head = Head { method: &Method::POST, path: "/v1/audio/transcriptions", query: None, headers: &headers };
    let body = Body { bytes: form.into(), whole: true };
    assert_eq!(of(route("transcriptions"), &head, &body).model.as_deref(), Some("whisper-1"));
}
