//! Gemini: its files, requests and replies.
//!
//! Two services answer it: Code Assist (Gemini CLI with a Google login) and the Gemini API (API keys). Since 2026-06-18 Code
//! Assist no longer serves individual accounts, so API keys are the main kind; they serve Code Assist requests too, which
//! are the public API's wrapped once.
//!
//! | file | what |
//! |---|---|
//! | `files` | credential files, read and written back |
//! | `auth` | renewing a Google login |
//! | `quota` | probes |
//! | `routes` | the rows of the route table, and what a path asks for |
//! | `demand`, `objects`, `outbound` | a request and what it names, read and sent on |
//! | `events` | answers, read beside their delivery |
//! | `status`, `judge` | error replies and their verdicts |
//! | `answers` | our own answers |

mod answers;
mod auth;
mod demand;
mod events;
mod files;
mod judge;
mod objects;
mod outbound;
mod quota;
mod routes;
mod setup;
mod status;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use pool_core::standing::Standing;
use pool_core::{
    Account, AccountKind, Client, Credentials, Demand, Judgement, ProviderId, QuotaWindow, Secret, Span, TokenCounts,
    UnixMs,
};
use serde_json::{Value, json};

pub use auth::OauthClient;

use crate::alias::Listing;
use crate::provider::{FileContent, FileFault, Login, Probed, Provider, Refreshed};
use crate::reply::{Failure, Reader, Reply};
use crate::request::{Bases, Body, Call, Head, Outbound, Serving};
use crate::routes::Route;
use crate::setup::SetUp;

pub const ID: ProviderId = ProviderId("gemini");

/// The key of [`Credentials::bound`] under which an account's Google Cloud project stands.
const PROJECT: &str = "project";

/// Google's Gemini.
#[derive(Clone, Debug, Default)]
pub struct Gemini {
    client: OauthClient,
}

impl Gemini {
    /// `client`: whose logins the accounts are; see [`OauthClient`].
    pub fn new(client: OauthClient) -> Self {
        Self { client }
    }
}

impl Provider for Gemini {
    fn id(&self) -> ProviderId {
        ID
    }

    fn title(&self) -> &'static str {
        "Gemini"
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
    }

    /// The first interactive run signs in. `GEMINI_CLI_HOME` stands for the home folder (`homedir` in
    /// packages/core/src/utils/paths.ts).
    fn login(&self) -> Login {
        Login { program: "gemini", args: &[], home_env: "GEMINI_CLI_HOME", writes: ".gemini/oauth_creds.json" }
    }

    fn set_up(&self) -> Option<SetUp> {
        Some(setup::SET_UP)
    }

    /// The Go original gave an `oauth_creds.json`. Gemini CLI shows the token in it to Google, which refuses it, and who has no business
    /// with a pool's credential.
    fn gift(&self, _key: &Secret, _user: &str, _now: UnixMs) -> Option<(&'static str, Value)> {
        Some(("gemini_auth_json", Value::Null))
    }

    fn read_file(&self, _file: &str, text: &[u8]) -> Result<FileContent, FileFault> {
        files::read(text, self.client.secret.is_some())
    }

    fn write_back(&self, text: &[u8], credentials: &Credentials, _now: UnixMs) -> Result<Vec<u8>, FileFault> {
        files::write_back(text, credentials)
    }

    fn api_key_file(&self, key: &Secret) -> Result<Vec<u8>, FileFault> {
        files::of_key(key)
    }

    fn refresh_call(&self, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        auth::call(&self.client, credentials, bases)
    }

    fn read_refresh(
        &self,
        old: &Credentials,
        status: StatusCode,
        _headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Refreshed {
        auth::read(old, status, body, now)
    }

    fn probe_call(&self, account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        quota::call(account, credentials, bases)
    }

    fn read_probe(
        &self,
        account: &Account,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Probed {
        quota::read(account, status, headers, body, now)
    }

    fn needs_probe(&self, account: &Account, credentials: &Credentials) -> bool {
        account.kind == AccountKind::Subscription && !credentials.bound.contains_key(PROJECT)
    }

    fn client(&self, head: &Head<'_>) -> Client {
        demand::client(head)
    }

    fn demand(&self, route: &Route, head: &Head<'_>, body: &Body) -> Demand {
        demand::demand(route, head, body)
    }

    fn object<'t>(&self, text: &'t str) -> Option<&'t str> {
        objects::id(text)
    }

    fn families(&self, model: &str) -> Vec<String> {
        vec![quota::family(model)]
    }

    fn is_own_model(&self, model: &str) -> bool {
        ["gemini-", "gemma-", "imagen-", "veo-", "learnlm-"].iter().any(|start| model.starts_with(start))
    }

    fn listing(&self, route: &Route) -> Option<Listing> {
        let entry = |name: &str| {
            json!({"name": format!("models/{name}"), "displayName": name,
                "supportedGenerationMethods": ["generateContent", "countTokens"]})
        };
        matches!(route.id, "gemini models" | "gemini models v1").then_some(Listing { list: "models", entry })
    }

    fn outbound(
        &self,
        route: &Route,
        head: &Head<'_>,
        body: &Body,
        serving: &Serving<'_>,
    ) -> Result<Outbound, Failure> {
        outbound::outbound(route, head, body, serving)
    }

    /// Google tells quotas in error bodies only.
    fn header_windows(
        &self,
        _account: &Account,
        _demand: &Demand,
        _headers: &HeaderMap,
        _now: UnixMs,
    ) -> Vec<QuotaWindow> {
        Vec::new()
    }

    fn judge(
        &self,
        account: &Account,
        demand: &Demand,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Judgement {
        judge::judge(Some(account.kind), demand, status, headers, body, now)
    }

    fn reader(&self, route: &Route, demand: &Demand, stream: bool, now: UnixMs) -> Box<dyn Reader> {
        let chunks = is_stream(route) || route.path.ends_with(":generateContent");
        Box::new(events::AnswerReader::new(demand, stream, chunks, now))
    }

    fn cache_life(&self, _demand: &Demand, tokens: &TokenCounts) -> Span {
        demand::cache_life(tokens)
    }

    fn speak_of_pool(&self, headers: &mut HeaderMap, _served: &Account, _standing: &Standing, _now: UnixMs) {
        headers.remove(header::SET_COOKIE);
        // They may name the project that paid.
        headers.remove("x-goog-user-project");
        headers.remove("x-goog-quota-user");
    }

    fn readdress(&self, _route: &Route, head: &Head<'_>, headers: &mut HeaderMap) {
        objects::readdress(head, headers);
    }

    fn failure(&self, _route: Option<&Route>, _head: &Head<'_>, failure: &Failure, now: UnixMs) -> Reply {
        answers::failure(failure, now)
    }

    fn failure_event(&self, route: &Route, failure: &Failure, now: UnixMs) -> Option<Bytes> {
        answers::failure_event(route, failure, now)
    }

    /// An empty line: no event to Gemini CLI (both readers) and the SDKs, which fail on an SSE comment or would show an empty
    /// answer (measured on Gemini CLI 0.61.0).
    fn keep_alive(&self, route: &Route, _client: Client) -> Option<&'static [u8]> {
        is_stream(route).then_some(b"\r\n")
    }

    fn answer(&self, route: &Route, _head: &Head<'_>, _body: &[u8], standing: &Standing, _now: UnixMs) -> Reply {
        answers::answer(route, standing)
    }
}

fn is_stream(route: &Route) -> bool {
    route.path.ends_with(":streamGenerateContent")
}

#[cfg(test)]
mod tests;
