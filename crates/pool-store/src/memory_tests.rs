//! The slow memory's promises: what was put away is there after a restart, and nothing about it stops a start.

use std::path::Path;
use std::time::{Duration, Instant};

use pool_core::Span;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::database::Location;
use crate::ledger::Options;
use crate::rig::homes;

const NOW: UnixMs = UnixMs(1_786_147_200_000);
const DEADLINE: Duration = Duration::from_secs(30);

async fn start(location: impl Into<Location>) -> (Ledger, JoinHandle<()>) {
    let options = Options {
        busy: Duration::from_millis(20),
        first_pause: Duration::from_millis(10),
        max_pause: Duration::from_millis(50),
        ..Options::default()
    };
    let opened = Ledger::open(location, options).await.expect("opens");
    (opened.ledger, tokio::spawn(opened.writer.run()))
}

fn key(number: u32) -> SessionKey {
    let mut key = [7; 16];
    key[..4].copy_from_slice(&number.to_be_bytes());
    SessionKey(key)
}

fn pin_of(account: &str, age: Span) -> Pin {
    Pin {
        account: AccountId(account.into()),
        used_at: NOW - age,
        bare: true,
        prefix: 118_000,
        warm_until: NOW + Span::from_mins(5),
        binding: Binding::SealedReasoning,
    }
}

fn note(name: &str, text: Option<&str>) -> Note {
    Note { kind: "account", name: name.into(), text: text.map(str::to_owned) }
}

async fn put(ledger: &Ledger, changes: Changes) {
    ledger.room().await.expect("open").put(changes);
}

#[tokio::test]
async fn the_last_that_was_put_away_is_recalled_after_a_restart() {
    for home in homes() {
        let (ledger, _) = start(&home.location).await;
        assert_eq!(ledger.recall_pins(UnixMs(0), 10).await, []);
        let first = Changes {
            pins: vec![
                (key(1), Some(pin_of("a", Span::from_hours(3)))),
                (key(2), Some(pin_of("b", Span::from_hours(2)))),
                (key(3), Some(pin_of("b", Span::ZERO))),
            ],
            notes: vec![note("one", Some("1")), note("two", Some("2")), note("three", Some("3"))],
            at: NOW,
            sweep: None,
        };
        let second = Changes {
            pins: vec![(key(1), Some(pin_of("c", Span::from_hours(1)))), (key(3), None)],
            notes: vec![note("one", Some("4")), note("two", None)],
            ..first.clone()
        };
        put(&ledger, first).await;
        put(&ledger, second).await;
        assert_eq!(ledger.close(DEADLINE).await, 0);
        assert!(ledger.room().await.is_none(), "a closed ledger takes nothing");

        let (ledger, _) = start(&home.location).await;
        let pins = [(key(1), pin_of("c", Span::from_hours(1))), (key(2), pin_of("b", Span::from_hours(2)))];
        assert_eq!(ledger.recall_pins(UnixMs(0), 10).await, pins, "the last used first");
        assert_eq!(ledger.recall_pins(UnixMs(0), 1).await, pins[..1]);
        assert_eq!(ledger.recall_pins(NOW - Span::from_mins(90), 10).await, pins[..1]);
        let notes = ledger.recall_notes("account").await;
        assert_eq!(notes, [("one".into(), "4".into()), ("three".into(), "3".into())]);
        assert_eq!(ledger.recall_notes("sizes").await, []);
    }
}

#[tokio::test]
async fn what_is_old_or_too_much_is_swept_away() {
    for home in homes() {
        let (ledger, _) = start(&home.location).await;
        let pins = (0..20).map(|age| (key(age), Some(pin_of("a", Span::from_hours(u64::from(age)))))).collect();
        put(&ledger, Changes { pins, notes: vec![note("old", Some("1"))], at: NOW - Span::from_hours(9), sweep: None })
            .await;
        let sweep = |most_pins| Sweep {
            pins_before: NOW - Span::from_hours(10),
            most_pins,
            notes_before: vec![("account", NOW - Span::from_hours(1))],
        };
        for (most_pins, left) in [(100, 11), (4, 4)] {
            let notes = vec![note("new", Some("1"))];
            put(&ledger, Changes { notes, at: NOW, sweep: Some(sweep(most_pins)), ..Changes::default() }).await;
            let begun = Instant::now();
            while ledger.recall_pins(UnixMs(0), 100).await.len() != left {
                assert!(begun.elapsed() < DEADLINE, "{left}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(ledger.recall_notes("account").await, [("new".into(), "1".into())]);
        }
    }
}

const SCRATCHED: &str = "pages that are none";
const PAGE: u64 = 4096;

/// Where the two tables begin.
async fn pages(ledger: &Ledger) -> Vec<i64> {
    let pages = sql("SELECT rootpage FROM sqlite_schema WHERE name IN ('pins', 'notes')");
    let rows = ledger.database().all(pages).await.expect("a schema");
    rows.iter().map(|row| row.get("rootpage").expect("a number")).collect()
}

fn scratch(path: &Path, pages: &[i64]) {
    use std::os::unix::fs::FileExt;
    if pages.is_empty() {
        return;
    }
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("closed, and in one file");
    for page in pages {
        let at = (u64::try_from(*page).expect("a page") - 1) * PAGE;
        file.write_all_at(&[0xaa; PAGE as usize], at).expect("scratched");
    }
}

#[tokio::test]
async fn a_memory_that_cannot_be_read_is_begun_anew() {
    for harm in [
        "DROP TABLE pins; DROP TABLE notes",
        "ALTER TABLE pins DROP COLUMN binding; ALTER TABLE notes RENAME COLUMN text TO words",
        SCRATCHED,
        "INSERT INTO pins VALUES (X'00', 'a', 1, 0, 0, 0, 'cache'), (X'01020304050607080102030405060708', 5, 'x', 0, 0, 0, 0)",
    ] {
        // Broken pages and this text of bytes are a file's.
        let both = harm != SCRATCHED && !harm.contains("X'");
        for home in homes().take(if both { 2 } else { 1 }) {
            let (ledger, _) = start(&home.location).await;
            let scratched = harm == SCRATCHED;
            let pages = if scratched { pages(&ledger).await } else { Vec::new() };
            if !scratched {
                ledger.database().connection().await.expect("one").script(harm).await.expect("harmed");
            }
            ledger.close(DEADLINE).await;
            scratch(Path::new(&home.address), &pages);

            let (ledger, _) = start(&home.location).await;
            assert_eq!(ledger.recall_pins(UnixMs(0), 10).await, [], "{harm}");
            assert_eq!(ledger.recall_notes("account").await, [], "{harm}");
            let pins = vec![(key(1), Some(pin_of("a", Span::ZERO)))];
            put(&ledger, Changes { pins, notes: vec![note("one", Some("1"))], at: NOW, sweep: None }).await;
            ledger.close(DEADLINE).await;
            let (ledger, _) = start(&home.location).await;
            let (pins, notes) = (ledger.recall_pins(UnixMs(0), 10).await, ledger.recall_notes("account").await);
            assert!(ledger.count().await.is_ok(), "the records are as they were");
            // A table whose pages are broken cannot even be dropped: it stays of no use, and harms nobody.
            let expected = usize::from(!scratched);
            assert_eq!((pins.len(), notes.len()), (expected, expected), "{harm}");
        }
    }
}

#[tokio::test]
async fn a_locked_database_makes_the_next_wait_and_loses_nothing() {
    let folder = TempDir::new().expect("a folder");
    let (ledger, _) = start(&folder.path().join("proxy.db")).await;
    let mut lock = ledger.database().connection().await.expect("a connection");
    lock.run(sql("BEGIN IMMEDIATE")).await.expect("locked");
    let changes = |number| Changes { pins: vec![(key(number), Some(pin_of("a", Span::ZERO)))], ..Changes::default() };
    // One is being tried and one waits: the third does not get in.
    put(&ledger, changes(1)).await;
    put(&ledger, changes(2)).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), ledger.room()).await.is_err());
    lock.run(sql("ROLLBACK")).await.expect("unlocked");
    drop(lock);
    put(&ledger, changes(3)).await;
    let begun = Instant::now();
    while ledger.recall_pins(UnixMs(0), 10).await.len() != 3 {
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_hundred_thousand_pins_come_back_at_once() {
    const PINS: u32 = 100_000;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("proxy.db");
    let (ledger, _) = start(&path).await;
    let pins: Vec<_> = (0..PINS).map(|number| (key(number), Some(pin_of("codex-1f0a33bc9d2e", Span::ZERO)))).collect();
    let begun = Instant::now();
    put(&ledger, Changes { pins, ..Changes::default() }).await;
    ledger.close(DEADLINE).await;
    let written = begun.elapsed();
    let (ledger, _) = start(&path).await;
    let begun = Instant::now();
    let recalled = ledger.recall_pins(UnixMs(0), 100_000).await;
    let read = begun.elapsed();
    assert_eq!(recalled.len(), PINS as usize);
    // Unoptimised on a busy machine; a release build takes a tenth of it.
    assert!(read < Duration::from_secs(10), "{PINS} pins: written in {written:?}, read in {read:?}");
    eprintln!("{PINS} pins: written in {written:?}, read in {read:?}");
}
