//! The clients as a table: what each sends, which account serves it, how its dialect tells a failure.

use pool_testkit::FakeAccount;
use pool_testkit::request::Request;
use serde_json::Value;

pub struct Client {
    pub name: &'static str,
    /// An account that serves it.
    pub account: fn(&str) -> FakeAccount,
    pub request: fn(&str) -> Request,
    /// Is this an error as the client knows it?
    pub is_error: fn(&Value) -> bool,
    /// The status for "the provider is down".
    pub down: u16,
    /// The status for "only a person can mend this".
    pub person: u16,
    /// The answer is an event stream.
    pub streams: bool,
    /// The words that only a whole answer has.
    pub terminal: &'static str,
    /// The header with which its provider would name the account that served.
    pub owner_header: &'static str,
}

/// Each client with its own kind of account. Those that could serve each other stand apart: see [`WORLDS`].
pub const CLIENTS: [Client; 6] = [CODEX, CLAUDE, CODE_ASSIST, CHAT, GEMINI, MESSAGES];

pub const CODEX: Client = Client {
    name: "Codex CLI",
    account: FakeAccount::chatgpt,
    request: Request::codex,
    is_error: openai_error,
    down: 503,
    person: 400,
    streams: true,
    terminal: "response.completed",
    owner_header: "chatgpt-account-id",
};

pub const CLAUDE: Client = Client {
    name: "Claude Code",
    account: FakeAccount::claude,
    request: Request::claude,
    is_error: anthropic_error,
    down: 529,
    person: 403,
    streams: true,
    terminal: "message_stop",
    owner_header: "anthropic-organization-id",
};

pub const CODE_ASSIST: Client = Client {
    name: "Gemini CLI, Code Assist",
    account: FakeAccount::gemini,
    request: Request::code_assist,
    is_error: google_error,
    down: 503,
    person: 403,
    streams: true,
    terminal: "finishReason",
    owner_header: "x-goog-user-project",
};

pub const GEMINI: Client = Client {
    name: "Gemini CLI, API key",
    account: FakeAccount::gemini_key,
    request: gemini,
    is_error: google_error,
    down: 503,
    person: 403,
    streams: true,
    terminal: "finishReason",
    owner_header: "x-goog-user-project",
};

pub const CHAT: Client = Client {
    name: "OpenAI SDK, chat completions",
    account: FakeAccount::openai_key,
    request: chat,
    is_error: openai_error,
    down: 503,
    person: 403,
    streams: false,
    terminal: "finish_reason",
    owner_header: "openai-organization",
};

pub const MESSAGES: Client = Client {
    name: "Anthropic SDK, not streamed",
    account: FakeAccount::anthropic_key,
    request: messages,
    is_error: anthropic_error,
    down: 529,
    person: 403,
    streams: false,
    terminal: "stop_reason",
    owner_header: "anthropic-organization-id",
};

/// Indices into [`CLIENTS`]: within a world no client's account serves another client.
pub const WORLDS: [&[usize]; 2] = [&[0, 1, 2], &[3, 4, 5]];

/// Conversations without an id are told apart by how they begin.
fn opening(mut request: Request, text: &str) -> Request {
    let body = String::from_utf8(request.body).expect("text");
    request.body = body.replace("say hi", &format!("say hi to {text}")).into_bytes();
    request
}

fn gemini(conversation: &str) -> Request {
    opening(Request::gemini(), conversation)
}

fn chat(conversation: &str) -> Request {
    opening(Request::chat(), conversation)
}

fn messages(conversation: &str) -> Request {
    let mut request = opening(Request::claude(conversation), conversation);
    let body = String::from_utf8(request.body).expect("text");
    request.body = body.replace("\"stream\":true", "\"stream\":false").into_bytes();
    for (name, value) in &mut request.headers {
        if name == "user-agent" {
            "anthropic-sdk-python/2.12.0".clone_into(value);
        }
    }
    request
}

fn openai_error(body: &Value) -> bool {
    body["error"]["message"].is_string() && body["error"]["type"].is_string()
}

fn anthropic_error(body: &Value) -> bool {
    body["type"] == "error" && body["error"]["type"].is_string() && body["error"]["message"].is_string()
}

fn google_error(body: &Value) -> bool {
    body["error"]["code"].is_u64() && body["error"]["message"].is_string() && body["error"]["status"].is_string()
}
