//! The simulated ChatGPT back end, which Codex CLI speaks to with a subscription.

use http::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, Seat};
use crate::books::TokenCounts;
use crate::checks::gate;
use crate::exchange::{Call, Shared, Verdict, first_text};
use crate::faults::Fault;
use crate::openai::{self, detail, error};
use crate::responses::{self, Turn};
use crate::socket;
use crate::state::{Account, State, Target, Window};
use crate::talk;
use crate::tokens::Access;
use crate::world::Kind;

pub(crate) fn answer(shared: &Shared, call: &Call) -> Verdict {
    let path = call.path.strip_prefix("/backend-api").unwrap_or(&call.path);
    let mut state = shared.state.lock();
    if path == "/ps/mcp" {
        return Verdict::plain(mcp(call));
    }
    let index = match authenticate(&state, call) {
        Ok(index) => index,
        Err(answer) => return Verdict::plain(answer),
    };
    match (call.method.as_str(), path) {
        ("POST", "/codex/responses") => respond(&mut state, call, index),
        ("POST", "/codex/responses/compact") => compact(&mut state, call, index),
        ("GET", "/codex/responses") => handshake(&mut state, call, index),
        ("GET", "/codex/models") => probe(&mut state, call, index, |_| json!({ "models": [] })),
        ("GET", "/wham/usage") => probe(&mut state, call, index, usage),
        ("GET", "/wham/accounts/check") => probe(&mut state, call, index, accounts_check),
        ("GET", "/wham/rate-limit-reset-credits") => {
            probe(&mut state, call, index, |_| json!({ "credits": [], "available_count": 0 }))
        }
        _ => Verdict::plain(openai::not_found(&call.method, &call.path)).on(index),
    }
}

fn authenticate(state: &State, call: &Call) -> Result<usize, Answer> {
    let token = call.bearer().ok_or_else(|| detail(401, "Unauthorized"))?;
    let (owner, access) = state.owner(token, &[Kind::ChatGpt]);
    let index = owner.ok_or_else(|| detail(401, "Unauthorized"))?;
    let account = &state.accounts[index];
    match access {
        Access::Expired => {
            return Err(refusal(account, &Fault::Expired, "", None).unwrap_or_else(|| detail(401, "Unauthorized")));
        }
        Access::Revoked => {
            return Err(refusal(account, &Fault::Revoked, "", None).unwrap_or_else(|| detail(401, "Unauthorized")));
        }
        Access::Good | Access::Unknown => {}
    }
    match call.header("chatgpt-account-id") {
        Some(id) if id == account.spec.workspace => Ok(index),
        // A personal account is found without it.
        None => Ok(index),
        Some(_) => Err(Answer::json(403, &json!({ "detail": { "code": "invalid_workspace_selected" } }))),
    }
}

fn probe(state: &mut State, call: &Call, index: usize, body: fn(&mut Account) -> Value) -> Verdict {
    let (answer, fault) = match gate(state, index, Target::Probe, "", refusal) {
        Ok(fault) => (Answer::json(200, &body(&mut state.accounts[index])), fault),
        Err(refused) => refused,
    };
    let answer = answer.header("x-request-id", format!("req_fake_{}", call.id));
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

/// The upgrade to a WebSocket, with the limits as they stand.
fn handshake(state: &mut State, call: &Call, index: usize) -> Verdict {
    if !socket::is_asked_for(call) {
        return Verdict::plain(openai::upgrade_required()).on(index);
    }
    let sound = socket::sound(call).and_then(|()| foreign_state(state, call, index)).map_err(|no| (no, Fault::Fine));
    let (answer, fault) = match sound.and_then(|()| gate(state, index, Target::Handshake, "", refusal)) {
        Ok(fault) => {
            let account = &state.accounts[index];
            let answer =
                Answer::socket(Seat { account: index, chatgpt: true, echo: None }).headers(limit_headers(account));
            (answer.header("x-codex-turn-state", format!("ts-fake-{}-{}", account.tag, call.id)), fault)
        }
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

pub(crate) fn respond(state: &mut State, call: &Call, index: usize) -> Verdict {
    let model = call.model().to_owned();
    let conversation = conversation(call);
    let (answer, fault) = match admit(state, call, index, &model) {
        Ok(fault) => (turn(state, call, index, &model, &fault), fault),
        Err(refused) => refused,
    };
    let answer = answer.header("x-request-id", format!("req_fake_{}", call.id));
    Verdict { answer, fault, account: Some(index), inference: true, model: Some(model), conversation }
}

fn admit(state: &mut State, call: &Call, index: usize, model: &str) -> Result<Fault, (Answer, Fault)> {
    let sound = body_of_a_subscription(call)
        .and_then(|()| foreign_state(state, call, index))
        .and_then(|()| openai::foreign_reasoning(state, call, index));
    sound.map_err(|answer| (answer, Fault::Fine))?;
    gate(state, index, Target::Inference, model, refusal)
}

fn turn(state: &mut State, call: &Call, index: usize, model: &str, fault: &Fault) -> Answer {
    let say = talk::decide(state, &responses::tools(&call.json), responses::tool_answered(&call.json));
    let pieces = talk::pieces(&[&call.json["instructions"], &call.json["tools"], &call.json["input"]]);
    let measured = talk::measure(state, index, &pieces, &say, responses::thinks(&call.json));
    let (credit, told) = talk::credit(index, responses::counts(measured, model), fault);
    let account = &state.accounts[index];
    let mut limits = rate_limits(account);
    if *fault == Fault::LimitEvent {
        limits["rate_limits"]["primary"]["used_percent"] = json!(100.0);
        limits["rate_limits"]["limit_reached"] = true.into();
    }
    let limits = Some(limits);
    let turn = Turn { call, tag: &account.tag, say: &say, told, limits };
    if socket::is_prewarm(call) {
        return responses::prewarmed(&turn).credit(index, TokenCounts::default());
    }
    responses::answer(&turn)
        .headers(limit_headers(account))
        .header("x-codex-turn-state", format!("ts-fake-{}-{}", account.tag, call.id))
        .header("openai-model", model)
        .credit(credit.account, credit.tokens)
}

fn compact(state: &mut State, call: &Call, index: usize) -> Verdict {
    let model = call.model().to_owned();
    let (answer, fault) = match gate(state, index, Target::Inference, &model, refusal) {
        Ok(fault) => {
            let pieces = talk::pieces(&[&call.json["instructions"], &call.json["input"]]);
            let say = talk::text(state, false);
            let measured = talk::measure(state, index, &pieces, &say, false);
            let tag = &state.accounts[index].tag;
            let sealed = format!("gAAAAAfake-{tag}-{}", call.id);
            let output =
                json!([{ "type": "compaction", "id": format!("cmp_fake_{}", call.id), "encrypted_content": sealed }]);
            let counts = responses::counts(measured, &model);
            let body = json!({ "output": output, "usage": responses::usage(counts) });
            (Answer::json(200, &body).headers(limit_headers(&state.accounts[index])).credit(index, counts), fault)
        }
        Err(refused) => refused,
    };
    let conversation = conversation(call);
    Verdict { answer, fault, account: Some(index), inference: true, model: Some(model), conversation }
}

fn conversation(call: &Call) -> Option<String> {
    let names = ["thread-id", "session-id", "session_id", "conversation_id"].map(|name| call.header(name));
    first_text(&names).or_else(|| call.json["prompt_cache_key"].as_str().map(str::to_owned))
}

/// What the ChatGPT back end does not take though the public API does.
fn body_of_a_subscription(call: &Call) -> Result<(), Answer> {
    let body = &call.json;
    // Codex's newer "lite" requests carry their instructions as developer messages.
    let lite = call.header("x-openai-internal-codex-responses-lite") == Some("true");
    let fault = if !body.is_object() {
        "Invalid JSON body"
    } else if body["store"] != false {
        "Store must be set to false"
    } else if body["stream"] != true {
        "Stream must be set to true"
    } else if !lite && body["instructions"].as_str().is_none_or(str::is_empty) {
        "Instructions are required"
    } else if !body["previous_response_id"].is_null() && !call.socket {
        "Unsupported parameter: previous_response_id"
    } else if !body["max_output_tokens"].is_null() {
        "Unsupported parameter: max_output_tokens"
    } else if !body["input"].is_array() {
        "Input must be a list"
    } else {
        return Ok(());
    };
    Err(detail(400, fault))
}

/// A turn state is good on the account that gave it out only.
fn foreign_state(state: &State, call: &Call, index: usize) -> Result<(), Answer> {
    let told = call.header("x-codex-turn-state");
    match told.or_else(|| call.json["client_metadata"]["x-codex-turn-state"].as_str()) {
        Some(text) if state.minter(text) != Some(index) => {
            Err(error(400, "invalid_request_error", Some("invalid_turn_state"), "Invalid x-codex-turn-state."))
        }
        _ => Ok(()),
    }
}

fn refusal(account: &Account, fault: &Fault, model: &str, window: Option<&Window>) -> Option<Answer> {
    Some(match fault {
        Fault::Limit => {
            let window = window?;
            let body = json!({ "error": {
                "type": "usage_limit_reached",
                "message": "The usage limit has been reached",
                "plan_type": account.spec.plan,
                "resets_at": window.resets_at,
                "resets_in_seconds": window.left_seconds(),
                "eligible_promo": null,
            }});
            let answer = Answer::json(429, &body).headers(limit_headers(account));
            match &window.spec.family {
                Some(family) => answer.header("x-codex-active-limit", format!("codex_{family}")),
                None => answer.header("x-codex-active-limit", "codex"),
            }
        }
        Fault::Expired => error(
            401,
            "",
            Some("token_expired"),
            "Provided authentication token is expired. Please try signing in again.",
        ),
        Fault::Revoked => error(
            401,
            "",
            Some("token_revoked"),
            "Your authentication token has been revoked. Please try signing in again.",
        ),
        Fault::Unpaid => Answer::json(402, &json!({ "detail": { "code": "deactivated_workspace" } })),
        Fault::Forbidden => Answer::json(403, &json!({ "detail": { "code": "invalid_workspace_selected" } })),
        Fault::ModelNotSupported => {
            detail(400, &format!("The '{model}' model is not supported when using Codex with a ChatGPT account."))
        }
        Fault::BadRequest => detail(400, "Invalid value: fake fault 'bad_request'"),
        Fault::CreditTooLow => {
            let body =
                json!({ "error": { "type": "usage_not_included", "message": "Your plan does not include Codex." } });
            Answer::json(429, &body)
        }
        other => return openai::common_refusal(other),
    })
}

/// The windows as `x-codex-*` headers: two for the plan, one for each model family.
fn limit_headers(account: &Account) -> Vec<(String, String)> {
    let mut headers = vec![
        ("x-codex-plan-type".to_owned(), account.spec.plan.clone()),
        ("x-codex-credits-has-credits".to_owned(), "False".to_owned()),
        ("x-codex-credits-unlimited".to_owned(), "False".to_owned()),
    ];
    let mut put = |family: &str, place: &str, window: &Window| {
        let head = format!("x-{family}-{place}");
        headers.push((format!("{head}-used-percent"), format!("{:?}", window.percent())));
        headers.push((format!("{head}-window-minutes"), (window.spec.span.as_secs() / 60).to_string()));
        headers.push((format!("{head}-reset-after-seconds"), window.left_seconds().to_string()));
        headers.push((format!("{head}-reset-at"), window.resets_at.to_string()));
        if window.spec.family.is_some() {
            headers.push((format!("x-{family}-limit-name"), window.spec.name.clone()));
        }
    };
    for (place, window) in ["primary", "secondary"].into_iter().zip(plan_windows(account)) {
        put("codex", place, window);
    }
    for window in &account.windows {
        if let Some(family) = &window.spec.family {
            put(&format!("codex-{family}"), "primary", window);
        }
    }
    headers
}

fn plan_windows(account: &Account) -> impl Iterator<Item = &Window> {
    account.windows.iter().filter(|window| window.spec.family.is_none())
}

/// The same as a stream event.
fn rate_limits(account: &Account) -> Value {
    let one = |window: Option<&Window>| match window {
        Some(window) => json!({
            "used_percent": window.percent(),
            "window_minutes": window.spec.span.as_secs() / 60,
            "reset_at": window.resets_at,
        }),
        None => Value::Null,
    };
    let mut windows = plan_windows(account);
    json!({
        "plan_type": account.spec.plan,
        "rate_limits": { "primary": one(windows.next()), "secondary": one(windows.next()) },
        "credits": { "has_credits": false, "unlimited": false, "balance": null },
    })
}

/// `GET /wham/usage`.
fn usage(account: &mut Account) -> Value {
    account.settle();
    let one = |window: Option<&Window>| match window {
        Some(window) => json!({
            "used_percent": window.percent().round() as i64,
            "limit_window_seconds": window.spec.span.as_secs(),
            "reset_after_seconds": window.left_seconds(),
            "reset_at": window.resets_at,
        }),
        None => Value::Null,
    };
    let limit = |windows: Vec<&Window>| {
        let reached = windows.iter().any(|window| window.used >= 1.0);
        let mut windows = windows.into_iter();
        json!({
            "allowed": !reached, "limit_reached": reached,
            "primary_window": one(windows.next()), "secondary_window": one(windows.next()),
        })
    };
    let families = account.windows.iter().filter(|window| window.spec.family.is_some());
    let additional: Vec<Value> = families
        .map(|window| {
            let metered = window.spec.family.as_ref().map(|family| format!("codex_{family}"));
            json!({ "limit_name": window.spec.name, "metered_feature": metered, "rate_limit": limit(vec![window]) })
        })
        .collect();
    json!({
        "plan_type": account.spec.plan,
        "rate_limit": limit(plan_windows(account).collect()),
        "credits": { "has_credits": false, "unlimited": false, "balance": "0" },
        "additional_rate_limits": additional,
        "rate_limit_reset_credits": { "available_count": 0 },
    })
}

fn accounts_check(account: &mut Account) -> Value {
    json!({ "accounts": [{
        "id": account.spec.workspace,
        "plan_type": account.spec.plan,
        "workspace_backend_origin": "https://chatgpt.com",
        "account_routing_override": "NO_CONSTRAINT",
    }] })
}

/// Just enough of the Model Context Protocol for a client that asks for no tools.
fn mcp(call: &Call) -> Answer {
    if call.method != Method::POST {
        return openai::not_found(&call.method, &call.path);
    }
    let result = match call.json["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
            "serverInfo": { "name": "codex_apps", "version": "0" },
        }),
        Some("tools/list") => json!({ "tools": [] }),
        _ => return Answer::text(202, "application/json", ""),
    };
    Answer::json(200, &json!({ "jsonrpc": "2.0", "id": call.json["id"], "result": result }))
}
