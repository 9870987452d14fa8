//! The forecast as everybody may see it.

use http::StatusCode;
use pool_core::people::Role;
use pool_core::pool::Event;
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{
    Account, AccountId, AccountKind, Credentials, Fraction, ProviderId, QuotaWindow, Scope, Secret, Settings, Source,
    Span,
};

use super::world::{AFAR, Ask, Pool, TOKEN};
use crate::forecast::ForecastPage;
use crate::status::StatusPage;

/// A pool with one account, which is out for half an hour.
async fn dry() -> Pool {
    let (pool, _) = Pool::with_people().await;
    let id = AccountId("codex-1".into());
    let account = Account {
        id: id.clone(),
        provider: ProviderId("codex"),
        kind: AccountKind::Subscription,
        name: "secret-name".into(),
        file: "codex/secret-name.json".into(),
        plan: Some("plus".into()),
        email: None,
        settings: Settings::default(),
    };
    let now = Pool::now();
    let window = QuotaWindow {
        name: "5h".into(),
        scope: Scope::Account,
        used: Fraction::ZERO,
        resets_at: Some(now + Span::from_hours(3)),
        span: Some(Span::from_hours(5)),
        source: Source::Headers,
        seen_at: now,
    };
    let credentials = Box::new(Credentials::lasting(Secret::new("made-up")));
    let until = Until::For(Span::from_mins(30));
    let penalty = Penalty { scope: Scope::Account, cause: Cause::QuotaSpent, until };
    pool.app.pool.apply(Event::Seen { account: Box::new(account), credentials });
    pool.app.pool.apply(Event::Read { id: id.clone(), windows: vec![window] });
    pool.app.pool.apply(Event::Penalised { id, penalty });
    pool
}

#[tokio::test]
async fn everybody_gets_the_sentence_and_only_the_operator_the_accounts() {
    let pool = dry().await;
    let (_, friend) = pool.somebody("Mira", Role::Friend).await;
    for (token, accounts) in [(TOKEN, 1), (friend.expose(), 0)] {
        let got = pool.ask(Ask::get("/api/forecast").from(AFAR).bearer(token)).await;
        assert_eq!(got.status, StatusCode::OK, "{got:?}");
        let page: ForecastPage = serde_json::from_str(&got.body).expect("the page");
        let sentence = page.sentence.expect("a sentence");
        assert!(sentence.starts_with("Codex is out until ") && sentence.ends_with(" (in 30 min)."), "{sentence}");
        assert_eq!(page.forecast.providers[0].accounts.len(), accounts);
        assert_eq!(page.capacity.is_some(), accounts > 0);
        assert_eq!(got.body.contains("secret-name"), accounts > 0, "{}", got.body);
    }
}

#[tokio::test]
async fn the_status_says_the_same() {
    let pool = dry().await;
    let got = pool.ask(Ask::get("/api/status").from(AFAR).bearer(TOKEN)).await;
    let page: StatusPage = serde_json::from_str(&got.body).expect("the page");
    let sentence = page.forecast.sentence.expect("a sentence");
    let got = pool.ask(Ask::get("/").from(AFAR).bearer(TOKEN)).await;
    let first = got.body.lines().next().unwrap_or_default();
    assert!(first.starts_with("Codex is out until ") && sentence.starts_with("Codex is out until "), "{first}");
}
