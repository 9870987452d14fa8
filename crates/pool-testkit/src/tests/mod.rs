//! Tests of the fake itself, over the wire.

mod faults;
mod renewal;
mod socket;
mod strict;

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Seen};
use crate::{FakeUpstream, World};

/// A sound request of one kind of account, to be spoilt by a test.
#[derive(Clone, Debug)]
struct Ask {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl Ask {
    /// A short streamed question on this account.
    fn of(fake: &FakeUpstream, account: &str) -> Self {
        let handle = fake.account(account);
        let (token, workspace) = (handle.access_token(), handle.workspace());
        let bearer = ("authorization", format!("Bearer {token}"));
        let version = ("anthropic-version", "2023-06-01".to_owned());
        let messages = json!([{ "role": "user", "content": "say hi" }]);
        let claude = json!({ "model": "claude-opus-5-5", "max_tokens": 64, "stream": true, "messages": messages });
        let contents = json!([{ "role": "user", "parts": [{ "text": "say hi" }] }]);
        let (path, headers, body) = match handle.kind() {
            crate::Kind::ChatGpt => (
                "/chatgpt/backend-api/codex/responses",
                vec![bearer, ("chatgpt-account-id", workspace)],
                json!({
                    "model": "gpt-6.1-sol", "instructions": "Be kind.", "store": false, "stream": true,
                    "input": [{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "say hi" }] }],
                }),
            ),
            crate::Kind::OpenAiKey => {
                ("/openai/v1/responses", vec![bearer], json!({ "model": "gpt-5.5", "stream": true, "input": "say hi" }))
            }
            crate::Kind::ClaudeOAuth | crate::Kind::ClaudeSetupToken => {
                let beta = ("anthropic-beta", "claude-code-20250219,oauth-2025-04-20".to_owned());
                ("/anthropic/v1/messages", vec![bearer, version, beta], claude)
            }
            crate::Kind::AnthropicKey => ("/anthropic/v1/messages", vec![("x-api-key", token), version], claude),
            crate::Kind::GeminiOAuth => (
                "/codeassist/v1internal:streamGenerateContent?alt=sse",
                vec![bearer],
                json!({ "model": "gemini-2.5-pro", "project": workspace, "request": { "contents": contents } }),
            ),
            crate::Kind::GeminiKey => (
                "/google/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
                vec![("x-goog-api-key", token)],
                json!({ "contents": contents }),
            ),
        };
        Self { path, headers, body }
    }

    fn path(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    fn body(mut self, field: &str, value: Value) -> Self {
        self.body[field] = value;
        self
    }

    fn lacking(mut self, field: &str) -> Self {
        self.body.as_object_mut().expect("an object").shift_remove(field);
        self
    }

    async fn send(&self, fake: &FakeUpstream) -> Seen {
        self.send_bytes(fake, self.body.to_string().as_bytes()).await
    }

    async fn send_bytes(&self, fake: &FakeUpstream, body: &[u8]) -> Seen {
        let mut headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("content-type", "application/json"));
        client::send(fake.addr(), "POST", self.path, &headers, body, Duration::from_millis(700))
            .await
            .expect("connects")
    }
}

async fn fake() -> FakeUpstream {
    FakeUpstream::start(World::one_of_each()).await.expect("listens")
}

/// One account of each kind in [`World::one_of_each`].
const EACH: [&str; 7] = ["anna", "oak", "clara", "sue", "ash", "gina", "gum"];
