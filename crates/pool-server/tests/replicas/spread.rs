//! What one replica learns the others know within a second.

use std::time::{Duration, Instant};

use pool_core::people::Role;
use pool_server::people::new_user;
use pool_testkit::{FakeAccount, Fault, Style, World};

use crate::circle::Circle;
use crate::support::clients::{CLAUDE, CODEX};
use crate::support::until;

const WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_let_in_or_revoked_is_so_everywhere() {
    let Some(circle) = Circle::of(2, World::new().account(FakeAccount::claude("carl"))).await else { return };
    let [here, there] = &circle.members[..] else { panic!("two") };
    circle.fake.fault(Fault::Paced(Duration::from_millis(100)));
    circle.fake.set_style(Style { extra_events: 80, ..Style::default() });
    let mira = here.app.people.add(new_user("Mira", Role::User).unwrap(), "laptop", None).await.unwrap().issued;
    let mut request = (CLAUDE.request)("a long one");
    request.headers.retain(|(name, _)| name != "authorization" && name != "x-api-key");
    let request = request.header("authorization", &format!("Bearer {}", mira.secret.expose()));
    until("the other one knows her", || there.app.people.open(mira.secret.expose()).is_ok()).await;
    let (addr, sent) = (there.addr, request.clone());
    let stream = tokio::spawn(async move { sent.send(addr, Duration::from_mins(1)).await.expect("connected") });
    until("it flows", || there.app.in_flight.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;

    let revoked = Instant::now();
    here.app.people.revoke(&mira.credential.id).await.unwrap();
    let seen = stream.await.expect("no panic");
    assert!(!seen.whole && revoked.elapsed() < WITHIN, "{} after {:?}", seen.whole, revoked.elapsed());
    assert_eq!(there.send(&request).await.status, Some(401));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_pins_are_known_to_the_others() {
    let world = World::new().account(FakeAccount::chatgpt("anna")).account(FakeAccount::chatgpt("bert"));
    let Some(circle) = Circle::of(2, world).await else { return };
    let [here, there] = &circle.members[..] else { panic!("two") };
    let served = |conversation: &str| {
        let count = |name: &str| circle.fake.account(name).books().completed;
        let before = (count("anna"), count("bert"));
        let request = (CODEX.request)(conversation);
        async move {
            let pins = there.app.pool.read(|pool, _| pool.pins.len());
            assert_eq!(here.send(&request).await.status, Some(200));
            let first = if count("anna") > before.0 { "anna" } else { "bert" };
            until("the other one has heard of it", || there.app.pool.read(|pool, _| pool.pins.len()) > pins).await;
            assert_eq!(there.send(&request).await.status, Some(200));
            let both = (count("anna") - before.0, count("bert") - before.1);
            (first, both)
        }
    };
    for number in 0..4 {
        let (first, both) = served(&format!("conversation {number}")).await;
        assert_eq!(both, if first == "anna" { (2, 0) } else { (0, 2) }, "conversation {number}");
    }

    circle.fake.account("anna").limit("5h", Duration::from_hours(3));
    let limited = async {
        let mut told = None;
        for number in 0..20 {
            here.send(&(CODEX.request)(&format!("more {number}"))).await;
            if here.trouble("anna").is_some() {
                told = Some(Instant::now());
                break;
            }
        }
        told.expect("it meets the limit")
    };
    let told = limited.await;
    until("the other one knows", || there.trouble("anna").is_some()).await;
    assert!(told.elapsed() < WITHIN, "{:?}", told.elapsed());
    assert_eq!(there.trouble("anna"), here.trouble("anna"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_for_all_replicas_together() {
    use pool_core::limits::{Amount, Budget, Limits, Period};
    let Some(circle) = Circle::of(2, World::new().account(FakeAccount::claude("carl"))).await else { return };
    let [here, there] = &circle.members[..] else { panic!("two") };
    let mut mira = new_user("Mira", Role::User).unwrap();
    let limits =
        Limits { budgets: vec![Budget { period: Period::Month, amount: Amount::Tokens(1) }], ..Limits::default() };
    mira.limits = limits;
    let issued = here.app.people.add(mira, "laptop", None).await.unwrap().issued;
    let mut request = (CLAUDE.request)("one");
    request.headers.retain(|(name, _)| name != "authorization" && name != "x-api-key");
    let request = request.header("authorization", &format!("Bearer {}", issued.secret.expose()));
    until("the other one knows her", || there.app.people.open(issued.secret.expose()).is_ok()).await;
    assert_eq!(here.send(&request).await.status, Some(200), "one token is left");
    let mut seen = there.send(&request).await;
    for _ in 0..100 {
        if seen.status != Some(200) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        seen = there.send(&request).await;
    }
    assert_eq!(seen.status, Some(429), "{}", seen.text());
}
