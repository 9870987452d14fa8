//! What the tests of this folder share.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use pool_core::{Account, AccountId, AccountKind, Client, Credentials, Demand, Secret, Settings, UnixMs};
use serde_json::Value;

use super::{CLAUDE, models};

/// 2026-08-08 00:00:00 UTC
pub(super) const NOW: UnixMs = UnixMs(1_786_147_200_000);

pub(super) fn account(kind: AccountKind) -> Account {
    Account {
        id: AccountId("claude-test".into()),
        provider: CLAUDE,
        kind,
        name: "a".into(),
        file: "claude/a.json".into(),
        plan: None,
        email: None,
        settings: Settings::default(),
    }
}

pub(super) fn credentials(bound: &[(&'static str, &str)]) -> Credentials {
    Credentials {
        access: Secret::new("made-up"),
        refresh: Some(Secret::new("made-up-refresh")),
        expires_at: None,
        refreshed_at: None,
        bound: bound.iter().map(|(key, value)| (*key, (*value).to_owned())).collect::<BTreeMap<_, _>>(),
    }
}

pub(super) fn demand(model: &str) -> Demand {
    Demand {
        provider: CLAUDE,
        client: Client::OwnCli,
        model: Some(model.into()),
        families: models::families(model),
        session: None,
        parent: None,
        binding: pool_core::Binding::Cache,
        keep: None,
        light: false,
        kinds: &[],
    }
}

pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(*name).expect("a name");
        map.append(name, HeaderValue::try_from(*value).expect("a value"));
    }
    map
}

/// Headers as recordings keep them: a list of pairs.
pub(super) fn recorded_headers(message: &Value) -> HeaderMap {
    let pairs = message["headers"].as_array().expect("headers").iter();
    let pairs: Vec<(&str, &str)> =
        pairs.map(|pair| (pair[0].as_str().expect("a name"), pair[1].as_str().expect("a value"))).collect();
    headers(&pairs)
}

pub(super) fn exchanges(recording: &str) -> Vec<Value> {
    let recording: Value = serde_json::from_str(recording).expect("JSON");
    recording["exchanges"].as_array().expect("exchanges").clone()
}
