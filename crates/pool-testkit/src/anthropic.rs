//! The simulated `api.anthropic.com`: subscriptions (OAuth and setup tokens) and API keys.

use memchr::memmem;
use serde_json::{Value, json};

use crate::answer::{Answer, Event, Part, Stream};
use crate::books::TokenCounts;
use crate::checks::gate;
use crate::exchange::{Call, Shared, Verdict};
use crate::faults::Fault;
use crate::objects;
use crate::state::{Account, State, Target, Window};
use crate::talk::{self, Measured, Say, Tool};
use crate::tokens::{self, Access};
use crate::weight;
use crate::world::Kind;

const SUBSCRIPTIONS: [Kind; 2] = [Kind::ClaudeOAuth, Kind::ClaudeSetupToken];

pub(crate) fn answer(shared: &Shared, call: &Call) -> Verdict {
    if call.path == "/api/hello" || call.path == "/" {
        return Verdict::plain(Answer::json(200, &json!({ "message": "hello" })));
    }
    let mut state = shared.state.lock();
    let index = match authenticate(&state, call) {
        Ok(index) => index,
        Err(answer) => return Verdict::plain(answer),
    };
    if let Some(answer) = objects::of_anthropic(&mut state, call, index) {
        return objects::gated(&mut state, call, index, answer, refusal);
    }
    let verdict = match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/v1/messages") => messages(&mut state, call, index),
        ("POST", "/v1/messages/count_tokens") => count_tokens(&mut state, call, index),
        ("GET", "/v1/models") => probe(&mut state, index, |_| models()),
        ("GET", path) if path.starts_with("/v1/models/") => {
            probe(&mut state, index, |_| model_entry("claude-opus-5-5"))
        }
        ("GET", "/api/oauth/usage" | "/api/oauth/profile") => oauth_read(&mut state, call, index),
        _ => {
            let message = format!("fake upstream has no {} {}", call.method, call.path);
            Verdict::plain(error(404, "not_found_error", &message)).on(index)
        }
    };
    Verdict { answer: verdict.answer.header("request-id", format!("req_fake_{}", call.id)), ..verdict }
}

fn authenticate(state: &State, call: &Call) -> Result<usize, Answer> {
    let unauthorized = |message: &str| error(401, "authentication_error", message);
    if let Some(key) = call.header("x-api-key") {
        return match state.owner(key, &[Kind::AnthropicKey]) {
            (Some(index), Access::Good) => Ok(index),
            _ => Err(unauthorized("invalid x-api-key")),
        };
    }
    let token = call.bearer().ok_or_else(|| unauthorized("x-api-key header is required"))?;
    // Since the API version of 2026-10-21 the SDKs send keys as bearer tokens.
    if call.header("anthropic-version").is_some_and(|version| version >= "2026-10-21")
        && let (Some(index), Access::Good) = state.owner(token, &[Kind::AnthropicKey])
    {
        return Ok(index);
    }
    let mut betas = call.headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok());
    let has_beta = betas.any(|list| list.split(',').any(|one| one.trim() == "oauth-2025-04-20"));
    match state.owner(token, &SUBSCRIPTIONS) {
        (Some(_), Access::Expired) => {
            Err(unauthorized("OAuth token has expired. Please obtain a new token or refresh your existing token."))
        }
        (Some(_), Access::Revoked) => Err(unauthorized("OAuth access token has been revoked.")),
        (Some(index), _) if has_beta => Ok(index),
        (Some(_), _) => Err(unauthorized("OAuth authentication is currently not supported.")),
        (None, _) => Err(unauthorized("Invalid bearer token")),
    }
}

fn probe(state: &mut State, index: usize, body: fn(&mut Account) -> Value) -> Verdict {
    let (answer, fault) = match gate(state, index, Target::Probe, "", refusal) {
        Ok(fault) => (Answer::json(200, &body(&mut state.accounts[index])), fault),
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

/// Usage and profile: of subscriptions that may read their profile.
fn oauth_read(state: &mut State, call: &Call, index: usize) -> Verdict {
    match state.accounts[index].spec.kind {
        Kind::ClaudeOAuth if call.path.ends_with("usage") => probe(state, index, usage),
        Kind::ClaudeOAuth => probe(state, index, profile),
        Kind::ClaudeSetupToken => {
            let message = "OAuth token does not meet scope requirement user:profile";
            Verdict::plain(error(403, "permission_error", message)).on(index)
        }
        _ => Verdict::plain(error(401, "authentication_error", "Invalid bearer token")).on(index),
    }
}

fn messages(state: &mut State, call: &Call, index: usize) -> Verdict {
    let model = call.model().to_owned();
    let sound = sound(state, call, index).map_err(|answer| (answer, Fault::Fine));
    let (answer, fault) = match sound.and_then(|()| gate(state, index, Target::Inference, &model, refusal)) {
        Ok(fault) => (message(state, call, index, &fault), fault),
        Err(refused) => refused,
    };
    let user: Value =
        call.json["metadata"]["user_id"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let session = call.header("x-claude-code-session-id").or_else(|| user["session_id"].as_str());
    let conversation = session.map(str::to_owned);
    Verdict { answer, fault, account: Some(index), inference: true, model: Some(model), conversation }
}

fn sound(state: &State, call: &Call, index: usize) -> Result<(), Answer> {
    let bad = |message: &str| Err(error(400, "invalid_request_error", message));
    if call.header("anthropic-version").is_none() {
        return bad("anthropic-version: header is required");
    }
    if !call.json.is_object() {
        return bad("The request body is not valid JSON");
    }
    for (field, present) in [
        ("model", call.json["model"].is_string()),
        ("messages", call.json["messages"].is_array()),
        ("max_tokens", call.json["max_tokens"].is_u64() || call.path.ends_with("count_tokens")),
    ] {
        if !present {
            return bad(&format!("{field}: Field required"));
        }
    }
    let bind = state.world.bind_thinking;
    for (at, message) in call.json["messages"].as_array().into_iter().flatten().enumerate() {
        for (block, content) in message["content"].as_array().into_iter().flatten().enumerate() {
            let Some(signature) = content["signature"].as_str() else { continue };
            let minter = state.minter(signature);
            if minter.is_none() || (bind && minter != Some(index)) {
                return bad(&format!("messages.{at}.content.{block}: Invalid `signature` in `thinking` block"));
            }
        }
    }
    Ok(())
}

fn message(state: &mut State, call: &Call, index: usize, fault: &Fault) -> Answer {
    let offered = call.json["tools"].as_array().into_iter().flatten();
    let tools: Vec<Tool> = offered
        .filter_map(|tool| {
            Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: tool.get("input_schema")?.clone() })
        })
        .collect();
    let mut users = call.json["messages"].as_array().into_iter().flatten().filter(|message| message["role"] == "user");
    let answered = users
        .next_back()
        .and_then(|last| last["content"].as_array())
        .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"));
    let schema = &call.json["output_config"]["format"]["schema"];
    let say = if schema.is_object() {
        Say::Text(vec![talk::example(schema).to_string()])
    } else {
        talk::decide(state, &tools, answered)
    };
    let pieces = talk::pieces(&[&call.json["tools"], &call.json["system"], &call.json["messages"]]);
    let measured = talk::measure(state, index, &pieces, &say, false);
    let (credit, told) = talk::credit(index, counts(measured, &call.body), fault);
    let thinks = ["enabled", "adaptive"].iter().any(|kind| call.json["thinking"]["type"] == **kind);
    let account = &mut state.accounts[index];
    let signature = thinks.then(|| format!("fakesig-{}-{}-{}", account.tag, call.id, "s".repeat(60)));
    let answer = if call.wants_stream() {
        Answer::stream(stream(call, &say, told, signature.as_deref()))
    } else {
        Answer::json(200, &whole(call, &say, told, signature.as_deref()))
    };
    answer.headers(limit_headers(account, None)).credit(credit.account, credit.tokens)
}

/// Nothing is cached unless the request marks something for caching. A few tokens stand behind the mark, but not in a prompt
/// that says how much it weighs.
fn counts(measured: Measured, body: &[u8]) -> TokenCounts {
    let marked = |what: &str| memmem::find(body, what.as_bytes()).is_some();
    let fresh = measured.prompt - measured.cached;
    let output = measured.said + measured.reasoning;
    if !marked("\"cache_control\"") {
        return TokenCounts { input: measured.prompt, output, ..TokenCounts::default() };
    }
    let behind = if weight::is_told(body) { 0 } else { 12 };
    let written = fresh.saturating_sub(behind);
    let hour = marked("\"ttl\":\"1h\"") || marked("\"ttl\": \"1h\"");
    TokenCounts {
        input: fresh - written,
        cache_read: measured.cached,
        cache_write_5m: if hour { 0 } else { written },
        cache_write_1h: if hour { written } else { 0 },
        output,
        reasoning: 0,
    }
}

fn usage_value(told: TokenCounts, output: u64) -> Value {
    json!({
        "input_tokens": told.input,
        "cache_creation_input_tokens": told.cache_write_5m.saturating_add(told.cache_write_1h),
        "cache_read_input_tokens": told.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": told.cache_write_5m,
            "ephemeral_1h_input_tokens": told.cache_write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn blocks(call: &Call, say: &Say, signature: Option<&str>) -> (Vec<Value>, &'static str) {
    let mut blocks = Vec::new();
    if let Some(signature) = signature {
        blocks.push(json!({ "type": "thinking", "thinking": "", "signature": signature }));
    }
    match say {
        Say::Text(parts) => {
            blocks.push(json!({ "type": "text", "text": parts.concat() }));
            (blocks, "end_turn")
        }
        Say::Tool { name, arguments } => {
            let id = format!("toolu_fake_{}", call.id);
            blocks.push(json!({ "type": "tool_use", "id": id, "name": name, "input": arguments }));
            (blocks, "tool_use")
        }
    }
}

fn whole(call: &Call, say: &Say, told: TokenCounts, signature: Option<&str>) -> Value {
    let (content, reason) = blocks(call, say, signature);
    json!({
        "id": format!("msg_fake_{}", call.id), "type": "message", "role": "assistant", "model": call.model(),
        "content": content, "stop_reason": reason, "stop_sequence": null, "usage": usage_value(told, told.output),
    })
}

fn stream(call: &Call, say: &Say, told: TokenCounts, signature: Option<&str>) -> Stream {
    let start = json!({
        "id": format!("msg_fake_{}", call.id), "type": "message", "role": "assistant", "model": call.model(),
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage_value(told, 1),
    });
    let mut events = vec![
        Event::typed("message_start", Part::Preamble, json!({ "message": start })),
        Event::typed("ping", Part::Preamble, json!({})),
    ];
    let (content, reason) = blocks(call, say, signature);
    for (index, block) in content.iter().enumerate() {
        let (opening, deltas) = deltas(block, say);
        events.push(Event::typed(
            "content_block_start",
            Part::Content,
            json!({ "index": index, "content_block": opening }),
        ));
        for delta in deltas {
            events.push(Event::typed("content_block_delta", Part::Content, json!({ "index": index, "delta": delta })));
        }
        events.push(Event::typed("content_block_stop", Part::Content, json!({ "index": index })));
    }
    let delta =
        json!({ "delta": { "stop_reason": reason, "stop_sequence": null }, "usage": { "output_tokens": told.output } });
    events.push(Event::typed("message_delta", Part::Content, delta));
    events.push(Event::typed("message_stop", Part::Terminal, json!({})));
    let overloaded = json!({ "error": { "type": "overloaded_error", "message": "Overloaded" }, "request_id": format!("req_fake_{}", call.id) });
    Stream::new(events, Event::typed("error", Part::Terminal, overloaded))
}

/// How a block begins, and what is added to it bit by bit.
fn deltas(block: &Value, say: &Say) -> (Value, Vec<Value>) {
    let mut opening = block.clone();
    match (block["type"].as_str(), say) {
        (Some("thinking"), _) => {
            opening["signature"] = "".into();
            (opening, vec![json!({ "type": "signature_delta", "signature": block["signature"] })])
        }
        (Some("tool_use"), Say::Tool { arguments, .. }) => {
            opening["input"] = json!({});
            let text = arguments.to_string();
            let pieces = text.as_bytes().chunks(12).map(|piece| String::from_utf8_lossy(piece).into_owned());
            (opening, pieces.map(|piece| json!({ "type": "input_json_delta", "partial_json": piece })).collect())
        }
        (_, Say::Text(parts)) => {
            opening["text"] = "".into();
            (opening, parts.iter().map(|part| json!({ "type": "text_delta", "text": part })).collect())
        }
        _ => (opening, Vec::new()),
    }
}

fn count_tokens(state: &mut State, call: &Call, index: usize) -> Verdict {
    let gated = sound(state, call, index).map_err(|answer| (answer, Fault::Fine));
    let (answer, fault) = match gated.and_then(|()| gate(state, index, Target::Probe, call.model(), refusal)) {
        Ok(fault) => {
            let pieces = talk::pieces(&[&call.json["tools"], &call.json["system"], &call.json["messages"]]);
            let tokens: u64 = pieces.iter().map(|piece| weight::tokens(piece)).sum();
            (Answer::json(200, &json!({ "input_tokens": tokens })), fault)
        }
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

fn refusal(account: &Account, fault: &Fault, model: &str, window: Option<&Window>) -> Option<Answer> {
    let key = account.spec.kind == Kind::AnthropicKey;
    Some(match fault {
        Fault::Limit => {
            let window = window?;
            let message = if key {
                format!("This request would exceed your organization's rate limit of {} per minute.", window.spec.name)
            } else {
                "This request would exceed your account's rate limit. Please try again later.".to_owned()
            };
            error(429, "rate_limit_error", &message)
                .header("retry-after", window.left_seconds().to_string())
                .header("x-should-retry", "true")
                .headers(limit_headers(account, Some(window)))
        }
        Fault::Throttle { retry_after } => {
            error(429, "rate_limit_error", "Number of concurrent connections has exceeded your rate limit.")
                .header("retry-after", retry_after.to_string())
        }
        Fault::Expired | Fault::Revoked if key => error(401, "authentication_error", "invalid x-api-key"),
        Fault::Expired => error(
            401,
            "authentication_error",
            "OAuth token has expired. Please obtain a new token or refresh your existing token.",
        ),
        Fault::Revoked => error(401, "authentication_error", "OAuth access token has been revoked."),
        Fault::Unpaid => error(402, "billing_error", "Your account has an unpaid invoice."),
        Fault::Forbidden if key => {
            error(403, "permission_error", "Your API key does not have permission to use the specified resource.")
        }
        Fault::Forbidden => {
            error(403, "permission_error", "OAuth authentication is currently not allowed for this organization.")
        }
        Fault::CreditTooLow => error(
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
        ),
        Fault::ModelNotSupported => error(404, "not_found_error", &format!("model: {model}")),
        Fault::BadRequest => error(400, "invalid_request_error", "messages.0.content: fake fault 'bad_request'"),
        Fault::ServerError => error(500, "api_error", "Internal server error"),
        Fault::Overloaded => error(529, "overloaded_error", "Overloaded"),
        _ => return None,
    })
}

pub(crate) fn error(status: u16, kind: &str, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_fake" }),
    )
}

/// `5h` and `7d` are told with every reply; a model family's window only when it is the one that refuses.
fn limit_headers(account: &Account, refusing: Option<&Window>) -> Vec<(String, String)> {
    if account.spec.kind == Kind::AnthropicKey {
        return key_headers(account);
    }
    let mut headers = vec![("anthropic-organization-id".to_owned(), account.spec.workspace.clone())];
    let mut put = |suffix: &str, value: String| headers.push((format!("anthropic-ratelimit-unified-{suffix}"), value));
    let status = |window: &Window| match window.used {
        used if used >= 1.0 => "rejected",
        used if used >= 0.9 => "allowed_warning",
        _ => "allowed",
    };
    let plan: Vec<&Window> = account.windows.iter().filter(|window| window.spec.family.is_none()).collect();
    for window in &plan {
        let name = &window.spec.name;
        put(&format!("{name}-status"), status(window).to_owned());
        put(&format!("{name}-utilization"), format!("{:.4}", window.used));
        put(&format!("{name}-reset"), window.resets_at.to_string());
        if window.used >= 0.9 {
            put(&format!("{name}-surpassed-threshold"), "0.9".to_owned());
        }
    }
    let fullest = plan.iter().copied().max_by(|a, b| a.used.total_cmp(&b.used));
    if let Some(window) = refusing.or(fullest) {
        put("status", status(window).to_owned());
        put("reset", window.resets_at.to_string());
        put("representative-claim", claim(window));
    }
    put("fallback-percentage", "0.5".to_owned());
    // As seen on plans without extra usage, also on good replies.
    put("overage-status", "rejected".to_owned());
    put("overage-disabled-reason", "out_of_credits".to_owned());
    headers
}

fn claim(window: &Window) -> String {
    match (window.spec.name.as_str(), &window.spec.family) {
        ("5h", _) => "five_hour".to_owned(),
        (_, Some(family)) => format!("seven_day_{family}"),
        _ => "seven_day".to_owned(),
    }
}

fn key_headers(account: &Account) -> Vec<(String, String)> {
    let mut headers = vec![("anthropic-organization-id".to_owned(), account.spec.workspace.clone())];
    for window in &account.windows {
        let left = (window.spec.capacity * (1.0 - window.used)).max(0.0) as u64;
        let name = format!("anthropic-ratelimit-{}", window.spec.name);
        headers.push((format!("{name}-limit"), (window.spec.capacity as u64).to_string()));
        headers.push((format!("{name}-remaining"), left.to_string()));
        headers.push((format!("{name}-reset"), tokens::rfc3339(window.resets_at)));
    }
    headers
}

/// `GET /api/oauth/usage`.
fn usage(account: &mut Account) -> Value {
    account.settle();
    let one = |found: Option<&Window>| match found {
        Some(window) => json!({ "utilization": window.percent(), "resets_at": tokens::rfc3339(window.resets_at) }),
        None => Value::Null,
    };
    let named = |name: &str| account.windows.iter().find(|window| window.spec.name == name);
    let family = |name: &str| account.windows.iter().find(|window| window.spec.family.as_deref() == Some(name));
    json!({
        "five_hour": one(named("5h")),
        "seven_day": one(named("7d")),
        "seven_day_oauth_apps": null,
        "seven_day_opus": one(family("opus")),
        "seven_day_sonnet": one(family("sonnet")),
        "extra_usage": { "is_enabled": false, "monthly_limit": null, "used_credits": null, "utilization": null },
    })
}

fn profile(account: &mut Account) -> Value {
    let spec = &account.spec;
    json!({
        "account": { "uuid": tokens::made_up_uuid(&spec.user), "email": spec.email, "has_claude_max": true, "has_claude_pro": false },
        "organization": { "uuid": spec.workspace, "organization_type": "claude_max", "rate_limit_tier": spec.plan },
    })
}

fn model_entry(id: &str) -> Value {
    json!({ "type": "model", "id": id, "display_name": id, "created_at": "2026-08-01T00:00:00Z" })
}

fn models() -> Value {
    let data: Vec<Value> = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"].map(model_entry).to_vec();
    json!({ "data": data, "has_more": false, "first_id": "claude-opus-5-5", "last_id": "claude-haiku-5-5" })
}
