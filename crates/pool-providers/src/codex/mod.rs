//! Codex: its files, requests and replies, and with them everything that speaks OpenAI's protocols.
//!
//! - [`files`]: `auth.json` and API keys; [`claims`]: what its tokens tell; [`auth`]: renewing them.
//! - [`routes`], [`demand`], [`objects`], [`outbound`]: what comes in, what it asks for, what it names, how it goes out.
//! - [`errors`], [`quota`], [`probe`]: what replies say of request, model, account and provider.
//! - [`events`], [`usage`]: answers, read beside their delivery; [`socket`]: the same on a WebSocket, turn by turn.
//! - [`standing`], [`answers`], [`failure`]: what we say ourselves.
//!
//! Two kinds of accounts: a ChatGPT subscription (`chatgpt.com/backend-api/codex`, serves Codex itself only) and an OpenAI
//! API key (`api.openai.com/v1`, serves everybody).

// OpenAI and ChatGPT are names, not code.
#![allow(clippy::doc_markdown)]

mod answers;
mod auth;
mod cache;
mod claims;
mod demand;
mod errors;
mod events;
mod failure;
mod files;
#[cfg(test)]
mod fixtures;
mod objects;
mod outbound;
mod pool_login;
mod probe;
mod quota;
mod routes;
mod setup;
mod socket;
mod standing;
mod turn_state;
mod usage;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pool_core::quota::QuotaWindow;
use pool_core::standing::Standing;
use pool_core::{
    Account, AccountKind, Client, Credentials, Demand, Judgement, ProviderId, Secret, Span, TokenCounts, UnixMs,
};
use serde_json::{Value, json};

use crate::alias::Listing;
use crate::provider::{FileContent, FileFault, Login, PoolLogin, Probed, Provider, Refreshed};
use crate::reply::{Failure, Reader, Reply};
use crate::request::{Bases, Body, Call, Head, Outbound, Serving};
use crate::routes::Route;
use crate::setup::SetUp;
use crate::socket::SocketTurns;

const ID: ProviderId = ProviderId("codex");

/// What only an API key can serve.
const KEY_ONLY: &[AccountKind] = &[AccountKind::ApiKey];

/// The provider of Codex CLI and of OpenAI's API.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codex;

impl Provider for Codex {
    fn id(&self) -> ProviderId {
        ID
    }

    fn title(&self) -> &'static str {
        "Codex"
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
    }

    fn login(&self) -> Login {
        Login { program: "codex", args: &["login"], home_env: "CODEX_HOME", writes: "auth.json" }
    }

    fn set_up(&self) -> Option<SetUp> {
        Some(setup::SET_UP)
    }

    fn gift(&self, key: &Secret, user: &str, now: UnixMs) -> Option<(&'static str, Value)> {
        Some(("auth_json", serde_json::from_str(&pool_login::login(key, user, now).file).ok()?))
    }

    fn pool_login(&self, key: &Secret, user: &str, now: UnixMs) -> Option<PoolLogin> {
        Some(pool_login::login(key, user, now))
    }

    fn shown_for_renewal(&self, body: &[u8]) -> Option<Secret> {
        pool_login::shown(body)
    }

    fn not_renewed(&self) -> Option<Reply> {
        Some(pool_login::refused())
    }

    fn read_file(&self, _file: &str, text: &[u8]) -> Result<FileContent, FileFault> {
        files::read(text)
    }

    fn write_back(&self, text: &[u8], credentials: &Credentials, now: UnixMs) -> Result<Vec<u8>, FileFault> {
        files::write_back(text, credentials, now)
    }

    fn api_key_file(&self, key: &Secret) -> Result<Vec<u8>, FileFault> {
        files::api_key_file(key)
    }

    fn refresh_call(&self, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        auth::refresh_call(credentials, bases)
    }

    fn read_refresh(
        &self,
        old: &Credentials,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Refreshed {
        auth::read_refresh(old, status, headers, body, now)
    }

    fn probe_call(&self, account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        Some(probe::call(account, credentials, bases))
    }

    fn read_probe(
        &self,
        account: &Account,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Probed {
        probe::read(account, status, headers, body, now)
    }

    fn needs_probe(&self, _account: &Account, _credentials: &Credentials) -> bool {
        false
    }

    fn client(&self, head: &Head<'_>) -> Client {
        demand::client(head)
    }

    fn demand(&self, route: &Route, head: &Head<'_>, body: &Body) -> Demand {
        demand::of(route, head, body)
    }

    fn object<'t>(&self, text: &'t str) -> Option<&'t str> {
        objects::id(text)
    }

    fn families(&self, model: &str) -> Vec<String> {
        vec![quota::model_family(model)]
    }

    fn is_own_model(&self, model: &str) -> bool {
        demand::is_own_model(model)
    }

    fn listing(&self, route: &Route) -> Option<Listing> {
        let entry = |name: &str| json!({"id": name, "object": "model", "created": 0, "owned_by": "codex-pool"});
        (routes::about(route) == "models").then_some(Listing { list: "data", entry })
    }

    fn outbound(
        &self,
        route: &Route,
        head: &Head<'_>,
        body: &Body,
        serving: &Serving<'_>,
    ) -> Result<Outbound, Failure> {
        outbound::build(route, head, body, serving)
    }

    fn header_windows(
        &self,
        _account: &Account,
        demand: &Demand,
        headers: &HeaderMap,
        now: UnixMs,
    ) -> Vec<QuotaWindow> {
        quota::from_headers(headers, demand.model.as_deref(), now)
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
        let asked = errors::Asked { kind: Some(account.kind), model: demand.model.as_deref(), now };
        errors::judge(asked, status, headers, body)
    }

    fn reader(&self, route: &Route, demand: &Demand, stream: bool, now: UnixMs) -> Box<dyn Reader> {
        events::reader(route, demand, stream, now)
    }

    fn cache_life(&self, demand: &Demand, tokens: &TokenCounts) -> Span {
        cache::life(demand, tokens)
    }

    fn socket(&self, route: &Route) -> Option<Box<dyn SocketTurns>> {
        socket::turns(route)
    }

    fn speak_of_pool(&self, headers: &mut HeaderMap, served: &Account, standing: &Standing, now: UnixMs) {
        turn_state::hand_out(headers, served);
        standing::speak_of_pool(headers, standing, now);
    }

    fn failure(&self, route: Option<&Route>, head: &Head<'_>, failure: &Failure, now: UnixMs) -> Reply {
        failure::reply(route, head, failure, now)
    }

    fn failure_event(&self, route: &Route, failure: &Failure, now: UnixMs) -> Option<Bytes> {
        failure::event(route, failure, now)
    }

    fn keep_alive(&self, route: &Route, client: Client) -> Option<&'static [u8]> {
        events::keep_alive(route, client)
    }

    fn answer(&self, route: &Route, head: &Head<'_>, body: &[u8], standing: &Standing, now: UnixMs) -> Reply {
        answers::answer(route, head, body, standing, now)
    }
}
