//! Claude's rows of the route table.

use http::Method;

use super::CLAUDE;
use super::objects::BY_ID;
use crate::objects::Objects;
use crate::routes::{Dialect, Kind, Route, When};

/// The route whose answer is more than a status.
pub(super) const USAGE: &str = "claude usage";

pub(super) const MODELS: &str = "claude models";

const fn row(id: &'static str, method: Method, path: &'static str, kind: Kind) -> Route {
    Route { id, provider: CLAUDE, method, path, when: When::Always, kind, objects: Objects::NONE }
}

/// For paths that other providers' clients use too.
const fn shared(id: &'static str, method: Method, path: &'static str, kind: Kind) -> Route {
    Route { id, provider: CLAUDE, method, path, when: When::Dialect(Dialect::Anthropic), kind, objects: Objects::NONE }
}

const fn with(mut route: Route, objects: Objects) -> Route {
    route.objects = objects;
    route
}

/// Is the route about what lives on one account? Only API keys can serve that.
pub(super) fn is_about_kept(route: &Route) -> bool {
    route.objects.creates() || route.path.contains("{object}")
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
    // What lives on one account.
    with(row("claude make batch", Method::POST, "/v1/messages/batches", RELAY), BY_ID),
    row("claude kept batch", Method::GET, "/v1/messages/batches/{object}", LIGHT),
    row("claude kept batch results", Method::GET, "/v1/messages/batches/{object}/results", LIGHT),
    row("claude kept batch cancel", Method::POST, "/v1/messages/batches/{object}/cancel", LIGHT),
    row("claude kept batch delete", Method::DELETE, "/v1/messages/batches/{object}", LIGHT),
    row("claude list of batches", Method::GET, "/v1/messages/batches", Kind::List),
    with(shared("claude make file", Method::POST, "/v1/files", RELAY), BY_ID),
    shared("claude kept file", Method::GET, "/v1/files/{object}", LIGHT),
    shared("claude kept file content", Method::GET, "/v1/files/{object}/content", LIGHT),
    shared("claude kept file delete", Method::DELETE, "/v1/files/{object}", LIGHT),
    shared("claude list of files", Method::GET, "/v1/files", Kind::List),
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
    shared("claude skill list", Method::GET, "/v1/skills", Kind::Refused),
    shared("claude skill create", Method::POST, "/v1/skills", Kind::Refused),
    shared("claude skill reads", Method::GET, "/v1/skills/{*rest}", Kind::Refused),
    row("claude organization reads", Method::GET, "/v1/organizations/{*rest}", Kind::Refused),
    row("claude organization writes", Method::POST, "/v1/organizations/{*rest}", Kind::Refused),
    row("claude web organization reads", Method::GET, "/api/organizations/{*rest}", Kind::Refused),
    row("claude code settings", Method::GET, "/api/claude_code/{*rest}", Kind::Refused),
];
