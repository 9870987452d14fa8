//! Requests as the real clients send them (cut to what matters), for tests and the demo. All carry the same made-up pool
//! credential ([`CREDENTIAL`]) and client account id ([`CLIENT_ACCOUNT`]), neither of which may ever arrive upstream.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{self, Seen};

pub const CREDENTIAL: &str = "pool-credential-of-the-client";
pub const CLIENT_ACCOUNT: &str = "client-account-id";

/// A client's request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Sends it and reads the answer to its end.
    pub async fn send(&self, addr: SocketAddr, patience: Duration) -> io::Result<Seen> {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        client::send(addr, self.method, &self.path, &headers, &self.body, patience).await
    }

    fn post(path: &str, headers: &[(&str, &str)], body: &serde_json::Value) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { method: "POST", path: path.to_owned(), headers, body: body.to_string().into_bytes() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Codex CLI in the README's mode, as recorded.
    pub fn codex(conversation: &str) -> Self {
        Self::post(
            "/v1/responses",
            &[
                ("authorization", "Bearer pool-credential-of-the-client"),
                ("chatgpt-account-id", "client-account-id"),
                ("originator", "codex_exec"),
                ("user-agent", "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.169.0)"),
                ("session-id", conversation),
                ("thread-id", conversation),
                ("accept", "text/event-stream"),
                ("content-type", "application/json"),
            ],
            &serde_json::json!({
                "model": "gpt-6.1-sol", "stream": true, "store": false, "instructions": "be brief",
                "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "say hi"}]}],
                "prompt_cache_key": conversation, "include": ["reasoning.encrypted_content"],
            }),
        )
    }

    /// Claude Code with `ANTHROPIC_API_KEY`, as recorded.
    pub fn claude(conversation: &str) -> Self {
        Self::post(
            "/v1/messages?beta=true",
            &[
                ("x-api-key", "pool-credential-of-the-client"),
                ("user-agent", "claude-cli/2.1.330 (external, sdk-cli)"),
                ("x-claude-code-session-id", conversation),
                ("x-app", "cli"),
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
                ("content-type", "application/json"),
                ("accept-encoding", "gzip, deflate, br, zstd"),
            ],
            &serde_json::json!({
                "model": "claude-opus-5-5", "max_tokens": 100, "stream": true,
                "messages": [{"role": "user", "content": [{"type": "text", "text": "say hi"}]}],
                "metadata": {"user_id": format!("{{\"device_id\":\"d\",\"account_uuid\":\"client-account-id\",\"session_id\":\"{conversation}\"}}")},
            }),
        )
    }

    /// Gemini CLI with an API key, as recorded.
    pub fn gemini() -> Self {
        Self::post(
            "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
            &[
                ("x-goog-api-key", "pool-credential-of-the-client"),
                ("user-agent", "GeminiCLI-tui/0.61.0/gemini-3.1-pro-preview (linux; x64; terminal)"),
                ("content-type", "application/json"),
            ],
            &serde_json::json!({"contents": [{"role": "user", "parts": [{"text": "say hi"}]}]}),
        )
    }

    /// Gemini CLI speaking Code Assist, as recorded.
    pub fn code_assist(conversation: &str) -> Self {
        Self::post(
            "/v1internal:streamGenerateContent?alt=sse",
            &[
                ("authorization", "Bearer pool-credential-of-the-client"),
                (
                    "user-agent",
                    "GeminiCLI-tui/0.61.0/gemini-2.5-pro (linux; x64; terminal) google-api-nodejs-client/10.9.0",
                ),
                ("content-type", "application/json"),
            ],
            &serde_json::json!({
                "model": "gemini-3-flash-preview", "project": "client-account-id", "user_prompt_id": "p1",
                "request": {"contents": [{"role": "user", "parts": [{"text": "say hi"}]}], "session_id": conversation},
            }),
        )
    }

    /// The OpenAI SDK's chat completions.
    pub fn chat() -> Self {
        Self::post(
            "/v1/chat/completions",
            &[
                ("authorization", "Bearer pool-credential-of-the-client"),
                ("user-agent", "OpenAI/Python 3.54.0"),
                ("content-type", "application/json"),
            ],
            &serde_json::json!({"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": "say hi"}]}),
        )
    }
}
