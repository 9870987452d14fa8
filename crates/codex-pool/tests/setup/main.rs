//! Set-up: the script and the command give the same files, and undo brings everything back, byte for byte.

mod corpus;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use corpus::{CASES, Case, Shape};
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::setup;
use pool_server::setup::script::{Access, Shell, render};

const URL: &str = "http://127.0.0.1:8989";
const KEY: &str = "pool-made-up_key-1";

/// A home with the case's files, and what they were.
struct Home(tempfile::TempDir);

impl Home {
    fn of(case: &Case) -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        for (path, shape, text) in case.files {
            let path = home.0.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            match shape {
                Shape::Plain => fs::write(&path, text).expect("written"),
                Shape::Linked => {
                    let target = home.0.path().join("dotfiles").join(path.file_name().expect("a name"));
                    fs::create_dir_all(target.parent().expect("a folder")).expect("made");
                    fs::write(&target, text).expect("written");
                    symlink(Path::new("../dotfiles").join(path.file_name().expect("a name")), &path).expect("linked");
                }
                Shape::Dangling => symlink("nowhere", &path).expect("linked"),
                Shape::Blocked => {
                    fs::write(&path, text).expect("written");
                    let beside = format!("{}.codex-pool", path.display());
                    fs::create_dir(beside).expect("made");
                }
                Shape::ReadOnly => {
                    fs::write(&path, text).expect("written");
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("set");
                }
            }
        }
        home
    }

    /// Every file and link below: path, mode, content. Folders that hold nothing do not count.
    fn everything(&self) -> Vec<(String, u32, Vec<u8>)> {
        fn visit(root: &Path, folder: &Path, found: &mut Vec<(String, u32, Vec<u8>)>) {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                let (path, about) = (entry.path(), entry.metadata().expect("known"));
                let name = path.strip_prefix(root).expect("below").display().to_string();
                if about.is_dir() {
                    visit(root, &path, found);
                } else if about.is_symlink() {
                    let target = fs::read_link(&path).expect("a link").display().to_string();
                    found.push((name, 0, target.into_bytes()));
                } else {
                    found.push((name, about.permissions().mode() & 0o777, fs::read(&path).expect("read")));
                }
            }
        }
        let mut found = Vec::new();
        visit(self.0.path(), self.0.path(), &mut found);
        found.sort();
        found
    }

    /// The client's own files only.
    fn clients(&self) -> Vec<(String, u32, Vec<u8>)> {
        self.everything().into_iter().filter(|(name, ..)| !name.starts_with(".codex-pool/")).collect()
    }

    fn run(&self, program: &str, args: &[&str], input: &str) -> Output {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("HOME", self.0.path()).env("PATH", std::env::var("PATH").expect("a path"));
        command.current_dir(self.0.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        // A program that needs no input may be gone already.
        let _ = child.stdin.take().expect("input").write_all(input.as_bytes());
        child.wait_with_output().expect("ends")
    }

    fn script(&self, cli: &str) -> Output {
        self.run("sh", &[], &script(cli))
    }

    fn command(&self, args: &[&str]) -> Output {
        self.run(env!("CARGO_BIN_EXE_codex-pool"), &[&["setup"], args].concat(), KEY)
    }
}

fn script(cli: &str) -> String {
    let registry = Registry::new(OauthClient::default());
    let set_up = registry.named(cli).expect("known").set_up().expect("a client");
    render(Shell::Sh, cli, &set_up, URL, Access::Key(KEY)).expect("plain")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_script_and_the_command_do_the_same_and_undo_it() {
    for case in CASES {
        let (one, two) = (Home::of(case), Home::of(case));
        let before = one.everything();
        let by_script = one.script(case.cli);
        let by_command = two.command(&[case.cli, "--url", URL]);
        let name = case.name;
        assert_eq!(by_script.status.success(), case.works, "{name}: {}", told(&by_script));
        assert_eq!(by_command.status.success(), case.works, "{name}: {}", told(&by_command));
        assert_eq!(texts(&one.clients()), texts(&two.clients()), "{name}");
        if !case.works {
            assert_eq!(one.everything(), before, "{name}: what failed changes nothing");
            assert_eq!(two.everything(), before, "{name}: what failed changes nothing");
            continue;
        }
        assert_eq!(one.clients(), two.clients(), "{name}");
        for (output, secret) in [(&by_script, KEY), (&by_command, KEY), (&by_script, "canary"), (&by_command, "canary")]
        {
            assert!(!told(output).contains(secret), "{name}: {}", told(output));
        }
        for wanted in case.wants {
            let all = texts(&one.clients()).concat();
            assert!(all.contains(wanted), "{name} lacks {wanted}:\n{all}");
        }

        // Again, and it changes nothing.
        let after = one.clients();
        assert!(one.script(case.cli).status.success() && two.command(&[case.cli, "--url", URL]).status.success());
        assert_eq!((&one.clients(), &two.clients()), (&after, &after), "{name}: once more");

        // Either undoes what the other did.
        let undone = one.command(&[case.cli, "--undo"]);
        assert!(undone.status.success(), "{name}: {}", told(&undone));
        assert_eq!(one.everything(), before, "{name}: undone by the command");
        two.script(case.cli);
        let by_hand = two.command(&[case.cli, "--undo"]);
        assert!(by_hand.status.success(), "{name}: {}", told(&by_hand));
        assert_eq!(two.everything(), before, "{name}: undone");
    }
}

#[test]
fn the_scripts_own_undo_brings_everything_back() {
    for case in CASES.iter().filter(|case| case.works) {
        let home = Home::of(case);
        let before = home.everything();
        assert!(home.script(case.cli).status.success(), "{}", case.name);
        let undo = format!(".codex-pool/undo/{}/undo.sh", case.cli);
        let undone = home.run("sh", &[&undo], "");
        assert!(undone.status.success(), "{}: {}", case.name, told(&undone));
        assert_eq!(home.everything(), before, "{}", case.name);
        assert!(!home.0.path().join(".codex-pool").exists(), "{}", case.name);
    }
}

#[test]
fn what_was_changed_since_is_kept_by_undo() {
    let case = CASES.iter().find(|case| case.cli == "codex" && case.works && !case.files.is_empty()).expect("one");
    for by_script in [true, false] {
        let home = Home::of(case);
        let file = home.0.path().join(case.files[0].0);
        let before = fs::read(&file).expect("read");
        assert!(home.script(case.cli).status.success());
        let mut changed = fs::read(&file).expect("read");
        changed.extend(b"# written since\n");
        fs::write(&file, &changed).expect("written");
        let undone = if by_script {
            home.run("sh", &[".codex-pool/undo/codex/undo.sh"], "")
        } else {
            home.command(&["codex", "--undo"])
        };
        assert!(told(&undone).contains("with-codex-pool"), "{}", told(&undone));
        assert_eq!(fs::read(&file).expect("read"), before);
        assert_eq!(fs::read(file.with_extension("toml.with-codex-pool")).expect("kept"), changed);
    }
}

#[test]
fn a_script_that_comes_only_in_part_does_nothing() {
    let whole = script("gemini");
    for part in [whole.len() / 4, whole.len() / 2, whole.len() - 6] {
        let home = Home(tempfile::tempdir().expect("a folder"));
        home.run("sh", &[], &whole[..part]);
        assert_eq!(home.everything(), Vec::new(), "{part} of {}", whole.len());
    }
}

#[test]
fn a_rival_in_the_shell_is_refused() {
    let home = Home(tempfile::tempdir().expect("a folder"));
    let script = format!("GEMINI_API_KEY=canary; export GEMINI_API_KEY\n{}", script("gemini"));
    let refused = home.run("sh", &[], &script);
    assert!(
        !refused.status.success() && told(&refused).contains("GEMINI_API_KEY") && !told(&refused).contains("canary")
    );
    assert_eq!(home.everything(), Vec::new());
}

/// The line editors against each other, on files that somebody has cut anywhere.
#[test]
fn broken_files_are_read_alike() {
    let registry = Registry::new(OauthClient::default());
    let folder = tempfile::tempdir().expect("a folder");
    let (mut compared, mut refused) = (0, 0);
    for case in CASES {
        let set_up = registry.named(case.cli).expect("known").set_up().expect("a client");
        for (path, _, text) in case.files {
            let Some(file) = set_up.files.iter().find(|file| path.ends_with(file.path)) else { continue };
            let step = (text.len() / 12).max(1);
            for cut in (0..text.len()).step_by(step).filter(|at| text.is_char_boundary(*at)) {
                for broken in [text[..cut].to_owned(), text[cut..].to_owned()] {
                    let ours = setup::edit(file, &broken, URL, KEY);
                    let theirs = awk(folder.path(), file, &broken);
                    assert_eq!(ours.as_ref().ok(), theirs.as_ref(), "{}: {broken:?}: {ours:?}", case.name);
                    compared += 1;
                    refused += usize::from(ours.is_err());
                }
            }
        }
    }
    assert!(compared > 300 && refused > 50 && refused < compared, "{refused} of {compared}");
}

fn awk(folder: &Path, file: &setup::File, text: &str) -> Option<String> {
    // The script looks for this before.
    if text.contains('\0') {
        return None;
    }
    let program = match file.format {
        setup::Format::Toml => include_str!("../../../pool-server/src/setup/toml.awk"),
        setup::Format::Json => include_str!("../../../pool-server/src/setup/json.awk"),
        setup::Format::Env => include_str!("../../../pool-server/src/setup/env.awk"),
    };
    fs::write(folder.join("edits"), file.lines().replace("$url", URL).replace("$key", KEY)).expect("written");
    let mut command = Command::new("awk");
    command.arg(program).env("EDITS", folder.join("edits")).env("LC_ALL", "C");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("awk");
    let input = format!("{text}x");
    child.stdin.take().expect("input").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ends");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("text"))
}

fn texts(files: &[(String, u32, Vec<u8>)]) -> Vec<String> {
    files.iter().map(|(name, _, text)| format!("== {name}\n{}", String::from_utf8_lossy(text))).collect()
}
