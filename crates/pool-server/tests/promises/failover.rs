//! Another account takes over before the first byte, for as many requests as come (P-4), and trying never multiplies an
//! upstream's trouble (P-13).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pool_core::pool::Event;
use pool_testkit::{FakeAccount, Fault, World};

use crate::send_all;
use crate::support::Rig;
use crate::support::clients::{CLAUDE, CODEX};

/// Tries upstream of each conversation since the `before`th request.
fn tries(rig: &Rig, before: usize) -> BTreeMap<String, usize> {
    let mut tries = BTreeMap::new();
    for entry in rig.fake.books().inference().skip(before) {
        *tries.entry(entry.conversation.clone().unwrap_or_default()).or_default() += 1;
    }
    tries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_account_costs_no_client_its_answer() {
    for client in [CODEX, CLAUDE] {
        let world =
            World::new().account((client.account)("shaky").setting("priority", 5)).account((client.account)("sound"));
        let rig = Rig::start(world).await;
        let faults = [
            Fault::Throttle { retry_after: 1 },
            Fault::Reset,
            Fault::CloseBeforeHead,
            Fault::Overloaded,
            Fault::ServerError,
            Fault::OverloadFirst,
            Fault::Expired,
        ];
        for (round, fault) in faults.into_iter().enumerate() {
            let id = rig.app.pool.read(|pool, _| {
                pool.slots().find(|slot| slot.account.name == "shaky").map(|slot| slot.account.id.clone())
            });
            rig.app.pool.apply(Event::Cleared { id: id.expect("an account") });
            rig.fake.clear_faults();
            rig.fake.account("shaky").fault_next(5, fault.clone());
            let before = rig.fake.books().inference().count();
            let requests = (0..25).map(|n| (client.request)(&format!("{round}-{n}"))).collect();
            for seen in send_all(&rig, requests).await {
                assert_eq!((seen.status, seen.whole), (Some(200), true), "{fault:?}: {}", seen.text());
            }
            let most = tries(&rig, before).into_values().max();
            // A refused token is renewed, and the same account asked again.
            let allowed = if fault == Fault::Expired { 3 } else { 2 };
            assert!(most <= Some(allowed), "{fault:?}: {most:?} tries for one request");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_account_is_set_aside_for_as_long_as_it_said() {
    let world = World::new()
        .account(FakeAccount::chatgpt("shaky").setting("priority", 5))
        .account(FakeAccount::chatgpt("sound"));
    let rig = Rig::start(world).await;
    rig.fake.account("shaky").fault_next(1, Fault::Throttle { retry_after: 2 });
    let begun = Instant::now();
    let on_shaky = || rig.fake.books().account("shaky").requests;
    for turn in 0.. {
        let seen = rig.send(&(CODEX.request)(&format!("turn {turn}"))).await;
        assert_eq!(seen.status, Some(200), "{}", seen.text());
        if on_shaky() > 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "it was never asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(1900), "asked again after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn six_of_seven_accounts_fail_differently_and_no_client_notices() {
    let six = [Fault::Limit, Fault::Expired, Fault::Revoked, Fault::Unpaid, Fault::Overloaded, Fault::CutFirst];
    for client in [CODEX, CLAUDE] {
        let mut world = World::new();
        for number in 0..six.len() {
            world = world.account((client.account)(&format!("bad-{number}")).setting("priority", 9 - number as u64));
        }
        let rig = Rig::start(world.account((client.account)("good"))).await;
        for (number, fault) in six.iter().enumerate() {
            rig.fake.account(&format!("bad-{number}")).fault(fault.clone());
        }
        for turn in 0..10 {
            let seen = rig.send(&(client.request)(&format!("turn {turn}"))).await;
            assert_eq!((seen.status, seen.whole), (Some(200), true), "{} turn {turn}: {}", client.name, seen.text());
        }
        assert_eq!(rig.fake.books().account("good").completed, 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_everywhere_is_not_multiplied() {
    let mut world = World::new();
    for number in 0..4 {
        world = world.account(FakeAccount::claude(&format!("account-{number}")));
    }
    let rig = Rig::start(world).await;
    rig.fake.fault(Fault::Overloaded);
    let begun = Instant::now();
    let mut sent = 0;
    for wave in 0..6 {
        let requests: Vec<_> = (0..50).map(|n| (CLAUDE.request)(&format!("{wave}-{n}"))).collect();
        sent += requests.len();
        let before = Instant::now();
        for seen in send_all(&rig, requests).await {
            assert_eq!(seen.status, Some(529), "{}", seen.text());
            assert!(seen.header("retry-after").is_some());
            assert!((CLAUDE.is_error)(&seen.json()), "{}", seen.text());
        }
        assert!(before.elapsed() < Duration::from_secs(2), "answers took {:?}", before.elapsed());
    }
    let upstream = rig.fake.books().inference().count();
    let allowed = sent as f64 * 1.2 + 10.0 * (begun.elapsed().as_secs_f64() + 1.0);
    assert!(upstream as f64 <= allowed, "{upstream} upstream requests for {sent}");
}
