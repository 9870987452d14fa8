//! What the Gemini API keeps: files, cached contents, batches.

use bytes::Bytes;
use serde_json::{Value, json};

use super::form_file;
use crate::answer::Answer;
use crate::exchange::Call;
use crate::google::error;
use crate::state::State;

const KINDS: [&str; 3] = ["files", "cachedContents", "batches"];

/// The answer, if the call is about something that is kept.
pub(crate) fn answer(state: &mut State, call: &Call, index: usize) -> Option<Answer> {
    let path = call.path.trim_start_matches('/');
    if let Some(path) = path.strip_prefix("upload/") {
        return path.ends_with("/files").then(|| upload(state, call, index));
    }
    if state.missing(&call.json, index, is_name).is_some() {
        return Some(not_there());
    }
    let (_, path) = path.split_once('/')?;
    match (call.method.as_str(), path.split_once('/')) {
        ("POST", None) if KINDS.contains(&path) => {
            let mut shown = call.json.get("file").unwrap_or(&call.json).clone();
            Some(make(state, call, index, path, &mut shown, Bytes::new()))
        }
        ("POST", Some(("models", model))) if model.ends_with(":batchGenerateContent") => {
            let output = state.new_name("files/batch-", call, index);
            state.keep(&output, index, &json!({ "name": output }), "{\"key\":\"1\"}\n".into());
            let mut shown = json!({ "done": true, "response": { "responsesFile": output } });
            Some(make(state, call, index, "batches", &mut shown, Bytes::new()))
        }
        (_, Some((kind, rest))) if KINDS.contains(&kind) => {
            let (id, action) = rest.split_once(':').unwrap_or((rest, ""));
            Some(about(state, call, index, &format!("{kind}/{id}"), action))
        }
        _ => None,
    }
}

fn is_name(text: &str) -> bool {
    ["files/fake", "cachedContents/fake"].iter().any(|start| text.starts_with(start))
}

fn make(state: &mut State, call: &Call, index: usize, kind: &str, shown: &mut Value, content: Bytes) -> Answer {
    let name = match shown["name"].as_str().filter(|name| name.starts_with("files/")) {
        Some(chosen) => chosen.to_owned(),
        None => state.new_name(&format!("{kind}/"), call, index),
    };
    shown["name"] = name.as_str().into();
    if kind == "files" {
        shown["uri"] = format!("https://generativelanguage.googleapis.com/v1beta/{name}").into();
    }
    state.keep(&name, index, shown, content);
    Answer::json(200, shown)
}

/// In one form, or begun by one call and ended by another (`X-Goog-Upload-Protocol`).
fn upload(state: &mut State, call: &Call, index: usize) -> Answer {
    let begun = call.query.split('&').find_map(|pair| pair.strip_prefix("upload_id=")).map(str::to_owned);
    let command = call.header("x-goog-upload-command").unwrap_or_default();
    let (mut shown, content) = match begun {
        None if command == "start" => {
            let id = state.new_name("upload-", call, index);
            let kind = call.header("x-goog-upload-header-content-type").unwrap_or("text/plain");
            let begun = json!({ "name": call.json["file"]["name"], "mimeType": kind });
            state.keep(&id, index, &begun, Bytes::new());
            let host = call.header("host").unwrap_or_default();
            let url = format!("http://{host}/google{}?upload_id={id}&upload_protocol=resumable", call.path);
            return Answer::text(200, "text/plain", "")
                .header("x-goog-upload-url", url)
                .header("x-goog-upload-status", "active");
        }
        None => (json!({}), form_file(call)),
        Some(id) => match state.kept(&id, index) {
            Some(begun) => (begun.shown.clone(), call.body.clone()),
            None => return not_there(),
        },
    };
    shown["sizeBytes"] = content.len().to_string().into();
    make(state, call, index, "files", &mut shown, content);
    Answer::json(200, &json!({ "file": shown })).header("x-goog-upload-status", "final")
}

fn about(state: &mut State, call: &Call, index: usize, name: &str, action: &str) -> Answer {
    let Some(object) = state.kept(name, index).cloned() else { return not_there() };
    match (call.method.as_str(), action) {
        ("DELETE", _) => {
            state.objects.remove(name);
            Answer::json(200, &json!({}))
        }
        ("GET", "download") => Answer::text(200, "application/octet-stream", object.content),
        (_, "cancel") => Answer::json(200, &json!({})),
        _ => Answer::json(200, &object.shown),
    }
}

fn not_there() -> Answer {
    let message = "You do not have permission to access the File or it may not exist.";
    error(403, "PERMISSION_DENIED", message, &[])
}
