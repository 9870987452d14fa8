//! The description of the API is of the pages that there are, and what they answer fits it.

use std::collections::BTreeSet;

use http::Method;
use pool_core::people::{Role, UserId};
use pool_core::pool::Event;
use pool_core::quota::{QuotaWindow, Scope, Source};
use pool_core::usage::{Ending, LatencyParts};
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{
    AccountId, Ask as CoreAsk, Client, Demand, Fraction, ProviderId, Secret, Span, TokenCounts, Trail, UsageRecord,
};
use serde_json::Value;

use super::schema::{check, resolve};
use super::world::{Ask, Got, Pool, TOKEN};
use crate::pages::PAGES;
use crate::pages::openapi::{document, written};

const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

/// Method and path of everything described.
fn described() -> BTreeSet<(String, String)> {
    let paths = document()["paths"].as_object().expect("paths");
    let methods = |(path, item): (&String, &Value)| {
        let item = item.as_object().expect("an item");
        item.keys().map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

#[test]
fn the_document_and_the_table_name_the_same_pages() {
    let pages: BTreeSet<_> = PAGES.iter().map(|page| (page.method.as_str().to_owned(), page.path.to_owned())).collect();
    let described = described();
    let missing: Vec<_> = pages.iter().filter(|(_, path)| path.starts_with("/api/")).collect();
    let missing: Vec<_> = missing.into_iter().filter(|page| !described.contains(page)).collect();
    assert!(missing.is_empty(), "pages/openapi/operations.rs does not say what these take and answer: {missing:?}");
    let written: BTreeSet<_> = written().into_iter().collect();
    assert_eq!(written, described, "pages/openapi/operations.rs names what is no page");
}

#[test]
fn the_document_is_whole() {
    let text = serde_json::to_string(document()).expect("serialises");
    let references = text.split(r#""$ref":""#).skip(1).filter_map(|rest| rest.split('"').next());
    let lost: BTreeSet<_> = references.filter(|reference| resolve(document(), reference).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let ids: Vec<&str> = text.split(r#""operationId":""#).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

#[test]
fn the_committed_copy_is_up_to_date() {
    let text = serde_json::to_string_pretty(document()).expect("serialises") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(COPY, &text).expect("writes");
    }
    let committed = std::fs::read_to_string(COPY).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is not what the code says: UPDATE=1 cargo test -p pool-server openapi"
    );
}

/// An answer as the document describes it.
pub fn described_answer(method: &Method, path: &str, got: &Got) -> Result<(), String> {
    let item = &document()["paths"][path][method.as_str().to_lowercase()];
    let answer = &item["responses"][got.status.as_str()];
    if answer.is_null() {
        return Err(format!("{method} {path} answers {}, which is not described: {}", got.status, got.body));
    }
    let schema = &answer["content"]["application/json"]["schema"];
    if schema.is_null() {
        return Ok(());
    }
    let value = serde_json::from_str(&got.body).map_err(|error| format!("{method} {path}: {error}: {}", got.body))?;
    check(document(), schema, &value).map_err(|wrong| format!("{method} {path} {}: {wrong}", got.status))
}

/// An account that has something of everything, and requests that it served and refused.
async fn populate(pool: &Pool, user: &UserId) {
    let app = &pool.app;
    let account = pool.account("claude-0123456789ab", "work");
    let (id, now) = (account.id.clone(), Pool::now());
    let window = |scope, name: &str| QuotaWindow {
        name: name.into(),
        scope,
        used: Fraction::new(0.25).expect("a share"),
        resets_at: Some(now + Span::from_hours(3)),
        span: Some(Span::from_hours(5)),
        source: Source::Headers,
        seen_at: now,
    };
    let windows = vec![window(Scope::Account, "5h"), window(Scope::Family("opus".into()), "week")];
    app.pool.apply(Event::Read { id: id.clone(), windows });
    let demand = Demand { model: Some("claude-sonnet-5-5".into()), ..Demand::any(ProviderId("claude"), Client::Other) };
    let lease = app.pool.lease(&CoreAsk::new(&demand, None)).expect("it can serve");
    let mut story = Trail::default().delivered(&lease, 200, now);
    drop(lease);
    story.attempts[0].reason = "429 rate_limit_error".into();
    let cause = Cause::Throttled;
    let until = Until::At(now + Span::from_secs(60));
    app.pool.apply(Event::Penalised { id: id.clone(), penalty: Penalty { scope: Scope::Account, cause, until } });
    let refusal = app.pool.lease(&CoreAsk::new(&demand, None)).expect_err("it cools down");
    for (number, trail) in [(1, story), (2, Trail::default().refused(Some(&refusal), now))] {
        let served = number == 1;
        let record = UsageRecord {
            request_id: format!("{number:032x}"),
            at: now,
            user: Some(user.clone()),
            provider: "claude".into(),
            account: if served { id.clone() } else { AccountId::nobody() },
            model: demand.model.clone(),
            client: Some("sdk/1".into()),
            session: Some("0123456789ab".into()),
            status: if served { 200 } else { 429 },
            ending: if served { Ending::Complete } else { Ending::Failed },
            tokens: served.then(|| TokenCounts { input: 5, ..TokenCounts::default() }),
            attempts: 1,
            first_byte_ms: 1,
            total_ms: 2,
            parts: served.then(LatencyParts::default),
        };
        app.keep(record, trail);
    }
    let begun = std::time::Instant::now();
    while app.ledger.health().written < 2 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", app.ledger.health());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_answered_fits_the_document() {
    let pool = Pool::start(|config| {
        config.operator_token = Some(Secret::new(TOKEN));
        config.friends.code = Some(Secret::new("come-in-1234"));
    })
    .await;
    let (friend, key) = pool.somebody("Nadia", Role::Friend).await;
    populate(&pool, &friend.id).await;
    let (id, me) = (friend.id.to_string(), key.expose().to_owned());
    let invited = pool.ask(Ask::post("/api/invitations", "{}").bearer(TOKEN)).await;
    let invitation = serde_json::from_str::<Value>(&invited.body).expect("JSON")["id"].clone();
    let invitation = invitation.as_str().expect("an id").to_owned();
    let limits = r#"{"name":"Mira","role":"user","email":"mira@example.com","limits":{"requests_per_minute":5,
        "budgets":[{"period":"day","amount":{"tokens":5}},{"period":"week","amount":{"window_share":0.5}}],"models":["a*"]}}"#;
    for (method, pattern, path, body, bearer) in [
        ("GET", "/status", "/status", "", TOKEN),
        ("GET", "/api/status", "/api/status", "", TOKEN),
        ("GET", "/api/notices", "/api/notices", "", TOKEN),
        ("GET", "/api/openapi.json", "/api/openapi.json", "", &me),
        ("GET", "/api/forecast", "/api/forecast", "", TOKEN),
        ("GET", "/api/forecast", "/api/forecast", "", &me),
        ("GET", "/api/people/contributions", "/api/people/contributions?days=7", "", TOKEN),
        ("GET", "/api/people/contributions", "/api/people/contributions?days=x", "", &me),
        ("POST", "/api/friend/claim", "/api/friend/claim", r#"{"friend_code":"come-in-1234","name":"Ada"}"#, ""),
        ("POST", "/api/friend/claim", "/api/friend/claim", r#"{"friend_code":"wrong-one","name":"Bob"}"#, ""),
        ("GET", "/api/pool/whoami", "/api/pool/whoami", "", &me),
        ("GET", "/api/pool/stats", "/api/pool/stats", "", TOKEN),
        ("GET", "/api/pool/users", "/api/pool/users", "", &me),
        ("GET", "/api/pool/users/{user}/daily", "/api/pool/users/me/daily?days=400", "", &me),
        ("GET", "/api/pool/daily-breakdown", "/api/pool/daily-breakdown", "", &me),
        ("GET", "/api/overview", "/api/overview", "", TOKEN),
        ("GET", "/api/overview", "/api/overview", "", &me),
        ("GET", "/api/accounts", "/api/accounts", "", TOKEN),
        ("GET", "/api/accounts", "/api/accounts", "", &me),
        ("GET", "/api/accounts/{account}", "/api/accounts/none", "", TOKEN),
        ("GET", "/api/accounts/{account}", "/api/accounts/work", "", TOKEN),
        ("GET", "/api/requests", "/api/requests", "", TOKEN),
        ("GET", "/api/requests", "/api/requests", "", &me),
        ("GET", "/api/requests/{request}", &format!("/api/requests/{:032x}", 1), "", TOKEN),
        ("GET", "/api/requests/{request}", &format!("/api/requests/{:032x}", 2), "", TOKEN),
        ("GET", "/api/flights", "/api/flights", "", &me),
        ("GET", "/api/requests", "/api/requests?since=24h&status=4xx&limit=5", "", TOKEN),
        ("GET", "/api/requests", "/api/requests?person=me&ending=failed", "", &me),
        ("GET", "/api/requests", "/api/requests?person=Mira", "", &me),
        ("GET", "/api/requests", "/api/requests?sinc=24h", "", TOKEN),
        ("GET", "/api/requests/{request}", "/api/requests/last", "", TOKEN),
        ("GET", "/api/usage", "/api/usage?by=model&bucket=hour", "", TOKEN),
        ("GET", "/api/usage", "/api/usage?by=account", "", &me),
        ("GET", "/api/usage", "/api/usage?bucket=hour&since=400d", "", TOKEN),
        ("GET", "/api/usage/totals", "/api/usage/totals?by=person", "", &me),
        ("GET", "/api/usage/totals", "/api/usage/totals?bucket=day", "", &me),
        ("GET", "/api/settings", "/api/settings", "", TOKEN),
        ("GET", "/api/health", "/api/health", "", TOKEN),
        ("GET", "/api/explain", "/api/explain?provider=gemini", "", TOKEN),
        ("GET", "/api/explain", "/api/explain?provder=gemini", "", TOKEN),
        ("GET", "/api/explain/{request}", "/api/explain/last", "", TOKEN),
        ("GET", "/api/session", "/api/session", "", &me),
        ("GET", "/api/session", "/api/session", "", "pool-wrong"),
        ("POST", "/api/session", "/api/session", &format!(r#"{{"credential":"{me}"}}"#), ""),
        ("POST", "/api/session", "/api/session", r#"{"code":"x","password":"y"}"#, ""),
        ("POST", "/api/sign-in", "/api/sign-in", "", TOKEN),
        ("GET", "/api/people", "/api/people", "", TOKEN),
        ("GET", "/api/people", "/api/people", "", &me),
        ("POST", "/api/people", "/api/people", limits, TOKEN),
        ("POST", "/api/people", "/api/people", limits, TOKEN),
        ("GET", "/api/people/{user}", "/api/people/me", "", &me),
        ("GET", "/api/people/{user}", "/api/people/nobody", "", &me),
        ("PATCH", "/api/people/{user}", &format!("/api/people/{id}"), r#"{"paused":false,"accounts":null}"#, TOKEN),
        ("POST", "/api/people/{user}/credentials", "/api/people/me/credentials", r#"{"label":"x"}"#, &me),
        ("DELETE", "/api/people/{user}/credentials/{credential}", "/api/people/me/credentials/none", "", &me),
        ("POST", "/api/people/{user}/setup/{cli}", "/api/people/me/setup/gemini", "", &me),
        ("POST", "/api/people/{user}/setup/{cli}", "/api/people/me/setup/none", "", &me),
        ("POST", "/api/invitations", "/api/invitations", "{}", TOKEN),
        ("DELETE", "/api/invitations/{invitation}", &format!("/api/invitations/{invitation}"), "", TOKEN),
        ("DELETE", "/api/invitations/{invitation}", "/api/invitations/none", "", TOKEN),
        ("POST", "/api/accounts/{account}/test", "/api/accounts/none/test", "", TOKEN),
        ("DELETE", "/api/people/{user}", &format!("/api/people/{id}"), "", TOKEN),
    ] {
        let method: Method = method.parse().expect("a method");
        let ask = Ask { body: body.to_owned(), ..Ask::new(method.clone(), path) }.from("203.0.113.9:50000");
        let got = pool.ask(if bearer.is_empty() { ask } else { ask.bearer(bearer) }).await;
        described_answer(&method, pattern, &got).unwrap_or_else(|wrong| panic!("{wrong}\n{}", got.body));
    }
}
