//! A backup is whole, private and of one moment; a restore loses nothing.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::ledger::tests::record;
use crate::ledger::{Ledger, Options};
use crate::rig::homes;

const DEADLINE: Duration = Duration::from_secs(30);

/// A database with so many records more, by a server that has ended.
async fn fill(location: &Location, from: usize, to: usize) {
    let opened = Ledger::open(location, Options::default()).await.expect("opens");
    let writer = tokio::spawn(opened.writer.run());
    (from..to).for_each(|number| assert!(opened.ledger.record(record(&format!("r{number}"), "a", 1))));
    assert_eq!(opened.ledger.close(DEADLINE).await, 0);
    writer.await.expect("ends");
}

async fn count(location: &Location) -> u64 {
    let ledger = Ledger::read_only(location).expect("opens");
    let count = ledger.count().await.expect("counts");
    ledger.close(Duration::ZERO).await;
    ledger.database().close().await;
    count
}

#[tokio::test]
async fn what_was_backed_up_comes_back_and_what_was_there_is_kept() {
    let folder = TempDir::new().expect("a folder");
    let location = Location::File(folder.path().join("data/proxy.db"));
    let file = folder.path().join("backup.db");
    fill(&location, 0, 300).await;
    // A server runs, and has written something that is in its log only.
    let running = Ledger::open(&location, Options::default()).await.expect("opens");
    let writer = tokio::spawn(running.writer.run());
    assert!(running.ledger.record(record("r300", "a", 1)));
    while running.ledger.health().written == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let made = backup(&location, &file).await.expect("made");
    assert_eq!((made.records, made.bytes), (301, fs::metadata(&file).expect("there").len()));
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(matches!(backup(&location, &file).await, Err(BackupError::Exists(_))));
    assert!(matches!(restore(&location, &file, "1").await, Err(BackupError::InUse(_))));
    running.ledger.close(DEADLINE).await;
    writer.await.expect("ends");

    fill(&location, 400, 500).await;
    let restored = restore(&location, &file, "1").await.expect("restored");
    let kept = restored.kept.expect("kept");
    assert_eq!((restored.records, count(&location).await), (301, 301));
    assert_eq!(count(&Location::File(kept)).await, 401);
    let left: Vec<String> = fs::read_dir(folder.path().join("data"))
        .expect("listed")
        .map(|entry| entry.expect("one").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".part"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn what_is_no_whole_backup_is_refused_and_nothing_is_changed() {
    let folder = TempDir::new().expect("a folder");
    let location = Location::File(folder.path().join("data/proxy.db"));
    let file = folder.path().join("backup.db");
    fill(&location, 0, 2000).await;
    backup(&location, &file).await.expect("made");
    let whole = fs::read(&file).expect("read");
    let broken = folder.path().join("broken.db");
    let cut = whole[..whole.len() / 2].to_vec();
    for (bytes, word) in
        [(Vec::new(), "no whole backup"), (b"junk".repeat(3000), "no whole backup"), (cut, "no whole backup")]
    {
        fs::write(&broken, bytes).expect("written");
        let refused = restore(&location, &broken, "1").await.expect_err("refused").to_string();
        assert!(refused.contains(word) && refused.contains("broken.db"), "{refused}");
    }
    fs::write(&broken, &whole).expect("written");
    let mut newer = SqliteConnectOptions::new().filename(&broken).connect().await.expect("opens");
    let later = "INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, TRUE, X'00', 1)";
    sqlx::query(later).execute(&mut newer).await.expect("written");
    newer.close().await.expect("closed");
    assert!(matches!(restore(&location, &broken, "1").await, Err(BackupError::Newer(_))));
    assert_eq!(count(&location).await, 2000);

    // The one thing that a backup is for.
    let Location::File(path) = &location else { panic!("a file") };
    fs::write(path, b"SQLite format 3\0 and nothing more").expect("harmed");
    assert_eq!(restore(&location, &file, "2").await.expect("restored").records, 2000);
    assert_eq!(count(&location).await, 2000);
}

#[tokio::test]
async fn a_server_is_left_to_its_own_tools() {
    for home in homes().skip(1) {
        let told = backup(&home.location, Path::new("/nowhere/backup.db")).await.expect_err("refused").to_string();
        assert!(told.contains("pg_dump") && !told.contains("canary"), "{told}");
    }
    let nothing = Location::File("/nowhere/proxy.db".into());
    assert!(matches!(backup(&nothing, Path::new("/nowhere/b")).await, Err(BackupError::Absent(_))));
}
