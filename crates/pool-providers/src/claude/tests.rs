use http::HeaderMap;
use pool_core::Client;
use serde_json::Value;

use super::testing::{NOW, exchanges, headers, recorded_headers};
use super::*;
use crate::routes::Table;

fn find(method: &Method, url: &str, headers: &HeaderMap) -> Option<&'static Route> {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    Table::of([Claude.routes()]).find(&Head { method, path, query, headers })
}

#[test]
fn the_rows_are_sound() {
    assert_eq!(Table::of([Claude.routes()]).conflicts(), Vec::<String>::new());
}

#[test]
fn every_recorded_request_to_the_base_url_has_a_row() {
    for recording in [
        include_str!("../../fixtures/claude_apikey.json"),
        include_str!("../../fixtures/claude_preconnect.json"),
        include_str!("../../fixtures/claude_usage_limit.json"),
    ] {
        for exchange in exchanges(recording) {
            let request = &exchange["request"];
            let method = Method::from_bytes(request["method"].as_str().expect("a method").as_bytes()).expect("one");
            let url = request["url"].as_str().expect("a URL");
            let route = find(&method, url, &recorded_headers(request)).expect(url);
            let relayed = url.starts_with("/v1/messages");
            assert_eq!(route.kind, if relayed { Kind::Relay { light: false } } else { Kind::OpenAnswer }, "{url}");
        }
    }
}

#[test]
fn each_path_is_treated_as_what_it_is() {
    let anthropic = headers(&[("anthropic-version", "2023-06-01")]);
    let light = Some(Kind::Relay { light: true });
    for (method, url, wanted) in [
        (Method::POST, "/v1/messages/count_tokens?beta=true", light),
        (Method::GET, "/v1/models?limit=1000", light),
        (Method::GET, "/v1/models/claude-opus-5-5", light),
        (Method::HEAD, "/", Some(Kind::OpenAnswer)),
        (Method::GET, "/", None),
        (Method::GET, "/api/hello", Some(Kind::OpenAnswer)),
        (Method::GET, "/api/oauth/usage", Some(Kind::Answer)),
        (Method::POST, "/api/event_logging/v2/batch", Some(Kind::Answer)),
        (Method::POST, "/api/eval/sdk-1", Some(Kind::Answer)),
        (Method::GET, "/api/claude_cli/bootstrap?entrypoint=cli", Some(Kind::Answer)),
        (Method::GET, "/api/oauth/profile", Some(Kind::Refused)),
        (Method::GET, "/api/oauth/organizations/1/referral", Some(Kind::Refused)),
        (Method::POST, "/v1/messages/batches", Some(Kind::Relay { light: false })),
        (Method::GET, "/v1/messages/batches/b1/results", light),
        (Method::GET, "/v1/messages/batches", Some(Kind::List)),
        (Method::GET, "/v1/files/file_1/content", light),
        (Method::GET, "/v1/files?limit=2", Some(Kind::List)),
        (Method::POST, "/v1/skills", Some(Kind::Refused)),
        (Method::GET, "/v1/organizations/usage_report/messages", Some(Kind::Refused)),
        (Method::POST, "/v1/messages/other", None),
        (Method::POST, "/api/other", None),
    ] {
        assert_eq!(find(&method, url, &anthropic).map(|route| route.kind), wanted, "{method} {url}");
    }
    for shared in ["/v1/models", "/v1/files"] {
        assert!(find(&Method::GET, shared, &HeaderMap::new()).is_none(), "{shared} in others' words");
    }
}

#[test]
fn answers_are_what_the_client_can_read() {
    let ask = |method: &Method, url: &str| {
        let headers = HeaderMap::new();
        let route = find(method, url, &headers).expect(url);
        let head = Head { method, path: url, query: None, headers: &headers };
        Claude.answer(route, &head, b"", &Standing::default(), NOW)
    };
    assert!(ask(&Method::HEAD, "/").body.is_empty());
    assert!(ask(&Method::HEAD, "/api/hello").body.is_empty());
    assert_eq!(&ask(&Method::GET, "/api/hello").body[..], b"{}");
    assert_eq!(&ask(&Method::POST, "/api/event_logging/v2/batch").body[..], b"{}");
    let usage: Value = serde_json::from_slice(&ask(&Method::GET, "/api/oauth/usage").body).expect("JSON");
    assert_eq!((&usage["five_hour"], &usage["limits"]), (&Value::Null, &json!([])), "unknown is not zero");
}

#[test]
fn only_a_stream_gets_last_words() {
    let failure = Failure::Timeout { message: "late".into() };
    let last = |url| Claude.failure_event(find(&Method::POST, url, &HeaderMap::new()).expect(url), &failure, NOW);
    assert!(last("/v1/messages").is_some());
    assert!(last("/v1/messages/count_tokens").is_none());
    let alive = |url| Claude.keep_alive(find(&Method::POST, url, &HeaderMap::new()).expect(url), Client::OwnCli);
    assert!(alive("/v1/messages").is_some());
    assert!(alive("/v1/messages/count_tokens").is_none());
}
