//! Every setting there is: its key in `config.toml`, its environment variable, its flag, its default and what it means.
//! `docs/SETTINGS.md` and the completeness of `config.example.toml` follow from this table.

/// One setting.
pub(crate) struct Setting {
    /// As in `config.toml`; a dot stands for a section.
    pub(crate) key: &'static str,
    pub(crate) env: &'static str,
    /// Without the dashes; empty: none.
    pub(crate) flag: &'static str,
    pub(crate) kind: Kind,
    /// As it would stand in the environment; empty: not set.
    pub(crate) default: &'static str,
    pub(crate) effect: Effect,
    /// One or two sentences in Markdown.
    pub(crate) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// A text that is never shown.
    Secret,
    Bool,
    /// A whole number between these bounds.
    Number(u64, u64),
    /// A section whose keys are free.
    Section,
}

/// What a setting changes in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Now,
    /// Accepted, no effect: why.
    None(&'static str),
}

impl Setting {
    /// Settings that the Go original had; ours have variables of our own.
    pub(crate) fn is_of_original(&self) -> bool {
        !["POOL_TIMEOUT_", "POOL_MAX_", "POOL_ROUTING_", "POOL_FRIENDS_", "CODEX_POOL_"]
            .iter()
            .any(|ours| self.env.starts_with(ours))
    }
}

pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

const fn text(key: &'static str, env: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, env, flag: "", kind: Kind::Text, default, effect: Effect::Now, help }
}

const fn number(
    key: &'static str,
    env: &'static str,
    bounds: (u64, u64),
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { kind: Kind::Number(bounds.0, bounds.1), ..text(key, env, default, help) }
}

const fn secret(key: &'static str, env: &'static str, help: &'static str) -> Setting {
    of_kind(Kind::Secret, text(key, env, "", help))
}

const fn seconds(key: &'static str, env: &'static str, default: &'static str, help: &'static str) -> Setting {
    number(key, env, (1, 86_400), default, help)
}

#[expect(clippy::needless_pass_by_value, reason = "builders for a static table")]
const fn unused(why: &'static str, setting: Setting) -> Setting {
    Setting { effect: Effect::None(why), ..setting }
}

#[expect(clippy::needless_pass_by_value, reason = "builders for a static table")]
const fn flagged(flag: &'static str, setting: Setting) -> Setting {
    Setting { flag, ..setting }
}

#[expect(clippy::needless_pass_by_value, reason = "builders for a static table")]
const fn of_kind(kind: Kind, setting: Setting) -> Setting {
    Setting { kind, ..setting }
}

/// In the order of the documentation.
pub(crate) static SETTINGS: &[Setting] = &[
    flagged(
        "listen",
        text(
            "listen_addr",
            "PROXY_LISTEN_ADDR",
            "127.0.0.1:8989",
            "Address and port to listen on. Anything beyond loopback needs `operator_token`, `pool_users.admin_password` or pool users.",
        ),
    ),
    flagged(
        "pool-dir",
        text(
            "pool_dir",
            "POOL_DIR",
            "pool",
            "The folder with the accounts' credential files. It is watched: changes take effect within a second.",
        ),
    ),
    flagged(
        "db-path",
        text(
            "db_path",
            "PROXY_DB_PATH",
            "./data/proxy.db",
            "The usage ledger and the pool's users (SQLite), unless `database_url` is set. A database of the Go original found there is left as it is; ours then goes beside it, ending in `.sqlite3`.",
        ),
    ),
    secret(
        "database_url",
        "CODEX_POOL_DATABASE_URL",
        "A PostgreSQL database (13 or later) instead of the file: `postgres://user:password@host:5432/database?sslmode=verify-full`. TLS is as `sslmode` says (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`; `sslrootcert` names a file). Its password is never shown. The tables are made at the first start.",
    ),
    text(
        "vault_key_file",
        "CODEX_POOL_VAULT_KEY_FILE",
        "",
        "For several replicas on one `database_url`: the file (mode 0600) with the key of the vault, where the accounts' credentials then live. `codex-pool vault init` makes it; every replica has a copy. See docs/REPLICAS.md.",
    ),
    secret(
        "vault_key",
        "CODEX_POOL_VAULT_KEY",
        "The key itself instead of a file: 64 hexadecimal digits. Better in the environment than in `config.toml`.",
    ),
    text(
        "public_url",
        "PUBLIC_URL",
        "",
        "The address that clients use, if a reverse proxy stands in front. Once it is set, no request counts as local.",
    ),
    text(
        "trusted_proxies",
        "POOL_TRUSTED_PROXIES",
        "",
        "Reverse proxies whose `x-forwarded-for` is believed: addresses or blocks as `10.0.0.0/8, ::1`, with commas between. It tells apart who guesses passwords; it never makes a request local.",
    ),
    of_kind(
        Kind::Bool,
        text(
            "local_access",
            "POOL_LOCAL_ACCESS",
            "true",
            "Local requests need no credential: loopback peer, loopback host name, no forwarding header, no `public_url`.",
        ),
    ),
    secret(
        "operator_token",
        "POOL_OPERATOR_TOKEN",
        "The pool credential of whoever runs the pool: at least 32 random characters, as from `openssl rand -hex 32`. Never taken from the command line.",
    ),
    of_kind(
        Kind::Secret,
        text("admin_token", "ADMIN_TOKEN", "", "Old name of `operator_token`; used when that is not set."),
    ),
    number(
        "max_attempts",
        "PROXY_MAX_ATTEMPTS",
        (1, 20),
        "3",
        "Tries of one request that may fail in passing (overload, network). An account's own refusal does not count: then the next account is asked while there is one.",
    ),
    of_kind(
        Kind::Bool,
        text(
            "disable_refresh",
            "PROXY_DISABLE_REFRESH",
            "false",
            "Never renew tokens, because another program renews them in these files.",
        ),
    ),
    number(
        "probe_seconds",
        "PROXY_USAGE_REFRESH_SECONDS",
        (30, 86_400),
        "300",
        "Pause between two quota probes of an idle account.",
    ),
    text(
        "routing.kinds",
        "POOL_ROUTING_KINDS",
        "subscriptions-first",
        "Which kind of account goes first where both can serve: `subscriptions-first`, `api-keys-first` or `together`. An account's `priority` goes before that.",
    ),
    number(
        "routing.pin_idle_seconds",
        "POOL_ROUTING_PIN_IDLE_SECONDS",
        (60, 2_592_000),
        "86400",
        "A conversation that has been silent for so long may go on on another account.",
    ),
    number(
        "routing.max_pins",
        "POOL_ROUTING_MAX_PINS",
        (100, 1_000_000),
        "100000",
        "Conversations whose account is remembered, about 200 bytes each. Of more, the longest silent are forgotten.",
    ),
    text(
        "prices_file",
        "POOL_PRICES_FILE",
        "",
        "A JSON file of prices on top of those that are built in: `{\"models\": {\"some-model\": {\"input\": 2.5, \"output\": 15}}}`, in dollars for a million tokens; also `cache_read`, `cache_write_5m`, `cache_write_1h`, and `long` with `above` (tokens of the prompt) and the same keys.",
    ),
    of_kind(
        Kind::Section,
        text(
            "models",
            "",
            "",
            "Other names for models: `best = [\"claude-opus-5-5\", \"claude-sonnet-5-5\"]`. A request for the name is served with the first of its models that an account can take now. All are of one provider.",
        ),
    ),
    of_kind(
        Kind::Section,
        text("model_aliases", "", "", "Old name of `models`; where both have a name, `models` counts."),
    ),
    number(
        "max_inmem_body_bytes",
        "PROXY_MAX_INMEM_BODY_BYTES",
        (65_536, 1 << 30),
        "16777216",
        "Request bodies up to this size are kept so that they can be sent again on another account; larger ones stream once.",
    ),
    number(
        "max_replay_bytes",
        "POOL_MAX_REPLAY_BYTES",
        (1 << 20, 64 << 30),
        "268435456",
        "All request bodies kept at one time. Beyond it requests stream once.",
    ),
    number(
        "max_socket_message_bytes",
        "POOL_MAX_SOCKET_MESSAGE_BYTES",
        (1 << 20, 1 << 30),
        "67108864",
        "The longest message on a WebSocket. Longer ones end the connection.",
    ),
    number("max_connections", "POOL_MAX_CONNECTIONS", (16, 1_000_000), "10000", "Client connections at one time."),
    of_kind(
        Kind::Bool,
        flagged("debug", text("debug", "PROXY_DEBUG", "false", "Log at level `debug` unless `log.filter` says more.")),
    ),
    text("log.format", "POOL_LOG_FORMAT", "auto", "`text`, `json`, or `auto`: text in a terminal, JSON elsewhere."),
    text(
        "log.filter",
        "POOL_LOG",
        "info",
        "Level (`error`, `warn`, `info`, `debug`, `trace`), or directives as `info,pool_server::relay=debug`.",
    ),
    text(
        "upstream.responses_base",
        "UPSTREAM_RESPONSES_BASE",
        "https://chatgpt.com/backend-api/codex",
        "Codex subscriptions: inference.",
    ),
    text("upstream.wham_base", "UPSTREAM_WHAM_BASE", "https://chatgpt.com/backend-api", "Codex subscriptions: usage."),
    text(
        "upstream.refresh_base",
        "UPSTREAM_REFRESH_BASE",
        "https://auth.openai.com",
        "Codex subscriptions: token renewal.",
    ),
    text("upstream.openai_base", "UPSTREAM_OPENAI_BASE", "https://api.openai.com/v1", "OpenAI API keys."),
    text(
        "upstream.claude_base",
        "UPSTREAM_CLAUDE_BASE",
        "https://api.anthropic.com",
        "Claude, subscriptions and API keys.",
    ),
    text(
        "upstream.claude_refresh_base",
        "UPSTREAM_CLAUDE_REFRESH_BASE",
        "https://platform.claude.com",
        "Claude subscriptions: token renewal.",
    ),
    text(
        "upstream.gemini_base",
        "UPSTREAM_GEMINI_BASE",
        "https://cloudcode-pa.googleapis.com",
        "Gemini accounts with a Google login (Code Assist).",
    ),
    text(
        "upstream.gemini_api_base",
        "UPSTREAM_GEMINI_API_BASE",
        "https://generativelanguage.googleapis.com",
        "Gemini API keys.",
    ),
    text(
        "upstream.google_token_base",
        "UPSTREAM_GOOGLE_TOKEN_BASE",
        "https://oauth2.googleapis.com",
        "Gemini accounts with a Google login: token renewal.",
    ),
    text(
        "gemini_oauth_client_id",
        "GEMINI_OAUTH_CLIENT_ID",
        "",
        "The OAuth client that Gemini accounts with a Google login belong to, if it is not Gemini CLI's.",
    ),
    secret(
        "gemini_oauth_client_secret",
        "GEMINI_OAUTH_CLIENT_SECRET",
        "Its secret; renewing such logins needs it. Not set: Gemini CLI's public one, if that program is installed here.",
    ),
    text(
        "upstream.proxy",
        "UPSTREAM_PROXY",
        "",
        "One outbound proxy for networks that need it: `http://host:port` or `socks5://host:port`. Loopback upstreams are reached directly.",
    ),
    of_kind(
        Kind::Bool,
        text(
            "upstream.websockets",
            "UPSTREAM_WEBSOCKETS",
            "true",
            "Let Codex talk over its WebSocket, wherever upstream has one. If not, it is told to use HTTP, which it does without a word.",
        ),
    ),
    seconds("timeouts.connect_seconds", "POOL_TIMEOUT_CONNECT_SECONDS", "10", "Connecting to an upstream."),
    seconds("timeouts.tls_seconds", "POOL_TIMEOUT_TLS_SECONDS", "10", "The TLS handshake with an upstream."),
    seconds(
        "timeouts.response_head_seconds",
        "POOL_TIMEOUT_RESPONSE_HEAD_SECONDS",
        "600",
        "From the request sent to the head of the answer.",
    ),
    seconds(
        "timeouts.response_head_long_seconds",
        "POOL_TIMEOUT_RESPONSE_HEAD_LONG_SECONDS",
        "1200",
        "The same for compaction, which thinks long before it speaks.",
    ),
    seconds(
        "timeouts.handshake_seconds",
        "POOL_TIMEOUT_HANDSHAKE_SECONDS",
        "6",
        "Opening a WebSocket upstream, connecting included. Codex waits 15 s for its own. A base that lets this pass in silence is asked again after a minute at the earliest; until then clients are sent to HTTP at once.",
    ),
    seconds(
        "timeouts.socket_life_seconds",
        "POOL_TIMEOUT_SOCKET_LIFE_SECONDS",
        "3300",
        "WebSockets older than this end between turns. The provider ends them after an hour, wherever they stand.",
    ),
    seconds(
        "timeouts.upstream_idle_seconds",
        "STREAM_IDLE_TIMEOUT_SECONDS",
        "600",
        "Between two pieces of an answer. Reasoning models stay silent for minutes.",
    ),
    seconds(
        "timeouts.client_stall_seconds",
        "POOL_TIMEOUT_CLIENT_STALL_SECONDS",
        "60",
        "A client that takes nothing of its answer.",
    ),
    seconds(
        "timeouts.head_read_seconds",
        "POOL_TIMEOUT_HEAD_READ_SECONDS",
        "15",
        "A client sending the head of its request.",
    ),
    seconds(
        "timeouts.body_progress_seconds",
        "POOL_TIMEOUT_BODY_PROGRESS_SECONDS",
        "30",
        "Between two pieces of a client's request body.",
    ),
    number(
        "timeouts.drain_notice_seconds",
        "POOL_TIMEOUT_DRAIN_NOTICE_SECONDS",
        (0, 3600),
        "0",
        "How long connections are still accepted after the order to stop, while `/readyz` says `draining`: for load balancers, which take a while to notice.",
    ),
    seconds("timeouts.drain_seconds", "POOL_TIMEOUT_DRAIN_SECONDS", "30", "How long answers may go on after that."),
    seconds(
        "timeouts.hold_seconds",
        "POOL_TIMEOUT_HOLD_SECONDS",
        "15",
        "How long the head of an answer is held back while its first meaningful event is awaited.",
    ),
    seconds(
        "timeouts.keep_alive_seconds",
        "POOL_TIMEOUT_KEEP_ALIVE_SECONDS",
        "15",
        "Between two signs of life to a client while the provider says nothing. Lower it if a proxy in front gives up sooner.",
    ),
    seconds(
        "timeouts.ping_seconds",
        "POOL_TIMEOUT_PING_SECONDS",
        "30",
        "Between two pings on both sides of a WebSocket. A side that leaves four of them unanswered is gone.",
    ),
    number(
        "usage_retention_days",
        "PROXY_USAGE_RETENTION_DAYS",
        (1, 36_500),
        "30",
        "Days that the record of each request is kept, with its story (`codex-pool explain`). What requests used by hour and by day is not deleted.",
    ),
    secret(
        "friend_code",
        "FRIEND_CODE",
        "Turns friends mode on: who enters this code on the pool's first page gets a credential of their own. At least 8 characters; from then on every request needs a credential.",
    ),
    text("friend_name", "FRIEND_NAME", "PP", "Whose friends they are, on the pages that they see."),
    text("friend_tagline", "FRIEND_TAGLINE", "", "The line under it."),
    of_kind(
        Kind::Bool,
        text(
            "friends.share_subscriptions",
            "POOL_FRIENDS_SHARE_SUBSCRIPTIONS",
            "true",
            "May friends use subscriptions whose files do not say (`share`)? Not set: what the operator answers on the page; until then they may.",
        ),
    ),
    of_kind(
        Kind::Bool,
        text(
            "friends.leaderboard",
            "POOL_FRIENDS_LEADERBOARD",
            "false",
            "Everybody with a credential sees by name who has used how much.",
        ),
    ),
    secret(
        "pool_users.admin_password",
        "POOL_ADMIN_PASSWORD",
        "The operator's password, for signing in on the pool's own pages. It opens nothing else.",
    ),
    unused(
        "credentials are random and need no signing key",
        of_kind(Kind::Secret, text("pool_users.jwt_secret", "POOL_JWT_SECRET", "", "No longer needed.")),
    ),
    text(
        "pool_users.storage_path",
        "POOL_USERS_PATH",
        "./data/pool_users.json",
        "The users of the Go original. They are taken over once, as friends without credentials; `codex-pool users key NAME` issues one.",
    ),
    unused(
        "prompts and answers are never logged",
        of_kind(Kind::Bool, text("log_bodies", "PROXY_LOG_BODIES", "false", "Of the Go original.")),
    ),
    unused(
        "prompts and answers are never logged",
        number("body_log_limit", "PROXY_BODY_LOG_LIMIT", (0, 1 << 30), "16384", "Of the Go original."),
    ),
    unused(
        "every byte is passed on at once",
        number("flush_interval_ms", "PROXY_FLUSH_INTERVAL_MS", (0, 60_000), "200", "Of the Go original."),
    ),
    unused(
        "silence is limited instead, see `[timeouts]`",
        number(
            "request_timeout_seconds",
            "PROXY_REQUEST_TIMEOUT_SECONDS",
            (0, 86_400),
            "120",
            "Of the Go original: the whole of a plain request.",
        ),
    ),
    unused(
        "silence is limited instead, see `[timeouts]`",
        number(
            "stream_timeout_seconds",
            "PROXY_STREAM_TIMEOUT_SECONDS",
            (0, 86_400),
            "1800",
            "Of the Go original: the whole of a stream.",
        ),
    ),
];
