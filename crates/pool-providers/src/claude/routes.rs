//! Claude's rows of the route table.

use http::Method;

use super::CLAUDE;
use crate::routes::{Dialect, Kind, Route, When};

/// The route whose answer is more than a status.
pub(super) const USAGE: &str = "claude usage";

pub(super) const MODELS: &str = "claude models";

const fn row(id: &'static str, method: Method, path: &'static str, kind: Kind) -> Route {
    Route { id, provider: CLAUDE, method, path, when: When::Always, kind }
}

/// For paths that other providers' clients use too.
const fn shared(id: &'static str, method: Method, path: &'static str, kind: Kind) -> Route {
    Route { id, provider: CLAUDE, method, path, when: When::Dialect(Dialect::Anthropic), kind }
}

const RELAY: Kind = Kind::Relay { light: false };
const LIGHT: Kind = Kind::Relay { light: true };

/// As measured on Claude Code 2.1.330 and the Anthropic SDKs. Claude Code sends its telemetry and profile calls to fixed
/// hosts; they are here for settings that bring them to us all the same.
pub(super) static ROUTES: &[Route] = &[
    row("claude messages", Method::POST, "/v1/messages", RELAY),
    row("claude count tokens", Method::POST, "/v1/messages/count_tokens", LIGHT),
    shared(MODELS, Method::GET, "/v1/models", LIGHT),
    shared("claude model", Method::GET, "/v1/models/{model}", LIGHT),
    // Connectivity checks.
    row("claude root", Method::HEAD, "/", Kind::OpenAnswer),
    row("claude hello check", Method::HEAD, "/api/hello", Kind::OpenAnswer),
    row("claude hello", Method::GET, "/api/hello", Kind::OpenAnswer),
    // What the pool answers for its accounts.
    row(USAGE, Method::GET, "/api/oauth/usage", Kind::Answer),
    // Telemetry and feature flags, which nobody waits for.
    row("claude event logging", Method::POST, "/api/event_logging/{*rest}", Kind::Answer),
    row("claude evaluation", Method::POST, "/api/eval/{*rest}", Kind::Answer),
    row("claude bootstrap", Method::GET, "/api/claude_cli/bootstrap", Kind::Answer),
    row("claude statsig", Method::POST, "/api/statsig/{*rest}", Kind::Answer),
    row("claude metrics", Method::POST, "/api/claude_code/metrics", Kind::Answer),
    row("claude page telemetry", Method::POST, "/api/v2/rum", Kind::Answer),
    // The account owner's own things.
    row("claude profile", Method::GET, "/api/oauth/profile", Kind::Refused),
    row("claude login reads", Method::GET, "/api/oauth/{*rest}", Kind::Refused),
    row("claude login writes", Method::POST, "/api/oauth/{*rest}", Kind::Refused),
    row("claude batch list", Method::GET, "/v1/messages/batches", Kind::Refused),
    row("claude batch create", Method::POST, "/v1/messages/batches", Kind::Refused),
    row("claude batch reads", Method::GET, "/v1/messages/batches/{*rest}", Kind::Refused),
    row("claude batch writes", Method::POST, "/v1/messages/batches/{*rest}", Kind::Refused),
    row("claude batch delete", Method::DELETE, "/v1/messages/batches/{*rest}", Kind::Refused),
    shared("claude file list", Method::GET, "/v1/files", Kind::Refused),
    shared("claude file upload", Method::POST, "/v1/files", Kind::Refused),
    shared("claude file reads", Method::GET, "/v1/files/{*rest}", Kind::Refused),
    shared("claude file delete", Method::DELETE, "/v1/files/{*rest}", Kind::Refused),
    shared("claude skill list", Method::GET, "/v1/skills", Kind::Refused),
    shared("claude skill create", Method::POST, "/v1/skills", Kind::Refused),
    shared("claude skill reads", Method::GET, "/v1/skills/{*rest}", Kind::Refused),
    row("claude organization reads", Method::GET, "/v1/organizations/{*rest}", Kind::Refused),
    row("claude organization writes", Method::POST, "/v1/organizations/{*rest}", Kind::Refused),
    row("claude web organization reads", Method::GET, "/api/organizations/{*rest}", Kind::Refused),
    row("claude code settings", Method::GET, "/api/claude_code/{*rest}", Kind::Refused),
];
