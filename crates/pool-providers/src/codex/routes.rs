//! Codex's and OpenAI's rows of the route table.
//!
//! Codex CLI has three bases, by how it is set up: `/v1`, none, and `/backend-api/codex`. Its side calls go below
//! `/backend-api`, or below `/api/codex` where the base address lacks that (`codex-rs/backend-client/src/client.rs`).
//!
//! A row's id is what it is about, then ` at …` for further places of the same thing: the rest of this folder goes by
//! [`about`].

use http::Method;

use super::ID;
use super::objects::{A_BATCH, A_CALL, A_RESPONSE, AN_UPLOAD, BY_ID, IN_A_CALL};
use crate::objects::Objects;
use crate::routes::{Dialect, Kind, Route, When};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// What a row is about, wherever it stands.
pub(super) fn about(route: &Route) -> &'static str {
    route.id.split_once(" at ").map_or(route.id, |(about, _)| about)
}

const fn row(id: &'static str, method: Method, path: &'static str, when: When, kind: Kind) -> Route {
    Route { id, provider: ID, method, path, when, kind, objects: Objects::NONE }
}

const fn with(mut route: Route, objects: Objects) -> Route {
    route.objects = objects;
    route
}

/// Inference: takes a pin and a slot.
const fn relay(id: &'static str, path: &'static str) -> Route {
    row(id, POST, path, When::Always, Kind::Relay { light: false })
}

const fn light(id: &'static str, method: Method, path: &'static str) -> Route {
    row(id, method, path, When::Always, Kind::Relay { light: true })
}

const fn socket(id: &'static str, path: &'static str) -> Route {
    row(id, GET, path, When::Upgrade(true), Kind::Upgrade)
}

const fn tunnel(id: &'static str, path: &'static str) -> Route {
    with(row(id, GET, path, When::Upgrade(true), Kind::Tunnel), IN_A_CALL)
}

/// Makes something that lives on one account.
const fn create(id: &'static str, path: &'static str, objects: Objects) -> Route {
    with(relay(id, path), objects)
}

const fn answer(id: &'static str, method: Method, path: &'static str) -> Route {
    row(id, method, path, When::Always, Kind::Answer)
}

/// Codex sends no credential to its plugins' MCP server. There is nothing behind ours, so there is nothing to guard.
const fn open(id: &'static str, method: Method, path: &'static str) -> Route {
    row(id, method, path, When::Always, Kind::OpenAnswer)
}

const fn refused(id: &'static str, method: Method, path: &'static str) -> Route {
    row(id, method, path, When::Always, Kind::Refused)
}

/// Other providers have this on the same path.
const fn shared(mut route: Route) -> Route {
    route.when = When::Dialect(Dialect::OpenAi);
    route
}

const fn models(id: &'static str, path: &'static str, dialect: Dialect) -> Route {
    let kind = match dialect {
        Dialect::Codex => Kind::Answer,
        _ => Kind::Relay { light: true },
    };
    row(id, GET, path, When::Dialect(dialect), kind)
}

#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    // The Responses API, and what Codex CLI calls beside it on the same base.
    create("responses", "/v1/responses", A_RESPONSE),
    create("responses at root", "/responses", A_RESPONSE),
    create("responses at backend", "/backend-api/codex/responses", A_RESPONSE),
    socket("responses socket", "/v1/responses"),
    socket("responses socket at root", "/responses"),
    socket("responses socket at backend", "/backend-api/codex/responses"),
    relay("compact", "/v1/responses/compact"),
    relay("compact at root", "/responses/compact"),
    relay("compact at backend", "/backend-api/codex/responses/compact"),
    relay("search", "/v1/alpha/search"),
    relay("search at root", "/alpha/search"),
    relay("search at backend", "/backend-api/codex/alpha/search"),
    relay("memories", "/v1/memories/trace_summarize"),
    relay("memories at root", "/memories/trace_summarize"),
    relay("memories at backend", "/backend-api/codex/memories/trace_summarize"),
    relay("images", "/v1/images/generations"),
    relay("images at root", "/images/generations"),
    relay("images at backend", "/backend-api/codex/images/generations"),
    relay("image edits", "/v1/images/edits"),
    relay("image edits at root", "/images/edits"),
    relay("image edits at backend", "/backend-api/codex/images/edits"),

    // OpenAI's API, for API-key accounts.
    relay("chat completions", "/v1/chat/completions"),
    relay("chat completions at root", "/chat/completions"),
    relay("completions", "/v1/completions"),
    relay("embeddings", "/v1/embeddings"),
    relay("moderations", "/v1/moderations"),
    relay("image variations", "/v1/images/variations"),
    relay("speech", "/v1/audio/speech"),
    relay("transcriptions", "/v1/audio/transcriptions"),
    relay("translations", "/v1/audio/translations"),
    light("input tokens", POST, "/v1/responses/input_tokens"),

    // What lives on one account: made by one call, read by others.
    light("stored response", GET, "/v1/responses/{object}"),
    light("stored response at input", GET, "/v1/responses/{object}/input_items"),
    light("stored response at cancelling", POST, "/v1/responses/{object}/cancel"),
    light("stored response at deleting", DELETE, "/v1/responses/{object}"),
    create("conversation", "/v1/conversations", BY_ID),
    light("kept conversation", GET, "/v1/conversations/{object}"),
    light("kept conversation at changing", POST, "/v1/conversations/{object}"),
    light("kept conversation at deleting", DELETE, "/v1/conversations/{object}"),
    light("kept conversation at items", GET, "/v1/conversations/{object}/items"),
    light("kept conversation at adding", POST, "/v1/conversations/{object}/items"),
    light("kept conversation at item", GET, "/v1/conversations/{object}/items/{item}"),
    light("kept conversation at item, deleting", DELETE, "/v1/conversations/{object}/items/{item}"),
    shared(create("file", "/v1/files", BY_ID)),
    shared(light("kept file", GET, "/v1/files/{object}")),
    shared(light("kept file at content", GET, "/v1/files/{object}/content")),
    shared(light("kept file at deleting", DELETE, "/v1/files/{object}")),
    create("upload", "/v1/uploads", AN_UPLOAD),
    relay("upload part", "/v1/uploads/{object}/parts"),
    with(light("kept upload at end", POST, "/v1/uploads/{object}/complete"), AN_UPLOAD),
    light("kept upload at cancelling", POST, "/v1/uploads/{object}/cancel"),
    shared(create("batch", "/v1/batches", A_BATCH)),
    shared(with(light("kept batch", GET, "/v1/batches/{object}"), A_BATCH)),
    shared(with(light("kept batch at cancelling", POST, "/v1/batches/{object}/cancel"), A_BATCH)),
    create("vector store", "/v1/vector_stores", BY_ID),
    light("kept vector store", GET, "/v1/vector_stores/{object}"),
    light("kept vector store at changing", POST, "/v1/vector_stores/{object}"),
    light("kept vector store at deleting", DELETE, "/v1/vector_stores/{object}"),
    light("kept vector store at searching", POST, "/v1/vector_stores/{object}/search"),
    light("kept vector store at files", GET, "/v1/vector_stores/{object}/{*rest}"),
    light("kept vector store at adding", POST, "/v1/vector_stores/{object}/{*rest}"),
    light("kept vector store at removing", DELETE, "/v1/vector_stores/{object}/{*rest}"),
    create("container", "/v1/containers", BY_ID),
    light("kept container", GET, "/v1/containers/{object}"),
    light("kept container at deleting", DELETE, "/v1/containers/{object}"),
    light("kept container at files", GET, "/v1/containers/{object}/{*rest}"),
    light("kept container at adding", POST, "/v1/containers/{object}/files"),
    light("kept container at removing", DELETE, "/v1/containers/{object}/{*rest}"),

    // Realtime: calls by WebRTC, whose sound goes past us, and sockets, which nobody here reads.
    create("realtime calls", "/v1/realtime/calls", A_CALL),
    create("realtime calls at root", "/realtime/calls", A_CALL),
    create("realtime calls at backend", "/backend-api/codex/realtime/calls", A_CALL),
    light("realtime call", POST, "/v1/realtime/calls/{object}/{action}"),
    light("realtime secrets", POST, "/v1/realtime/client_secrets"),
    tunnel("realtime", "/v1/realtime"),
    tunnel("realtime at root", "/realtime"),
    tunnel("realtime at backend", "/backend-api/codex/realtime"),

    // Lists of models.
    models("codex models", "/v1/models", Dialect::Codex),
    models("codex models at root", "/models", Dialect::Codex),
    answer("codex models at backend", GET, "/backend-api/codex/models"),
    models("models", "/v1/models", Dialect::OpenAi),
    models("models at root", "/models", Dialect::OpenAi),
    models("model", "/v1/models/{model}", Dialect::OpenAi),

    // Codex CLI's side calls: answered here, since the account that serves is not the one that the client believes it has.
    answer("accounts check", GET, "/backend-api/wham/accounts/check"),
    answer("accounts check at api", GET, "/api/codex/accounts/check"),
    answer("usage", GET, "/backend-api/wham/usage"),
    answer("usage at api", GET, "/api/codex/usage"),
    answer("reset credits", GET, "/backend-api/wham/rate-limit-reset-credits"),
    answer("reset credits at api", GET, "/api/codex/rate-limit-reset-credits"),
    answer("nothing at user settings", GET, "/backend-api/wham/settings/user"),
    answer("nothing at user settings, api", GET, "/api/codex/settings/user"),
    answer("nothing at config bundle", GET, "/backend-api/wham/config/bundle"),
    answer("nothing at config bundle, api", GET, "/api/codex/config/bundle"),
    answer("nothing at plugins", GET, "/backend-api/ps/plugins/{*rest}"),
    answer("nothing at plugins, root", GET, "/ps/plugins/{*rest}"),
    answer("nothing at plugins, api", GET, "/api/codex/ps/plugins/{*rest}"),
    open("mcp", POST, "/backend-api/ps/mcp"),
    open("mcp at root", POST, "/ps/mcp"),
    open("mcp at api", POST, "/api/codex/ps/mcp"),
    open("mcp at apps", POST, "/backend-api/wham/apps"),
    open("mcp at apps, api", POST, "/api/codex/apps"),
    open("mcp stream", GET, "/backend-api/ps/mcp"),
    open("mcp stream at root", GET, "/ps/mcp"),
    open("mcp stream at api", GET, "/api/codex/ps/mcp"),
    open("mcp stream at apps", GET, "/backend-api/wham/apps"),
    open("mcp stream at apps, api", GET, "/api/codex/apps"),
    answer("telemetry", POST, "/backend-api/codex/analytics-events/events"),
    answer("telemetry at root", POST, "/codex/analytics-events/events"),
    answer("telemetry at api", POST, "/api/codex/analytics-events/events"),
    answer("telemetry at otlp", POST, "/otlp/{*rest}"),
    answer("telemetry at otlp, backend", POST, "/backend-api/otlp/{*rest}"),

    // The account owner's own things, and what spends something of value.
    refused("redeeming", POST, "/backend-api/wham/rate-limit-reset-credits/consume"),
    refused("redeeming at api", POST, "/api/codex/rate-limit-reset-credits/consume"),
    refused("owner's own", GET, "/backend-api/wham/{*rest}"),
    refused("owner's own at post", POST, "/backend-api/wham/{*rest}"),
    refused("owner's own at patch", Method::PATCH, "/backend-api/wham/{*rest}"),
    refused("owner's own at delete", DELETE, "/backend-api/wham/{*rest}"),
    refused("owner's own at api", GET, "/api/codex/{*rest}"),
    refused("owner's own at api, post", POST, "/api/codex/{*rest}"),

    // What an account keeps, all in one list.
    shared(row("list", GET, "/v1/files", When::Always, Kind::List)),
    shared(row("list at batches", GET, "/v1/batches", When::Always, Kind::List)),
    row("list at vector stores", GET, "/v1/vector_stores", When::Always, Kind::List),
    row("list at containers", GET, "/v1/containers", When::Always, Kind::List),
];

/// Why a row of kind [`Kind::Refused`] is not served.
pub(super) fn why_refused(route: &Route) -> &'static str {
    match about(route) {
        "redeeming" => {
            "codex-pool does not redeem reset credits: they belong to the account's owner, who can redeem them at chatgpt.com"
        }
        _ => "codex-pool does not serve what belongs to the account's owner (tasks, environments, profile, settings)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Table;

    #[test]
    fn no_two_rows_can_own_the_same_request() {
        assert_eq!(Table::of([ROUTES]).conflicts(), Vec::<String>::new());
    }

    #[test]
    fn a_thing_is_treated_alike_at_all_its_places() {
        for route in ROUTES {
            let first = ROUTES.iter().find(|other| about(other) == about(route)).expect("itself");
            assert_eq!(first.kind, route.kind, "{}", route.id);
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for route in ROUTES.iter().filter(|route| route.kind == Kind::Refused) {
            assert!(why_refused(route).starts_with("codex-pool does not"), "{}", route.id);
        }
    }
}
