//! One renewal, however many replicas want it (P-5), and what is left when the one who is at it dies.

use std::time::{Duration, Instant};

use pool_server::upstream::Upstream;
use pool_store::vault::Turn;
use pool_testkit::{FakeAccount, TokenFault, World};

use crate::circle::{Circle, registry};
use crate::support::clients::{CLAUDE, CODEX};
use crate::support::{bases, until};

fn crowd(count: usize) -> Vec<pool_testkit::request::Request> {
    (0..count).map(|number| (CODEX.request)(&format!("conversation {number}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_on_three_replicas_make_one_call() {
    let Some(circle) = Circle::of(3, World::new().account(FakeAccount::chatgpt("anna"))).await else { return };
    let account = circle.fake.account("anna");
    account.token_fault(1, TokenFault::Delay(Duration::from_secs(3)));
    account.expire_access();
    for seen in circle.crowd(crowd(200)).await {
        assert_eq!((seen.status, seen.whole), (Some(200), true), "{}", seen.text());
    }
    let books = account.books();
    assert_eq!((books.refresh_calls, books.refresh_reused, books.completed), (1, 0, 200));
    circle.all_have("anna", &account.access_token()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_died_before_the_call_costs_no_token() {
    let Some(circle) = Circle::of(3, World::new().account(FakeAccount::chatgpt("anna"))).await else { return };
    let account = circle.fake.account("anna");
    let (file, _) = account.credential_file();
    let dead = circle.vault("dead").await;
    assert_eq!(dead.claim(&file, "dead/0").await.unwrap().expect("there").turn, Turn::Ours);
    account.expire_access();
    for seen in circle.crowd(crowd(30)).await {
        assert_eq!(seen.status, Some(200), "{}", seen.text());
    }
    let books = account.books();
    assert_eq!((books.refresh_calls, books.refresh_reused), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_died_with_the_new_token_leads_to_a_new_sign_in_and_no_loop() {
    let Some(circle) = Circle::of(3, World::new().account(FakeAccount::chatgpt("anna"))).await else { return };
    let account = circle.fake.account("anna");
    let (file, text) = account.credential_file();
    let dead = circle.vault("dead").await;
    assert_eq!(dead.claim(&file, "dead/0").await.unwrap().expect("there").turn, Turn::Ours);
    // It makes the call, and nobody ever hears of what it got.
    let registry = registry();
    let provider = registry.named("codex").expect("a provider");
    let held = provider.read_file(&file, text.as_bytes()).expect("a login").credentials;
    let call = provider.refresh_call(&held, &bases(&circle.fake)).expect("a call");
    let config = pool_server::Config { bases: bases(&circle.fake), ..pool_server::Config::default() };
    Upstream::new(&config).call(call, Duration::from_secs(10)).await.expect("answered");
    account.expire_access();

    let begun = Instant::now();
    for seen in circle.crowd(crowd(9)).await {
        assert_eq!(seen.status, Some(CODEX.person), "{}", seen.text());
    }
    until("every replica says so", || {
        circle.members.iter().all(|member| member.trouble("anna").is_some_and(|why| why.contains("sign in again")))
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(account.books().refresh_calls, 2);
    // A replica that comes later knows it too, and asks nobody.
    let late = circle.join(circle.key.clone()).await.expect("it starts");
    circle.crowd(crowd(9)).await;
    assert_eq!(late.send(&(CODEX.request)("late")).await.status, Some(CODEX.person));
    assert_eq!(account.books().refresh_calls, 2);

    // A new sign-in, put into one replica's folder, mends it everywhere.
    account.sign_in();
    circle.members[1].pool.add(&account).expect("written");
    circle.all_have("anna", &account.access_token()).await;
    for seen in circle.crowd(crowd(9)).await {
        assert_eq!(seen.status, Some(200), "{}", seen.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_costs_two_calls_on_all_replicas_together() {
    let Some(circle) = Circle::of(3, World::new().account(FakeAccount::claude("carl"))).await else { return };
    let account = circle.fake.account("carl");
    account.token_fault(1, TokenFault::Lost);
    account.expire_access();
    let requests = |count: usize| (0..count).map(|number| (CLAUDE.request)(&format!("{number}"))).collect();
    circle.crowd(requests(9)).await;
    for _ in 0..200 {
        circle.crowd(requests(3)).await;
        if circle.members.iter().all(|member| member.trouble("carl").is_some_and(|why| why.contains("sign in"))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    circle.crowd(requests(9)).await;
    let parked: Vec<_> = circle.members.iter().map(|member| member.trouble("carl")).collect();
    assert!(parked.iter().flatten().all(|why| why.contains("sign in again")), "{parked:?}");
    assert_eq!((account.books().refresh_calls, parked.iter().flatten().count()), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_a_file_overwrites_nothing_and_is_named() {
    let Some(circle) = Circle::of(2, World::new().account(FakeAccount::chatgpt("anna"))).await else { return };
    let account = circle.fake.account("anna");
    let (file, stale) = account.credential_file();
    account.expire_access();
    assert_eq!(circle.members[0].send(&(CODEX.request)("one")).await.status, Some(200));
    let renewed = account.access_token();
    circle.all_have("anna", &renewed).await;
    // The copy from the start was taken in and lies in the archive. Somebody puts it back, on the other replica.
    let other = &circle.members[1];
    assert!(other.pool.read(&file).is_err(), "it is in the vault, not in the folder");
    other.pool.write(&file, &stale).expect("written");
    until("it is named", || {
        other
            .app
            .keeper
            .faults
            .list()
            .iter()
            .any(|fault| fault.file == format!("./{file}") && fault.what.contains("old copy"))
    })
    .await;
    assert_eq!(circle.tokens("anna"), [renewed.clone(), renewed]);
    other.pool.remove(&file).expect("removed");
    until("it is forgotten", || other.app.keeper.faults.list().is_empty()).await;
    assert_eq!(account.books().refresh_reused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_does_not_start_and_harms_nothing() {
    let Some(circle) = Circle::of(1, World::new().account(FakeAccount::chatgpt("anna"))).await else { return };
    let wrong = circle.join(pool_store::VaultKey::make().unwrap()).await.err().expect("it does not start").to_string();
    assert!(wrong.contains("sealed with the key") && wrong.contains("copy the key file"), "{wrong}");
    circle.join(circle.key.clone()).await.expect("the right one starts");
    assert_eq!(circle.members[0].send(&(CODEX.request)("one")).await.status, Some(200));
}
