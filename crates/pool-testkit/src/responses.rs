//! The Responses API: its events and its JSON answer, as both ChatGPT and `api.openai.com` give them.

use serde_json::{Value, json};

use crate::answer::{Answer, Event, Part, Stream};
use crate::books::TokenCounts;
use crate::exchange::Call;
use crate::talk::{Measured, Say, Tool};
use crate::tokens;

/// Everything that an answer is made of.
pub(crate) struct Turn<'a> {
    pub(crate) call: &'a Call,
    /// The tag of the account that mints ids and encrypted reasoning.
    pub(crate) tag: &'a str,
    pub(crate) say: &'a Say,
    pub(crate) told: TokenCounts,
    /// Sent after the preamble.
    pub(crate) limits: Option<Value>,
}

/// The tools on offer. Codex brings its own as an input item; the one that runs scripts is called by it as `exec`.
pub(crate) fn tools(json: &Value) -> Vec<Tool> {
    let items = json["input"].as_array().into_iter().flatten();
    if items.clone().any(|item| item["type"] == "additional_tools")
        || json["tools"].as_array().is_some_and(|t| t.iter().any(|t| t["name"] == "exec"))
    {
        return vec![Tool { name: "exec".into(), schema: Value::Null }];
    }
    if json["tool_choice"] == "none" {
        return Vec::new();
    }
    let functions = json["tools"].as_array().into_iter().flatten().filter(|tool| tool["type"] == "function");
    functions
        .filter_map(|tool| Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: tool["parameters"].clone() }))
        .collect()
}

/// Has a tool answered since the user last spoke?
pub(crate) fn tool_answered(json: &Value) -> bool {
    let items = json["input"].as_array().into_iter().flatten();
    items
        .rev()
        .find_map(|item| match item["type"].as_str() {
            Some(kind) if kind.ends_with("_output") => Some(true),
            Some("message") | None if item["role"] == "user" => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

pub(crate) fn thinks(json: &Value) -> bool {
    !json["reasoning"].is_null()
}

/// Input includes what came from or went into the cache; output includes reasoning.
pub(crate) fn counts(measured: Measured, model: &str) -> TokenCounts {
    let fresh = measured.prompt - measured.cached;
    // Newer models tell what they wrote into the cache.
    let written = if model.starts_with("gpt-6") { fresh / 2 } else { 0 };
    TokenCounts {
        input: fresh - written,
        cache_read: measured.cached,
        cache_write_5m: written,
        cache_write_1h: 0,
        output: measured.said,
        reasoning: measured.reasoning,
    }
}

pub(crate) fn usage(told: TokenCounts) -> Value {
    let input = told.input.saturating_add(told.cache_read).saturating_add(told.cache_write_5m);
    let output = told.output.saturating_add(told.reasoning);
    json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": told.cache_read, "cache_write_tokens": told.cache_write_5m },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": told.reasoning },
        "total_tokens": input.saturating_add(output),
    })
}

pub(crate) fn answer(turn: &Turn<'_>) -> Answer {
    let items = items(turn);
    if turn.call.wants_stream() {
        Answer::stream(Stream::new(
            events(turn, &items),
            failed("server_is_overloaded", "Our servers are currently overloaded. Please try again later."),
        ))
    } else {
        Answer::json(200, &response(turn, "completed", &items))
    }
}

/// The answer to a request that only warms the cache up (`generate: false`, on sockets): a beginning, an end, no usage.
pub(crate) fn prewarmed(turn: &Turn<'_>) -> Answer {
    let turn = Turn { told: TokenCounts::default(), limits: None, ..*turn };
    let begun = json!({ "response": response(&turn, "in_progress", &[]) });
    let events = vec![
        Event::typed("response.created", Part::Preamble, begun),
        Event::typed("response.completed", Part::Terminal, json!({ "response": response(&turn, "completed", &[]) })),
    ];
    let broken = failed("server_is_overloaded", "Our servers are currently overloaded. Please try again later.");
    Answer::stream(Stream::new(events, broken))
}

/// What the model gives out, each item finished.
fn items(turn: &Turn<'_>) -> Vec<Value> {
    let (tag, id) = (turn.tag, turn.call.id);
    let mut items = Vec::new();
    let includes = turn.call.json["include"].as_array().into_iter().flatten();
    if includes.clone().any(|what| what == "reasoning.encrypted_content") {
        let sealed = format!("gAAAAAfake-{tag}-{id}-{}", "z".repeat(80));
        items.push(json!({ "type": "reasoning", "id": format!("rs_fake_{tag}_{id}"), "summary": [], "encrypted_content": sealed }));
    }
    let call_id = format!("call_fake_{id}");
    items.push(match turn.say {
        Say::Tool { name, .. } if name == "exec" => json!({
            "type": "custom_tool_call", "id": format!("ctc_fake_{id}"), "call_id": call_id, "name": "exec",
            "status": "completed",
            "input": "const r = await tools.exec_command({cmd: \"echo hi\"}); text(JSON.stringify(r));",
        }),
        Say::Tool { name, arguments } => json!({
            "type": "function_call", "id": format!("fc_fake_{id}"), "call_id": call_id, "name": name,
            "status": "completed", "arguments": arguments.to_string(),
        }),
        Say::Text(parts) => json!({
            "type": "message", "id": format!("msg_fake_{id}"), "role": "assistant", "status": "completed",
            "phase": "final_answer",
            "content": [{ "type": "output_text", "text": parts.concat(), "annotations": [] }],
        }),
    });
    items
}

fn events(turn: &Turn<'_>, items: &[Value]) -> Vec<Event> {
    let mut events = vec![
        Event::typed("response.created", Part::Preamble, json!({ "response": response(turn, "in_progress", &[]) })),
        Event::typed("response.in_progress", Part::Preamble, json!({ "response": response(turn, "in_progress", &[]) })),
    ];
    if let Some(limits) = &turn.limits {
        events.push(Event::typed("codex.rate_limits", Part::Preamble, limits.clone()));
    }
    for (index, item) in items.iter().enumerate() {
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        if item["type"] == "message" {
            begun["content"] = json!([]);
        }
        if item["type"] == "reasoning"
            && let Some(fields) = begun.as_object_mut()
        {
            fields.remove("status");
        }
        let at = json!({ "output_index": index, "item": begun });
        events.push(Event::typed("response.output_item.added", Part::Content, at));
        if let (Say::Text(parts), "message") = (turn.say, item["type"].as_str().unwrap_or_default()) {
            text_events(&mut events, index, item, parts);
        }
        if item["type"] == "function_call" {
            let done = json!({ "item_id": item["id"], "output_index": index, "arguments": item["arguments"] });
            events.push(Event::typed("response.function_call_arguments.done", Part::Content, done));
        }
        let done = json!({ "output_index": index, "item": item });
        events.push(Event::typed("response.output_item.done", Part::Content, done));
    }
    events.push(Event::typed(
        "response.completed",
        Part::Terminal,
        json!({ "response": response(turn, "completed", items) }),
    ));
    for (number, event) in events.iter_mut().enumerate() {
        number_event(event, number);
    }
    events
}

fn text_events(events: &mut Vec<Event>, index: usize, item: &Value, parts: &[String]) {
    let place = json!({ "item_id": item["id"], "output_index": index, "content_index": 0 });
    let with = |name: &str, value: Value| {
        let mut data = place.clone();
        data[name] = value;
        data
    };
    let empty = json!({ "type": "output_text", "text": "", "annotations": [] });
    events.push(Event::typed("response.content_part.added", Part::Content, with("part", empty)));
    for part in parts {
        let mut data = with("delta", part.as_str().into());
        data["logprobs"] = json!([]);
        events.push(Event::typed("response.output_text.delta", Part::Content, data));
    }
    let mut done = with("text", parts.concat().into());
    done["logprobs"] = json!([]);
    events.push(Event::typed("response.output_text.done", Part::Content, done));
    events.push(Event::typed("response.content_part.done", Part::Content, with("part", item["content"][0].clone())));
}

/// `sequence_number`, which SDKs read.
fn number_event(event: &mut Event, number: usize) {
    if event.name == Some("codex.rate_limits") {
        return;
    }
    let mut data = event.data[..event.data.len() - 1].to_vec();
    data.extend_from_slice(format!(",\"sequence_number\":{number}}}").as_bytes());
    event.data = data.into();
}

fn response(turn: &Turn<'_>, status: &str, output: &[Value]) -> Value {
    let done = status == "completed";
    json!({
        "id": format!("resp_fake_{}_{}", turn.tag, turn.call.id),
        "object": "response",
        "created_at": tokens::now(),
        "status": status,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "model": turn.call.model(),
        "output": output,
        "parallel_tool_calls": true,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": if done { usage(turn.told) } else { Value::Null },
    })
}

/// The in-stream failure.
pub(crate) fn failed(code: &str, message: &str) -> Event {
    let response = json!({
        "id": "resp_fake_failed", "object": "response", "status": "failed", "output": [],
        "error": { "code": code, "message": message },
    });
    Event::typed("response.failed", Part::Terminal, json!({ "response": response }))
}
