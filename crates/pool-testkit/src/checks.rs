//! Rules that hold for every provider: what must never arrive, which bodies can be read, and what an account lets through.

use std::io::Read as _;

use bytes::Bytes;
use memchr::memmem;

use crate::answer::Answer;
use crate::deliver;
use crate::exchange::{self, Arrived, Site};
use crate::faults::Fault;
use crate::state::{Account, State, Target, Window};
use crate::{anthropic, google, openai, socket};

/// What a request brings along that a provider should never be sent.
pub(crate) fn violations(arrived: &Arrived, forbidden: &[String]) -> Vec<String> {
    const FOREIGN: [&str; 10] = [
        "forwarded",
        "via",
        "x-real-ip",
        "cookie",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
        "cf-connecting-ip",
        "true-client-ip",
    ];
    let headers = &arrived.headers;
    let has = |name: &str| headers.contains_key(name);
    let path = arrived.uri.path();
    let mut found = Vec::new();
    for key in ["x-api-key", "x-goog-api-key"] {
        if has(key) && has("authorization") {
            found.push(format!("{key} beside authorization"));
        }
    }
    if has("chatgpt-account-id") && PREFIXES_OF_KEYS.iter().any(|prefix| path.starts_with(prefix)) {
        found.push("chatgpt-account-id on a call that is not ChatGPT's".to_owned());
    }
    // A client that speaks to the fake directly may send what it likes.
    let forwarded = exchange::below_a_base(path);
    for name in headers.keys().filter(|_| forwarded) {
        let name = name.as_str();
        let own = name == "upgrade" && socket::wants_upgrade(headers);
        if (FOREIGN.contains(&name) && !own) || name.starts_with("x-forwarded-") || name.starts_with("x-pool-") {
            found.push(format!("header {name}"));
        }
    }
    // A socket that a pool only passes on is between its ends.
    let unread = path.ends_with("/realtime") || path.contains("/ws/");
    if forwarded && !unread && headers.contains_key("sec-websocket-extensions") {
        found.push("an extension of WebSocket offered that a pool cannot speak".to_owned());
    }
    for name in headers.keys() {
        if headers.get_all(name).iter().count() > 1 && ["authorization", "x-api-key", "host"].contains(&name.as_str()) {
            found.push(format!("header {name} more than once"));
        }
    }
    if path.starts_with("/elsewhere") {
        found.push("followed a redirect".to_owned());
    }
    for text in forbidden {
        let in_headers = headers.iter().find(|(_, value)| contains(value.as_bytes(), text.as_bytes()));
        if let Some((name, _)) = in_headers {
            found.push(format!("forbidden text in header {name}"));
        }
        if contains(arrived.uri.to_string().as_bytes(), text.as_bytes()) {
            found.push("forbidden text in the path".to_owned());
        }
        if contains(&arrived.body, text.as_bytes()) {
            found.push("forbidden text in the body".to_owned());
        }
    }
    found
}

const PREFIXES_OF_KEYS: [&str; 6] = ["/openai/", "/anthropic/", "/google/", "/codeassist/", "/v1/messages", "/v1beta/"];

pub(crate) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && memmem::find(hay, needle).is_some()
}

/// Decoded request bodies are cut here.
const DECODED_LIMIT: u64 = 512 << 20;

/// The body without its encoding. Only ChatGPT takes an encoded one, and only zstd.
pub(crate) fn decoded(site: Site, arrived: &Arrived) -> Result<Bytes, Answer> {
    let coding = arrived.headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or("identity");
    match (coding, site) {
        ("identity" | "", _) => Ok(arrived.body.clone()),
        ("zstd", Site::ChatGpt) => {
            let mut plain = Vec::new();
            let read = zstd::stream::read::Decoder::new(&arrived.body[..])
                .and_then(|decoder| decoder.take(DECODED_LIMIT).read_to_end(&mut plain));
            read.map(|_| plain.into()).map_err(|_| openai::detail(400, "Invalid zstd body"))
        }
        (_, Site::ChatGpt) => Err(openai::detail(415, "Unsupported content encoding")),
        (_, Site::OpenAi | Site::OpenAiAuth) => Err(openai::error(
            400,
            "invalid_request_error",
            None,
            "We could not parse the JSON body of your request. (Hint: the body is encoded, which this API does not take.)",
        )),
        (_, Site::Anthropic | Site::AnthropicAuth) => {
            Err(anthropic::error(400, "invalid_request_error", "Unsupported content-encoding"))
        }
        (_, Site::CodeAssist | Site::Google | Site::GoogleAuth) => {
            Err(google::error(415, "INVALID_ARGUMENT", "Unsupported Content-Encoding", &[]))
        }
    }
}

/// How a provider words a refusal; `None` if the fault is not one that it answers for the account. The window is there with
/// [`Fault::Limit`].
pub(crate) type Refusal = fn(&Account, &Fault, &str, Option<&Window>) -> Option<Answer>;

/// What stands between an account and the answer: a planned fault that refuses, a full window, a model that its plan lacks.
pub(crate) fn gate(
    state: &mut State,
    index: usize,
    target: Target,
    model: &str,
    refusal: Refusal,
) -> Result<Fault, (Answer, Fault)> {
    let fault = state.fault_for(index, target);
    let account = &mut state.accounts[index];
    account.settle();
    let answer = match &fault {
        Fault::CdnHtml => Some(deliver::cdn_page()),
        Fault::Status(status) => Some(deliver::plain_status(*status)),
        Fault::Redirect => {
            Some(Answer::text(307, "text/plain", "Temporary Redirect").header("location", "/elsewhere/after-redirect"))
        }
        Fault::Limit => {
            let window = account.exhaust(model);
            refusal(account, &fault, model, window.as_ref())
        }
        fault => refusal(account, fault, model, None),
    };
    if let Some(answer) = answer {
        return Err((answer, fault));
    }
    if target != Target::Inference {
        return Ok(fault);
    }
    let refused = if account.spec.lacks_models.iter().any(|lacking| lacking == model) {
        refusal(account, &Fault::ModelNotSupported, model, None)
    } else {
        let full = account.full(model);
        full.and_then(|window| refusal(account, &Fault::Limit, model, Some(&window)))
    };
    match refused {
        Some(answer) => Err((answer, fault)),
        None => Ok(fault),
    }
}
