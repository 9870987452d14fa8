//! The one route table: which requests we know, who owns each, and what is done with it.
//!
//! A route is found by method, path and a condition on the headers or the query. Exactly one row matches a request, or none:
//! what matches none is answered 404, never forwarded.

use http::Method;
use pool_core::ProviderId;

use crate::request::Head;

/// One row.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique, in words: `codex responses`, `claude count tokens`.
    pub id: &'static str,
    pub provider: ProviderId,
    pub method: Method,
    /// Exact path, or with `{name}` for one segment and `{*rest}` for the rest: `/v1/models/{model}`,
    /// `/v1beta/models/{*rest}`. A segment may end in a fixed text: `/v1internal:{method}`.
    pub path: &'static str,
    pub when: When,
    pub kind: Kind,
}

/// A condition beside the path, for paths that several providers share. The conditions of rows with the same path and method
/// exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// The request looks like this provider's (see [`dialect`]).
    Dialect(Dialect),
    /// It asks for an upgrade to WebSocket, or does not.
    Upgrade(bool),
}

/// Whose words a request on a shared path speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `client_version` in the query: Codex CLI.
    Codex,
    /// `anthropic-version` header or Claude Code's user agent.
    Anthropic,
    /// `x-goog-api-key` header, `key` in the query, or a Google user agent.
    Google,
    /// Everything else.
    OpenAi,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Forwarded on an account. `light`: a side call that takes no pin and no slot.
    Relay { light: bool },
    /// Answered by [`crate::Provider::answer`] after the caller was admitted.
    Answer,
    /// The same, without a credential (connectivity probes).
    OpenAnswer,
    /// A WebSocket upgrade: declined with 426 so that the client falls back to HTTP.
    Upgrade,
    /// The account owner's own things: never forwarded for others; 404 with a reason.
    Refused,
}

/// Whose words does a request on a shared path speak?
pub fn dialect(head: &Head<'_>) -> Dialect {
    let agent = head.header("user-agent").unwrap_or_default();
    if head.query_value("client_version").is_some() {
        Dialect::Codex
    } else if head.headers.contains_key("anthropic-version") || agent.starts_with("claude-cli/") {
        Dialect::Anthropic
    } else if head.headers.contains_key("x-goog-api-key")
        || head.query_value("key").is_some()
        || agent.starts_with("GeminiCLI")
        || agent.starts_with("google-genai-sdk/")
    {
        Dialect::Google
    } else {
        Dialect::OpenAi
    }
}
