//! Set-up over HTTP: what a script holds, what a code brings and how often, and what is renewed.

use http::StatusCode;
use pool_core::people::Role;
use serde_json::{Value, json};

use super::world::{Ask, Pool, TOKEN};
use crate::setup::MadeLine;

async fn line(pool: &Pool, user: &str, secret: &str, cli: &str) -> MadeLine {
    let got = pool.ask(Ask::post(&format!("/api/people/{user}/setup/{cli}"), "{}").bearer(secret)).await;
    assert_eq!(got.status, StatusCode::CREATED, "{got:?}");
    serde_json::from_str(&got.body).expect("a line")
}

#[tokio::test]
async fn an_open_pool_sets_whoever_sits_at_it_up_and_a_pool_with_people_does_not() {
    let open = Pool::start(|_| {}).await;
    for (path, agent, wanted) in [
        ("/setup/codex", "curl/8", "key='pool'"),
        ("/setup/claude", "Mozilla/5.0 (Windows NT) WindowsPowerShell/5.1", "$Key = 'pool'"),
        ("/setup/gemini?shell=powershell", "curl/8", "$Key = 'pool'"),
        ("/setup/other", "curl/8", "there are codex, claude, gemini"),
    ] {
        let got = open.ask(Ask::get(path).with("user-agent", agent)).await;
        assert!(got.status == StatusCode::OK && got.body.contains(wanted), "{path}: {got:?}");
        assert_eq!(got.headers["cache-control"], "no-store");
    }
    let (pool, _) = Pool::with_people().await;
    let got = pool.ask(Ask::get("/setup/codex")).await;
    assert!(got.body.contains("one-time code") && got.body.contains("exit 1") && !got.body.contains("key="), "{got:?}");
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_in_no_script() {
    let pool = Pool::start(|_| {}).await;
    for host in ["evil.example", "localhost'$(id)'", "x@127.0.0.1", "127.0.0.1`id`"] {
        let got = pool.ask(Ask::get("/setup/codex/some-code").with("host", host)).await;
        assert!(
            !got.body.contains("evil") && !got.body.contains("id)") && !got.body.contains("`id"),
            "{host}: {got:?}"
        );
    }
    for code in ["a'b", "$(id)", "a%20b", "a%22b", "a;id"] {
        let got = pool.ask(Ask::get(&format!("/setup/codex/{code}"))).await;
        assert!(got.body.contains("this is no code") && !got.body.contains("id"), "{code}: {got:?}");
    }
}

#[tokio::test]
async fn a_code_brings_one_credential_of_its_user_and_reading_the_script_uses_nothing_up() {
    let (pool, _) = Pool::with_people().await;
    let (mira, secret) = pool.somebody("Mira", Role::User).await;
    let made = line(&pool, "me", secret.expose(), "codex").await;
    assert!(
        made.line.sh.starts_with("curl -fsSL http://")
            && made.line.sh.ends_with(&format!("/setup/codex/{} | sh", made.code))
    );
    let path = format!("/setup/codex/{}", made.code);
    for _ in 0..3 {
        let script = pool.ask(Ask::get(&path)).await;
        assert!(script.body.contains(&made.code) && !script.body.contains("pool-"), "a script holds no credential");
    }
    let redeem = || pool.ask(Ask::post(&format!("{path}?machine=laptop"), ""));
    let (one, two) = tokio::join!(redeem(), redeem());
    let (good, bad) = if one.status == StatusCode::OK { (one, two) } else { (two, one) };
    assert_eq!((good.status, bad.status), (StatusCode::OK, StatusCode::NOT_FOUND), "{bad:?}");
    let (user, credential) = pool.app.people.open(&good.body).expect("a credential");
    assert_eq!((user.id.clone(), credential.label.as_str()), (mira.id.clone(), "Codex on laptop"));
    // Another's line, or one for an invitation, is none of Mira's.
    let (_, friend) = pool.somebody("Nadia", Role::Friend).await;
    let path = format!("/api/people/{}/setup/codex", mira.id);
    let got = pool.ask(Ask::post(&path, "{}").bearer(friend.expose())).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND, "{got:?}");
    let invited = pool.ask(Ask::post("/api/invitations", "{}").bearer(TOKEN)).await;
    let invited: Value = serde_json::from_str(&invited.body).expect("json");
    let code = invited["code"].as_str().expect("a code");
    let got = pool.ask(Ask::post(&format!("/setup/codex/{code}"), "")).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND, "{got:?}");
    let got = pool.ask(Ask::get(&format!("/config/codex/{code}"))).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND, "{got:?}");
}

#[tokio::test]
async fn nobody_lengthens_their_stay_or_has_lines_without_end() {
    let (pool, _) = Pool::with_people().await;
    let (friend, secret) = pool.somebody("Nadia", Role::Friend).await;
    let (_, own) = pool.app.people.open(secret.expose()).expect("opens");
    let made = line(&pool, "me", secret.expose(), "claude").await;
    let got = pool.ask(Ask::post(&format!("/setup/claude/{}", made.code), "")).await;
    let (_, new) = pool.app.people.open(&got.body).expect("opens");
    assert!(own.expires_at.is_none() || new.expires_at <= own.expires_at, "{own:?} {new:?}");
    // Whose every credential is revoked comes back by no line of before.
    let (vera, key) = pool.somebody("Vera", Role::User).await;
    let made = line(&pool, "me", key.expose(), "codex").await;
    let (_, credential) = pool.app.people.open(key.expose()).expect("opens");
    pool.app.people.revoke(&credential.id).await.expect("revoked");
    let got = pool.ask(Ask::post(&format!("/setup/codex/{}", made.code), "")).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND, "{} {got:?}", vera.id);
    let ask = || Ask::post(&format!("/api/people/{}/setup/gemini", friend.id), "{}").bearer(secret.expose());
    let mut last = StatusCode::CREATED;
    for _ in 0..=20 {
        last = pool.ask(ask()).await.status;
    }
    assert_eq!(last, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_renewal_gives_back_what_was_shown_and_nothing_else() {
    let (pool, _) = Pool::with_people().await;
    let (mira, secret) = pool.somebody("Mira", Role::User).await;
    let made = line(&pool, "me", secret.expose(), "codex").await;
    let file = pool.ask(Ask::get(&format!("/config/codex/{}", made.code))).await;
    let file: Value = serde_json::from_str(&file.body).expect("an auth.json");
    let access = file["tokens"]["access_token"].as_str().expect("a token").to_owned();
    let renew = async |token: &str| {
        let body = json!({ "client_id": "x", "grant_type": "refresh_token", "refresh_token": token });
        let got = pool.ask(Ask::post("/oauth/token", &body.to_string())).await;
        (got.status, serde_json::from_str::<Value>(&got.body).expect("json"))
    };
    let refresh = file["tokens"]["refresh_token"].as_str().expect("a token");
    let (status, renewed) = renew(refresh).await;
    assert_eq!((status, renewed["access_token"].as_str()), (StatusCode::OK, Some(access.as_str())));
    assert_eq!(pool.app.people.open(&access).expect("opens").0.id, mira.id);
    let before = pool.app.people.read(|people| people.credentials_of(&mira.id).count());
    for forged in [
        format!("poolrt_{}_anything", mira.id),
        format!("poolrt_{}", mira.id),
        format!("poolrt_{access}x"),
        access.clone(),
        "rt_of_another_house".to_owned(),
        String::new(),
    ] {
        let (status, said) = renew(&forged).await;
        assert_eq!((status, said["error"]["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("refresh_token_expired")));
        assert!(said.get("access_token").is_none());
    }
    let (_, credential) = pool.app.people.open(&access).expect("opens");
    pool.app.people.revoke(&credential.id).await.expect("revoked");
    assert_eq!(renew(refresh).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(pool.app.people.read(|people| people.credentials_of(&mira.id).count()), before, "nothing was made");
}
