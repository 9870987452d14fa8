//! Files that change while the pool runs (P-17).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use pool_core::pool::Event;
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{Ask, Client, Demand, ProviderId, Scope, SessionKey, Span};
use pool_server::pool::Topic;
use serde_json::json;

use crate::support::{HOUR, Plan, Rig, SECOND, login, put, within};

const LATER: i64 = 2 * HOUR;

fn demand() -> Demand {
    Demand {
        provider: ProviderId("pear"),
        client: Client::OwnCli,
        model: None,
        families: Vec::new(),
        session: None,
        parent: None,
        binding: pool_core::Binding::Cache,
        keep: None,
        light: false,
        kinds: &[],
    }
}

#[tokio::test]
async fn files_come_change_and_go_within_a_second_and_cost_no_state() {
    let rig = Rig::start(&[("pear/a.json", login("a", 0, LATER))]).await;
    let session = SessionKey::new(ProviderId("pear"), "", "s1");
    let lease = rig.live.lease(&Ask::new(&demand(), Some(session))).unwrap();
    let penalty = Penalty {
        scope: Scope::Family("big".into()),
        cause: Cause::ModelRefused,
        until: Until::For(Span::from_hours(1)),
    };
    rig.live.apply(Event::Penalised { id: rig.id("pear/a.json"), penalty });

    rig.put("pear/b.json", &login("b", 0, LATER));
    rig.put("apple_flat.json", &login("c", 0, LATER));
    within(SECOND, "added", || rig.slot("pear/b.json").is_some() && rig.slot("apple_flat.json").is_some()).await;

    // In place, in two pieces.
    let text = login("a", 1, LATER).to_string();
    fs::write(rig.path("pear/a.json"), &text[..20]).unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(rig.access("pear/a.json"), "a-a0");
    assert_eq!(rig.keeper.faults.list(), [], "half a file for a moment is no fault");
    fs::write(rig.path("pear/a.json"), &text).unwrap();
    within(SECOND, "edited in place", || rig.access("pear/a.json") == "a-a1").await;
    assert_eq!(rig.keeper.faults.list(), []);

    // By rename, after the old one was removed.
    fs::remove_file(rig.path("pear/a.json")).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.put("pear/a.json", &login("a", 2, LATER));
    within(SECOND, "replaced", || rig.access("pear/a.json") == "a-a2").await;

    // Renamed: the same account under another name.
    fs::rename(rig.path("pear/a.json"), rig.path("pear/z.json")).unwrap();
    within(SECOND, "renamed", || rig.slot("pear/z.json").is_some()).await;

    let slot = rig.slot("pear/z.json").unwrap();
    assert_eq!((slot.in_flight, slot.cooldowns.len(), slot.account.name.as_str()), (1, 1, "z"));
    let again = rig.live.lease(&Ask::new(&demand(), Some(session))).unwrap();
    assert_eq!(again.account.id, lease.account.id, "the pin holds");

    fs::remove_file(rig.path("pear/b.json")).unwrap();
    within(SECOND, "removed", || rig.slot("pear/b.json").is_none()).await;
    assert!(rig.slot("apple_flat.json").is_some());
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_state_and_names_itself() {
    let secret = "hunter2-must-not-be-shown";
    let rig = Rig::start(&[("pear/a.json", login("a", 0, LATER)), ("pear/b.json", login("b", 0, LATER))]).await;
    let path = rig.path("pear/a.json");
    for broken in [String::new(), " \n".into(), format!("{{\"access\": \"{secret}"), format!("[\"{secret}\"]")] {
        fs::write(&path, &broken).unwrap();
        within(SECOND, "reported", || !rig.faults(Topic::Content).is_empty()).await;
        let faults = rig.keeper.faults.list();
        assert!(faults.iter().all(|fault| fault.file == "pear/a.json" && !fault.what.contains(secret)), "{faults:?}");
        assert!(faults[0].what.contains("last good"), "{faults:?}");
        assert_eq!((rig.access("pear/a.json").as_str(), rig.access("pear/b.json").as_str()), ("a-a0", "b-a0"));
        rig.put("pear/a.json", &login("a", 0, LATER));
        within(SECOND, "mended", || rig.keeper.faults.list().is_empty()).await;
    }
    let outside = tempfile::tempdir().unwrap();
    put(outside.path(), "x.json", login("a", 5, LATER).to_string().as_bytes());
    fs::remove_file(&path).unwrap();
    symlink(outside.path().join("x.json"), &path).unwrap();
    within(SECOND, "a link out", || !rig.faults(Topic::Content).is_empty()).await;
    assert_eq!(rig.access("pear/a.json"), "a-a0");
}

#[tokio::test]
async fn bad_files_at_the_start_cost_nothing_else() {
    let plan = Plan::new(&[("pear/good.json", login("a", 0, LATER)), ("plum/x.json", login("b", 0, LATER))]).await;
    put(plan.dir.path(), "pear/bad.json", b"{");
    put(plan.dir.path(), "pear/odd name.json", b"{}");
    put(plan.dir.path(), "pear/note.json", br#"{"access": "k-1", "warning": "a key of last year"}"#);
    let rig = plan.start();
    let files: Vec<_> = rig.keeper.faults.list().into_iter().map(|fault| (fault.file, fault.topic)).collect();
    let expected = [
        ("pear/bad.json", Topic::Content),
        ("pear/note.json", Topic::Note),
        ("pear/odd name.json", Topic::Content),
        ("plum/x.json", Topic::Content),
    ];
    assert_eq!(files.iter().map(|(file, topic)| (file.as_str(), *topic)).collect::<Vec<_>>(), expected);
    assert_eq!(rig.live.read(|pool, _| pool.slots().count()), 2);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_pool() {
    let rig = Rig::start(&[("pear/a.json", login("a", 0, LATER))]).await;
    let mut plan = Plan::new(&[]).await;
    plan.config.pool_dir = rig.dir.path().to_owned();
    let error = plan.try_start().err().unwrap().to_string();
    assert!(error.contains("already in use") && error.contains(&std::process::id().to_string()), "{error}");
    assert!(rig.keeper.shutdown(SECOND).await);
    drop(rig.keeper);
    let mut plan = Plan::new(&[]).await;
    plan.config.pool_dir = rig.dir.path().to_owned();
    plan.try_start().unwrap();
}

#[tokio::test]
async fn the_same_account_twice_is_one_account() {
    // The copy with the longer-lived token speaks, whatever the files are called: the other's refresh token is used up.
    let rig = Rig::start(&[("pear/a.json", login("u", 0, HOUR)), ("pear/b.json", login("u", 1, LATER))]).await;
    let twice = || rig.faults(Topic::Twice);
    assert!(
        matches!(&twice()[..], [(file, what)] if file == "pear/a.json" && what.contains("pear/b.json")),
        "{:?}",
        twice()
    );
    assert_eq!((rig.access("pear/b.json").as_str(), rig.slot("pear/a.json").is_some()), ("u-a1", false));
    let lease = rig.live.lease(&Ask::new(&demand(), None)).unwrap();
    fs::remove_file(rig.path("pear/b.json")).unwrap();
    within(SECOND, "the other takes over", || rig.access("pear/a.json") == "u-a0").await;
    assert_eq!(rig.slot("pear/a.json").unwrap().in_flight, 1, "it is the same account");
    assert_eq!(rig.keeper.faults.list(), []);
    drop(lease);

    for file in ["pear/k1.json", "pear/k2.json"] {
        rig.put(file, &json!({ "access": "k-1" }));
    }
    within(SECOND, "the same key", || twice().len() == 1).await;
    assert!(twice()[0].1.contains("same key as pear/k1.json"), "{:?}", twice());
    assert_eq!(rig.live.read(|pool, _| pool.slots().count()), 2);
}

#[tokio::test]
async fn files_that_others_can_read_are_closed() {
    let plan = Plan::new(&[("pear/a.json", login("a", 0, LATER))]).await;
    let path = plan.dir.path().join("pear/a.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let _rig = plan.start();
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    within(SECOND, "closed", || mode() == 0o600).await;
}

#[tokio::test]
async fn a_folder_that_is_away_for_a_while_costs_nothing() {
    let rig = Rig::start(&[("pear/a.json", login("a", 0, LATER))]).await;
    let away = rig.dir.path().with_extension("away");
    fs::rename(rig.dir.path(), &away).unwrap();
    within(12 * SECOND, "noticed", || !rig.faults(Topic::Content).is_empty()).await;
    assert_eq!(rig.access("pear/a.json"), "a-a0");
    fs::rename(&away, rig.dir.path()).unwrap();
    within(3 * SECOND, "back", || rig.keeper.faults.list().is_empty()).await;
    rig.put("pear/b.json", &login("b", 0, LATER));
    within(3 * SECOND, "watched again", || rig.slot("pear/b.json").is_some()).await;
    // Made anew so fast that nobody missed it.
    fs::remove_dir_all(rig.dir.path()).unwrap();
    rig.put("pear/c.json", &login("c", 0, LATER));
    within(11 * SECOND, "the new folder", || rig.slot("pear/c.json").is_some() && rig.slot("pear/a.json").is_none())
        .await;
    rig.put("pear/d.json", &login("d", 0, LATER));
    within(3 * SECOND, "watched again", || rig.slot("pear/d.json").is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_edits_a_second_of_all_sorts() {
    let rig = Rig::start(&[("pear/a.json", login("a", 0, LATER)), ("pear/still.json", login("s", 0, LATER))]).await;
    let lease = rig.live.lease(&Ask::new(&demand(), None)).unwrap();
    let path = rig.path("pear/a.json");
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < 3 * SECOND {
        count += 1;
        let text = login("a", count, LATER).to_string();
        match count % 9 {
            0 => fs::write(&path, &text).unwrap(),
            1 => rig.put("pear/a.json", &login("a", count, LATER)),
            2 => fs::write(&path, &text[..text.len() / 2]).unwrap(),
            3 => drop(fs::remove_file(&path)),
            4 => fs::write(&path, "").unwrap(),
            5 => fs::write(&path, "[1, 2]").unwrap(),
            6 => {
                fs::remove_file(&path).unwrap();
                symlink("/etc/hostname", &path).unwrap();
            }
            7 => fs::remove_file(&path).unwrap(),
            _ => {
                fs::write(&path, &text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        // Some of it while a token is being renewed.
        if count % 50 == 0
            && let Some(slot) = rig.slot("pear/a.json")
        {
            let refresher = rig.keeper.refresher.clone();
            tokio::spawn(async move {
                let _ = refresher.ensure_fresh(&slot.account.id, slot.epoch, pool_server::pool::Why::Rejected).await;
            });
        }
        tokio::time::sleep(Duration::from_millis(8)).await;
        assert_eq!(rig.access("pear/still.json"), "s-a0");
    }
    assert!(count > 150, "{count}");
    let _ = fs::remove_file(&path);
    rig.put("pear/a.json", &login("a", 9999, 2 * LATER));
    within(2 * SECOND, "the last word holds", || rig.access("pear/a.json") == "a-a9999").await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        (rig.access("pear/a.json").as_str(), &rig.read("pear/a.json")["access"]),
        ("a-a9999", &json!("a-a9999"))
    );
    within(SECOND, "no fault", || rig.keeper.faults.list().is_empty()).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(lease.account.provider, ProviderId("pear"));
}
