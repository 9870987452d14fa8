//! The rules. Each has a name, by which it can be excused.

use crate::Fault;
use crate::lexer::{Kind, Token, tokens, without_tests};
use crate::tree::{Tree, is_rust};

/// Every breach, rule by rule.
pub(crate) fn check(tree: &Tree) -> Vec<Fault> {
    [provider_names, pure_sources, pure_manifests, file_length, machine_paths, leftovers, secrets]
        .into_iter()
        .flat_map(|rule| rule(tree))
        .collect()
}

fn fault(rule: &'static str, path: &str, line: usize, what: impl Into<String>) -> Fault {
    Fault { rule, path: path.to_owned(), line, what: what.into() }
}

/// A provider's name appears only in its own folder, where it is registered, in tests and in documents: a fourth provider is one
/// more folder.
fn provider_names(tree: &Tree) -> Vec<Fault> {
    const NAMES: [&str; 5] = ["codex", "claude", "gemini", "openai", "anthropic"];
    let mut faults = Vec::new();
    for folder in ["crates/pool-core/src/", "crates/pool-server/src/"] {
        for (path, source) in tree.sources(folder) {
            for token in without_tests(&tokens(source)) {
                // The product's own name is no provider's.
                let word = token.text.to_lowercase().replace("codex-pool", "").replace("codex_pool", "");
                if let Some(name) = NAMES.iter().find(|name| word.contains(*name)) {
                    faults.push(fault("provider-name", path, token.line, format!("speaks of {name}")));
                }
            }
        }
    }
    faults
}

const PURE: [&str; 3] = ["crates/pool-core/", "crates/pool-providers/", "crates/pool-sim/"];

/// What the pure crates decide hangs on nothing but their parameters.
fn pure_sources(tree: &Tree) -> Vec<Fault> {
    const FORBIDDEN: &[&[&str]] = &[
        &["std", ":", ":", "fs"],
        &["std", ":", ":", "net"],
        &["std", ":", ":", "env"],
        &["std", ":", ":", "process"],
        &["std", ":", ":", "thread"],
        &["SystemTime", ":", ":", "now"],
        &["Instant", ":", ":", "now"],
        &["Timestamp", ":", ":", "now"],
        &["Zoned", ":", ":", "now"],
        &["tokio"],
        &["hyper"],
        &["println"],
        &["eprintln"],
    ];
    let mut faults = Vec::new();
    for folder in PURE {
        for (path, source) in tree.sources(folder) {
            if !path.starts_with(&format!("{folder}src/")) {
                continue;
            }
            let all = without_tests(&tokens(source));
            for at in 0..all.len() {
                let here = |words: &&&[&str]| starts_with(&all[at..], words);
                if let Some(words) = FORBIDDEN.iter().find(here) {
                    faults.push(fault("pure", path, all[at].line, format!("{} in a pure crate", words.concat())));
                }
            }
        }
    }
    faults
}

fn starts_with(tokens: &[Token<'_>], words: &[&str]) -> bool {
    let code = tokens.iter().take(words.len()).filter(|token| token.kind != Kind::Text).map(|token| token.text);
    code.eq(words.iter().copied())
}

fn pure_manifests(tree: &Tree) -> Vec<Fault> {
    const FORBIDDEN: [&str; 13] = [
        "axum",
        "hyper",
        "hyper-util",
        "hyper-rustls",
        "notify",
        "rand",
        "rustix",
        "rustls",
        "sqlx",
        "tokio",
        "tokio-util",
        "tracing",
        "uuid",
    ];
    let mut faults = Vec::new();
    for folder in PURE {
        let path = format!("{folder}Cargo.toml");
        let mut runtime = false;
        for (index, line) in tree.text(&path).unwrap_or_default().lines().enumerate() {
            if line.starts_with('[') {
                runtime = line.trim() == "[dependencies]";
            }
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if runtime && FORBIDDEN.contains(&name) {
                faults.push(fault("pure", &path, index + 1, format!("{name} in a pure crate")));
            }
        }
    }
    faults
}

/// A bigger file needs a reason.
fn file_length(tree: &Tree) -> Vec<Fault> {
    const MOST: usize = 500;
    let too_long = |(path, text): (&str, &str)| {
        let lines = text.lines().count();
        let what = format!("{lines} lines: cut it where its ideas part, or give a reason ({MOST} are the most)");
        (is_rust(path) && lines > MOST).then(|| fault("long", path, 0, what))
    };
    tree.iter().filter_map(too_long).collect()
}

/// Paths of the machine that somebody built on.
fn machine_paths(tree: &Tree) -> Vec<Fault> {
    // Put together, so that this file is not one of them.
    let forbidden = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/home", "/user")];
    by_line(tree, "machine-path", |_, line| {
        forbidden.iter().find(|path| line.contains(*path)).map(|path| format!("names {path}"))
    })
}

fn leftovers(tree: &Tree) -> Vec<Fault> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    by_line(tree, "leftover", |path, line| {
        let ours = [".rs", ".toml", ".md"].iter().any(|ending| path.ends_with(ending));
        let mark = marks.iter().find(|mark| ours && line.contains(*mark));
        mark.map(|mark| format!("{mark}: do it, or write down why not"))
    })
}

/// Nothing that looks like a credential that might work.
fn secrets(tree: &Tree) -> Vec<Fault> {
    by_line(tree, "secret", |_, line| secret_shape(line).map(|shape| format!("looks like {shape}; cut it short")))
}

fn by_line(tree: &Tree, rule: &'static str, look: impl Fn(&str, &str) -> Option<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.iter() {
        for (index, line) in text.lines().enumerate() {
            if let Some(what) = look(path, line) {
                faults.push(fault(rule, path, index + 1, what));
            }
        }
    }
    faults
}

fn secret_shape(line: &str) -> Option<&'static str> {
    let run = |from: usize| {
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let rest = &line[from..];
        &rest[..rest.find(|c| !safe(c)).unwrap_or(rest.len())]
    };
    // The share of different characters tells a made-up token (`sk-ant-made-up-made-up`) from a random one only roughly:
    // digits beside capitals beside small letters do it better.
    let random = |text: &str| {
        let has = |kind: fn(&char) -> bool| text.chars().filter(kind).count() >= 3;
        has(char::is_ascii_digit) && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase)
    };
    for (prefix, least, name) in [
        ("sk-ant-", 40, "an Anthropic key"),
        ("sk-proj-", 40, "an OpenAI key"),
        ("AIza", 39, "a Google key"),
        ("ya29.", 0, "a Google token"),
    ] {
        for (at, _) in line.match_indices(prefix) {
            let body = if least == 0 { run(at + prefix.len()) } else { run(at) };
            if body.len() >= least.max(30) && random(body) {
                return Some(name);
            }
        }
    }
    for (at, _) in line.match_indices("eyJ") {
        let parts: Vec<&str> = line[at..].split('.').take(3).collect();
        let [head, claims, _] = parts.as_slice() else { continue };
        let signature = at + head.len() + claims.len() + 2;
        let whole = run(at).len() == head.len() && run(at + head.len() + 1).len() == claims.len();
        // A signature of real length; made-up ones are words.
        if whole && claims.len() > 40 && run(signature).len() >= 43 && random(run(signature)) {
            return Some("a whole JWT");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rule: fn(&Tree) -> Vec<Fault>, files: &[(&str, &str)]) -> Vec<String> {
        rule(&Tree::of(files)).iter().map(|fault| format!("{}:{}", fault.path, fault.line)).collect()
    }

    #[test]
    fn providers_are_named_in_their_folders_only() {
        let source = "// Claude is fine here\nlet x = \"run codex-pool serve\";\nlet gemini_base = 1;\nf(\"OpenAI\");\n\
            #[cfg(test)]\nmod tests { fn codex() {} }\n";
        let files = [("crates/pool-server/src/a.rs", source), ("crates/pool-providers/src/b.rs", source)];
        assert_eq!(told(provider_names, &files), ["crates/pool-server/src/a.rs:3", "crates/pool-server/src/a.rs:4"]);
    }

    #[test]
    fn pure_crates_stay_pure() {
        let source =
            "use std::fs;\nlet now = Instant::now();\nlet s = \"tokio\";\n#[cfg(test)] mod t { use std::net::X; }";
        let files = [("crates/pool-core/src/a.rs", source), ("crates/pool-server/src/a.rs", source)];
        assert_eq!(told(pure_sources, &files), ["crates/pool-core/src/a.rs:1", "crates/pool-core/src/a.rs:2"]);
        let manifest = "[dependencies]\nserde.workspace = true\ntokio = \"1\"\n[dev-dependencies]\ntokio = \"1\"\n";
        assert_eq!(
            told(pure_manifests, &[("crates/pool-core/Cargo.toml", manifest)]),
            ["crates/pool-core/Cargo.toml:3"]
        );
    }

    #[test]
    fn what_looks_like_a_secret_is_found_and_what_is_made_up_is_not() {
        let random = "Ab3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1";
        for (line, found) in [
            (format!("key = sk-ant-oat01-{random}"), true),
            ("sk-ant-api-made-up-key-of-a-test-that-is-long-enough".to_owned(), false),
            (format!("AIzaSy{}", &random[..33]), true),
            (format!("AIza{}", &random[..20]), false),
            (format!("ya29.{random}"), true),
            (format!("eyJhbGciOiJSUzI1NiJ9.{random}.{random}"), true),
            (format!("eyJhbGciOiJSUzI1NiJ9.{random}.made-up"), false),
            (format!("eyJhbGciOiJSUzI1NiJ9.{}", &random[..20]), false),
        ] {
            assert_eq!(secret_shape(&line).is_some(), found, "{line}");
        }
    }

    #[test]
    fn long_files_and_leftovers_are_found() {
        let long = "x\n".repeat(501);
        assert_eq!(told(file_length, &[("a.rs", &long), ("b.md", &long)]), ["a.rs:0"]);
        let mark = format!("// {}: later", concat!("TO", "DO"));
        assert_eq!(told(leftovers, &[("a.rs", &mark), ("a.sse", &mark)]), ["a.rs:1"]);
        let path = format!("see {}x", concat!("/ro", "ot/"));
        assert_eq!(told(machine_paths, &[("a.json", &path)]), ["a.json:1"]);
    }
}
