//! What `api.anthropic.com` keeps: files and batches of messages.

use serde_json::json;

use super::form_file;
use crate::answer::Answer;
use crate::anthropic::error;
use crate::exchange::Call;
use crate::state::State;

/// The answer, if the call is about something that is kept.
pub(crate) fn answer(state: &mut State, call: &Call, index: usize) -> Option<Answer> {
    let segments: Vec<&str> = call.path.split('/').skip(1).collect();
    if let Some(name) = state.missing(&call.json, index, |text| text.starts_with("file_fake")) {
        return Some(not_found(&name));
    }
    match (call.method.as_str(), segments.as_slice()) {
        ("POST", ["v1", "files"]) => {
            let (name, content) = (state.new_name("file_", call, index), form_file(call));
            let shown = json!({ "id": name, "type": "file", "size_bytes": content.len(), "downloadable": true });
            state.keep(&name, index, &shown, content);
            Some(Answer::json(200, &shown))
        }
        ("POST", ["v1", "messages", "batches"]) => {
            let name = state.new_name("msgbatch_", call, index);
            let results = format!("https://api.anthropic.com/v1/messages/batches/{name}/results");
            let shown = json!({
                "id": name, "type": "message_batch", "processing_status": "ended", "results_url": results,
            });
            state.keep(&name, index, &shown, "{\"custom_id\":\"1\",\"result\":{\"type\":\"succeeded\"}}\n".into());
            Some(Answer::json(200, &shown))
        }
        (_, ["v1", "files", id, rest @ ..] | ["v1", "messages", "batches", id, rest @ ..]) => {
            Some(about(state, call, index, id, rest))
        }
        _ => None,
    }
}

fn about(state: &mut State, call: &Call, index: usize, id: &str, rest: &[&str]) -> Answer {
    let Some(object) = state.kept(id, index).cloned() else { return not_found(id) };
    match (call.method.as_str(), rest) {
        ("DELETE", []) => {
            state.objects.remove(id);
            Answer::json(200, &json!({ "id": id, "type": "file_deleted" }))
        }
        ("GET", ["content" | "results"]) => Answer::text(200, "application/octet-stream", object.content),
        _ => Answer::json(200, &object.shown),
    }
}

fn not_found(id: &str) -> Answer {
    error(404, "not_found_error", &format!("Not found: {id}"))
}
