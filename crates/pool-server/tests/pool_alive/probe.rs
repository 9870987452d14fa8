//! Probes: what they bring, and what they must not cost.

use std::time::Duration;

use pool_core::pool::Event;
use pool_server::pool::prober::Outcome;
use pool_server::pool::{ProbeFailure, ProbeReport};
use serde_json::json;

use crate::support::{HOUR, Mood, Plan, Rig, SECOND, login, within};

const FILE: &str = "pear/a.json";
const LATER: i64 = 2 * HOUR;

async fn probe(rig: &Rig, file: &str) -> ProbeReport {
    rig.keeper.prober.probe_now(&rig.id(file)).await.unwrap()
}

#[tokio::test]
async fn every_account_is_asked_at_the_start_a_few_at_a_time_and_a_new_one_at_once() {
    let files: Vec<_> = (0..12).map(|n| (format!("pear/{n}.json"), login(&format!("u{n}"), 0, LATER))).collect();
    let mut paused = login("paused", 0, LATER);
    paused["disabled"] = true.into();
    let mut files: Vec<_> = files.iter().map(|(file, content)| (file.as_str(), content.clone())).collect();
    files.push(("pear/paused.json", paused));
    let plan = Plan::new(&files).await;
    plan.server.books.lock().delay = Duration::from_millis(100);
    let rig = plan.start();
    let told = |file: &str| rig.slot(file).is_some_and(|slot| !slot.windows.is_empty());
    within(3 * SECOND, "all asked", || files[..12].iter().all(|(file, _)| told(file))).await;
    assert!(rig.server.books.lock().most_probing <= 4);
    let slot = rig.slot("pear/3.json").unwrap();
    assert_eq!((slot.account.plan.as_deref(), slot.credentials.bound["project"].as_str()), (Some("gold"), "u3's"));
    assert_eq!((slot.windows[0].used.get(), slot.epoch), (0.25, 1));

    rig.put("pear/new.json", &login("new", 0, LATER));
    within(2 * SECOND, "the new one", || told("pear/new.json")).await;
    let mut asked = rig.server.books.lock().probes.clone();
    assert_eq!(asked.len(), 13, "each once: {asked:?}");
    asked.retain(|user| user == "paused");
    assert_eq!(asked, [""; 0]);
}

#[tokio::test]
async fn many_who_want_to_know_ask_once() {
    let plan = Plan::new(&[(FILE, login("u", 0, LATER))]).await;
    plan.server.books.lock().delay = Duration::from_millis(200);
    let rig = plan.start();
    let id = rig.id(FILE);
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let (prober, id) = (rig.keeper.prober.clone(), id.clone());
            tokio::spawn(async move { prober.probe_now(&id).await })
        })
        .collect();
    for asked in asking {
        let report = asked.await.unwrap().unwrap();
        assert_eq!((report.outcome, report.windows.len(), report.plan.as_deref()), (Outcome::Works, 1, Some("gold")));
    }
    assert_eq!(rig.server.books.lock().probes.len(), 1);
    let gone = pool_core::AccountId("pear-gone".into());
    assert_eq!(rig.keeper.prober.probe_now(&gone).await, Err(ProbeFailure::Gone));
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_asked_with_again() {
    // Upstream has revoked the access token alone.
    let plan = Plan::new(&[(FILE, login("u", 0, LATER))]).await;
    let mut file = login("u", 0, LATER);
    file["access"] = "u-a77".into();
    plan.put(FILE, &file);
    let rig = plan.start();
    assert_eq!(probe(&rig, FILE).await.outcome, Outcome::Works);
    assert_eq!((rig.access(FILE).as_str(), rig.refreshes()), ("u-a1", (1, 0)));
}

#[tokio::test]
async fn what_no_renewal_mends_waits_for_a_person() {
    // A key, and a login whose refresh token is dead.
    let plan = Plan::new(&[("pear/key.json", json!({ "access": "k-1" })), (FILE, login("u", 0, LATER))]).await;
    plan.server.books.lock().generation.insert("u".into(), 9);
    let rig = plan.start();
    for (file, mend) in [("pear/key.json", "put a valid key into pear/key.json"), (FILE, "accounts login pear")] {
        let outcome = probe(&rig, file).await.outcome;
        let parked = rig.slot(file).unwrap().needs_login.unwrap();
        assert!(
            matches!(&outcome, Outcome::NeedsPerson { why } if *why == parked && why.contains(mend)),
            "{outcome:?}"
        );
    }
    assert_eq!(rig.refreshes(), (1, 1));
    // Refused though renewed, and for want of money.
    for (status, said) in [(401, "even after it was renewed"), (402, "pay")] {
        let plan = Plan::new(&[(FILE, login("u", 0, LATER))]).await;
        plan.server.books.lock().probe_status = Some(status);
        let rig = plan.start();
        let outcome = probe(&rig, FILE).await.outcome;
        assert!(matches!(&outcome, Outcome::NeedsPerson { why } if why.contains(said)), "{outcome:?}");
        assert!(rig.slot(FILE).unwrap().needs_login.is_some());
    }
}

#[tokio::test]
async fn trouble_on_the_way_does_not_harm_the_account() {
    for mood in [Mood::Status(429), Mood::Status(500), Mood::Status(503), Mood::Lost] {
        let plan = Plan::new(&[(FILE, login("u", 0, LATER))]).await;
        plan.server.books.lock().mood = mood;
        let rig = plan.start();
        let outcome = probe(&rig, FILE).await.outcome;
        assert!(matches!(outcome, Outcome::Trouble { .. }), "{mood:?}: {outcome:?}");
        let slot = rig.slot(FILE).unwrap();
        assert_eq!((slot.needs_login, slot.cooldowns.len()), (None, 0), "{mood:?}");
        if mood == Mood::Status(429) {
            assert_eq!(slot.windows, [], "a 429 of a probe says nothing");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(rig.server.books.lock().probes.len() <= 2, "and it is not asked again at once");
    }
}

#[tokio::test]
async fn who_serves_is_not_asked() {
    let mut plan = Plan::new(&[("pear/idle.json", login("idle", 0, LATER)), (FILE, login("busy", 0, LATER))]).await;
    plan.config.probe_every = Duration::from_millis(400);
    let rig = plan.start();
    let asked = |user: &str| rig.server.books.lock().probes.iter().filter(|probed| *probed == user).count();
    within(SECOND, "the first probes", || asked("idle") == 1 && asked("busy") == 1).await;
    for _ in 0..100 {
        rig.live.apply(Event::Served { id: rig.id(FILE), families: Vec::new() });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked("busy"), 1);
    assert!((3..=6).contains(&asked("idle")), "{}", asked("idle"));
    within(2 * SECOND, "asked when idle again", || asked("busy") > 1).await;
}
