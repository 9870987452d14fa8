//! A provider of our own, so that these tests hang on no real one's formats. Only its files and its login are ever asked for.

use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use pool_core::quota::QuotaWindow;
use pool_core::standing::Standing;
use pool_core::{
    Account, AccountKind, Client, Credentials, Demand, Judgement, ProviderId, Secret, Span, TokenCounts, UnixMs,
};
use pool_providers::provider::{FileContent, FileFault, Login, Probed, Refreshed};
use pool_providers::reply::{Failure, Reader, Reply};
use pool_providers::request::{Bases, Body, Call, Head, Outbound, Serving};
use pool_providers::routes::Route;
use pool_providers::{Provider, Registry};
use serde_json::{Value, json};

/// Files are `{"apple": "<token>", "user": …}`, or `{"key": …}`, which every fruit can read.
struct Fruit(&'static str);

pub(crate) fn registry() -> Registry {
    Registry::of(vec![Box::new(Fruit("apple")), Box::new(Fruit("pear"))])
}

fn never() -> ! {
    unreachable!("the command line asks for files and logins only")
}

impl Provider for Fruit {
    fn id(&self) -> ProviderId {
        ProviderId(self.0)
    }
    fn title(&self) -> &'static str {
        if self.0 == "apple" { "Apple" } else { "Pear" }
    }
    fn routes(&self) -> &'static [Route] {
        &[]
    }
    fn login(&self) -> Login {
        Login { program: "no-such-fruit-program", args: &["login"], home_env: "FRUIT_HOME", writes: "auth.json" }
    }

    fn read_file(&self, _file: &str, text: &[u8]) -> Result<FileContent, FileFault> {
        let fault = |what: &str| FileFault { what: what.into(), mend: "sign in again".into() };
        let value: Value = serde_json::from_slice(text).map_err(|_| fault("it is not JSON"))?;
        let token = value[self.0].as_str();
        let access = token.or(value["key"].as_str()).ok_or_else(|| fault("it has no token"))?;
        Ok(FileContent {
            kind: if token.is_some() { AccountKind::Subscription } else { AccountKind::ApiKey },
            identity: value["user"].as_str().map(|user| (user.to_owned(), String::new())),
            plan: None,
            email: value["user"].as_str().map(|user| format!("{}…@example.com", &user[..1])),
            settings: pool_providers::pool_keys(value.as_object().ok_or_else(|| fault("it is no object"))?)?,
            credentials: Credentials {
                access: Secret::new(access),
                refresh: token.map(Secret::new),
                expires_at: None,
                refreshed_at: None,
                bound: std::collections::BTreeMap::new(),
            },
            warning: None,
        })
    }

    fn api_key_file(&self, key: &Secret) -> Result<Vec<u8>, FileFault> {
        Ok(json!({ "key": key.expose() }).to_string().into_bytes())
    }

    fn write_back(&self, _: &[u8], _: &Credentials, _: UnixMs) -> Result<Vec<u8>, FileFault> {
        never()
    }
    fn refresh_call(&self, _: &Credentials, _: &Bases) -> Option<Call> {
        never()
    }
    fn read_refresh(&self, _: &Credentials, _: StatusCode, _: &HeaderMap, _: &[u8], _: UnixMs) -> Refreshed {
        never()
    }
    fn probe_call(&self, _: &Account, _: &Credentials, _: &Bases) -> Option<Call> {
        never()
    }
    fn read_probe(&self, _: &Account, _: StatusCode, _: &HeaderMap, _: &[u8], _: UnixMs) -> Probed {
        never()
    }
    fn needs_probe(&self, _: &Account, _: &Credentials) -> bool {
        never()
    }
    fn client(&self, _: &Head<'_>) -> Client {
        never()
    }
    fn demand(&self, _: &Route, _: &Head<'_>, _: &Body) -> Demand {
        never()
    }
    fn outbound(&self, _: &Route, _: &Head<'_>, _: &Body, _: &Serving<'_>) -> Result<Outbound, Failure> {
        never()
    }
    fn header_windows(&self, _: &Account, _: &Demand, _: &HeaderMap, _: UnixMs) -> Vec<QuotaWindow> {
        never()
    }
    fn judge(&self, _: &Account, _: &Demand, _: StatusCode, _: &HeaderMap, _: &[u8], _: UnixMs) -> Judgement {
        never()
    }
    fn reader(&self, _: &Route, _: &Demand, _: bool, _: UnixMs) -> Box<dyn Reader> {
        never()
    }
    fn cache_life(&self, _demand: &Demand, _tokens: &TokenCounts) -> Span {
        Span::ZERO
    }

    fn speak_of_pool(&self, _: &mut HeaderMap, _: &Account, _: &Standing, _: UnixMs) {
        never()
    }
    fn failure(&self, _: Option<&Route>, _: &Head<'_>, _: &Failure, _: UnixMs) -> Reply {
        never()
    }
    fn failure_event(&self, _: &Route, _: &Failure, _: UnixMs) -> Option<Bytes> {
        never()
    }
    fn answer(&self, _: &Route, _: &Head<'_>, _: &[u8], _: &Standing, _: UnixMs) -> Reply {
        never()
    }
}
