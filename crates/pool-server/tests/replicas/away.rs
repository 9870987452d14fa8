//! The database goes away and comes back (P-18): requests go on, and nobody renews meanwhile.

use pool_core::people::Role;
use pool_server::people::new_user;
use pool_testkit::{FakeAccount, TokenFault, World};
use std::time::Duration;

use crate::circle::Circle;
use crate::support::clients::CODEX;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_and_nobody_renews_until_it_is_back() {
    let Some(circle) = Circle::of(2, World::new().account(FakeAccount::chatgpt("anna"))).await else { return };
    let account = circle.fake.account("anna");
    circle.gate.set_open(false);
    for member in &circle.members {
        assert_eq!(member.send(&(CODEX.request)("one")).await.status, Some(200));
    }
    for member in &circle.members {
        let mut ready = member.get("/readyz").await;
        for _ in 0..100 {
            if ready.text().contains("degraded") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            ready = member.get("/readyz").await;
        }
        assert_eq!((ready.status, ready.text().contains("degraded")), (Some(200), true), "{}", ready.text());
    }
    account.expire_access();
    for member in &circle.members {
        assert_ne!(member.send(&(CODEX.request)("two")).await.status, Some(200));
    }
    assert_eq!(account.books().refresh_calls, 0, "nobody renews without the right to");

    circle.gate.set_open(true);
    until("it is heard again", || {
        circle.members.iter().all(|member| member.app.membership.as_ref().is_some_and(|all| all.trouble().is_none()))
    })
    .await;
    let mut served = 0;
    for _ in 0..100 {
        served = 0;
        for member in &circle.members {
            served += u32::from(member.send(&(CODEX.request)("three")).await.status == Some(200));
        }
        if served == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let books = account.books();
    assert_eq!((served, books.refresh_calls, books.refresh_reused), (2, 1, 0));
    // And what one changes the other hears.
    let [here, there] = &circle.members[..] else { panic!("two") };
    here.app.people.add(new_user("Mira", Role::User).unwrap(), "laptop", None).await.expect("added");
    until("it has heard", || !there.app.people.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_while_it_is_away_is_used_and_written_later() {
    let Some(circle) = Circle::of(2, World::new().account(FakeAccount::chatgpt("anna"))).await else { return };
    let account = circle.fake.account("anna");
    account.token_fault(1, TokenFault::Delay(Duration::from_secs(2)));
    account.expire_access();
    let [here, there] = &circle.members[..] else { panic!("two") };
    let (addr, request) = (here.addr, (CODEX.request)("one"));
    let waiting = tokio::spawn(async move { request.send(addr, Duration::from_mins(1)).await.expect("connected") });
    until("the call is out", || account.books().refresh_calls == 1).await;
    circle.gate.set_open(false);
    assert_eq!(waiting.await.expect("no panic").status, Some(200), "the new token serves at once");
    assert_ne!(there.send(&(CODEX.request)("two")).await.status, Some(200));
    circle.gate.set_open(true);
    circle.all_have("anna", &account.access_token()).await;
    let books = account.books();
    assert_eq!((books.refresh_calls, books.refresh_reused), (1, 0));
}
