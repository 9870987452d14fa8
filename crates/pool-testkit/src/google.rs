//! The simulated Google: Code Assist for logins, the public Gemini API for keys.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::books::TokenCounts;
use crate::checks::gate;
use crate::exchange::{Call, Shared, Verdict};
use crate::faults::Fault;
use crate::generate::{Wrapped, infer};
use crate::objects;
use crate::state::{Account, State, Target, Window};
use crate::talk;
use crate::tokens::{self, Access};
use crate::weight;
use crate::world::Kind;
use crate::{echo, socket};

/// `{base}/codeassist/v1internal:METHOD`.
pub(crate) fn code_assist(shared: &Shared, call: &Call) -> Verdict {
    let mut state = shared.state.lock();
    let token = call.bearer().unwrap_or_default();
    let (Some(index), Access::Good) = state.owner(token, &[Kind::GeminiOAuth]) else {
        return Verdict::plain(unauthenticated());
    };
    let method = call.path.strip_prefix("/v1internal:").unwrap_or_default();
    match method {
        "generateContent" | "streamGenerateContent" => {
            let wrapped = Wrapped::Yes;
            let check = foreign_project(&state, call, index).and_then(|()| {
                if call.json["request"].is_object() {
                    Ok(())
                } else {
                    Err(error(
                        400,
                        "INVALID_ARGUMENT",
                        "Request contains an invalid argument: request is required.",
                        &[],
                    ))
                }
            });
            infer(&mut state, call, index, &call.json["request"], call.model(), method, wrapped, check)
        }
        "countTokens" => count(&mut state, call, index, &call.json["request"]),
        "loadCodeAssist" => probe(&mut state, index, load),
        "retrieveUserQuota" => match foreign_project(&state, call, index) {
            Ok(()) => probe(&mut state, index, quota),
            Err(answer) => Verdict::plain(answer).on(index),
        },
        "listExperiments" => probe(&mut state, index, |_| json!({ "experimentIds": [], "flags": [] })),
        "onboardUser" => probe(&mut state, index, |account| {
            let project = json!({ "id": account.spec.workspace, "name": account.spec.workspace });
            json!({ "done": true, "name": "operations/fake", "response": { "cloudaicompanionProject": project } })
        }),
        "fetchAdminControls" | "recordCodeAssistMetrics" => probe(&mut state, index, |_| json!({})),
        "getCodeAssistGlobalUserSetting" | "setCodeAssistGlobalUserSetting" => probe(
            &mut state,
            index,
            |account| json!({ "cloudaicompanionProject": account.spec.workspace, "freeTierDataCollectionOptin": false }),
        ),
        _ => Verdict::plain(error(404, "NOT_FOUND", &format!("Method not found: {}", call.path), &[])).on(index),
    }
}

/// `{base}/google/v1beta/models/…`.
pub(crate) fn public(shared: &Shared, call: &Call) -> Verdict {
    let mut state = shared.state.lock();
    let in_query = call.query.split('&').find_map(|pair| pair.strip_prefix("key="));
    let key = call.header("x-goog-api-key").or(in_query);
    let Some(key) = key else {
        let answer = match call.bearer() {
            Some(_) => unauthenticated(),
            None => error(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
                &[],
            ),
        };
        return Verdict::plain(answer);
    };
    let (Some(index), Access::Good) = state.owner(key, &[Kind::GeminiKey]) else { return Verdict::plain(bad_key()) };
    if call.path.starts_with("/ws/") {
        return live(&mut state, call, index);
    }
    if let Some(answer) = objects::of_google(&mut state, call, index) {
        return objects::gated(&mut state, call, index, answer, refusal);
    }
    let path = ["/v1beta/", "/v1/"].iter().find_map(|version| call.path.strip_prefix(version)).unwrap_or_default();
    if call.method == http::Method::GET {
        return match path.strip_prefix("models") {
            Some("") => probe(&mut state, index, |_| models()),
            Some(_) => probe(&mut state, index, |_| model_entry("gemini-3.8-flash")),
            None => Verdict::plain(error(404, "NOT_FOUND", "Requested entity was not found.", &[])).on(index),
        };
    }
    let Some((model, method)) = path.strip_prefix("models/").and_then(|rest| rest.split_once(':')) else {
        return Verdict::plain(error(404, "NOT_FOUND", "Requested entity was not found.", &[])).on(index);
    };
    match method {
        "generateContent" | "streamGenerateContent" => {
            let check = known_fields(&call.json);
            infer(&mut state, call, index, &call.json, model, method, Wrapped::No, check)
        }
        "countTokens" => {
            let inner = call.json.get("generateContentRequest").unwrap_or(&call.json);
            count(&mut state, call, index, inner)
        }
        "embedContent" | "batchEmbedContents" => {
            let body = json!({ "embedding": { "values": [0.5, 0.5] }, "embeddings": [{ "values": [0.5, 0.5] }] });
            let counts = TokenCounts::default();
            let (answer, fault) = match gate(&mut state, index, Target::Inference, model, refusal) {
                Ok(fault) => (Answer::json(200, &body).credit(index, counts), fault),
                Err(refused) => refused,
            };
            Verdict {
                answer,
                fault,
                account: Some(index),
                inference: true,
                model: Some(model.to_owned()),
                conversation: None,
            }
        }
        _ => Verdict::plain(error(404, "NOT_FOUND", "Requested entity was not found.", &[])).on(index),
    }
}

/// The Live API's socket.
fn live(state: &mut State, call: &Call, index: usize) -> Verdict {
    let sound = socket::sound(call).map_err(|no| (no, Fault::Fine));
    let (answer, fault) = match sound.and_then(|()| gate(state, index, Target::Handshake, "", refusal)) {
        Ok(fault) => (echo::granted(call, index), fault),
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

fn count(state: &mut State, call: &Call, index: usize, request: &Value) -> Verdict {
    let (answer, fault) = match gate(state, index, Target::Probe, call.model(), refusal) {
        Ok(fault) => {
            let pieces = talk::pieces(&[&request["systemInstruction"], &request["contents"]]);
            let total: u64 = pieces.iter().map(|piece| weight::tokens(piece)).sum();
            (Answer::json(200, &json!({ "totalTokens": total })), fault)
        }
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

fn probe(state: &mut State, index: usize, body: fn(&mut Account) -> Value) -> Verdict {
    let (answer, fault) = match gate(state, index, Target::Probe, "", refusal) {
        Ok(fault) => (Answer::json(200, &body(&mut state.accounts[index])), fault),
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

/// A project belongs to one account.
fn foreign_project(state: &State, call: &Call, index: usize) -> Result<(), Answer> {
    match call.json["project"].as_str() {
        Some(project) if project != state.accounts[index].spec.workspace => {
            let message = format!("Permission denied on resource project {project}.");
            let details = [json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "CONSUMER_INVALID",
                "domain": "googleapis.com", "metadata": { "consumer": format!("projects/{project}") },
            })];
            Err(error(403, "PERMISSION_DENIED", &message, &details))
        }
        _ => Ok(()),
    }
}

/// The public API refuses what it does not know, as the wrapper's fields of Code Assist.
fn known_fields(body: &Value) -> Result<(), Answer> {
    const KNOWN: [&str; 16] = [
        "contents",
        "systemInstruction",
        "system_instruction",
        "tools",
        "toolConfig",
        "tool_config",
        "safetySettings",
        "safety_settings",
        "generationConfig",
        "generation_config",
        "cachedContent",
        "cached_content",
        "model",
        "serviceTier",
        "service_tier",
        "store",
    ];
    let Some(fields) = body.as_object() else {
        return Err(error(400, "INVALID_ARGUMENT", "Invalid JSON payload received.", &[]));
    };
    match fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        Some(name) => {
            let message = format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.");
            Err(error(400, "INVALID_ARGUMENT", &message, &[]))
        }
        None => Ok(()),
    }
}

pub(crate) fn refusal(account: &Account, fault: &Fault, model: &str, window: Option<&Window>) -> Option<Answer> {
    let key = account.spec.kind == Kind::GeminiKey;
    let info = |reason: &str| json!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "cloudcode-pa.googleapis.com", "metadata": { "model": model } });
    Some(match fault {
        Fault::Limit if key => key_limit(window?, model),
        Fault::Limit => {
            let window = window?;
            let delay = format!("{}s", window.left_seconds());
            let mut exhausted = info("QUOTA_EXHAUSTED");
            exhausted["metadata"]["quotaResetTimeStamp"] = tokens::rfc3339(window.resets_at).into();
            exhausted["metadata"]["quotaResetDelay"] = delay.as_str().into();
            let message =
                format!("You have exhausted your capacity on this model. Your quota will reset after {delay}.");
            error(429, "RESOURCE_EXHAUSTED", &message, &[exhausted, retry(&delay)])
        }
        Fault::Throttle { retry_after } => {
            let delay = format!("{retry_after}s");
            let message = "Resource has been exhausted (e.g. check quota).";
            error(429, "RESOURCE_EXHAUSTED", message, &[info("RATE_LIMIT_EXCEEDED"), retry(&delay)])
        }
        Fault::Expired | Fault::Revoked if key => bad_key(),
        Fault::Expired | Fault::Revoked => unauthenticated(),
        Fault::Unpaid => error(
            403,
            "PERMISSION_DENIED",
            "This API method requires billing to be enabled.",
            &[info("BILLING_DISABLED")],
        ),
        Fault::Forbidden => {
            let link = json!({ "@type": "type.googleapis.com/google.rpc.Help", "links": [{ "description": "Verify", "url": "https://example.invalid/verify" }] });
            error(403, "PERMISSION_DENIED", "Verify your account to continue.", &[info("VALIDATION_REQUIRED"), link])
        }
        Fault::CreditTooLow => error(
            429,
            "RESOURCE_EXHAUSTED",
            "Your credit balance is too low.",
            &[info("INSUFFICIENT_G1_CREDITS_BALANCE")],
        ),
        Fault::ModelNotSupported => error(
            404,
            "NOT_FOUND",
            &format!("models/{model} is not found for API version v1beta, or is not supported for generateContent."),
            &[],
        ),
        Fault::BadRequest => error(400, "INVALID_ARGUMENT", "fake fault 'bad_request'", &[]),
        Fault::ServerError => error(500, "INTERNAL", "An internal error has occurred.", &[]),
        Fault::Overloaded => error(
            503,
            "UNAVAILABLE",
            "The model is overloaded. Please try again later.",
            &[info("MODEL_CAPACITY_EXHAUSTED")],
        ),
        _ => return None,
    })
}

fn retry(delay: &str) -> Value {
    json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay })
}

fn key_limit(window: &Window, model: &str) -> Answer {
    let per = if window.spec.span.as_secs() >= 3600 { "PerDay" } else { "PerMinute" };
    let what = if window.spec.name == "tokens" { "Tokens" } else { "Requests" };
    let violation = json!({ "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": format!("Generate{what}{per}PerProjectPerModel"),
        "quotaDimensions": { "location": "global", "model": model },
        "quotaValue": (window.spec.capacity as u64).to_string(),
    }] });
    let delay = format!("{}s", window.left_seconds());
    let message = format!(
        "You exceeded your current quota, please check your plan and billing details. Please retry in {delay}."
    );
    error(429, "RESOURCE_EXHAUSTED", &message, &[violation, retry(&delay)])
}

fn unauthenticated() -> Answer {
    error(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
        &[],
    )
}

fn bad_key() -> Answer {
    let info = json!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com" });
    error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", &[info])
}

pub(crate) fn error(status: u16, name: &str, message: &str, details: &[Value]) -> Answer {
    let mut error = json!({ "code": status, "message": message, "status": name });
    if !details.is_empty() {
        error["details"] = details.into();
    }
    Answer::json(status, &json!({ "error": error }))
}

fn load(account: &mut Account) -> Value {
    let tier = json!({ "id": account.spec.plan, "name": "fake tier", "isDefault": true });
    match &account.spec.ineligible {
        Some(reason) => json!({
            "allowedTiers": [],
            "ineligibleTiers": [{ "reasonCode": "UNSUPPORTED_CLIENT", "reasonMessage": reason, "tierId": "free-tier", "tierName": "fake" }],
        }),
        None => json!({
            "currentTier": tier, "allowedTiers": [tier], "gcpManaged": false,
            "cloudaicompanionProject": account.spec.workspace,
        }),
    }
}

fn quota(account: &mut Account) -> Value {
    account.settle();
    let buckets: Vec<Value> = account
        .windows
        .iter()
        .map(|window| {
            let left = (1.0 - window.used).max(0.0);
            json!({
                "modelId": window.spec.name, "remainingFraction": left,
                "remainingAmount": ((window.spec.capacity * left) as u64).to_string(),
                "resetTime": tokens::rfc3339(window.resets_at), "tokenType": "REQUESTS",
            })
        })
        .collect();
    json!({ "buckets": buckets })
}

fn model_entry(id: &str) -> Value {
    json!({
        "name": format!("models/{id}"), "version": "001", "displayName": id, "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536, "supportedGenerationMethods": ["generateContent", "countTokens"],
    })
}

fn models() -> Value {
    let models: Vec<Value> = ["gemini-3.8-flash", "gemini-3.1-pro-preview", "gemini-2.5-pro"].map(model_entry).to_vec();
    json!({ "models": models })
}
