//! Which files are accounts, and that none is ever written in part (P-7).

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pool_core::UnixMs;
use pool_server::pool::files::{
    LockError, PoolLock, Step, archive, check_name, edit, ensure_private_dir, make_private, read_secret, scan, sweep,
    write_new, write_secret, write_secret_with,
};

use crate::support::registry;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn both_layouts_are_read_and_leftovers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let pool = dir.path();
    for folder in ["apple", "pear/deeper", "plum", ".archive", "pear/folder.json"] {
        fs::create_dir_all(pool.join(folder)).unwrap();
    }
    for file in [
        "auth.json",
        "pear_work.json",
        "plum_x.json",
        "apple/a.json",
        "pear/b.c-d_E.json",
        "pear/with space.json",
        "plum/x.json",
        "pear/deeper/no.json",
        ".archive/1-old.json",
        ".hidden.json",
        "apple/.#a.json",
        "apple/a.json~",
        "apple/a.json.tmp",
        "4913",
        "apple/.a.json.swp",
        "README.md",
    ] {
        fs::write(pool.join(file), "{}").unwrap();
    }
    fs::write(pool.join(format!("pear/{}.json", "x".repeat(60))), "{}").unwrap();
    fs::write(pool.join("pear/bad\nname.json"), "{}").unwrap();
    fs::write(outside.path().join("real.json"), "{}").unwrap();
    symlink(outside.path().join("real.json"), pool.join("pear/out.json")).unwrap();
    symlink(outside.path(), pool.join("apple/folder.json")).unwrap();
    symlink(outside.path(), pool.join("apples")).unwrap();
    symlink("../auth.json", pool.join("apple/in.json")).unwrap();
    symlink("nowhere", pool.join("apple/lost.json")).unwrap();

    let told: Vec<_> = scan(pool, &registry())
        .unwrap()
        .into_iter()
        .map(|file| {
            let fault = file.fault.map_or("", |fault| match () {
                () if fault.contains("out of the pool folder") => "link out",
                () if fault.contains("leads nowhere") => "dead link",
                () if fault.contains("its name") => "name",
                () if fault.contains("names no provider") => "folder",
                () => "?",
            });
            (file.rel, file.provider.map_or("-", |id| id.0), file.linked, fault)
        })
        .collect();
    let long = format!("pear/{}.json", "x".repeat(60));
    let expected = [
        ("apple/a.json", "apple", false, ""),
        ("apple/in.json", "apple", true, ""),
        ("apple/lost.json", "apple", true, "dead link"),
        ("auth.json", "apple", false, ""),
        ("pear/b.c-d_E.json", "pear", false, ""),
        ("pear/bad\\nname.json", "pear", false, "name"),
        ("pear/out.json", "pear", true, "link out"),
        ("pear/with space.json", "pear", false, "name"),
        (&long, "pear", false, "name"),
        ("pear_work.json", "pear", false, ""),
        ("plum/x.json", "-", false, "folder"),
        ("plum_x.json", "apple", false, ""),
    ];
    let told: Vec<_> = told.iter().map(|(rel, id, linked, fault)| (rel.as_str(), *id, *linked, *fault)).collect();
    assert_eq!(told, expected);
}

#[test]
fn names_are_plain() {
    for (name, fine) in [
        ("work.json", true),
        ("A-1_b.json", true),
        ("", false),
        (".json", false),
        ("..", false),
        ("a/b.json", false),
        ("a b.json", false),
        ("ä.json", false),
        ("a\0.json", false),
    ] {
        assert_eq!(check_name(name).is_ok(), fine, "{name:?}");
    }
    assert!(check_name(&"x".repeat(64)).is_ok());
    assert!(check_name(&"x".repeat(65)).is_err());
}

#[test]
fn what_is_not_a_small_regular_file_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.json");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let before = Instant::now();
    assert!(read_secret(&pipe).is_err());
    assert!(before.elapsed() < Duration::from_secs(2), "a pipe must not hang us");
    let large = dir.path().join("large.json");
    fs::File::create(&large).unwrap().set_len(2 << 20).unwrap();
    assert_eq!(read_secret(&large).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn files_and_folders_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pool/pear");
    ensure_private_dir(&folder).unwrap();
    assert_eq!((mode(&folder), mode(folder.parent().unwrap())), (0o700, 0o700));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    ensure_private_dir(&folder).unwrap();
    assert_eq!(mode(&folder), 0o700);

    let file = folder.join("a.json");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(make_private(&file).unwrap());
    assert!(!make_private(&file).unwrap());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    write_secret(&file, b"new").unwrap();
    assert_eq!((mode(&file), fs::read(&file).unwrap().as_slice()), (0o600, &b"new"[..]));
    assert_eq!(names(&folder), ["a.json"]);
}

#[test]
fn a_write_that_fails_at_any_step_leaves_the_old_content_or_the_new() {
    for (step, left) in [
        (Step::Create, "old"),
        (Step::Write, "old"),
        (Step::Sync, "old"),
        (Step::Rename, "old"),
        (Step::SyncFolder, "new"),
    ] {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied, io::ErrorKind::Other] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("a.json");
            write_secret(&file, b"old").unwrap();
            let asked = Cell::new(0);
            let fail = |now| {
                asked.set(asked.get() + 1);
                if now == step { Err(kind.into()) } else { Ok(()) }
            };
            let error = write_secret_with(&file, b"new", &fail).unwrap_err();
            assert_eq!((error.step, error.source.kind()), (step, kind));
            assert_eq!(fs::read_to_string(&file).unwrap(), left, "{step:?}");
            assert_eq!(names(dir.path()), ["a.json"], "no temporary file stays");
            assert!(error.to_string().contains("a.json"), "{error}");
        }
    }
}

#[test]
fn links_are_never_written_and_new_files_replace_none() {
    let dir = tempfile::tempdir().unwrap();
    let (target, link) = (dir.path().join("target.json"), dir.path().join("link.json"));
    write_new(&target, b"old").unwrap();
    symlink(&target, &link).unwrap();
    assert!(write_secret(&link, b"new").unwrap_err().to_string().contains("link"));
    assert!(write_new(&target, b"new").is_err());
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["link.json", "target.json"]);
}

#[test]
fn archiving_moves_and_never_replaces() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pear")).unwrap();
    let mut places = Vec::new();
    for content in ["first", "second"] {
        fs::write(dir.path().join("pear/a.json"), content).unwrap();
        places.push((archive(dir.path(), "pear/a.json", UnixMs(7)).unwrap(), content));
        assert!(!dir.path().join("pear/a.json").exists());
    }
    for (place, content) in places {
        assert_eq!(fs::read_to_string(place).unwrap(), content);
    }
    for rel in ["../a.json", "/etc/passwd", "a/b/c.json", "", "pear/../a.json", ".lock"] {
        assert!(archive(dir.path(), rel, UnixMs(7)).is_err(), "{rel}");
    }
}

#[test]
fn one_process_owns_a_pool() {
    let dir = tempfile::tempdir().unwrap();
    let lock = PoolLock::acquire(dir.path()).unwrap();
    let error = PoolLock::acquire(dir.path()).unwrap_err();
    assert!(matches!(error, LockError::Taken { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains("stop that one"), "{error}");
    drop(lock);
    PoolLock::acquire(dir.path()).unwrap();
}

#[test]
fn edits_do_not_undo_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    write_secret(&path, b"0").unwrap();
    let add = |text: &[u8]| {
        let number: u32 = std::str::from_utf8(text).unwrap().parse().unwrap();
        Ok((number + 1).to_string().into_bytes())
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| edit(dir.path(), &path, add).unwrap()));
        }
    });
    assert_eq!(fs::read(&path).unwrap(), b"40");
    assert_eq!(edit(dir.path(), &path, |_| Err("no".into())).unwrap_err().to_string(), "no");
    assert_eq!(fs::read(&path).unwrap(), b"40");
}

#[test]
fn leftovers_of_killed_writes_are_swept_when_they_are_old() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pear")).unwrap();
    let hours_ago = std::time::SystemTime::now() - Duration::from_hours(2);
    for (name, age) in [
        ("pear/.codex-pool-Ab1.tmp", Some(hours_ago)),
        (".codex-pool-Ab2.tmp", Some(hours_ago)),
        ("young.json", None),
        ("pear/.codex-pool-Ab3.tmp", None),
        ("old.json", Some(hours_ago)),
    ] {
        let file = fs::File::create(dir.path().join(name)).unwrap();
        if let Some(age) = age {
            file.set_modified(age).unwrap();
        }
    }
    sweep(dir.path()).unwrap();
    assert_eq!(
        (names(dir.path()), names(&dir.path().join("pear"))),
        (
            vec!["old.json".to_owned(), "pear".to_owned(), "young.json".to_owned()],
            vec![".codex-pool-Ab3.tmp".to_owned()],
        )
    );
}

const WRITER: &str = "POOL_TEST_WRITER";

/// Not a test of its own: the process that the next two tests kill and starve.
#[test]
#[ignore = "run by other tests"]
fn writer() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    rustix::process::umask(rustix::fs::Mode::empty());
    for round in 0_u64.. {
        let filler = "x".repeat(1000 + (round % 7) as usize * 1000);
        let text = serde_json::json!({ "round": round, "filler": filler, "end": round }).to_string();
        if let Err(error) = write_secret(Path::new(&path), text.as_bytes()) {
            assert!(error.to_string().contains("make room"), "{error}");
            std::process::exit(9);
        }
    }
}

fn writer_command(path: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    let exec = format!("{before} exec \"$0\" --exact files::writer --ignored");
    command.arg("-c").arg(exec).arg(std::env::current_exe().unwrap()).env(WRITER, path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The content is of one piece.
fn assert_whole(path: &Path) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(value["round"], value["end"]);
    assert_eq!(mode(path), 0o600, "also with umask 000");
    value["round"].as_u64().unwrap()
}

#[test]
fn a_writer_killed_at_any_moment_tears_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let mut seen = 0;
    for kill in 0..60_u64 {
        let mut child = writer_command(&path, "").spawn().unwrap();
        std::thread::sleep(Duration::from_micros(8000 + kill * 331));
        child.kill().unwrap();
        child.wait().unwrap();
        if path.exists() {
            seen += 1;
            assert_whole(&path);
        }
    }
    assert!(seen > 20, "the writer was killed before it wrote anything: {seen}");
}

#[test]
fn a_full_disk_keeps_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    // Files end at 4 KiB and the signal for it is ignored, so that the write fails as on a full disk.
    let status = writer_command(&path, "trap '' XFSZ; ulimit -f 8;").status().unwrap();
    assert_eq!(status.code(), Some(9), "the write error must come to light");
    assert!(assert_whole(&path) <= 6);
    assert_eq!(names(dir.path()), ["a.json"], "no temporary file stays");
}
