use http::HeaderMap;

use super::*;

const A: ProviderId = ProviderId("a");
const B: ProviderId = ProviderId("b");

const fn row(id: &'static str, provider: ProviderId, method: Method, path: &'static str, when: When) -> Route {
    Route { id, provider, method, path, when, kind: Kind::Relay { light: false }, objects: Objects::NONE }
}

static ROWS: &[Route] = &[
    row("messages", A, Method::POST, "/v1/messages", When::Always),
    row("a models", A, Method::GET, "/v1/models", When::Dialect(Dialect::Anthropic)),
    row("b models", B, Method::GET, "/v1/models", When::Dialect(Dialect::OpenAi)),
    row("a model", A, Method::GET, "/v1/models/{model}", When::Dialect(Dialect::Anthropic)),
    row("socket", B, Method::GET, "/responses", When::Upgrade(true)),
    row("no socket", B, Method::GET, "/responses", When::Upgrade(false)),
    row("compact", B, Method::POST, "/responses/compact", When::Always),
    row("response", B, Method::POST, "/responses/{*rest}", When::Always),
    row("method", B, Method::POST, "/v1internal:{method}", When::Always),
    row("count", B, Method::POST, "/models/{model}:count", When::Always),
    row("generate", B, Method::POST, "/models/{model}", When::Always),
];

fn find(method: &Method, path: &str, query: Option<&str>, headers: &[(&'static str, &'static str)]) -> &'static str {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, http::HeaderValue::from_static(value));
    }
    let head = Head { method, path, query, headers: &map };
    Table::of([ROWS]).find(&head).map_or("-", |route| route.id)
}

#[test]
fn each_request_finds_its_owner() {
    let post = |path| find(&Method::POST, path, None, &[]);
    for (path, id) in [
        ("/v1/messages", "messages"),
        ("/v1/messages/", "-"),
        ("/v1/message", "-"),
        ("/responses/compact", "compact"),
        ("/responses/compact/x", "response"),
        ("/responses/r1", "response"),
        ("/responses/", "-"),
        ("/responses", "-"),
        ("/v1internal:loadCodeAssist", "method"),
        ("/v1internal:", "-"),
        ("/v1internal", "-"),
        ("/v1internal:x/y", "-"),
        ("/models/m1:count", "count"),
        ("/models/:count", "generate"),
        ("/models/m1:generate", "generate"),
        ("/models/m1/x", "-"),
    ] {
        assert_eq!(post(path), id, "{path}");
    }
    assert_eq!(find(&Method::GET, "/v1/messages", None, &[]), "-", "another method");
}

#[test]
fn shared_paths_are_told_apart_by_headers_and_query() {
    let get = |path, query, headers| find(&Method::GET, path, query, headers);
    assert_eq!(get("/v1/models", None, &[("anthropic-version", "2023-06-01")]), "a models");
    assert_eq!(get("/v1/models", None, &[("user-agent", "claude-cli/2.1.330 (external, cli)")]), "a models");
    assert_eq!(get("/v1/models", None, &[]), "b models");
    assert_eq!(get("/v1/models", Some("key=x"), &[]), "-");
    assert_eq!(get("/v1/models", Some("client_version=0.169.0"), &[]), "-");
    assert_eq!(get("/v1/models/m1", None, &[("anthropic-version", "2023-06-01")]), "a model");
    assert_eq!(get("/responses", None, &[("connection", "Upgrade"), ("upgrade", "WebSocket")]), "socket");
    assert_eq!(get("/responses", None, &[("upgrade", "h2c, websocket")]), "socket");
    assert_eq!(get("/responses", None, &[("upgrade", "h2c")]), "no socket");
}

#[test]
fn a_path_that_can_be_read_in_two_ways_belongs_to_nobody() {
    for path in [
        "/responses/..",
        "/responses/../v1/messages",
        "/responses/.",
        "/responses/./x",
        "/responses/a..b",
        "/responses//x",
        "//responses/x",
        "/responses/%2e%2E/x",
        "/responses/a%2Fb",
        "/responses/a%2fb",
        "/responses/a%252fb",
        "/responses/a%5cb",
        "/responses/a\\b",
        "/responses/a%00b",
        "/responses/a\0b",
        "/responses/a\nb",
        "/responses/a%0ab",
        "responses/x",
        "",
        "*",
    ] {
        assert_eq!(find(&Method::POST, path, None, &[]), "-", "{path:?}");
    }
    assert_eq!(find(&Method::POST, "/responses/a.b%20c", None, &[]), "response");
}

#[test]
fn a_sound_table_has_no_conflicts() {
    assert_eq!(Table::of([ROWS]).conflicts(), Vec::<String>::new());
}

#[test]
fn two_owners_of_one_request_are_named() {
    let get = |id, provider, path, when| row(id, provider, Method::GET, path, when);
    let dialect = |dialect| When::Dialect(dialect);
    for (one, two, conflict) in [
        (get("x", A, "/m", When::Always), get("y", B, "/m", When::Always), true),
        (get("x", A, "/m", When::Always), get("y", B, "/m", dialect(Dialect::Google)), true),
        (get("x", A, "/m", dialect(Dialect::OpenAi)), get("y", B, "/m", dialect(Dialect::Google)), false),
        (get("x", A, "/m", When::Upgrade(true)), get("y", B, "/m", dialect(Dialect::Google)), true),
        (get("x", A, "/m", When::Upgrade(true)), get("y", A, "/m", When::Upgrade(false)), false),
        (get("x", A, "/m/{id}", When::Always), get("y", B, "/m/list", When::Always), true),
        (get("x", A, "/m/{id}", When::Always), get("y", A, "/m/list", When::Always), false),
        (get("x", A, "/m/{id}", When::Always), get("y", A, "/m/{name}", When::Always), true),
        (get("x", A, "/m/{id}", When::Always), get("y", B, "/m/{*rest}", When::Always), true),
        (get("x", A, "/m/{id}/n", When::Always), get("y", B, "/m/{id}", When::Always), false),
        (get("x", A, "/m", When::Always), get("y", B, "/m/{*rest}", When::Always), false),
        (get("x", A, "/m/{id}:a", When::Always), get("y", B, "/m/{id}:b", When::Always), false),
        (get("x", A, "/m/{id}:a", When::Always), get("y", B, "/m/n-{id}", When::Always), true),
        (get("x", A, "/m", When::Always), get("x", A, "/n", When::Always), true),
    ] {
        assert_eq!(!conflicts(&[&one, &two]).is_empty(), conflict, "{one:?} {two:?}");
        assert_eq!(!conflicts(&[&two, &one]).is_empty(), conflict, "{two:?} {one:?}");
    }
    for path in ["/m/{id", "/m/{*rest}/x", "/m//x", "m", "/m/{a}{b}"] {
        assert_eq!(conflicts(&[&get("x", A, path, When::Always)]).len(), 1, "{path}");
    }
}
