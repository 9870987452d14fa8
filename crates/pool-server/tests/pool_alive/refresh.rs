//! Renewing: one call, on disk before in use, nobody's token lost (P-5, P-16).

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_server::pool::files::{Step, WriteError, write_secret};
use pool_server::pool::{RefreshFailure, Topic, Why};
use serde_json::json;

use crate::support::{HOUR, Mood, Plan, Rig, SECOND, login, now_ms, within};

const FILE: &str = "pear/a.json";
/// Not due, so that the background leaves it alone.
const LATER: i64 = 2 * HOUR;

async fn rig() -> Rig {
    Rig::start(&[(FILE, login("u", 0, LATER))]).await
}

/// Starts a renewal that the server answers after `delay`, and waits until the server has it.
async fn begin(rig: &Rig, delay: Duration) -> tokio::task::JoinHandle<Result<(), RefreshFailure>> {
    rig.server.books.lock().delay = delay;
    let (refresher, id) = (rig.keeper.refresher.clone(), rig.id(FILE));
    let flight = tokio::spawn(async move { refresher.ensure_fresh(&id, 1, Why::Rejected).await });
    within(SECOND, "the call", || rig.refreshes().0 == 1).await;
    flight
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_make_one_call_and_hanging_up_loses_nothing() {
    for (ends_in, why) in [(LATER, Why::Rejected), (-1000, Why::Proactive)] {
        two_hundred_callers(ends_in, why).await;
    }
}

async fn two_hundred_callers(ends_in: i64, why: Why) {
    let plan = Plan::new(&[(FILE, login("u", 0, ends_in))]).await;
    plan.server.books.lock().delay = Duration::from_millis(700);
    let rig = plan.start();
    let id = rig.id(FILE);
    let callers: Vec<_> = (0..200)
        .map(|_| {
            let (refresher, id) = (rig.keeper.refresher.clone(), id.clone());
            tokio::spawn(async move { refresher.ensure_fresh(&id, 1, why).await })
        })
        .collect();
    within(SECOND, "the call", || rig.refreshes().0 == 1).await;
    for caller in callers.iter().step_by(2) {
        caller.abort();
    }
    let mut served = 0;
    for caller in callers {
        match caller.await {
            Ok(answer) => {
                answer.unwrap();
                served += 1;
                assert_eq!(rig.read(FILE)["access"], "u-a1", "on disk before anybody uses it");
            }
            Err(gone) => assert!(gone.is_cancelled()),
        }
    }
    assert_eq!((served, rig.refreshes()), (100, (1, 0)));
    let slot = rig.slot(FILE).unwrap();
    assert_eq!((slot.credentials.access.expose(), slot.epoch), ("u-a1", 2));
    assert_eq!((&rig.read(FILE)["refresh"], &rig.read(FILE)["note"]), (&json!("u-r1"), &json!("kept")));
    // The watcher sees our write and makes no news of it.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(rig.slot(FILE).unwrap().epoch, 2);
}

#[tokio::test]
async fn a_renewal_is_finished_though_everybody_has_gone() {
    let rig = rig().await;
    begin(&rig, Duration::from_millis(200)).await.abort();
    within(SECOND, "the new token on disk", || rig.read(FILE)["access"] == "u-a1").await;
    within(SECOND, "the new token in use", || rig.access(FILE) == "u-a1").await;
}

#[tokio::test]
async fn a_refusal_of_an_older_token_renews_nothing() {
    let rig = rig().await;
    let (refresher, id) = (&rig.keeper.refresher, rig.id(FILE));
    refresher.ensure_fresh(&id, 1, Why::Rejected).await.unwrap();
    refresher.ensure_fresh(&id, 1, Why::Rejected).await.unwrap();
    assert_eq!(rig.refreshes(), (1, 0));
    // And one that is refused as soon as it was issued is not renewed again.
    assert_eq!(refresher.ensure_fresh(&id, 2, Why::Rejected).await, Err(RefreshFailure::StillRejected));
    assert_eq!(refresher.ensure_fresh(&id, 2, Why::Proactive).await, Ok(()), "it is fresh");
    assert_eq!(rig.refreshes(), (1, 0));
}

#[tokio::test]
async fn what_is_due_is_renewed_without_being_asked_for() {
    let files: Vec<_> =
        (0..12).map(|n| (format!("pear/{n}.json"), login(&format!("u{n}"), 0, 100_000 - n * 20_000))).collect();
    let files: Vec<_> = files.iter().map(|(file, content)| (file.as_str(), content.clone())).collect();
    let rig = Rig::start(&files).await;
    within(4 * SECOND, "all renewed", || rig.refreshes() == (12, 0)).await;
    within(SECOND, "all on disk", || {
        files.iter().all(|(file, _)| rig.read(file)["access"].as_str().unwrap().ends_with("a1"))
    })
    .await;
}

#[tokio::test]
async fn a_newer_login_in_the_file_is_used_instead_of_a_call() {
    let rig = rig().await;
    rig.put(FILE, &login("u", 5, LATER));
    rig.keeper.refresher.ensure_fresh(&rig.id(FILE), 1, Why::Rejected).await.unwrap();
    assert_eq!((rig.access(FILE).as_str(), rig.refreshes()), ("u-a5", (0, 0)));
}

#[tokio::test]
async fn an_old_copy_of_a_login_is_never_used() {
    // Nothing in these files tells whose they are: once one is renewed, only its old token does.
    let nameless = || {
        let mut login = login("u", 0, LATER);
        login.as_object_mut().unwrap().remove("user");
        login
    };
    let (copy, key) = ("pear/b.json", "pear/k.json");
    let rig = Rig::start(&[(FILE, nameless()), (copy, nameless())]).await;
    rig.keeper.refresher.ensure_fresh(&rig.id(FILE), 1, Why::Rejected).await.unwrap();
    rig.put(key, &json!({ "access": "k-1" }));
    within(SECOND, "the folder is looked at", || rig.slot(key).is_some()).await;
    assert!(rig.slot(copy).is_none());
    assert!(matches!(&rig.faults(Topic::Twice)[..], [(file, what)] if file == copy && what.contains("old copy")));
    // A backup that is put back: the login in use stays, and so does what the next renewal starts from.
    rig.put(FILE, &nameless());
    within(SECOND, "the backup is noticed", || rig.faults(Topic::Content).len() == 1).await;
    assert_eq!((rig.access(FILE).as_str(), rig.refreshes()), ("u-a1", (1, 0)));
    rig.keeper.refresher.ensure_fresh(&rig.id(FILE), 2, Why::Rejected).await.unwrap_err();
    assert_eq!(rig.refreshes(), (1, 0), "renewed a moment ago");
    // A new sign-in mends it.
    rig.put(FILE, &login("u", 7, LATER));
    within(SECOND, "mended", || rig.faults(Topic::Content).is_empty()).await;
}

#[tokio::test]
async fn a_dead_token_is_asked_about_once_and_a_new_file_mends_it() {
    let rig = rig().await;
    rig.server.books.lock().generation.insert("u".into(), 7);
    let id = rig.id(FILE);
    for _ in 0..3 {
        let failure = rig.keeper.refresher.ensure_fresh(&id, 1, Why::Rejected).await.unwrap_err();
        assert!(matches!(&failure, RefreshFailure::Dead { why } if why.contains("accounts login pear")), "{failure}");
    }
    assert_eq!(rig.refreshes(), (1, 1));
    assert!(rig.slot(FILE).unwrap().needs_login.unwrap().contains("used before"));
    assert_eq!(rig.read(FILE)["refresh"], "u-r0", "nothing is erased");
    rig.put(FILE, &login("u", 7, LATER));
    within(SECOND, "mended", || rig.slot(FILE).unwrap().needs_login.is_none()).await;
}

#[tokio::test]
async fn the_loser_of_a_race_takes_the_winners_token() {
    let rig = rig().await;
    // Another program has renewed it and takes a while to write it down.
    rig.server.books.lock().generation.insert("u".into(), 1);
    let flight = begin(&rig, Duration::ZERO).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    rig.put(FILE, &login("u", 1, LATER));
    assert_eq!(flight.await.unwrap(), Ok(()));
    let slot = rig.slot(FILE).unwrap();
    assert_eq!((slot.credentials.access.expose(), slot.needs_login), ("u-a1", None));
}

#[tokio::test]
async fn a_lost_reply_costs_two_calls_at_most_and_then_asks_for_a_person() {
    let plan = Plan::new(&[(FILE, login("u", 0, -1000))]).await;
    plan.server.books.lock().mood = Mood::Lost;
    let rig = plan.start();
    within(2 * SECOND, "the first call", || rig.refreshes().0 == 1).await;
    rig.server.books.lock().mood = Mood::Good;
    within(15 * SECOND, "flagged", || rig.slot(FILE).unwrap().needs_login.is_some()).await;
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(rig.refreshes(), (2, 1));
}

#[tokio::test]
async fn a_failing_endpoint_is_left_alone_for_a_while() {
    let rig = rig().await;
    rig.server.books.lock().mood = Mood::Status(503);
    let id = rig.id(FILE);
    for _ in 0..20 {
        let failure = rig.keeper.refresher.ensure_fresh(&id, 1, Why::Rejected).await.unwrap_err();
        assert!(matches!(failure, RefreshFailure::Later { .. }), "{failure}");
    }
    assert_eq!(rig.refreshes().0, 1);
    assert_eq!(rig.slot(FILE).unwrap().needs_login, None);
}

#[tokio::test]
async fn an_operators_newer_token_is_never_overwritten() {
    let rig = rig().await;
    let flight = begin(&rig, Duration::from_millis(300)).await;
    rig.put(FILE, &login("u", 9, LATER));
    assert_eq!(flight.await.unwrap(), Ok(()));
    assert_eq!((rig.access(FILE).as_str(), &rig.read(FILE)["refresh"]), ("u-a9", &json!("u-r9")));
}

#[tokio::test]
async fn an_operators_other_edits_are_kept() {
    let rig = rig().await;
    let flight = begin(&rig, Duration::from_millis(500)).await;
    let mut edited = rig.read(FILE);
    edited["disabled"] = true.into();
    rig.put(FILE, &edited);
    assert_eq!(flight.await.unwrap(), Ok(()));
    assert_eq!((&rig.read(FILE)["disabled"], &rig.read(FILE)["access"]), (&json!(true), &json!("u-a1")));
    within(SECOND, "paused", || rig.slot(FILE).unwrap().account.settings.disabled).await;
    assert_eq!(rig.access(FILE), "u-a1");
}

#[tokio::test]
async fn a_file_that_moves_or_goes_or_breaks_meanwhile_loses_no_token() {
    // Renamed: the token follows.
    let rig = self::rig().await;
    let flight = begin(&rig, Duration::from_millis(300)).await;
    std::fs::rename(rig.path(FILE), rig.path("pear/b.json")).unwrap();
    assert_eq!(flight.await.unwrap(), Ok(()));
    assert_eq!((rig.read("pear/b.json")["access"].clone(), rig.path(FILE).exists()), (json!("u-a1"), false));

    // Removed: it stays removed, and the token that works lies in the archive.
    let rig = self::rig().await;
    let flight = begin(&rig, Duration::from_millis(300)).await;
    std::fs::remove_file(rig.path(FILE)).unwrap();
    assert_eq!(flight.await.unwrap(), Err(RefreshFailure::Gone));
    assert!(!rig.path(FILE).exists());
    assert!(matches!(&rig.archived()[..], [renewed] if renewed.contains("u-r1") && renewed.contains("kept")));

    // Broken: mended by the last good content, and the broken text lies in the archive.
    for broken in ["{\"user\": \"u\", ", ""] {
        let rig = self::rig().await;
        let flight = begin(&rig, Duration::from_millis(300)).await;
        std::fs::write(rig.path(FILE), broken).unwrap();
        assert_eq!(flight.await.unwrap(), Ok(()));
        assert_eq!((rig.access(FILE).as_str(), &rig.read(FILE)["note"]), ("u-a1", &json!("kept")));
        assert_eq!(rig.archived().concat(), broken);
        within(SECOND, "no fault", || rig.keeper.faults.list().is_empty()).await;
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_written_is_used_reported_and_written_later() {
    let mut plan = Plan::new(&[(FILE, login("u", 0, LATER))]).await;
    let full = Arc::new(AtomicBool::new(true));
    let is_full = full.clone();
    plan.write = Box::new(move |path, bytes| {
        if is_full.load(Ordering::SeqCst) {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(WriteError { step: Step::Write, path: path.to_owned(), source });
        }
        write_secret(path, bytes)
    });
    let rig = plan.start();
    assert_eq!(rig.keeper.refresher.ensure_fresh(&rig.id(FILE), 1, Why::Rejected).await, Ok(()));
    assert_eq!((rig.access(FILE).as_str(), &rig.read(FILE)["access"]), ("u-a1", &json!("u-a0")));
    assert!(matches!(&rig.faults(Topic::Write)[..], [(file, what)] if file == FILE && what.contains("make room")));
    // An edit of something else does not bring the dead token back.
    let mut edited = rig.read(FILE);
    edited["disabled"] = true.into();
    rig.put(FILE, &edited);
    within(SECOND, "paused", || rig.slot(FILE).unwrap().account.settings.disabled).await;
    assert_eq!(rig.access(FILE), "u-a1");
    full.store(false, Ordering::SeqCst);
    within(12 * SECOND, "written", || rig.read(FILE)["access"] == "u-a1").await;
    within(SECOND, "no fault", || rig.faults(Topic::Write).is_empty()).await;
    assert_eq!((&rig.read(FILE)["disabled"], rig.refreshes()), (&json!(true), (1, 0)));
}

#[tokio::test]
async fn a_token_that_has_ended_by_our_clock_when_it_is_issued_makes_no_storm() {
    let plan = Plan::new(&[(FILE, login("u", 0, -1000))]).await;
    plan.server.books.lock().ttl = -40 * 24 * HOUR;
    let rig = plan.start();
    within(2 * SECOND, "renewed", || rig.access(FILE) == "u-a1").await;
    assert!(rig.slot(FILE).unwrap().credentials.expires_at.unwrap().0 < now_ms());
    for _ in 0..20 {
        assert_eq!(rig.keeper.refresher.ensure_fresh(&rig.id(FILE), 2, Why::Proactive).await, Ok(()));
    }
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(rig.refreshes(), (1, 0));
}

const CLOCK: &str = "POOL_TEST_CLOCK";
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Not a test of its own: runs under a clock that the file named by `FAKETIME_TIMESTAMP_FILE` sets.
#[tokio::test]
#[ignore = "run by another test"]
async fn under_a_jumping_clock() {
    let (Some(clock), Some(ttl)) = (std::env::var_os("FAKETIME_TIMESTAMP_FILE"), std::env::var_os(CLOCK)) else {
        return;
    };
    let files: Vec<_> = (0..3).map(|n| (format!("pear/{n}.json"), login(&format!("u{n}"), 0, LATER))).collect();
    let files: Vec<_> = files.iter().map(|(file, content)| (file.as_str(), content.clone())).collect();
    let plan = Plan::new(&files).await;
    plan.server.books.lock().ttl = ttl.to_str().unwrap().parse().unwrap();
    let rig = plan.start();
    let start = now_ms();
    let mut refreshes = Vec::new();
    for jump in ["-1h", "+40d", "-40d"] {
        std::fs::write(&clock, jump).unwrap();
        tokio::time::sleep(Duration::from_millis(4500)).await;
        assert!((now_ms() - start).abs() > HOUR / 2, "the clock has not jumped");
        refreshes.push(rig.refreshes());
    }
    assert_eq!(refreshes, [(0, 0), (3, 0), (3, 0)], "one each at the jump forward, none else");
    assert!(rig.slot("pear/0.json").unwrap().needs_login.is_none());
}

#[test]
fn a_jumping_clock_makes_no_storm() {
    if !std::path::Path::new(FAKETIME).exists() {
        eprintln!("skipped: libfaketime is not installed");
        return;
    }
    // A server that tells how long tokens last, and one that tells when they end by its own, right clock.
    for ttl in [HOUR, HOUR - 40 * 24 * HOUR] {
        let dir = tempfile::tempdir().unwrap();
        let clock = dir.path().join("clock");
        std::fs::write(&clock, "+0").unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "refresh::under_a_jumping_clock", "--ignored"])
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env(CLOCK, ttl.to_string())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }
}

#[tokio::test]
async fn stopping_waits_for_the_token_to_be_saved() {
    let rig = rig().await;
    let _flight = begin(&rig, Duration::from_millis(300)).await;
    let path = rig.path(FILE);
    assert!(rig.keeper.shutdown(5 * SECOND).await);
    assert!(std::fs::read_to_string(path).unwrap().contains("u-r1"));
}

#[tokio::test]
async fn what_is_not_ours_to_renew_is_left_alone() {
    let mut plan = Plan::new(&[(FILE, login("u", 0, LATER)), ("pear/key.json", json!({ "access": "k-1" }))]).await;
    plan.config.disable_refresh = true;
    let rig = plan.start();
    let refresher = &rig.keeper.refresher;
    assert_eq!(refresher.ensure_fresh(&rig.id(FILE), 1, Why::Rejected).await, Err(RefreshFailure::Disabled));
    let key = rig.id("pear/key.json");
    assert_eq!(refresher.ensure_fresh(&key, 1, Why::Rejected).await, Err(RefreshFailure::NothingToRenew));
    assert_eq!(rig.refreshes().0, 0);

    let plan = Plan::new(&[(".data/real.json", login("u", 0, LATER))]).await;
    std::fs::create_dir(plan.dir.path().join("pear")).unwrap();
    symlink("../.data/real.json", plan.dir.path().join(FILE)).unwrap();
    let rig = plan.start();
    let answer = rig.keeper.refresher.ensure_fresh(&rig.id(FILE), 1, Why::Rejected).await;
    assert_eq!((answer, rig.refreshes().0), (Err(RefreshFailure::Linked), 0));
}
