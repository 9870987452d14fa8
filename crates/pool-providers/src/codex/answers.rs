//! Answers of our own to Codex CLI's side calls. What each must look like for the client to start and to stay quiet was
//! measured on Codex CLI 0.169.0.

use http::{HeaderValue, StatusCode};
use pool_core::UnixMs;
use pool_core::standing::Standing;
use serde_json::{Value, json};

use super::routes::about;
use super::standing;
use crate::reply::Reply;
use crate::request::Head;
use crate::routes::Route;

/// The plan that the pool shows. It must be one that the client knows and that puts no model out of reach.
pub(super) const PLAN: &str = "pro";

/// The newest MCP version that we speak; a client that asks for another one of the same manner gets its own.
const MCP_VERSION: &str = "2025-06-18";

pub(super) fn answer(route: &Route, head: &Head<'_>, body: &[u8], standing: &Standing, now: UnixMs) -> Reply {
    match about(route) {
        "accounts check" => ok(&accounts_check(head)),
        "usage" => ok(&standing::usage(standing, now)),
        "reset credits" => ok(&json!({ "credits": [], "available_count": 0 })),
        // The CLI's own list of models serves: the pool's accounts may differ in theirs.
        "codex models" => ok(&json!({ "models": [] })),
        "telemetry" => telemetry(head),
        "mcp" => mcp(body),
        "mcp stream" => no_stream(),
        _ => nothing(head),
    }
}

fn ok(body: &Value) -> Reply {
    Reply::json(StatusCode::OK, body)
}

/// Without an account of the very id that the client holds, the interactive client does not start.
fn accounts_check(head: &Head<'_>) -> Value {
    json!({ "accounts": [{
        "id": head.header("chatgpt-account-id").unwrap_or("pool"),
        "plan_type": PLAN,
        "workspace_backend_origin": "https://chatgpt.com",
        "account_routing_override": "NO_CONSTRAINT",
    }] })
}

/// Taken and forgotten. An empty message is a whole answer in protobuf.
fn telemetry(head: &Head<'_>) -> Reply {
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    if head.headers.get(http::header::CONTENT_TYPE) == Some(&protobuf) {
        let mut reply = Reply::empty(StatusCode::OK);
        reply.headers.insert(http::header::CONTENT_TYPE, protobuf);
        return reply;
    }
    ok(&json!({}))
}

/// 404 is what the client takes for "there is none".
fn nothing(head: &Head<'_>) -> Reply {
    let message = format!("codex-pool has nothing at {}", head.path);
    Reply::json(StatusCode::NOT_FOUND, &json!({ "error": { "type": "not_found_error", "message": message } }))
}

/// The server never speaks first, so there is no stream to listen to (Model Context Protocol, "Streamable HTTP").
fn no_stream() -> Reply {
    let mut reply = Reply::empty(StatusCode::METHOD_NOT_ALLOWED);
    reply.headers.insert(http::header::ALLOW, HeaderValue::from_static("POST"));
    reply
}

/// A server without tools.
fn mcp(body: &[u8]) -> Reply {
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        let error = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": "not JSON" } });
        return Reply::json(StatusCode::BAD_REQUEST, &error);
    };
    let answers = match message {
        Value::Array(batch) => batch.iter().filter_map(mcp_answer).collect(),
        message => match mcp_answer(&message) {
            Some(answer) => return ok(&answer),
            None => Vec::new(),
        },
    };
    if answers.is_empty() { Reply::empty(StatusCode::ACCEPTED) } else { ok(&Value::Array(answers)) }
}

/// `None`: a notification or an answer to nothing, which is not answered.
fn mcp_answer(message: &Value) -> Option<Value> {
    let id = message.get("id").filter(|id| !id.is_null())?;
    let method = message.get("method")?.as_str()?;
    let result = match method {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"].as_str().unwrap_or(MCP_VERSION),
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "codex-pool", "version": env!("CARGO_PKG_VERSION") },
        }),
        "ping" => json!({}),
        "tools/list" => json!({ "tools": [] }),
        "resources/list" => json!({ "resources": [] }),
        "resources/templates/list" => json!({ "resourceTemplates": [] }),
        "prompts/list" => json!({ "prompts": [] }),
        _ => {
            let error = json!({ "code": -32601, "message": "codex-pool serves no MCP tools" });
            return Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
        }
    };
    Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::fixtures;
    use super::super::routes::ROUTES;
    use super::*;

    fn reply(id: &str, headers: &HeaderMap, body: &[u8]) -> Reply {
        let route = ROUTES.iter().find(|route| route.id == id).expect("a row");
        let head = Head { method: &route.method, path: route.path, query: None, headers };
        answer(route, &head, body, &Standing::default(), UnixMs(0))
    }

    fn json_of(reply: &Reply) -> Value {
        serde_json::from_slice(&reply.body).expect("JSON")
    }

    #[test]
    fn the_accounts_check_echoes_the_clients_account() {
        let headers: HeaderMap =
            [("chatgpt-account-id".parse().expect("a name"), HeaderValue::from_static("acct-a"))].into_iter().collect();
        for id in ["accounts check", "accounts check at api"] {
            assert_eq!(
                json_of(&reply(id, &headers, b"")),
                json!({"accounts": [{"id": "acct-a", "plan_type": "pro",
                    "workspace_backend_origin": "https://chatgpt.com", "account_routing_override": "NO_CONSTRAINT"}]})
            );
        }
    }

    #[test]
    fn the_recorded_handshake_with_the_plugins_server_works() {
        let recorded = fixtures::requests(include_str!("../../fixtures/codex_http.json"));
        let answers: Vec<_> = recorded
            .iter()
            .filter(|request| request.head().path == "/backend-api/ps/mcp")
            .map(|request| {
                assert!(!request.head().headers.contains_key("authorization"));
                reply("mcp", request.head().headers, &request.body().bytes)
            })
            .collect();
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses, [200, 202, 200]);
        assert_eq!(json_of(&answers[0])["result"]["protocolVersion"], "2025-06-18");
        assert_eq!(json_of(&answers[2]), json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}));
    }

    #[test]
    fn odd_messages_get_their_errors() {
        let none = HeaderMap::new();
        for (body, status) in [
            (&b"{"[..], 400),
            (b"[]", 202),
            (b"7", 202),
            (b"{\"id\": 1}", 202),
            (b"{\"id\": 1, \"method\": \"tools/call\"}", 200),
            (b"[{\"id\": \"a\", \"method\": \"ping\"}, {\"method\": \"notifications/x\"}]", 200),
        ] {
            assert_eq!(reply("mcp", &none, body).status.as_u16(), status, "{body:?}");
        }
        assert_eq!(json_of(&reply("mcp", &none, b"{\"id\": 1, \"method\": \"tools/call\"}"))["error"]["code"], -32601);
        assert_eq!(reply("mcp stream", &none, b"").status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn the_other_side_calls_are_answered_as_measured() {
        let none = HeaderMap::new();
        for (id, status, body) in [
            ("codex models", 200, json!({"models": []})),
            ("codex models at backend", 200, json!({"models": []})),
            ("reset credits", 200, json!({"credits": [], "available_count": 0})),
            ("telemetry", 200, json!({})),
        ] {
            let reply = reply(id, &none, b"");
            assert_eq!((reply.status.as_u16(), json_of(&reply)), (status, body), "{id}");
        }
        for id in ["nothing at user settings", "nothing at config bundle", "nothing at plugins"] {
            assert_eq!(reply(id, &none, b"").status, StatusCode::NOT_FOUND, "{id}");
        }
    }
}
