//! `codex-pool check`: everything that is wrong with the settings and the credential files, at once.

use std::fmt::Write as _;

use pool_core::{Account, AccountKind};
use pool_providers::Registry;
use serde_json::{Value, json};

use super::Output;
use super::accounts::folder::{self, Entry};
use crate::config::{self, Inputs, Settings};
use crate::problem::{Exit, Failure, Problem};

pub(super) fn run(inputs: &Inputs, registry: &Registry, json: bool) -> Result<Output, Failure> {
    let settings = match config::load(inputs) {
        Ok(settings) => settings,
        Err(problems) if json => {
            let problems: Vec<Value> = problems.iter().map(as_json).collect();
            return Ok(Output::json(&json!({ "problems": problems }), Exit::Problem));
        }
        Err(problems) => return Err(problems.into()),
    };
    let mut report = Report::new(&settings);
    match folder::read(&settings.server.pool_dir, registry) {
        Ok(entries) => report.take_accounts(entries, registry),
        Err(problem) => report.warnings.push(problem),
    }
    let exit = if report.problems.is_empty() { Exit::Fine } else { Exit::Problem };
    Ok(if json { Output::json(&report.json(), exit) } else { Output { text: report.text(), exit } })
}

struct Report<'a> {
    settings: &'a Settings,
    fine: Vec<String>,
    warnings: Vec<Problem>,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self { settings, fine: Vec::new(), warnings: settings.warnings.clone(), problems: Vec::new() }
    }

    fn take_accounts(&mut self, entries: Vec<Entry>, registry: &Registry) {
        if self.settings.server.vault_key.is_some() {
            self.fine.push("the accounts are in the vault; see codex-pool accounts list".into());
        } else if entries.is_empty() {
            self.warnings.push(folder::no_accounts(&self.settings.server.pool_dir));
        }
        for duplicate in folder::duplicates(&entries) {
            self.problems.push(duplicate);
        }
        for entry in entries {
            match entry.account {
                Ok(found) => {
                    self.fine.push(format!("{}: {}", entry.file.rel, folder::describe(&found.account, registry)));
                    self.warnings.extend(idle_wish(&entry.file.rel, &found.account));
                    if let Some(warning) = found.warning {
                        self.warnings.push(Problem::new(format!("{}: {warning}", entry.file.rel), "", ""));
                    }
                }
                Err(fault) => self.problems.push(Problem::new(format!("{} is no account", entry.file.rel), fault, "")),
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let file = self.settings.file.as_deref().map_or_else(|| "no settings file".into(), config::shown);
        let _ = writeln!(out, "ok    settings are valid ({file})");
        for line in &self.fine {
            let _ = writeln!(out, "ok    {line}");
        }
        for (key, origin, why) in &self.settings.without_effect {
            let _ = writeln!(out, "note  {key} is accepted and has no effect: {why}\n      from {origin}");
        }
        for (word, list) in [("warn", &self.warnings), ("fail", &self.problems)] {
            for problem in list {
                let _ = writeln!(out, "{word}  {}", problem.to_string().replace('\n', "\n    "));
            }
        }
        let count = |list: &[Problem], word: &str| match list.len() {
            1 => format!("1 {word}"),
            many => format!("{many} {word}s"),
        };
        let _ = writeln!(out, "\n{}, {}", count(&self.problems, "problem"), count(&self.warnings, "warning"));
        out
    }

    fn json(&self) -> Value {
        let unused = self.settings.without_effect.iter();
        let unused = unused.map(|(key, origin, why)| json!({ "key": key, "from": origin.to_string(), "why": why }));
        json!({
            "settings_file": self.settings.file,
            "accounts": self.fine,
            "accepted_without_effect": unused.collect::<Vec<_>>(),
            "warnings": self.warnings.iter().map(as_json).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(as_json).collect::<Vec<_>>(),
        })
    }
}

/// A wish that changes nothing.
fn idle_wish(file: &str, account: &Account) -> Option<Problem> {
    let idle = account.kind == AccountKind::Subscription && account.settings.daily_spend.is_some();
    let why = "what a subscription serves costs nothing, so there is no spending to cap";
    idle.then(|| Problem::new(format!("{file}: `daily_spend_usd` has no effect"), why, "Drop the key"))
}

fn as_json(problem: &Problem) -> Value {
    json!({ "what": problem.what, "why": problem.why, "mend": problem.mend })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn check(config: &str, files: &[(&str, &str)], json: bool) -> Result<Output, Failure> {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), config).expect("writes");
        let pool = folder.path().join("pool");
        for (rel, text) in files {
            let path = pool.join(rel);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes folders");
            std::fs::write(path, text).expect("writes");
        }
        let mut inputs = Inputs { folder: folder.path().to_owned(), ..Inputs::default() };
        inputs.flags.pool_dir = Some(pool.display().to_string());
        run(&inputs, &crate::cli::accounts::fruit::registry(), json)
    }

    #[test]
    fn everything_is_told_at_once() {
        let config = "log_bodies = true\nmax_atempts = 3\n";
        let files = [
            ("apple/a.json", r#"{"apple":"t","user":"anna","daily_spend_usd":5}"#),
            ("pear_b.json", "{}"),
            ("kiwi/c.json", "{}"),
        ];
        let output = check(config, &files, false).expect("a report");
        assert_eq!(output.exit, Exit::Problem);
        for part in [
            "ok    settings are valid",
            "ok    apple/a.json: Apple subscription, a…@example.com",
            "note  log_bodies is accepted and has no effect",
            "warn  unknown setting max_atempts",
            "Did you mean max_attempts?",
            "fail  pear_b.json is no account\n      it has no token; sign in again",
            "fail  kiwi/c.json is no account",
            "warn  apple/a.json: `daily_spend_usd` has no effect",
            "2 problems, 2 warnings",
        ] {
            assert!(output.text.contains(part), "no {part:?} in\n{}", output.text);
        }
        let json: Value = serde_json::from_str(&check(config, &files, true).expect("JSON").text).expect("JSON");
        assert_eq!(json["problems"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["accepted_without_effect"][0]["key"], "log_bodies");
    }

    #[test]
    fn an_empty_pool_is_a_warning_and_wrong_settings_are_a_failure() {
        let output = check("", &[], false).expect("a report");
        assert!(output.exit == Exit::Fine && output.text.contains("there are no accounts in"), "{}", output.text);
        assert!(check("listen_addr = 1", &[], false).is_err());
        let output = check("listen_addr = 1", &[], true).expect("JSON");
        assert!(output.exit == Exit::Problem && output.text.contains("listen_addr must be a text"), "{}", output.text);
    }
}
