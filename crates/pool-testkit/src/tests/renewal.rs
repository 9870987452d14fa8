//! The token endpoints and the credential files.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Ask, fake};
use crate::client::{self, Seen};
use crate::{FakeAccount, FakeUpstream, Refusal, TestPool, TokenFault, World};

const CODEX: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
const CLAUDE: &str = "9d1c250a-e61b-44d9-88ed-5944d1962f5e";

async fn post(fake: &FakeUpstream, path: &str, kind: &str, body: &str) -> Seen {
    let headers = [("content-type", kind)];
    client::send(fake.addr(), "POST", path, &headers, body.as_bytes(), Duration::from_secs(2)).await.expect("connects")
}

async fn refresh(fake: &FakeUpstream, account: &str, token: &str) -> Seen {
    let json = |client_id: &str| {
        json!({ "client_id": client_id, "grant_type": "refresh_token", "refresh_token": token }).to_string()
    };
    match fake.account(account).kind() {
        crate::Kind::ChatGpt => post(fake, "/auth/oauth/token", "application/json", &json(CODEX)).await,
        crate::Kind::ClaudeOAuth => {
            post(fake, "/anthropic-auth/v1/oauth/token", "application/json", &json(CLAUDE)).await
        }
        _ => {
            let form = format!("client_id=any&grant_type=refresh_token&refresh_token={}", token.replace('/', "%2F"));
            post(fake, "/google-auth/token", "application/x-www-form-urlencoded", &form).await
        }
    }
}

#[tokio::test]
async fn a_refresh_gives_a_token_that_works() {
    let fake = fake().await;
    for account in ["anna", "clara", "gina"] {
        fake.account(account).expire_access();
        assert_eq!(Ask::of(&fake, account).send(&fake).await.status, Some(401), "{account}");
        let old = fake.account(account).refresh_token().expect("has one");
        let renewed = refresh(&fake, account, &old).await;
        assert_eq!(renewed.status, Some(200), "{account}: {}", renewed.text());
        assert_eq!(renewed.json()["access_token"], fake.account(account).access_token());
        assert_eq!(Ask::of(&fake, account).send(&fake).await.status, Some(200), "{account}");
        assert_eq!(fake.books().account(account).refresh_calls, 1);
    }
}

#[tokio::test]
async fn a_reused_refresh_token_kills_the_family() {
    let fake = fake().await;
    for (account, status, code) in [("anna", 401, "refresh_token_reused"), ("clara", 400, "invalid_grant")] {
        let old = fake.account(account).refresh_token().expect("has one");
        refresh(&fake, account, &old).await;
        let again = refresh(&fake, account, &old).await;
        assert_eq!(again.status, Some(status));
        assert!(again.text().contains(code), "{}", again.text());
        let newest = fake.account(account).refresh_token().expect("has one");
        assert_ne!(refresh(&fake, account, &newest).await.status, Some(200), "the family is dead");
        assert_eq!(Ask::of(&fake, account).send(&fake).await.status, Some(401));
        let page = fake.books().account(account);
        assert_eq!((page.refresh_calls, page.refresh_reused), (3, 1));
        fake.account(account).sign_in();
        assert_eq!(Ask::of(&fake, account).send(&fake).await.status, Some(200));
    }
}

#[tokio::test]
async fn the_token_endpoint_misbehaves_on_command() {
    let fake = fake().await;
    let anna = fake.account("anna");
    let first = anna.refresh_token().expect("has one");
    anna.token_fault(1, TokenFault::ServerError);
    anna.token_fault(1, TokenFault::Code(400, "odd_code"));
    anna.token_fault(1, TokenFault::Delay(Duration::from_millis(200)));
    assert_eq!(refresh(&fake, "anna", &first).await.status, Some(500));
    assert_eq!(refresh(&fake, "anna", &first).await.json()["error"]["code"], "odd_code");
    let begun = Instant::now();
    assert_eq!(refresh(&fake, "anna", &first).await.status, Some(200));
    assert!(begun.elapsed() >= Duration::from_millis(200));

    let second = anna.refresh_token().expect("has one");
    anna.token_fault(1, TokenFault::NoRotation);
    assert!(refresh(&fake, "anna", &second).await.json().get("refresh_token").is_none());
    anna.token_fault(1, TokenFault::Lost);
    assert_eq!(refresh(&fake, "anna", &second).await.status, None, "still good, but its reply is lost");
    assert!(refresh(&fake, "anna", &second).await.text().contains("refresh_token_reused"), "it was used all the same");

    let clara = fake.account("clara");
    clara.revoke_all(Refusal::Expired);
    let token = clara.refresh_token().expect("has one");
    assert!(refresh(&fake, "clara", &token).await.text().contains("Refresh token expired"));
}

#[tokio::test]
async fn unknown_clients_and_tokens_are_refused() {
    let fake = fake().await;
    assert!(refresh(&fake, "anna", "rt_unknown").await.text().contains("refresh_token_invalidated"));
    let foreign = json!({ "client_id": "other", "grant_type": "refresh_token", "refresh_token": "x" }).to_string();
    let seen = post(&fake, "/auth/oauth/token", "application/json", &foreign).await;
    assert_eq!(seen.status, Some(401));
    assert!(seen.text().contains("invalid_client"));
}

#[tokio::test]
async fn a_test_pool_holds_the_credentials_that_the_fake_takes() {
    let world = World::new().account(FakeAccount::chatgpt("anna")).account(FakeAccount::gemini_key("gum"));
    let early = world.accounts[0].credential_file();
    let fake = FakeUpstream::start(world).await.expect("listens");
    let pool = TestPool::of(&fake).expect("written");
    let text = pool.read("codex/anna.json").expect("there");
    let token = |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["tokens"]["access_token"].clone();
    assert_eq!(token(&text), fake.account("anna").access_token());
    assert_eq!(token(&early.1), token(&text), "the same before the start");
    assert!(pool.read("gemini/gum.json").expect("there").contains(&fake.account("gum").access_token()));
    let mode = std::fs::metadata(pool.pool().join("codex/anna.json")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let root = pool.root().to_owned();
    drop(pool);
    assert!(!root.exists());
}

#[tokio::test]
async fn commands_come_over_http_too() {
    let fake = fake().await;
    let order = json!({ "account": "anna", "fault": "status=418", "times": 1 }).to_string();
    assert_eq!(post(&fake, "/_fake/fault", "application/json", &order).await.status, Some(200));
    assert_eq!(Ask::of(&fake, "anna").send(&fake).await.status, Some(418));
    let wrong = post(&fake, "/_fake/fault", "application/json", "{\"fault\":\"nothing\"}").await;
    assert_eq!(wrong.status, Some(400));
    let books =
        client::send(fake.addr(), "GET", "/_fake/books", &[], b"", Duration::from_secs(1)).await.expect("connects");
    assert_eq!(books.json()["log"][0]["status"], 418);
}
