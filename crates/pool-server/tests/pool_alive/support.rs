//! A small provider of our own, so that these tests hang on no real one's formats.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pool_core::quota::QuotaWindow;
use pool_core::standing::Standing;
use pool_core::{
    Account, AccountKind, Client, Credentials, Demand, Fraction, Judgement, ProviderId, Scope, Secret, Settings,
    Source, UnixMs,
};
use pool_providers::provider::{FileContent, FileFault, Login, Probed, Refreshed};
use pool_providers::reply::{Failure, Reader, Reply};
use pool_providers::request::{Bases, Body, Call, Head, Outbound};
use pool_providers::routes::Route;
use pool_providers::{Provider, Registry};
use serde_json::{Value, json};

/// Files are `{"user", "access", "refresh", "expires_at", "project"}` and whatever else.
pub(crate) struct Fake(pub(crate) &'static str);

pub(crate) fn registry() -> Registry {
    Registry::of(vec![Box::new(Fake("apple")), Box::new(Fake("pear"))])
}

fn fault(what: &str) -> FileFault {
    FileFault { what: what.into(), mend: "write it again".into() }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

fn call(method: Method, url: String, bearer: &Secret, body: String) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", bearer.expose()).parse().unwrap());
    Call { method, url, headers, body: Bytes::from(body) }
}

impl Provider for Fake {
    fn id(&self) -> ProviderId {
        ProviderId(self.0)
    }
    fn title(&self) -> &'static str {
        self.0
    }
    fn routes(&self) -> &'static [Route] {
        &[]
    }
    fn login(&self) -> Login {
        Login { program: "fruit", args: &["login"], home_env: "FRUIT_HOME", writes: "auth.json" }
    }

    fn read_file(&self, _file: &str, bytes: &[u8]) -> Result<FileContent, FileFault> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| fault("not JSON"))?;
        let access = text(&value, "access").ok_or_else(|| fault("no access token"))?;
        let refresh = text(&value, "refresh");
        Ok(FileContent {
            kind: if refresh.is_some() { AccountKind::Subscription } else { AccountKind::ApiKey },
            identity: text(&value, "user").map(|user| (user, String::new())),
            plan: None,
            email: None,
            settings: Settings { disabled: value["disabled"] == true, ..Settings::default() },
            credentials: Credentials {
                access: Secret::new(access),
                refresh: refresh.map(Secret::new),
                expires_at: value["expires_at"].as_i64().map(UnixMs),
                refreshed_at: None,
                bound: text(&value, "project").map(|project| ("project", project)).into_iter().collect(),
            },
            warning: text(&value, "warning"),
        })
    }

    fn write_back(&self, bytes: &[u8], new: &Credentials, _now: UnixMs) -> Result<Vec<u8>, FileFault> {
        let mut value: Value = serde_json::from_slice(bytes).map_err(|_| fault("not JSON"))?;
        value["access"] = new.access.expose().into();
        value["refresh"] = new.refresh.as_ref().map(Secret::expose).into();
        value["expires_at"] = new.expires_at.map(|end| end.0).into();
        Ok(value.to_string().into_bytes())
    }

    fn api_key_file(&self, key: &Secret) -> Result<Vec<u8>, FileFault> {
        Ok(json!({ "access": key.expose() }).to_string().into_bytes())
    }

    fn refresh_call(&self, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        let refresh = credentials.refresh.as_ref()?;
        Some(call(Method::POST, format!("{}/token", bases.refresh), refresh, String::new()))
    }

    fn read_refresh(
        &self,
        old: &Credentials,
        status: StatusCode,
        _headers: &HeaderMap,
        body: &[u8],
        _now: UnixMs,
    ) -> Refreshed {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        match (status, text(&value, "access")) {
            (StatusCode::OK, Some(access)) => Refreshed::Renewed(Credentials {
                access: Secret::new(access),
                refresh: text(&value, "refresh").map(Secret::new).or_else(|| old.refresh.clone()),
                expires_at: value["expires_at"].as_i64().map(UnixMs),
                ..old.clone()
            }),
            (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, _) => {
                Refreshed::Dead { why: "the refresh token was used before".into() }
            }
            (status, _) => Refreshed::Later { why: format!("the token endpoint says {status}") },
        }
    }

    fn probe_call(&self, _account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        Some(call(Method::GET, format!("{}/probe", bases.wham), &credentials.access, String::new()))
    }

    fn read_probe(
        &self,
        _account: &Account,
        status: StatusCode,
        _headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Probed {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let judgement = match status {
            StatusCode::OK => None,
            StatusCode::UNAUTHORIZED => Some(Judgement::refresh("401")),
            StatusCode::PAYMENT_REQUIRED => {
                Some(Judgement::elsewhere(pool_core::verdict::Fault::Account, "402").parked("pay"))
            }
            status => Some(Judgement::elsewhere(pool_core::verdict::Fault::Provider, status.as_str().to_owned())),
        };
        Probed {
            windows: value["used"]
                .as_f64()
                .and_then(Fraction::new)
                .map(|used| QuotaWindow {
                    name: "5h".into(),
                    scope: Scope::Account,
                    used,
                    resets_at: None,
                    span: None,
                    source: Source::Probe,
                    seen_at: now,
                })
                .into_iter()
                .collect(),
            plan: text(&value, "plan"),
            bound: text(&value, "project").map(|project| ("project", project)).into_iter().collect(),
            judgement,
        }
    }

    fn needs_probe(&self, _account: &Account, _credentials: &Credentials) -> bool {
        false
    }

    // These tests relay no requests.

    fn client(&self, _head: &Head<'_>) -> Client {
        unreachable!()
    }
    fn demand(&self, _route: &Route, _head: &Head<'_>, _body: &Body) -> Demand {
        unreachable!()
    }
    fn outbound(
        &self,
        _route: &Route,
        _head: &Head<'_>,
        _body: &Body,
        _account: &Account,
        _credentials: &Credentials,
        _bases: &Bases,
        _moved: bool,
    ) -> Result<Outbound, Failure> {
        unreachable!()
    }
    fn header_windows(&self, _: &Account, _: &Demand, _: &HeaderMap, _: UnixMs) -> Vec<QuotaWindow> {
        unreachable!()
    }
    fn judge(&self, _: &Account, _: &Demand, _: StatusCode, _: &HeaderMap, _: &[u8], _: UnixMs) -> Judgement {
        unreachable!()
    }
    fn reader(&self, _route: &Route, _demand: &Demand, _stream: bool, _now: UnixMs) -> Box<dyn Reader> {
        unreachable!()
    }
    fn speak_of_pool(&self, _headers: &mut HeaderMap, _standing: &Standing, _now: UnixMs) {
        unreachable!()
    }
    fn failure(&self, _: Option<&Route>, _: &Head<'_>, _: &Failure, _: UnixMs) -> Reply {
        unreachable!()
    }
    fn failure_event(&self, _route: &Route, _failure: &Failure, _now: UnixMs) -> Option<Bytes> {
        unreachable!()
    }
    fn answer(&self, _: &Route, _: &Head<'_>, _: &[u8], _: &Standing, _: UnixMs) -> Reply {
        unreachable!()
    }
}
