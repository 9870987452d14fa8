//! What `api.openai.com` keeps.

use bytes::Bytes;
use serde_json::{Value, json};

use super::form_file;
use crate::answer::{Answer, Body};
use crate::exchange::Call;
use crate::openai::error;
use crate::state::State;
use crate::tokens;

/// Below `/v1`: how names begin, and what the API calls such a thing.
const KINDS: [(&str, &str, &str); 7] = [
    ("files", "file-", "file"),
    ("uploads", "upload_", "upload"),
    ("batches", "batch_", "batch"),
    ("vector_stores", "vs_", "vector_store"),
    ("conversations", "conv_", "conversation"),
    ("containers", "cntr_", "container"),
    ("realtime", "rtc_", "realtime.call"),
];

/// The answer, if the call is about something that is kept.
pub(crate) fn answer(state: &mut State, call: &Call, index: usize) -> Option<Answer> {
    let path = call.path.strip_prefix("/v1").unwrap_or(&call.path);
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    if let Some(name) = state.missing(&call.json, index, |text| text.starts_with("file-fake")) {
        return Some(not_found(&name));
    }
    match (call.method.as_str(), segments.as_slice()) {
        ("POST", ["realtime", "client_secrets"]) => {
            let secret = format!("ek_fake_{}", call.id);
            Some(Answer::json(200, &json!({ "value": secret, "expires_at": tokens::now() + 600, "session": {} })))
        }
        ("POST", ["realtime", "calls"]) => Some(begin_call(state, call, index)),
        (_, ["realtime", "calls", id, ..]) => Some(about(state, call, index, id, &[])),
        (_, ["responses", id, rest @ ..]) if *id != "input_tokens" && *id != "compact" => {
            Some(about(state, call, index, id, rest))
        }
        ("POST", [kind]) => create(state, call, index, kind),
        (_, [kind, id, rest @ ..]) if KINDS.iter().any(|(known, ..)| known == kind) => {
            Some(about(state, call, index, id, rest))
        }
        _ => None,
    }
}

fn create(state: &mut State, call: &Call, index: usize, kind: &str) -> Option<Answer> {
    let (_, prefix, word) = KINDS.iter().find(|(known, ..)| *known == kind)?;
    let name = state.new_name(prefix, call, index);
    let mut shown = json!({ "id": name, "object": word, "created_at": tokens::now(), "status": "completed" });
    let content = if kind == "files" { form_file(call) } else { Bytes::new() };
    if kind == "files" {
        shown["bytes"] = content.len().into();
    }
    if kind == "batches" {
        // Worked off at once: a line of results.
        let output = state.new_name("file-", call, index);
        state.keep(&output, index, &json!({ "id": output, "object": "file" }), "{\"custom_id\":\"1\"}\n".into());
        shown["input_file_id"] = call.json["input_file_id"].clone();
        shown["output_file_id"] = output.into();
        shown["error_file_id"] = Value::Null;
    }
    state.keep(&name, index, &shown, content);
    Some(Answer::json(200, &shown))
}

fn begin_call(state: &mut State, call: &Call, index: usize) -> Answer {
    let name = state.new_name("rtc_", call, index);
    state.keep(&name, index, &json!({}), Bytes::new());
    Answer::text(201, "application/sdp", "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\n")
        .header("location", format!("/v1/realtime/calls/{name}"))
}

fn about(state: &mut State, call: &Call, index: usize, id: &str, rest: &[&str]) -> Answer {
    let Some(object) = state.kept(id, index).cloned() else { return not_found(id) };
    match (call.method.as_str(), rest) {
        ("DELETE", []) => {
            state.objects.remove(id);
            Answer::json(200, &json!({ "id": id, "object": object.shown["object"], "deleted": true }))
        }
        ("GET", ["content"]) => Answer::text(200, "application/octet-stream", object.content),
        ("POST", ["parts"]) => Answer::json(200, &json!({ "id": format!("part_fake_{}", call.id), "upload_id": id })),
        ("POST", ["complete"]) => {
            let file = state.new_name("file-", call, index);
            let shown = json!({ "id": file, "object": "file" });
            state.keep(&file, index, &shown, Bytes::new());
            Answer::json(200, &json!({ "id": id, "object": "upload", "status": "completed", "file": shown }))
        }
        ("GET", ["input_items" | "items" | "files"]) => {
            Answer::json(200, &json!({ "object": "list", "data": [], "has_more": false }))
        }
        _ => Answer::json(200, &object.shown),
    }
}

/// A response is stored unless the request says otherwise.
pub(crate) fn remember_response(state: &mut State, call: &Call, index: usize, answer: &Answer) {
    if call.json["store"] == false || call.socket {
        return;
    }
    let shown: Value = match &answer.body {
        Body::Plain(body) => serde_json::from_slice(body).unwrap_or_default(),
        Body::Stream(stream) => {
            let last = stream.events.last().and_then(|event| serde_json::from_slice::<Value>(&event.data).ok());
            last.map(|event| event["response"].clone()).unwrap_or_default()
        }
        Body::Socket(_) => Value::Null,
    };
    if let Some(id) = shown["id"].as_str().map(str::to_owned) {
        state.keep(&id, index, &shown, Bytes::new());
    }
}

pub(crate) fn not_found(id: &str) -> Answer {
    match id.split(['_', '-']).next() {
        Some("rtc") => {
            error(404, "invalid_request_error", Some("call_id_not_found"), "No session found for the provided call_id")
        }
        Some("file") => error(404, "invalid_request_error", None, &format!("No such File object: {id}")),
        Some("resp") => error(404, "invalid_request_error", None, &format!("Response with id '{id}' not found.")),
        _ => error(404, "invalid_request_error", None, &format!("No object found with id '{id}'.")),
    }
}
