//! Gemini against its recordings (Gemini CLI 0.61.0, google-genai 3.4.0) and against tables of replies.

mod accounts;
mod replies;
mod requests;

use std::collections::BTreeMap;

use http::HeaderMap;
use pool_core::account::Identity;
use pool_core::{Account, AccountKind, Client, Credentials, Demand, Secret, Settings, UnixMs};
use serde_json::Value;

use super::{Gemini, ID, OauthClient};

/// 2026-11-22T15:00:00Z, a morning in California.
const NOW: UnixMs = UnixMs(1_795_359_600_000);

fn gemini() -> Gemini {
    Gemini::new(OauthClient { secret: Some(Secret::new("made-up secret")), ..OauthClient::default() })
}

fn account(kind: AccountKind) -> Account {
    Account {
        id: Identity::File("gemini/a.json".into()).account_id(ID),
        provider: ID,
        kind,
        name: "a".into(),
        file: "gemini/a.json".into(),
        plan: None,
        email: None,
        settings: Settings::default(),
    }
}

fn credentials(access: &str, project: Option<&str>) -> Credentials {
    Credentials {
        access: Secret::new(access),
        refresh: Some(Secret::new("1//made-up+refresh")),
        expires_at: Some(NOW),
        refreshed_at: None,
        bound: project.map(|project| (super::PROJECT, project.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
    }
}

fn demand_for(model: Option<&str>) -> Demand {
    Demand {
        provider: ID,
        client: Client::OwnCli,
        model: model.map(str::to_owned),
        families: model.map(super::quota::family).into_iter().collect(),
        session: None,
        parent: None,
        binding: pool_core::Binding::Cache,
        keep: None,
        light: false,
        kinds: &[],
    }
}

/// The exchanges of a recording.
fn recorded(text: &str) -> Vec<Value> {
    let recording: Value = serde_json::from_str(text).expect("a recording");
    recording["exchanges"].as_array().expect("exchanges").clone()
}

fn headers_of(request: &Value) -> HeaderMap {
    let pairs = request["headers"].as_array().expect("headers").iter();
    pairs
        .map(|pair| {
            let name = pair[0].as_str().expect("a name").parse::<http::HeaderName>().expect("a header name");
            (name, pair[1].as_str().expect("a value").parse().expect("a header value"))
        })
        .collect()
}
