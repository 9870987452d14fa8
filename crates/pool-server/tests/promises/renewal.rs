//! One renewal, however many wait for it (P-5).

use std::time::Duration;

use pool_testkit::{FakeAccount, FakeUpstream, TokenFault, World};

use crate::send_all;
use crate::support::clients::{CLAUDE, CODE_ASSIST, CODEX, Client};
use crate::support::{Rig, send_only, until};

fn crowd(client: &Client) -> Vec<pool_testkit::request::Request> {
    (0..200).map(|n| (client.request)(&format!("conversation {n}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_at_the_moment_of_expiry_make_one_refresh_call() {
    for client in [CODEX, CLAUDE, CODE_ASSIST] {
        let rig = Rig::start(World::new().account((client.account)("anna"))).await;
        rig.fake.account("anna").token_fault(1, TokenFault::Delay(Duration::from_millis(700)));
        rig.fake.account("anna").expire_access();
        for seen in send_all(&rig, crowd(&client)).await {
            assert_eq!((seen.status, seen.whole), (Some(200), true), "{}: {}", client.name, seen.text());
        }
        let books = rig.fake.books().account("anna");
        assert_eq!((books.refresh_calls, books.refresh_reused, books.completed), (1, 0, 200), "{}", client.name);
    }
}

fn expired(fake: &FakeUpstream) {
    fake.account("anna").token_fault(1, TokenFault::Delay(Duration::from_millis(1200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_before_the_start_is_renewed_once_and_a_hang_up_loses_nothing() {
    let account = FakeAccount::chatgpt("anna").first_token_left(Duration::ZERO);
    let rig = Rig::launch(World::new().account(account), expired, |_| {}).await;
    // The first one to ask for it leaves while the provider is still thinking.
    let stream = send_only(&(CODEX.request)("the one that leaves"), rig.addr).await;
    until("the refresh call arrives", || rig.fake.books().account("anna").refresh_calls == 1).await;
    drop(stream);
    for seen in send_all(&rig, crowd(&CODEX)).await {
        assert_eq!((seen.status, seen.whole), (Some(200), true), "{}", seen.text());
    }
    let books = rig.fake.books().account("anna");
    assert_eq!((books.refresh_calls, books.refresh_reused), (1, 0));
    let (name, _) = rig.fake.account("anna").credential_file();
    let on_disk = rig.pool.read(&name).expect("the file");
    let renewed = rig.fake.account("anna").refresh_token().expect("a token");
    assert!(on_disk.contains(&renewed), "the renewed token is not on disk");
}
