//! `accounts set NAME key=value …`: the operator's wishes, written into the account's file.

use std::path::Path;

use pool_core::{Account, AccountKind};
use pool_providers::Registry;
use pool_server::pool::files::{self, keys};
use serde_json::{Value, json};

use super::{change, folder, select};
use crate::cli::Output;
use crate::problem::{Failure, Problem};

/// What can be set: key, what it may be, and the JSON that a word means.
type Wish = (&'static str, &'static str, fn(&str) -> Option<Value>);

const WISHES: [Wish; 9] = [
    ("priority", "a whole number; higher goes first", whole),
    ("weight", "a number; 2 makes it count as twice as roomy", number),
    ("reserve", "a share of every window kept for you, as 20% or 0.2", share),
    ("max_in_flight", "a whole number of requests at one time", whole),
    ("models", "names with * for any letters, with commas between: claude-sonnet-*,claude-haiku-*", names),
    ("disabled", "true or false", flag),
    ("share", "true or false", flag),
    ("owner", "the name or id of the user who brought it (codex-pool users list)", user),
    ("daily_spend_usd", "dollars a day (from midnight UTC) for an API key, as 5 or 2.50", dollars),
];

/// One `key=value`. `None`: the key is taken out, which means its default.
#[derive(Debug)]
struct Setting {
    key: &'static str,
    value: Option<Value>,
}

/// Writes the wishes into the account's file; everything else in it stays to the byte.
pub(super) fn set(dir: &Path, registry: &Registry, wanted: &str, words: &[String]) -> Result<Output, Failure> {
    let settings = words.iter().map(|word| setting(word)).collect::<Result<Vec<_>, _>>()?;
    let entries = folder::read(dir, registry)?;
    let (entry, account) = select::account(&entries, wanted)?;
    let money = settings.iter().any(|setting| setting.key == "daily_spend_usd" && setting.value.is_some());
    if money && account.kind == AccountKind::Subscription {
        return Err(Failure::wrong_use(Problem::new(
            format!("{} is a subscription", account.name),
            "what it serves costs nothing, so there is no spending to cap",
            "",
        )));
    }
    let provider = registry.get(account.provider);
    let mut undo = Vec::new();
    let path = &entry.file.path;
    let change = |text: &[u8]| {
        let mut edited = text.to_vec();
        for Setting { key, value } in &settings {
            undo.push(as_word(key, keys::value(text, key)));
            edited = keys::with(&edited, key, value.as_ref()).ok_or("it is not a JSON object")?;
        }
        // What the server would not take is not written.
        match provider.map(|provider| provider.read_file(&entry.file.rel, &edited)) {
            Some(Err(fault)) => Err(fault.to_string()),
            _ => Ok(edited),
        }
    };
    files::edit(dir, path, change)
        .map_err(|error| Problem::new(format!("cannot change {}", path.display()), error.to_string(), ""))?;
    let done: Vec<String> = settings.into_iter().map(|setting| as_word(setting.key, setting.value)).collect();
    let name = change::quoted(&entry.file.rel);
    let undo: Vec<String> = undo.iter().map(|word| change::quoted(word)).collect();
    Ok(Output::fine(format!(
        "{}: {}. Undo: codex-pool accounts set {name} {}\n",
        account.name,
        done.join(", "),
        undo.join(" ")
    )))
}

fn setting(word: &str) -> Result<Setting, Failure> {
    let Some((key, value)) = word.split_once('=') else {
        return Err(wrong(format!("{word} is not key=value"), "What can be set"));
    };
    let Some((key, what, read)) = WISHES.into_iter().find(|(known, ..)| *known == key.trim()) else {
        return Err(wrong(format!("{key} cannot be set"), "What can be set"));
    };
    let value = value.trim();
    if value.is_empty() {
        return Ok(Setting { key, value: None });
    }
    match read(value) {
        Some(value) => Ok(Setting { key, value: Some(value) }),
        None => Err(Failure::wrong_use(Problem::new(
            format!("{key} cannot be {value}"),
            "",
            format!("Write {what}, or nothing after the = for its default"),
        ))),
    }
}

fn wrong(what: String, title: &str) -> Failure {
    let list: Vec<String> = WISHES.iter().map(|(key, what, _)| format!("{key}={what}")).collect();
    Failure::wrong_use(Problem::new(what, format!("{title}:\n  {}", list.join("\n  ")), ""))
}

fn whole(word: &str) -> Option<Value> {
    word.parse::<i64>().ok().map(Value::from)
}

/// As people write it: `2` stays `2`.
fn number(word: &str) -> Option<Value> {
    let value: f64 = word.parse().ok()?;
    word.parse::<i64>().map(Value::from).ok().or_else(|| serde_json::Number::from_f64(value).map(Value::Number))
}

fn share(word: &str) -> Option<Value> {
    match word.strip_suffix('%') {
        Some(percent) => {
            let percent: f64 = percent.trim().parse().ok()?;
            // 29 % is 0.29, not 0.29000000000000004.
            serde_json::Number::from_f64((percent * 100.0).round() / 10_000.0).map(Value::Number)
        }
        None => number(word),
    }
}

fn names(word: &str) -> Option<Value> {
    let names: Vec<&str> = word.split(',').map(str::trim).collect();
    names.iter().all(|name| !name.is_empty()).then(|| json!(names))
}

/// As users are called.
fn user(word: &str) -> Option<Value> {
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '.' | '_' | '-' | '@');
    (word.chars().count() <= 64 && word.chars().all(fits)).then(|| word.into())
}

fn flag(word: &str) -> Option<Value> {
    match word {
        "true" | "yes" => Some(true.into()),
        "false" | "no" => Some(false.into()),
        _ => None,
    }
}

fn dollars(word: &str) -> Option<Value> {
    number(word.strip_prefix('$').unwrap_or(word))
}

/// The word that sets this again.
fn as_word(key: &str, value: Option<Value>) -> String {
    let value = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    };
    format!("{key}={value}")
}

/// The wishes that an account's file holds, for `accounts show`.
pub(super) fn told(account: &Account) -> Vec<(&'static str, String)> {
    let settings = &account.settings;
    let percent = settings.reserve.get() * 100.0;
    let rows = [
        ("owner", settings.owner.clone()),
        ("weight", (settings.weight.get() - 1.0).abs().gt(&f64::EPSILON).then(|| settings.weight.get().to_string())),
        ("reserve", (percent > 0.0).then(|| format!("{} % of every window", (percent * 100.0).round() / 100.0))),
        ("at once", settings.max_in_flight.map(|most| format!("{most} requests"))),
        ("models", settings.models.as_ref().map(|list| list.patterns().join(", "))),
        ("spending", settings.daily_spend.map(|most| format!("{most} a day (UTC)"))),
    ];
    rows.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}
