//! What a simulated world consists of: accounts, their plans and quota windows, and how long answers are.
//!
//! Plain data, built before [`crate::FakeUpstream::start`]; what changes while the fake runs lives in `state.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::tokens;

/// What sort of credential an account has, and so which rules it lives under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A ChatGPT subscription, used by Codex CLI.
    ChatGpt,
    /// An `api.openai.com` key.
    OpenAiKey,
    /// A claude.ai subscription with a refresh token.
    ClaudeOAuth,
    /// The one-year token of `claude setup-token`: no refresh token, inference only.
    ClaudeSetupToken,
    /// An `api.anthropic.com` key.
    AnthropicKey,
    /// A Google login for Code Assist.
    GeminiOAuth,
    /// A Gemini API key.
    GeminiKey,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::ChatGpt,
        Self::OpenAiKey,
        Self::ClaudeOAuth,
        Self::ClaudeSetupToken,
        Self::AnthropicKey,
        Self::GeminiOAuth,
        Self::GeminiKey,
    ];

    /// The folder below `pool/` that its file goes into.
    pub fn provider(self) -> &'static str {
        match self {
            Self::ChatGpt | Self::OpenAiKey => "codex",
            Self::ClaudeOAuth | Self::ClaudeSetupToken | Self::AnthropicKey => "claude",
            Self::GeminiOAuth | Self::GeminiKey => "gemini",
        }
    }

    /// Does it pay by use?
    pub fn is_key(self) -> bool {
        matches!(self, Self::OpenAiKey | Self::AnthropicKey | Self::GeminiKey)
    }
}

/// What a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tokens, weighted about as their price: output five times, cache reads a tenth.
    Weighted,
    Tokens,
    Requests,
}

/// A quota window.
#[derive(Clone, Debug)]
pub struct FakeWindow {
    /// How tests and commands call it: `5h`, `7d`, `7d_opus`, `requests`, `tokens`, or a model's name.
    pub name: String,
    pub span: Duration,
    /// 0 is empty, 1 is full; it may pass 1.
    pub used: f64,
    pub resets_in: Duration,
    /// How much fills it, in `unit`.
    pub capacity: f64,
    pub unit: Unit,
    /// Limits only models whose name contains this.
    pub family: Option<String>,
}

impl FakeWindow {
    pub fn new(name: &str, span: Duration, capacity: f64) -> Self {
        let name = name.to_owned();
        Self { name, span, used: 0.0, resets_in: span, capacity, unit: Unit::Weighted, family: None }
    }

    pub fn five_hours() -> Self {
        Self::new("5h", Duration::from_hours(5), 20e6)
    }

    pub fn week() -> Self {
        Self::new("7d", Duration::from_hours(168), 200e6)
    }

    /// A window of one model family, named after it.
    pub fn family(family: &str, span: Duration) -> Self {
        let mut window = Self::new(family, span, 20e6);
        window.family = Some(family.to_owned());
        window
    }

    #[must_use]
    pub fn used(mut self, share: f64) -> Self {
        self.used = share;
        self
    }

    #[must_use]
    pub fn resets_in(mut self, left: Duration) -> Self {
        self.resets_in = left;
        self
    }

    #[must_use]
    pub fn capacity(mut self, capacity: f64) -> Self {
        self.capacity = capacity;
        self
    }

    fn counting(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }
}

/// An account as a provider's books would have it.
#[derive(Clone, Debug)]
pub struct FakeAccount {
    /// Also the name of its credential file; letters, digits and `-`.
    pub name: String,
    pub kind: Kind,
    pub plan: String,
    pub user: String,
    /// ChatGPT account id, organisation, or Google project.
    pub workspace: String,
    pub email: String,
    pub windows: Vec<FakeWindow>,
    /// How long a fresh access token lasts.
    pub token_lifetime: Duration,
    /// How long the first access token lasts yet, if not `token_lifetime`; zero: it has already ended.
    pub first_token_left: Option<Duration>,
    /// Models that its plan does not have.
    pub lacks_models: Vec<String>,
    /// Optional pool keys that go into its file: `name`, `priority`, `disabled`, `share`.
    pub settings: Vec<(String, Value)>,
    /// The Code Assist service does not serve it: the reason given by `loadCodeAssist`.
    pub ineligible: Option<String>,
    /// When its first tokens were issued (seconds since 1970), so that they come out the same wherever they are made.
    pub(crate) born: u64,
}

impl FakeAccount {
    pub fn new(kind: Kind, name: &str) -> Self {
        let minute = Duration::from_mins(1);
        let (plan, windows, hours) = match kind {
            Kind::ChatGpt => ("plus", vec![FakeWindow::five_hours(), FakeWindow::week()], 240),
            Kind::ClaudeOAuth => ("default_claude_max_5x", vec![FakeWindow::five_hours(), FakeWindow::week()], 8),
            Kind::ClaudeSetupToken => ("max", vec![FakeWindow::five_hours(), FakeWindow::week()], 365 * 24),
            Kind::GeminiOAuth => {
                let day = Duration::from_hours(24);
                let models = ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-flash-preview", "gemini-3-pro-preview"];
                let windows =
                    models.map(|model| FakeWindow::family(model, day).capacity(1000.0).counting(Unit::Requests));
                ("standard-tier", windows.to_vec(), 1)
            }
            Kind::OpenAiKey | Kind::AnthropicKey | Kind::GeminiKey => {
                let requests = FakeWindow::new("requests", minute, 4000.0).counting(Unit::Requests);
                let tokens = FakeWindow::new("tokens", minute, 4e6).counting(Unit::Tokens);
                ("tier-3", vec![requests, tokens], 0)
            }
        };
        Self {
            name: name.to_owned(),
            kind,
            plan: plan.to_owned(),
            user: format!("user-fake-{name}"),
            workspace: match kind {
                Kind::GeminiOAuth => format!("fake-project-{name}"),
                Kind::GeminiKey => format!("fake-key-project-{name}"),
                _ => tokens::made_up_uuid(name),
            },
            email: format!("{name}@example.invalid"),
            windows,
            token_lifetime: Duration::from_secs(hours * 3600),
            first_token_left: None,
            lacks_models: Vec::new(),
            settings: Vec::new(),
            ineligible: None,
            born: tokens::now(),
        }
    }

    pub fn chatgpt(name: &str) -> Self {
        Self::new(Kind::ChatGpt, name)
    }

    pub fn openai_key(name: &str) -> Self {
        Self::new(Kind::OpenAiKey, name)
    }

    pub fn claude(name: &str) -> Self {
        Self::new(Kind::ClaudeOAuth, name)
    }

    pub fn claude_setup_token(name: &str) -> Self {
        Self::new(Kind::ClaudeSetupToken, name)
    }

    pub fn anthropic_key(name: &str) -> Self {
        Self::new(Kind::AnthropicKey, name)
    }

    pub fn gemini(name: &str) -> Self {
        Self::new(Kind::GeminiOAuth, name)
    }

    pub fn gemini_key(name: &str) -> Self {
        Self::new(Kind::GeminiKey, name)
    }

    #[must_use]
    pub fn plan(mut self, plan: &str) -> Self {
        plan.clone_into(&mut self.plan);
        self
    }

    /// Replaces its windows.
    #[must_use]
    pub fn windows(mut self, windows: impl IntoIterator<Item = FakeWindow>) -> Self {
        self.windows = windows.into_iter().collect();
        self
    }

    /// Sets the used share of the window of that name.
    #[must_use]
    pub fn used(mut self, window: &str, share: f64) -> Self {
        for known in self.windows.iter_mut().filter(|known| known.name == window) {
            known.used = share;
        }
        self
    }

    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// The access token of the credential file ends after this; zero: it has already ended.
    #[must_use]
    pub fn first_token_left(mut self, left: Duration) -> Self {
        self.first_token_left = Some(left);
        self
    }

    #[must_use]
    pub fn lacks_model(mut self, model: &str) -> Self {
        self.lacks_models.push(model.to_owned());
        self
    }

    /// Puts an optional pool key into its file, as `("priority", 5)`.
    #[must_use]
    pub fn setting(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.settings.push((key.to_owned(), value.into()));
        self
    }

    /// Code Assist refuses this account with these words.
    #[must_use]
    pub fn ineligible(mut self, reason: &str) -> Self {
        self.ineligible = Some(reason.to_owned());
        self
    }

    /// Its credential file as the provider's own CLI would have written it: path below `pool/` and text.
    ///
    /// The same as [`crate::AccountHandle::credential_file`] gives before any refresh.
    pub fn credential_file(&self) -> (String, String) {
        tokens::credential_file(self, &tokens::Tokens::first(self))
    }

    pub(crate) fn with_settings(&self, mut file: Value) -> String {
        for (key, value) in &self.settings {
            file[key] = value.clone();
        }
        format!("{file:#}\n")
    }
}

/// How long answers are and how they come. Can be changed while the fake runs.
#[derive(Clone, Debug)]
pub struct Style {
    /// Text events before the marker's own.
    pub extra_events: usize,
    /// Characters in each of these.
    pub event_chars: usize,
    /// Wait between events.
    pub pace: Option<Duration>,
    /// The words at the end of a final answer.
    pub marker: String,
    /// `false`: answer with text at once, even where the request offers tools.
    pub tool_calls: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { extra_events: 0, event_chars: 24, pace: None, marker: crate::MARKER.to_owned(), tool_calls: true }
    }
}

/// Everything that a [`crate::FakeUpstream`] simulates.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub accounts: Vec<FakeAccount>,
    pub style: Style,
    /// Texts that must never arrive upstream (pool credentials, client account ids): each sighting is a violation.
    pub forbidden: Vec<String>,
    /// Are Claude's thinking signatures valid on the account that made them only?
    pub bind_thinking: bool,
    /// If set, Google's token endpoint asks for exactly this `client_secret`.
    pub google_client_secret: Option<String>,
}

impl World {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn account(mut self, account: FakeAccount) -> Self {
        self.accounts.push(account);
        self
    }

    #[must_use]
    pub fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    #[must_use]
    pub fn forbid(mut self, text: &str) -> Self {
        self.forbidden.push(text.to_owned());
        self
    }

    /// One account of every kind, and a second of each subscription.
    pub fn one_of_each() -> Self {
        Self::new()
            .account(FakeAccount::chatgpt("anna").plan("pro").used("5h", 0.12).used("7d", 0.4))
            .account(FakeAccount::chatgpt("ben").used("5h", 0.3).used("7d", 0.1))
            .account(FakeAccount::openai_key("oak"))
            .account(FakeAccount::claude("clara").plan("default_claude_max_20x").used("5h", 0.12))
            .account(FakeAccount::claude("carl").used("5h", 0.5))
            .account(FakeAccount::claude_setup_token("sue"))
            .account(FakeAccount::anthropic_key("ash"))
            .account(FakeAccount::gemini("gina"))
            .account(FakeAccount::gemini("greg"))
            .account(FakeAccount::gemini_key("gum"))
    }
}

impl World {
    /// So many accounts of every kind, named `chatgpt-1`, `openai-key-1`, `claude-1`, `setup-token-1`, `anthropic-key-1`,
    /// `gemini-1`, `gemini-key-1` and on: the first of each has used least.
    pub fn of_each(count: usize) -> Self {
        const NAMES: [&str; 7] =
            ["chatgpt", "openai-key", "claude", "setup-token", "anthropic-key", "gemini", "gemini-key"];
        let mut world = Self::new();
        for (kind, name) in Kind::ALL.into_iter().zip(NAMES) {
            for number in 1..=count {
                let mut account = FakeAccount::new(kind, &format!("{name}-{number}"));
                let share = 0.7 * number as f64 / count as f64;
                account.windows.iter_mut().for_each(|window| window.used = share);
                world.accounts.push(account);
            }
        }
        world
    }
}

/// `{"api_key": …}`, the file of an Anthropic or Gemini key.
pub(crate) fn api_key_file(key: &str) -> Value {
    json!({ "api_key": key })
}
