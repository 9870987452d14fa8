//! The simulated `api.openai.com`, for API keys.

use http::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, Event, Part, Seat, Stream};
use crate::books::TokenCounts;
use crate::checks::gate;
use crate::echo;
use crate::exchange::{Call, Shared, Verdict, first_text};
use crate::faults::Fault;
use crate::objects;
use crate::responses::{self, Turn};
use crate::socket;
use crate::state::{Account, State, Target, Window};
use crate::talk::{self, Say, Tool};
use crate::tokens::{self, Access};
use crate::world::{Kind, Unit};

pub(crate) fn answer(shared: &Shared, call: &Call) -> Verdict {
    let path = call.path.strip_prefix("/v1").unwrap_or(&call.path);
    let mut state = shared.state.lock();
    let index = match authenticate(&state, call) {
        Ok(index) => index,
        Err(answer) => return Verdict::plain(answer),
    };
    if let Some(answer) = objects::of_openai(&mut state, call, index) {
        return objects::gated(&mut state, call, index, answer, refusal);
    }
    let verdict = match (call.method.as_str(), path) {
        ("GET", "/realtime") => voice(&mut state, call, index),
        ("GET", "/responses") => handshake(&mut state, call, index),
        ("GET", "/models") => {
            let answer = match gate(&mut state, index, Target::Probe, "", refusal) {
                Ok(_) => Answer::json(200, &models()),
                Err((answer, _)) => answer,
            };
            Verdict::plain(answer.headers(limit_headers(&mut state.accounts[index]))).on(index)
        }
        ("GET", model) if model.starts_with("/models/") => {
            Verdict::plain(Answer::json(200, &model_entry(&model[8..]))).on(index)
        }
        ("POST", path) => match work(path) {
            Some(work) => infer(&mut state, call, index, work),
            None => Verdict::plain(not_found(&call.method, &call.path)).on(index),
        },
        _ => Verdict::plain(not_found(&call.method, &call.path)).on(index),
    };
    Verdict { answer: verdict.answer.header("x-request-id", format!("req_fake_{}", call.id)), ..verdict }
}

fn authenticate(state: &State, call: &Call) -> Result<usize, Answer> {
    let Some(key) = call.bearer() else {
        return Err(error(
            401,
            "invalid_request_error",
            None,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        ));
    };
    match state.owner(key, &[Kind::OpenAiKey]) {
        (Some(index), Access::Good) => Ok(index),
        _ => Err(error(
            401,
            "invalid_request_error",
            Some("invalid_api_key"),
            "Incorrect API key provided: sk-****. You can find your API key at https://platform.openai.com/account/api-keys.",
        )),
    }
}

/// The upgrade to a WebSocket.
fn handshake(state: &mut State, call: &Call, index: usize) -> Verdict {
    if !socket::is_asked_for(call) {
        return Verdict::plain(upgrade_required()).on(index);
    }
    let sound = socket::sound(call).map_err(|no| (no, Fault::Fine));
    let (answer, fault) = match sound.and_then(|()| gate(state, index, Target::Handshake, "", refusal)) {
        Ok(fault) => (Answer::socket(Seat { account: index, chatgpt: false, echo: None }), fault),
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

/// A realtime socket: it may join a call of this account.
fn voice(state: &mut State, call: &Call, index: usize) -> Verdict {
    if !socket::is_asked_for(call) {
        return Verdict::plain(upgrade_required()).on(index);
    }
    let joins = call.query.split('&').find_map(|pair| pair.strip_prefix("call_id="));
    if let Some(missing) = joins.filter(|id| state.objects.get(*id).is_none_or(|object| object.account != index)) {
        return Verdict::plain(objects::openai_not_found(missing)).on(index);
    }
    let sound = socket::sound(call).map_err(|no| (no, Fault::Fine));
    let (answer, fault) = match sound.and_then(|()| gate(state, index, Target::Handshake, "", refusal)) {
        Ok(fault) => (echo::granted(call, index), fault),
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

/// A turn on a socket.
pub(crate) fn turn(state: &mut State, call: &Call, index: usize) -> Verdict {
    infer(state, call, index, respond)
}

type Work = fn(&mut State, &Call, usize, &Fault) -> Answer;

fn work(path: &str) -> Option<Work> {
    Some(match path {
        "/responses" => respond,
        "/chat/completions" => chat,
        "/embeddings" => embed,
        "/images/generations" | "/images/edits" => image,
        "/audio/transcriptions" | "/audio/translations" => transcribe,
        "/audio/speech" => speak,
        "/moderations" => moderate,
        _ => return None,
    })
}

fn infer(state: &mut State, call: &Call, index: usize, work: Work) -> Verdict {
    let model = call.model().to_owned();
    let is_json = call.header("content-type").is_none_or(|kind| kind.starts_with("application/json"));
    let sound = if is_json && !call.json.is_object() {
        Err(error(400, "invalid_request_error", None, "We could not parse the JSON body of your request."))
    } else {
        foreign_reasoning(state, call, index).and_then(|()| foreign_response(state, call, index))
    };
    let gated = sound
        .map_err(|answer| (answer, Fault::Fine))
        .and_then(|()| gate(state, index, Target::Inference, &model, refusal));
    let (answer, fault) = match gated {
        Ok(fault) => (work(state, call, index, &fault), fault),
        Err(refused) => refused,
    };
    let answer = answer.headers(limit_headers(&mut state.accounts[index]));
    let names = ["thread-id", "session-id", "session_id"].map(|name| call.header(name));
    let conversation = first_text(&names).or_else(|| call.json["prompt_cache_key"].as_str().map(str::to_owned));
    Verdict { answer, fault, account: Some(index), inference: true, model: Some(model), conversation }
}

fn respond(state: &mut State, call: &Call, index: usize, fault: &Fault) -> Answer {
    let say = talk::decide(state, &responses::tools(&call.json), responses::tool_answered(&call.json));
    let pieces = talk::pieces(&[&call.json["instructions"], &call.json["tools"], &call.json["input"]]);
    let measured = talk::measure(state, index, &pieces, &say, responses::thinks(&call.json));
    let (credit, told) = talk::credit(index, responses::counts(measured, call.model()), fault);
    let turn = Turn { call, tag: &state.accounts[index].tag, say: &say, told, limits: None };
    if socket::is_prewarm(call) {
        return responses::prewarmed(&turn).credit(index, TokenCounts::default());
    }
    let answer = responses::answer(&turn).credit(credit.account, credit.tokens);
    objects::remember_response(state, call, index, &answer);
    answer
}

fn chat(state: &mut State, call: &Call, index: usize, fault: &Fault) -> Answer {
    let offered = call.json["tools"].as_array().into_iter().flatten();
    let tools: Vec<Tool> = offered
        .filter_map(|tool| {
            let function = &tool["function"];
            Some(Tool { name: function["name"].as_str()?.to_owned(), schema: function["parameters"].clone() })
        })
        .collect();
    let messages = call.json["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let answered =
        messages.iter().rev().find(|m| m["role"] == "tool" || m["role"] == "user").is_some_and(|m| m["role"] == "tool");
    let say = talk::decide(state, &tools, answered);
    let pieces = talk::pieces(&[&call.json["tools"], &call.json["messages"]]);
    let measured = talk::measure(state, index, &pieces, &say, false);
    let counts = responses::counts(measured, "");
    let (credit, told) = talk::credit(index, counts, fault);
    let answer = if call.wants_stream() {
        Answer::stream(chat_stream(call, &say, told))
    } else {
        Answer::json(200, &chat_whole(call, &say, told))
    };
    answer.credit(credit.account, credit.tokens)
}

fn chat_usage(told: TokenCounts) -> Value {
    let input = told.input.saturating_add(told.cache_read).saturating_add(told.cache_write_5m);
    let output = told.output.saturating_add(told.reasoning);
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": { "cached_tokens": told.cache_read, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": told.reasoning, "audio_tokens": 0 },
    })
}

fn chat_call(call: &Call, name: &str, arguments: &Value) -> Value {
    json!({
        "id": format!("call_fake_{}", call.id), "type": "function",
        "function": { "name": name, "arguments": arguments.to_string() },
    })
}

fn chat_whole(call: &Call, say: &Say, told: TokenCounts) -> Value {
    let (message, reason) = match say {
        Say::Text(parts) => (json!({ "role": "assistant", "content": parts.concat() }), "stop"),
        Say::Tool { name, arguments } => (
            json!({ "role": "assistant", "content": null, "tool_calls": [chat_call(call, name, arguments)] }),
            "tool_calls",
        ),
    };
    json!({
        "id": format!("chatcmpl-fake-{}", call.id), "object": "chat.completion", "created": tokens::now(),
        "model": call.model(),
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": reason }],
        "usage": chat_usage(told),
    })
}

fn chat_stream(call: &Call, say: &Say, told: TokenCounts) -> Stream {
    let chunk = |delta: Value, reason: Option<&str>| {
        json!({
            "id": format!("chatcmpl-fake-{}", call.id), "object": "chat.completion.chunk", "created": tokens::now(),
            "model": call.model(),
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }],
        })
    };
    let mut events = vec![Event::bare(Part::Preamble, &chunk(json!({ "role": "assistant", "content": "" }), None))];
    let reason = match say {
        Say::Text(parts) => {
            events
                .extend(parts.iter().map(|part| Event::bare(Part::Content, &chunk(json!({ "content": part }), None))));
            "stop"
        }
        Say::Tool { name, arguments } => {
            let mut tool = chat_call(call, name, arguments);
            tool["index"] = 0.into();
            events.push(Event::bare(Part::Content, &chunk(json!({ "tool_calls": [tool] }), None)));
            "tool_calls"
        }
    };
    events.push(Event::bare(Part::Content, &chunk(json!({}), Some(reason))));
    if call.json["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!({}), None);
        last["choices"] = json!([]);
        last["usage"] = chat_usage(told);
        events.push(Event::bare(Part::Content, &last));
    }
    events.push(Event { name: None, data: "[DONE]".into(), part: Part::Terminal });
    let broken = json!({ "error": { "message": "The server had an error while processing your request", "type": "server_error" } });
    Stream::new(events, Event::bare(Part::Terminal, &broken))
}

fn simple(state: &mut State, call: &Call, index: usize) -> TokenCounts {
    let pieces = talk::pieces(&[&call.json]);
    let measured = talk::measure(state, index, &pieces, &Say::Text(Vec::new()), false);
    TokenCounts { input: measured.prompt, ..TokenCounts::default() }
}

fn embed(state: &mut State, call: &Call, index: usize, fault: &Fault) -> Answer {
    let (credit, told) = talk::credit(index, simple(state, call, index), fault);
    let many = call.json["input"].as_array().map_or(1, Vec::len);
    let vector = if call.json["encoding_format"] == "base64" {
        // Four little-endian floats of 0.5.
        json!("AAAAPwAAAD8AAAA/AAAAPw==")
    } else {
        json!([0.5, 0.5, 0.5, 0.5])
    };
    let data: Vec<Value> =
        (0..many).map(|n| json!({ "object": "embedding", "index": n, "embedding": vector })).collect();
    let usage = json!({ "prompt_tokens": told.input, "total_tokens": told.input });
    let body = json!({ "object": "list", "data": data, "model": call.model(), "usage": usage });
    Answer::json(200, &body).credit(credit.account, credit.tokens)
}

fn image(state: &mut State, call: &Call, index: usize, fault: &Fault) -> Answer {
    let input = simple(state, call, index);
    let (credit, told) = talk::credit(index, TokenCounts { output: 272, ..input }, fault);
    let total = told.input.saturating_add(told.output);
    let usage = json!({ "input_tokens": told.input, "output_tokens": told.output, "total_tokens": total });
    // A transparent pixel.
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let body = json!({ "created": tokens::now(), "data": [{ "b64_json": png }], "usage": usage });
    Answer::json(200, &body).credit(credit.account, credit.tokens)
}

fn transcribe(state: &mut State, _: &Call, index: usize, _: &Fault) -> Answer {
    let marker = state.style.marker.clone();
    Answer::json(200, &json!({ "text": marker })).credit(index, TokenCounts::default())
}

fn speak(_: &mut State, _: &Call, index: usize, _: &Fault) -> Answer {
    Answer::text(200, "audio/mpeg", &b"\xff\xfb\x90\x00fake audio"[..]).credit(index, TokenCounts::default())
}

fn moderate(_: &mut State, call: &Call, index: usize, _: &Fault) -> Answer {
    let result = json!({ "flagged": false, "categories": {}, "category_scores": {} });
    let body = json!({ "id": format!("modr-fake-{}", call.id), "model": call.model(), "results": [result] });
    Answer::json(200, &body).credit(index, TokenCounts::default())
}

/// Encrypted reasoning is good on the account that made it only.
pub(crate) fn foreign_reasoning(state: &State, call: &Call, index: usize) -> Result<(), Answer> {
    let items = call.json["input"].as_array().into_iter().flatten();
    for item in items {
        if let Some(sealed) = item["encrypted_content"].as_str()
            && state.minter(sealed) != Some(index)
        {
            let id = item["id"].as_str().unwrap_or("rs_unknown");
            let message = format!(
                "The encrypted content for item {id} could not be verified. Reason: Encrypted content organization_id did not match the target organization."
            );
            return Err(error(400, "invalid_request_error", Some("invalid_encrypted_content"), &message));
        }
    }
    Ok(())
}

fn foreign_response(state: &State, call: &Call, index: usize) -> Result<(), Answer> {
    match call.json["previous_response_id"].as_str() {
        Some(id) if !call.socket && state.minter(id) != Some(index) => {
            let message = format!("Previous response with id '{id}' not found.");
            Err(error(400, "invalid_request_error", Some("previous_response_not_found"), &message))
        }
        _ => Ok(()),
    }
}

fn refusal(account: &Account, fault: &Fault, model: &str, window: Option<&Window>) -> Option<Answer> {
    Some(match fault {
        Fault::Limit => {
            let window = window?;
            let (what, unit) = if window.spec.unit == Unit::Requests {
                ("requests per min (RPM)", "requests")
            } else {
                ("tokens per min (TPM)", "tokens")
            };
            let seconds = window.left_seconds();
            let message = format!(
                "Rate limit reached for {model} in organization org-fake-{} on {what}: Limit {}, Used {}, Requested 1. Please try again in {seconds}s. Visit https://platform.openai.com/account/rate-limits to learn more.",
                account.spec.name,
                window.spec.capacity as u64,
                (window.spec.capacity * window.used) as u64,
            );
            error(429, unit, Some("rate_limit_exceeded"), &message).header("retry-after", seconds.to_string())
        }
        Fault::Expired | Fault::Revoked => error(
            401,
            "invalid_request_error",
            Some("invalid_api_key"),
            "Incorrect API key provided: sk-****. You can find your API key at https://platform.openai.com/account/api-keys.",
        ),
        Fault::Unpaid => error(
            429,
            "billing_not_active",
            Some("billing_not_active"),
            "Your account is not active, please check your billing details on our website.",
        ),
        Fault::Forbidden => {
            error(403, "invalid_request_error", None, "You do not have access to the organization tied to the API key.")
        }
        Fault::CreditTooLow => error(
            429,
            "insufficient_quota",
            Some("insufficient_quota"),
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        Fault::ModelNotSupported => error(
            404,
            "invalid_request_error",
            Some("model_not_found"),
            &format!("The model `{model}` does not exist or you do not have access to it."),
        ),
        Fault::BadRequest => {
            error(400, "invalid_request_error", Some("invalid_value"), "Invalid value: fake fault 'bad_request'")
        }
        other => return common_refusal(other),
    })
}

/// What ChatGPT and the API say alike.
pub(crate) fn common_refusal(fault: &Fault) -> Option<Answer> {
    Some(match fault {
        Fault::Throttle { retry_after } => error(429, "rate_limit_error", None, "Too many requests, please slow down.")
            .header("retry-after", retry_after.to_string()),
        Fault::ServerError => {
            error(500, "server_error", None, "The server had an error while processing your request. Sorry about that!")
        }
        Fault::Overloaded => error(
            503,
            "service_unavailable_error",
            Some("server_is_overloaded"),
            "Our servers are currently overloaded. Please try again later.",
        ),
        _ => return None,
    })
}

pub(crate) fn error(status: u16, kind: &str, code: Option<&str>, message: &str) -> Answer {
    let kind = if kind.is_empty() { Value::Null } else { kind.into() };
    Answer::json(status, &json!({ "error": { "message": message, "type": kind, "param": null, "code": code } }))
}

pub(crate) fn detail(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "detail": text }))
}

pub(crate) fn not_found(method: &Method, path: &str) -> Answer {
    error(404, "not_found_error", None, &format!("fake upstream has no {method} {path}"))
}

pub(crate) fn upgrade_required() -> Answer {
    error(426, "invalid_request_error", None, "WebSocket is not simulated here.")
}

/// The account's windows as `x-ratelimit-*`.
fn limit_headers(account: &mut Account) -> Vec<(String, String)> {
    account.settle();
    let mut headers = vec![("openai-organization".to_owned(), format!("org-fake-{}", account.spec.name))];
    for window in &account.windows {
        let name = &window.spec.name;
        let left = (window.spec.capacity * (1.0 - window.used)).max(0.0) as u64;
        headers.push((format!("x-ratelimit-limit-{name}"), (window.spec.capacity as u64).to_string()));
        headers.push((format!("x-ratelimit-remaining-{name}"), left.to_string()));
        headers.push((format!("x-ratelimit-reset-{name}"), format!("{}s", window.left_seconds())));
    }
    headers
}

fn model_entry(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 1_780_000_000, "owned_by": "openai" })
}

fn models() -> Value {
    let data: Vec<Value> = ["gpt-6.1-sol", "gpt-6-luna", "gpt-5.5", "gpt-5.4-mini"].map(model_entry).to_vec();
    json!({ "object": "list", "data": data })
}
