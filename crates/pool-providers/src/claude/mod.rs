//! Claude: its files, requests and replies.
//!
//! - [`files`], [`auth`]: what a credential file holds, and how a login is renewed.
//! - [`demand`], [`metadata`], [`models`], [`objects`], [`outbound`]: what a request asks for and names, and how it goes out on an
//!   account.
//! - [`errors`], [`events`], [`quota`]: what replies say.
//! - [`pool`], [`failures`]: what we say in their place.
//! - [`routes`]: which requests are Claude's.

mod auth;
mod demand;
mod errors;
mod events;
mod failures;
mod files;
mod metadata;
mod models;
mod objects;
mod outbound;
mod pool;
mod quota;
mod routes;
mod setup;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pool_core::standing::Standing;
use pool_core::{
    Account, Client, Credentials, Demand, Judgement, ProviderId, QuotaWindow, Secret, Span, TokenCounts, UnixMs,
};
use serde_json::{Value, json};

use crate::alias::Listing;
use crate::provider::{FileContent, FileFault, Login, Probed, Provider, Refreshed};
use crate::reply::{Failure, Reader, Reply};
use crate::request::{Bases, Body, Call, Head, Outbound, Serving};
use crate::routes::{Kind, Route};
use crate::setup::SetUp;

pub const CLAUDE: ProviderId = ProviderId("claude");

/// Anthropic's Claude, for Claude Code and the Anthropic SDKs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claude;

impl Provider for Claude {
    fn id(&self) -> ProviderId {
        CLAUDE
    }

    fn title(&self) -> &'static str {
        "Claude"
    }

    fn routes(&self) -> &'static [Route] {
        routes::ROUTES
    }

    fn login(&self) -> Login {
        auth::LOGIN
    }

    fn set_up(&self) -> Option<SetUp> {
        Some(setup::SET_UP)
    }

    fn gift(&self, key: &Secret, _user: &str, _now: UnixMs) -> Option<(&'static str, Value)> {
        Some(("claude_api_key", key.expose().into()))
    }

    fn read_file(&self, _file: &str, text: &[u8]) -> Result<FileContent, FileFault> {
        files::read(text)
    }

    fn write_back(&self, text: &[u8], credentials: &Credentials, _now: UnixMs) -> Result<Vec<u8>, FileFault> {
        files::write_back(text, credentials)
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
        _headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Refreshed {
        auth::read_refresh(old, status, body, now)
    }

    fn probe_call(&self, account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        quota::probe_call(account, credentials, bases)
    }

    fn read_probe(
        &self,
        account: &Account,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Probed {
        quota::read_probe(account, status, headers, body, now)
    }

    fn needs_probe(&self, _account: &Account, _credentials: &Credentials) -> bool {
        false
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
        models::families(model)
    }

    fn is_own_model(&self, model: &str) -> bool {
        model.starts_with("claude") || model.starts_with("anthropic")
    }

    fn listing(&self, route: &Route) -> Option<Listing> {
        let entry = |name: &str| json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"});
        (route.id == routes::MODELS).then_some(Listing { list: "data", entry })
    }

    fn outbound(
        &self,
        _route: &Route,
        head: &Head<'_>,
        body: &Body,
        serving: &Serving<'_>,
    ) -> Result<Outbound, Failure> {
        outbound::outbound(head, body, serving)
    }

    fn header_windows(&self, account: &Account, demand: &Demand, headers: &HeaderMap, now: UnixMs) -> Vec<QuotaWindow> {
        quota::header_windows(account, demand, headers, now)
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
        errors::judge(account, Some(demand), status, headers, body, now)
    }

    fn reader(&self, _route: &Route, demand: &Demand, stream: bool, _now: UnixMs) -> Box<dyn Reader> {
        if stream { Box::new(events::Events::new(demand)) } else { Box::new(events::Plain::new(demand)) }
    }

    fn cache_life(&self, demand: &Demand, tokens: &TokenCounts) -> Span {
        demand::cache_life(demand, tokens)
    }

    fn speak_of_pool(&self, headers: &mut HeaderMap, _served: &Account, standing: &Standing, now: UnixMs) {
        pool::speak_of_pool(headers, standing, now);
    }

    fn failure(&self, _route: Option<&Route>, _head: &Head<'_>, failure: &Failure, now: UnixMs) -> Reply {
        failures::reply(failure, now)
    }

    fn failure_event(&self, route: &Route, failure: &Failure, now: UnixMs) -> Option<Bytes> {
        (route.kind == Kind::Relay { light: false }).then(|| failures::event(failure, now))
    }

    /// Nobody takes a ping for content: Claude Code counts it as a sign of life, the SDKs skip it even before
    /// `message_start`.
    fn keep_alive(&self, route: &Route, _client: Client) -> Option<&'static [u8]> {
        (route.kind == Kind::Relay { light: false }).then_some(b"event: ping\ndata: {\"type\": \"ping\"}\n\n")
    }

    fn answer(&self, route: &Route, head: &Head<'_>, _body: &[u8], standing: &Standing, now: UnixMs) -> Reply {
        if *head.method == Method::HEAD {
            return Reply::empty(StatusCode::OK);
        }
        match route.id {
            routes::USAGE => Reply::json(StatusCode::OK, &pool::usage(standing, now)),
            // Connectivity checks and telemetry: nobody reads more than the status.
            _ => Reply::json(StatusCode::OK, &json!({})),
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
