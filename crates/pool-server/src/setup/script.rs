//! The scripts, made from templates beside this file. Nothing in them comes from a request unchecked: addresses and codes are of
//! letters that no shell, no TOML and no JSON reads as anything else.

use pool_providers::setup::{self, Format, SetUp};

const SETUP_SH: &str = include_str!("setup.sh");
const UNDO_SH: &str = include_str!("undo.sh");
const SETUP_PS1: &str = include_str!("setup.ps1");
const UNDO_PS1: &str = include_str!("undo.ps1");

/// For whom a script is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// POSIX.
    Sh,
    /// Windows PowerShell 5.1 and PowerShell 7.
    PowerShell,
}

/// How the script comes by its credential.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Here it is. On a pool that asks for none, any word will do.
    Key(&'a str),
    /// It redeems this one-time code.
    Code(&'a str),
}

/// The script that sets a client up. `None`: address, credential or code are not plain enough to stand in one.
pub fn render(shell: Shell, cli: &str, set_up: &SetUp, url: &str, access: Access<'_>) -> Option<String> {
    let (key, code) = match access {
        Access::Key(key) => (key, ""),
        Access::Code(code) => ("", code),
    };
    let plain = |text: &str| text.is_empty() || setup::is_plain_key(text);
    if !setup::is_plain_url(url) || !plain(key) || !plain(code) || !setup::is_plain_key(cli) {
        return None;
    }
    let (template, parts) = match shell {
        Shell::Sh => (SETUP_SH, sh(set_up)),
        Shell::PowerShell => (SETUP_PS1, power_shell(set_up)),
    };
    // The programs first: they hold no marks of ours.
    let mut script = template.to_owned();
    for (mark, text) in [("@client@", set_up.client), ("@cli@", cli), ("@url@", url), ("@code@", code), ("@key@", key)]
    {
        script = script.replace(mark, text);
    }
    script = script.replace("@note@", &set_up.note.replace('\'', ""));
    for (mark, text) in parts {
        script = script.replace(mark, text.trim_end_matches('\n'));
    }
    Some(script)
}

/// A script that only says why there is nothing to run: who pipes a page into a shell sees no page.
pub fn refusal(shell: Shell, why: &str) -> String {
    let why: String =
        why.chars().filter(|letter| letter.is_alphanumeric() || " .,:;()_-/`".contains(*letter)).collect();
    match shell {
        Shell::Sh => format!("#!/bin/sh\nprintf 'codex-pool: %s.\\n' '{why}' >&2\nexit 1\n"),
        Shell::PowerShell => format!("Write-Error 'codex-pool: {why}.'\n"),
    }
}

type Parts = Vec<(&'static str, String)>;

fn sh(set_up: &SetUp) -> Parts {
    let folder = if set_up.folder_env.is_empty() {
        format!("\"$HOME/{}\"", set_up.folder)
    } else {
        format!("\"${{{}:-$HOME/{}}}\"", set_up.folder_env, set_up.folder)
    };
    let edits = set_up
        .files
        .iter()
        .map(|file| format!("  edit {} {} << END\n{}END\n", file.format.word(), file.path, file.lines()));
    let formats = formats(set_up);
    let tools = formats.iter().map(|format| {
        let program = match format {
            Format::Toml => include_str!("toml.awk"),
            Format::Json => include_str!("json.awk"),
            Format::Env => include_str!("env.awk"),
        };
        format!("  cat > \"$work/{}.awk\" << 'END_OF_AWK'\n{program}END_OF_AWK\n", format.word())
    });
    let rivals = set_up.rivals.iter().map(|name| format!("  rival {name} \"${{{name}:-}}\"\n"));
    let names: Vec<&str> = set_up.files.iter().map(|file| file.path).collect();
    vec![
        ("@folder@", folder),
        ("@edits@", edits.collect()),
        ("@undo@", UNDO_SH.to_owned()),
        ("@tools@", tools.collect()),
        ("@rivals@", rivals.collect()),
        ("@names@", names.join(" ")),
    ]
}

fn power_shell(set_up: &SetUp) -> Parts {
    let edits = set_up.files.iter().map(|file| {
        // Without backquotes in the edits, only the two names are expanded in such a text.
        format!("  Edit-File {} {} @\"\n{}\"@\n", file.format.word(), file.path, file.lines())
    });
    let formats = formats(set_up);
    let tools = formats.iter().map(|format| match format {
        Format::Toml => include_str!("toml.ps1"),
        Format::Json => include_str!("json.ps1"),
        Format::Env => include_str!("env.ps1"),
    });
    let rivals: Vec<String> = set_up.rivals.iter().map(|name| format!("'{name}'")).collect();
    vec![
        ("@folder_env@", set_up.folder_env.to_owned()),
        ("@folder@", set_up.folder.to_owned()),
        ("@edits@", edits.collect()),
        ("@undo@", UNDO_PS1.to_owned()),
        ("@tools@", tools.collect::<Vec<_>>().join("\n")),
        ("@rivals@", rivals.join(", ")),
    ]
}

/// Each format once.
fn formats(set_up: &SetUp) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for file in set_up.files {
        if !formats.contains(&file.format) {
            formats.push(file.format);
        }
    }
    formats
}

#[cfg(test)]
mod tests {
    use pool_providers::Registry;
    use pool_providers::gemini::OauthClient;

    use super::*;

    #[test]
    fn nothing_that_a_shell_would_read_gets_into_a_script() {
        let registry = Registry::new(OauthClient::default());
        for provider in registry.iter() {
            let set_up = provider.set_up().expect("every provider has a client");
            for shell in [Shell::Sh, Shell::PowerShell] {
                let render = |url, access| render(shell, provider.id().0, &set_up, url, access);
                let script = render("http://127.0.0.1:8989", Access::Code("abc-DEF_0")).expect("renders");
                let left = [
                    "client", "cli", "url", "code", "key", "folder", "edits", "undo", "tools", "rivals", "names",
                    "note",
                ];
                let marks: Vec<_> = left.iter().filter(|mark| script.contains(&format!("@{mark}@"))).collect();
                assert!(marks.is_empty(), "{marks:?}");
                assert!(script.contains("abc-DEF_0") && !script.contains('\r'));
                for evil in ["http://x';id;'", "http://x\" + (id)", "http://$(id)", "http://x`id`", "http://x\ny", "x"]
                {
                    assert!(render(evil, Access::Key("pool")).is_none(), "{evil}");
                    assert!(render("http://x", Access::Code(evil)).is_none() || evil == "x", "{evil}");
                }
            }
        }
        assert!(!refusal(Shell::Sh, "a';id;'\n$(id)").contains("';id") && !refusal(Shell::Sh, "$(id)").contains('$'));
    }
}
