//! What people do with accounts, in folders of their own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pool_providers::provider::Login;
use tempfile::TempDir;

use super::add::Place;
use super::*;
use crate::problem::Exit;

/// A pool folder with these files, and a place outside it.
struct World {
    root: TempDir,
    dir: PathBuf,
    registry: Registry,
}

fn world(files: &[(&str, &str)]) -> World {
    let root = TempDir::new().expect("a folder");
    let dir = root.path().join("pool");
    for (rel, text) in files {
        let path = dir.join(rel);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes folders");
        std::fs::write(path, text).expect("writes");
    }
    World { dir, registry: fruit::registry(), root }
}

impl World {
    fn outside(&self, rel: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(rel);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes folders");
        std::fs::write(&path, text).expect("writes");
        path
    }

    fn add(&self, file: &Path, name: Option<&str>, replace: bool) -> Result<String, Failure> {
        let place = Place { dir: &self.dir, name, replace, again: false };
        add::add_file(&place, &self.registry, file, None).map(|output| output.text)
    }

    fn text(&self, rel: &str) -> String {
        std::fs::read_to_string(self.dir.join(rel)).unwrap_or_else(|error| panic!("{rel}: {error}"))
    }

    fn archived(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.dir.join(".archive"));
        let paths = folder.into_iter().flatten().map(|entry| entry.expect("an entry").path());
        paths.map(|path| std::fs::read_to_string(path).expect("reads")).collect()
    }

    /// Every file and folder below the pool folder, without the archive.
    fn listing(&self) -> Vec<String> {
        let entries = folder::read(&self.dir, &self.registry).expect("reads");
        entries.into_iter().map(|entry| entry.file.rel).collect()
    }
}

const ANNA: &str = r#"{"apple": "t1", "user": "anna", "extra": 1.50}"#;
const BERT: &str = r#"{"apple": "t2", "user": "bert"}"#;

#[test]
fn a_file_is_copied_byte_for_byte_and_private() {
    let world = world(&[]);
    let file = world.outside(".apple/auth.json", ANNA);
    let told = world.add(&file, Some("work"), false).expect("added");
    assert!(told.contains("Added work: Apple subscription, a…@example.com (apple/work.json)"), "{told}");
    assert!(told.contains("log each other out") && told.contains("accounts login apple --name work"), "{told}");
    assert_eq!(world.text("apple/work.json"), ANNA);
    let mode = |rel: &str| std::fs::metadata(world.dir.join(rel)).expect("exists").permissions().mode() & 0o777;
    assert_eq!((mode("apple/work.json"), mode("apple"), mode("")), (0o600, 0o700, 0o700));
    assert_eq!(std::fs::read_to_string(file).expect("reads"), ANNA, "the original stays");
}

#[test]
fn names_are_given_and_checked() {
    let world = world(&[]);
    world.add(&world.outside("auth.json", ANNA), None, false).expect("added");
    world.add(&world.outside("b/auth.json", BERT), None, false).expect("added");
    assert_eq!(world.listing(), ["apple/main-2.json", "apple/main.json"]);
    let file = world.outside("c.json", r#"{"apple": "t", "user": "carl"}"#);
    for name in ["../x", ".hidden", "a/b", "", "a b", "é", &"x".repeat(70)] {
        let refused = world.add(&file, Some(name), false).expect_err(name);
        assert_eq!(refused.exit, Exit::WrongUse, "{name}");
    }
    assert_eq!(world.listing().len(), 2);
}

#[test]
fn another_account_is_never_overwritten_unasked() {
    let world = world(&[("apple/work.json", ANNA)]);
    let file = world.outside("b.json", BERT);
    let refused = world.add(&file, Some("work"), false).expect_err("in the way").to_string();
    assert!(refused.contains("another account already") && refused.contains("a…@example.com"), "{refused}");
    assert_eq!(world.text("apple/work.json"), ANNA);
    let told = world.add(&file, Some("work"), true).expect("replaced");
    assert!(told.contains(".archive"), "{told}");
    assert_eq!((world.text("apple/work.json"), world.archived()), (BERT.to_owned(), vec![ANNA.to_owned()]));
}

#[test]
fn the_same_account_is_renewed_and_never_added_twice() {
    let world = world(&[("apple/work.json", r#"{"apple":"old","user":"anna","share":false,"priority":2}"#)]);
    let file = world.outside("new.json", ANNA);
    let refused = world.add(&file, Some("other"), false).expect_err("twice").to_string();
    assert!(refused.contains("the same account as work (apple/work.json)"), "{refused}");
    for name in [None, Some("work")] {
        let told = world.add(&file, name, false).expect("renewed");
        assert!(told.contains("Renewed work"), "{told}");
        let kept = r#"{"priority":2,"share":false,"apple": "t1", "user": "anna", "extra": 1.50}"#;
        assert_eq!(world.text("apple/work.json"), kept);
    }
    assert_eq!(world.listing(), ["apple/work.json"]);
}

#[test]
fn whose_file_it_is_is_told_by_content_then_by_place() {
    let world = world(&[]);
    let key = r#"{"key": "k"}"#;
    let refused = world.add(&world.outside("k.json", key), None, false).expect_err("ambiguous");
    assert!(refused.to_string().contains("--provider apple"), "{refused}");
    world.add(&world.outside("pear_k.json", key), None, false).expect("by its name");
    world.add(&world.outside(".apple/k.json", key), None, false).expect("by its folder");
    assert_eq!(world.listing(), ["apple/k.json", "pear/pear_k.json"]);
    let refused = world.add(&world.outside("x.json", "{}"), None, false).expect_err("nobody's").to_string();
    assert!(refused.contains("as a file of Apple: it has no token; sign in again"), "{refused}");
    let missing = world.add(Path::new("/nowhere/auth.json"), None, false).expect_err("missing").to_string();
    assert!(missing.contains("cannot read /nowhere/auth.json"), "{missing}");
}

#[test]
fn a_key_in_the_place_of_a_provider_is_not_repeated() {
    let world = world(&[]);
    let arguments =
        AddArguments { file: None, api_key: Some("made-up-key-1".into()), provider: None, name: None, replace: false };
    let refused = add::run(&world.dir, &world.registry, arguments).expect_err("no provider").to_string();
    assert!(refused.contains("apple, pear") && !refused.contains("made-up-key-1"), "{refused}");
}

#[test]
fn pausing_and_resuming_edit_one_word() {
    let world = world(&[("apple/work.json", ANNA)]);
    let set = |disabled| change::set_disabled(&world.dir, &world.registry, "work", disabled).map(|output| output.text);
    assert!(set(false).expect("fine").contains("not paused"));
    assert!(set(true).expect("paused").contains("Undo: codex-pool accounts resume apple/work.json"));
    assert_eq!(world.text("apple/work.json"), r#"{"disabled":true,"apple": "t1", "user": "anna", "extra": 1.50}"#);
    assert!(set(true).expect("fine").contains("already paused"));
    assert!(set(false).expect("resumed").contains("serves again"));
    assert_eq!(world.text("apple/work.json"), r#"{"disabled":false,"apple": "t1", "user": "anna", "extra": 1.50}"#);
}

#[test]
fn wishes_are_written_into_the_file_and_taken_back() {
    let key = r#"{"key": "made-up", "z" : 1.50}"#;
    let world = world(&[("apple/work.json", r#"{"apple":"t","priority":3}"#), ("pear/key.json", key)]);
    let set = |name: &str, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        wishes::set(&world.dir, &world.registry, name, &words).map(|output| output.text)
    };
    let said = set("work", &["priority=5", "reserve=20%", "models=a-*, b", "weight=2"]).expect("set");
    assert_eq!(
        said,
        "work: priority=5, reserve=0.2, models=a-*,b, weight=2. Undo: codex-pool accounts set apple/work.json priority=3 \
         reserve= models= weight=\n"
    );
    assert_eq!(
        world.text("apple/work.json"),
        r#"{"weight":2,"models":["a-*","b"],"reserve":0.2,"apple":"t","priority":5}"#
    );
    set("work", &["priority=3", "reserve=", "models=", "weight="]).expect("undone");
    assert_eq!(world.text("apple/work.json"), r#"{"apple":"t","priority":3}"#);
    set("key", &["daily_spend_usd=$2.50", "max_in_flight=4", "share=no"]).expect("set");
    assert_eq!(
        world.text("pear/key.json"),
        r#"{"share":false,"max_in_flight":4,"daily_spend_usd":2.5,"key": "made-up", "z" : 1.50}"#
    );
    for (name, word, told) in [
        ("work", "priority", "priority is not key=value"),
        ("work", "prio=3", "prio cannot be set"),
        ("work", "priority=high", "priority cannot be high"),
        ("work", "models=a,,b", "models cannot be a,,b"),
        ("work", "reserve=120%", "`reserve` is not a share from 0 to 1"),
        ("work", "weight=0", "`weight` is not a number from 0.01 to 100"),
        ("work", "owner=<b>", "owner cannot be <b>"),
        ("work", "max_in_flight=0", "`max_in_flight` is not a whole number from 1"),
        ("work", "daily_spend_usd=5", "work is a subscription"),
        ("nobody", "priority=1", "there is no account nobody"),
    ] {
        let failure = set(name, &[word]).expect_err("refused").to_string();
        assert!(failure.contains(told), "{word}: {failure}");
    }
    assert_eq!(world.text("apple/work.json"), r#"{"apple":"t","priority":3}"#, "what is refused changes nothing");
}

#[test]
fn removing_archives_and_tells_the_way_back() {
    let world = world(&[("apple/work.json", ANNA), ("apple/bad.json", "{")]);
    let remove = |name: &str| change::remove(&world.dir, &world.registry, name, UnixMs(7)).map(|output| output.text);
    let told = remove("work").expect("removed");
    assert_eq!((world.listing(), world.archived()), (vec!["apple/bad.json".to_owned()], vec![ANNA.to_owned()]));
    let undo = told.split("Undo: ").nth(1).expect("an undo").trim();
    let status = std::process::Command::new("sh").args(["-c", undo]).status().expect("runs");
    assert!(status.success(), "{undo}");
    assert_eq!(world.text("apple/work.json"), ANNA);
    assert!(remove("apple/bad").expect("by its file").contains("apple/bad.json is removed"));
    let refused = remove("wrok").expect_err("unknown").to_string();
    assert!(refused.contains("Did you mean work?"), "{refused}");
}

#[test]
fn an_ambiguous_name_lists_who_is_meant() {
    let world = world(&[("apple/work.json", ANNA), ("pear/work.json", r#"{"pear": "t"}"#)]);
    let refused = change::set_disabled(&world.dir, &world.registry, "work", true).expect_err("ambiguous");
    let text = refused.to_string();
    assert_eq!(refused.exit, Exit::WrongUse);
    assert!(text.contains("apple/work.json (apple-") && text.contains("pear/work.json (pear-"), "{text}");
    for name in ["apple/work.json", "apple/work"] {
        select::account(&folder::read(&world.dir, &world.registry).expect("reads"), name).expect(name);
    }
}

#[test]
fn a_login_is_imported_from_a_private_home() {
    let world = world(&[]);
    let provider = world.registry.named("apple").expect("an apple");
    let login = |script: &'static [&'static str], name, replace| {
        let program = Login { program: "sh", args: script, home_env: "FRUIT_HOME", writes: "auth.json" };
        let wanted = login::Wanted { provider: "apple", name, replace };
        login::sign_in(&world.dir, &world.registry, &wanted, provider, &program).map(|output| output.text)
    };
    let anna = &[
        "-c",
        r#"stat -c %a "$FRUIT_HOME" | grep -qx 700 && echo '{"apple":"t1","user":"anna"}' > "$FRUIT_HOME/auth.json""#,
    ];
    let told = login(anna, Some("work"), false).expect("signed in");
    assert!(told.contains("Added work") && !told.contains("Warning"), "{told}");
    assert!(login(anna, None, false).expect("signed in again").contains("Renewed work"));

    let bert = &["-c", r#"echo '{"apple":"t2","user":"bert"}' > "$FRUIT_HOME/auth.json""#];
    let refused = login(bert, Some("work"), false).expect_err("in the way").to_string();
    assert!(refused.contains("another account") && refused.contains("The login is kept"), "{refused}");
    assert_eq!(world.archived(), ["{\"apple\":\"t2\",\"user\":\"bert\"}\n"]);

    let nameless = &["-c", r#"echo '{"apple":"t3"}' > "$FRUIT_HOME/auth.json""#];
    assert!(login(nameless, Some("new"), false).expect("signed in").contains("Added new"));
    assert!(login(nameless, Some("new"), false).expect("signed in again").contains("Renewed new"));
    std::fs::write(world.dir.join("apple_flat.json"), r#"{"apple":"t0","share":false}"#).expect("writes");
    assert!(login(nameless, Some("apple_flat"), false).expect("signed in again").contains("Renewed apple_flat"));
    assert!(world.text("apple_flat.json").contains(r#""share":false,"apple":"t3""#));
    assert!(login(nameless, Some("work"), false).expect_err("anna's").to_string().contains("another account"));

    let nothing = login(&["-c", "true"], None, false).expect_err("nothing").to_string();
    assert!(nothing.contains("did not write auth.json"), "{nothing}");
    let failed = login(&["-c", "exit 4"], None, false).expect_err("failed").to_string();
    assert!(failed.contains("exit status: 4"), "{failed}");
    let wanted = login::Wanted { provider: "apple", name: None, replace: false };
    let missing = login::run(&world.dir, &world.registry, &wanted).expect_err("not installed").to_string();
    assert!(missing.contains("not installed") && missing.contains("accounts add FILE"), "{missing}");

    let left: Vec<_> =
        std::fs::read_dir(&world.dir).expect("reads").map(|entry| entry.expect("entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".login-")), "{left:?}");
}

#[test]
fn lists_tell_faults_and_that_nobody_serves() {
    let world = world(&[("apple/work.json", ANNA), ("apple/twin.json", ANNA), ("pear_x.json", "{}")]);
    let inputs = Inputs::default();
    // Nothing listens on port 1.
    let server = pool_server::Config {
        pool_dir: world.dir.clone(),
        listen: ([127, 0, 0, 1], 1).into(),
        ..pool_server::Config::default()
    };
    let listed = list::list(&inputs, &server, &world.registry, false).expect("listed");
    assert_eq!(listed.exit, Exit::Problem);
    for part in ["work", "apple/twin.json", "pear_x.json is left out: it has no token", "server is not running"] {
        assert!(listed.text.contains(part), "no {part:?} in {}", listed.text);
    }
    let shown = list::show(&inputs, &server, &world.registry, "work", false).expect("shown").text;
    assert!(shown.contains("file      apple/work.json") && shown.contains("what is left is not known"), "{shown}");
    let json = list::list(&inputs, &server, &world.registry, true).expect("listed").text;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[1]["account"]["file"], "apple/work.json");
    assert!(!json.to_string().contains("t1"), "no token: {json}");
    let twins = folder::duplicates(&folder::read(&world.dir, &world.registry).expect("reads"));
    assert!(twins[0].what.contains("apple/twin.json and apple/work.json are the same account"), "{twins:?}");
    let refused = test::run(&server, &world.registry, "apple/work", false).expect_err("not running");
    assert_eq!(refused.exit, Exit::NotRunning);
}

#[test]
fn an_account_may_belong_to_somebody() {
    let world = world(&[("apple/work.json", ANNA), ("pear/key.json", r#"{"key": "k"}"#)]);
    let server = pool_server::Config {
        pool_dir: world.dir.clone(),
        listen: ([127, 0, 0, 1], 1).into(),
        ..pool_server::Config::default()
    };
    let list = || list::list(&Inputs::default(), &server, &world.registry, false).expect("listed").text;
    assert!(!list().contains("OWNER"), "{}", list());
    let told = wishes::set(&world.dir, &world.registry, "work", &["owner=mira".to_owned()]).expect("set").text;
    assert_eq!(told, "work: owner=mira. Undo: codex-pool accounts set apple/work.json owner=\n");
    let listed = list();
    let line = |start: &str| listed.lines().find(|line| line.starts_with(start)).expect("a line");
    assert_eq!(line("NAME").find("OWNER"), line("work").find("mira"), "{listed}");
    // A new login of the account is still hers.
    world.add(&world.outside("new.json", r#"{"apple":"t9","user":"anna"}"#), None, false).expect("renewed");
    assert!(world.text("apple/work.json").contains(r#""owner":"mira""#));
    let shown = list::show(&Inputs::default(), &server, &world.registry, "work", false).expect("shown").text;
    assert!(shown.contains("owner     mira"), "{shown}");
}

#[test]
fn one_key_in_two_files_is_one_account() {
    let world = world(&[("pear/a.json", r#"{"key":"k1"}"#), ("pear/b.json", r#"{"key":"k2"}"#)]);
    let twins = || folder::duplicates(&folder::read(&world.dir, &world.registry).expect("reads"));
    assert_eq!(twins(), []);
    let again = world.outside("again.json", r#"{"key":"k2"}"#);
    let place = Place { dir: &world.dir, name: Some("c"), replace: false, again: false };
    let added = add::add_file(&place, &world.registry, &again, Some("pear"));
    let refused = added.expect_err("it is there").to_string();
    assert!(refused.contains("the pool has this key or login already, in pear/b.json"), "{refused}");
    std::fs::write(world.dir.join("pear/c.json"), r#"{"key":"k2"}"#).expect("writes");
    assert!(twins()[0].what.contains("pear/b.json and pear/c.json are the same account"), "{:?}", twins());
}
