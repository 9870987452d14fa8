//! A pool in front of a [`FakeUpstream`], both in this process, and requests as the real clients send them.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::request::Bases;
use pool_server::app::App;
use pool_server::{Config, Server};
use pool_testkit::client::{self, Seen};
use pool_testkit::{FakeUpstream, TestPool, World};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Everything that a test needs to hold.
pub struct Rig {
    pub fake: FakeUpstream,
    pub pool: TestPool,
    pub app: Arc<App>,
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl Rig {
    pub async fn start(world: World) -> Self {
        Self::with(world, |_| {}).await
    }

    /// With a changed configuration.
    pub async fn with(world: World, change: impl FnOnce(&mut Config)) -> Self {
        let fake = FakeUpstream::start(world).await.expect("the fake starts");
        let pool = TestPool::of(&fake).expect("a temporary pool");
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            pool_dir: pool.pool(),
            db_path: pool.root().join("data/proxy.db"),
            bases: bases(&fake),
            ..Config::default()
        };
        change(&mut config);
        let client = OauthClient { secret: Some(pool_core::Secret::new("made-up")), ..OauthClient::default() };
        let server = Server::start(config, Registry::new(client)).await.expect("the server starts");
        let (addr, app) = (server.address().expect("bound"), server.app().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let rig = Self { fake, pool, app, addr, stop: Some(stop), running: Some(running) };
        rig.settled().await;
        rig
    }

    /// Waits until the probes of the start have come back.
    async fn settled(&self) {
        until("the first probes come back", || {
            self.app.pool.read(|pool, _| pool.slots().all(|slot| !self.app.keeper.prober.is_checking(&slot.account.id)))
        })
        .await;
    }

    pub async fn stop(mut self) -> (FakeUpstream, TestPool) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            running.await.expect("the server ends");
        }
        (self.fake, self.pool)
    }

    pub async fn send(&self, request: &Request) -> Seen {
        let headers: Vec<(&str, &str)> = request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        client::send(self.addr, request.method, &request.path, &headers, &request.body, Duration::from_secs(20))
            .await
            .expect("connected")
    }

    /// The ledger's count, once it has caught up with `at_least`.
    pub async fn recorded(&self, at_least: u64) -> u64 {
        for _ in 0..200 {
            let count = self.app.ledger.count().await.expect("readable");
            if count >= at_least {
                return count;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        self.app.ledger.count().await.expect("readable")
    }
}

/// Waits up to 10 s.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

pub fn bases(fake: &FakeUpstream) -> Bases {
    let mut bases = Bases::default();
    for (name, value) in fake.settings() {
        let base = match name {
            "UPSTREAM_RESPONSES_BASE" => &mut bases.responses,
            "UPSTREAM_WHAM_BASE" => &mut bases.wham,
            "UPSTREAM_REFRESH_BASE" => &mut bases.refresh,
            "UPSTREAM_OPENAI_BASE" => &mut bases.openai,
            "UPSTREAM_CLAUDE_BASE" => &mut bases.claude,
            "UPSTREAM_CLAUDE_REFRESH_BASE" => &mut bases.claude_refresh,
            "UPSTREAM_GEMINI_BASE" => &mut bases.gemini,
            "UPSTREAM_GEMINI_API_BASE" => &mut bases.gemini_api,
            "UPSTREAM_GOOGLE_TOKEN_BASE" => &mut bases.google_token,
            other => panic!("unknown base {other}"),
        };
        *base = value;
    }
    bases
}

/// A client's request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    fn post(path: &str, headers: &[(&str, &str)], body: &serde_json::Value) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { method: "POST", path: path.to_owned(), headers, body: body.to_string().into_bytes() }
    }

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
                ("user-agent", "GeminiCLI-tui/0.61.0/gemini-2.5-pro (linux; x64; terminal) google-api-nodejs-client/10.9.0"),
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
