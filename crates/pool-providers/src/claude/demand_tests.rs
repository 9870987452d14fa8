use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::super::routes::ROUTES;
use super::super::testing::{exchanges, headers, recorded_headers};
use super::*;

fn read(headers: &HeaderMap, body: &[u8]) -> Demand {
    let route = ROUTES.iter().find(|route| route.path == "/v1/messages").expect("a route");
    let head = Head { method: &Method::POST, path: "/v1/messages", query: Some("beta=true"), headers };
    demand(route, &head, &Body { bytes: Bytes::copy_from_slice(body), whole: true })
}

fn session(body: &Value) -> Option<String> {
    read(&HeaderMap::new(), body.to_string().as_bytes()).session
}

#[test]
fn recorded_claude_code_requests_are_its_own_and_keep_their_session() {
    for recording in [
        include_str!("../../fixtures/claude_apikey.json"),
        include_str!("../../fixtures/claude_authtoken.json"),
        include_str!("../../fixtures/claude_oauth_env.json"),
    ] {
        let demands: Vec<Demand> = exchanges(recording)
            .iter()
            .map(|exchange| &exchange["request"])
            .map(|request| read(&recorded_headers(request), request["body"].to_string().as_bytes()))
            .collect();
        assert_eq!(demands.len(), 2);
        for demand in &demands {
            assert_eq!(demand.client, Client::OwnCli);
            assert_eq!(demand.session, demands[0].session);
            assert_eq!(demand.session.as_deref().map(str::len), Some(36), "the header's UUID");
            assert_eq!(demand.families.len(), 2);
            assert!(!demand.is_bound() && !demand.light);
        }
    }
}

#[test]
fn without_the_header_the_body_names_the_session() {
    let recorded = exchanges(include_str!("../../fixtures/claude_apikey.json"));
    let request = &recorded[0]["request"];
    let mut headers = recorded_headers(request);
    let by_header = read(&headers, request["body"].to_string().as_bytes()).session;
    headers.remove("x-claude-code-session-id");
    assert_eq!(read(&headers, request["body"].to_string().as_bytes()).session, by_header);
}

#[test]
fn sdk_requests_are_not_claude_code_s() {
    let requests = exchanges(include_str!("../../fixtures/sdks.json"));
    let requests: Vec<&Value> = requests
        .iter()
        .map(|exchange| &exchange["request"])
        .filter(|request| request["url"].as_str().is_some_and(|url| url.starts_with("/v1/messages")))
        .collect();
    assert_eq!(requests.len(), 4);
    for request in requests {
        let demand = read(&recorded_headers(request), request["body"].to_string().as_bytes());
        assert_eq!(demand.client, Client::Other);
        assert_eq!(demand.model.as_deref(), Some("claude-sonnet-4-5"));
        assert!(demand.session.expect("from the opening").starts_with("opening-"));
    }
}

#[test]
fn the_opening_stays_the_same_from_turn_to_turn() {
    let marker = json!({"type": "ephemeral"});
    let first = json!({
        "system": [{"type": "text", "text": "be kind", "cache_control": marker}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": marker}]}],
    });
    let second = json!({
        "messages": [
            {"content": "hi", "role": "user"},
            {"role": "assistant", "content": [{"type": "text", "text": "hello", "cache_control": marker}]},
            {"role": "user", "content": "more"},
        ],
        "system": "be kind",
    });
    let id = session(&first);
    assert!(id.is_some());
    assert_eq!(session(&second), id, "markers, forms of text and later turns do not count");
    let texts = |texts: &[&str]| texts.iter().map(|text| json!({"type": "text", "text": text})).collect::<Value>();
    assert_ne!(
        session(&json!({"system": texts(&["a", "b"]), "messages": [{"role": "user", "content": texts(&["c"])}]})),
        session(&json!({"system": texts(&["a"]), "messages": [{"role": "user", "content": texts(&["b", "c"])}]})),
    );
    for other in [
        json!({"system": "be kind", "messages": [{"role": "user", "content": "ho"}]}),
        json!({"system": "be brief", "messages": [{"role": "user", "content": "hi"}]}),
        json!({"messages": [{"role": "user", "content": "hi"}]}),
        json!({"system": "be kindhi", "messages": [{"role": "user", "content": ""}]}),
    ] {
        assert_ne!(session(&other), id, "{other}");
    }
    for none in [json!({"messages": [{"role": "assistant", "content": "hi"}]}), json!({"messages": [5]}), json!({})] {
        assert_eq!(session(&none), None, "{none}");
    }
}

#[test]
fn a_request_is_bound_by_what_one_organisation_holds() {
    let bound = |body: &str| read(&HeaderMap::new(), body.as_bytes()).is_bound();
    for body in [
        r#"{"container":"container_01"}"#,
        r#"{"container":{"id":"container_01","skills":[]}}"#,
        r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id" : "file_01"}}]}]}"#,
    ] {
        assert!(bound(body), "{body}");
    }
    for body in [
        "{}",
        r#"{"container":null}"#,
        r#"{"container":{"skills":[{"skill_id":"pdf"}]}}"#,
        r#"{"messages":[{"content":"look: {\"file_id\":\"file_01\"}"}]}"#,
        r#"{"tools":[{"input_schema":{"properties":{"file_id":{"type":"string"}}}}]}"#,
    ] {
        assert!(!bound(body), "{body}");
    }
}

#[test]
fn nonsense_asks_for_nothing_in_particular() {
    for body in [&b""[..], b"{", b"\xff\xfe", b"{\"model\":5,\"messages\":{}}"] {
        let demand = read(&headers(&[("x-claude-code-session-id", "")]), body);
        assert_eq!((demand.model, demand.session, demand.families.len()), (None, None, 0));
    }
}

#[test]
fn a_cache_lives_as_long_as_it_was_asked_to() {
    let asked = |body: &str| read(&HeaderMap::new(), body.as_bytes());
    let (short, long) =
        (asked("{}"), asked(r#"{"system":[{"text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}"#));
    assert_eq!((short.keep, long.keep), (None, Some(Span::from_hours(1))));
    for (what, demand, cache_read, cache_write_5m, cache_write_1h, mins) in [
        ("nothing was marked", &short, 0, 0, 0, 0),
        ("written for 5 minutes", &short, 0, 9, 0, 5),
        ("read, asked for 5 minutes", &short, 9, 0, 0, 5),
        ("read, asked for an hour", &long, 9, 0, 0, 60),
        ("written for an hour", &long, 9, 0, 9, 60),
        ("an hour for the smaller part", &long, 9, 900, 9, 5),
    ] {
        let tokens = TokenCounts { input: 5000, cache_read, cache_write_5m, cache_write_1h, ..TokenCounts::default() };
        assert_eq!(cache_life(demand, &tokens), Span::from_mins(mins), "{what}");
    }
}
