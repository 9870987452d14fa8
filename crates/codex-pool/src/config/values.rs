//! The raw settings: what the flags, the environment and the file say, each with its place. Typed questions to them collect
//! every problem instead of stopping at the first.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pool_core::Secret;
use pool_server::config::{Applies, Settings};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::{Effect, Kind, SETTINGS, Setting, find};
use crate::problem::Problem;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Env(&'static str),
    File { path: PathBuf, line: usize, column: usize },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "the flag --{flag}"),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File { path, line, column } => write!(f, "{}, line {line}, column {column}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

#[derive(Clone)]
enum Raw {
    Text(String),
    Bool(bool),
    Number(String),
    /// What else TOML knows, in its own word.
    Other(&'static str),
}

impl Raw {
    /// What it is, for people.
    fn word(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Other(word) => word,
        }
    }
}

/// What was said, before anything is resolved. (No `Debug`: secrets are among it.)
#[derive(Default)]
pub(crate) struct Values {
    /// What stands in the sections whose keys are free.
    free: BTreeMap<&'static str, Vec<Entry>>,
    said: BTreeMap<&'static str, (Raw, Origin)>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// One line of a section whose keys are free.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// One text or a list of them; `Err`: what else it is.
    pub(crate) texts: Result<Vec<String>, &'static str>,
    origin: Origin,
}

impl Values {
    /// Takes in a `config.toml`.
    pub(crate) fn add_file(&mut self, path: &Path, text: &str) {
        let at = |offset: usize| {
            let (line, column) = position(text, offset);
            Origin::File { path: path.to_owned(), line, column }
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                // The error's own text would quote the line, which may hold a secret.
                let place = at(error.span().map_or(0, |span| span.start));
                self.problems.push(Problem::new(
                    format!("{} is not valid TOML: {}", path.display(), error.message()),
                    format!("at {place}"),
                    "Mend that line; config.example.toml shows how settings are written",
                ));
                return;
            }
        };
        self.add_table("", table.get_ref(), &at);
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) {
        for (name, value) in table {
            let key =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            if let Some(setting) = find(&key) {
                if let (Kind::Section, DeValue::Table(inner)) = (setting.kind, value.get_ref()) {
                    let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| entry(name, value, at);
                    self.free.insert(setting.key, inner.iter().map(entry).collect());
                }
                self.said.insert(setting.key, (raw(value), at(value.span().start)));
                continue;
            }
            let section = format!("{key}.");
            match value.get_ref() {
                DeValue::Table(inner) if SETTINGS.iter().any(|setting| setting.key.starts_with(&section)) => {
                    self.add_table(&key, inner, at);
                }
                _ => self.warnings.push(unknown(&key, &at(name.span().start))),
            }
        }
    }

    /// Takes in the environment: the last word but for the flags. An empty variable is one that is not set.
    pub(crate) fn add_env(&mut self, env: &BTreeMap<String, String>) {
        for setting in SETTINGS {
            if let Some(value) = env.get(setting.env).filter(|value| !value.is_empty()) {
                self.said.insert(setting.key, (Raw::Text(value.clone()), Origin::Env(setting.env)));
            }
        }
    }

    pub(crate) fn add_flag(&mut self, key: &str, value: Option<String>) {
        if let (Some(setting), Some(value)) = (find(key), value) {
            self.said.insert(setting.key, (Raw::Text(value), Origin::Flag(setting.flag)));
        }
    }

    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.said.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// The lines of a section whose keys are free.
    pub(crate) fn entries(&mut self, key: &'static str) -> Vec<Entry> {
        if self.is_said(key) && !self.free.contains_key(key) {
            self.wrong(key, "must be a section", format!("Write it as:\n  [{key}]\n  \"a name\" = [\"…\"]"));
        }
        self.free.get(key).cloned().unwrap_or_default()
    }

    /// A line of such a section that cannot be used.
    pub(crate) fn wrong_entry(&mut self, key: &str, entry: &Entry, why: &str, mend: impl Into<String>) {
        let place = format!("from {}", entry.origin);
        self.problems.push(Problem::new(format!("{key}.{} {why}", entry.name), place, mend));
    }

    pub(crate) fn is_said(&self, key: &str) -> bool {
        self.said.contains_key(key)
    }

    /// Settings that were given but change nothing in this version, with the reason.
    pub(crate) fn without_effect(&self) -> Vec<(&'static str, Origin, &'static str)> {
        let of = |setting: &Setting| match setting.effect {
            Effect::None(why) if self.is_said(setting.key) => Some((setting.key, self.origin(setting.key), why)),
            _ => None,
        };
        SETTINGS.iter().filter_map(of).collect()
    }

    /// Every setting with its value and where that comes from, for whoever asks the server. Secrets are told to be set, no more.
    pub(crate) fn told(&self, file: Option<&Path>) -> Settings {
        let told = |setting: &Setting| {
            let said = self.said.get(setting.key).map(|(raw, _)| match raw {
                Raw::Text(text) | Raw::Number(text) => text.clone(),
                Raw::Bool(flag) => flag.to_string(),
                Raw::Other(word) => (*word).to_owned(),
            });
            let in_section = self.free.get(setting.key).is_some_and(|entries| !entries.is_empty());
            // An address may hold a password, too.
            let secret = setting.kind == Kind::Secret || said.as_ref().is_some_and(|text| text.contains('@'));
            let without_effect = match setting.effect {
                Effect::None(why) => Some(why.to_owned()),
                Effect::Now => None,
            };
            let value = said.clone().unwrap_or_else(|| setting.default.to_owned());
            pool_server::config::Setting {
                key: setting.key.to_owned(),
                value: Some(value).filter(|value| !secret && !value.is_empty()),
                said: said.is_some() || in_section,
                secret,
                origin: self.origin(setting.key).to_string(),
                env: setting.env.to_owned(),
                help: setting.help.to_owned(),
                applies: if without_effect.is_some() { Applies::Never } else { Applies::AtNextStart },
                without_effect,
            }
        };
        let file = file.map(|path| path.display().to_string());
        Settings { file, settings: SETTINGS.iter().map(told).collect() }
    }

    /// A value that has the right type and is wrong all the same.
    pub(crate) fn wrong(&mut self, key: &str, why: impl fmt::Display, mend: impl Into<String>) {
        let origin = self.origin(key);
        self.problems.push(Problem::new(format!("{key} {why}"), format!("from {origin}"), mend));
    }

    /// Empty if it was not said and has no default.
    pub(crate) fn text(&mut self, key: &'static str) -> String {
        match self.said.get(key).map(|(raw, _)| raw.clone()) {
            Some(Raw::Text(text)) => text.trim().to_owned(),
            Some(other) => {
                self.wrong_type(key, &other, "a text", "\"…\"");
                default(key).to_owned()
            }
            None => default(key).to_owned(),
        }
    }

    pub(crate) fn optional(&mut self, key: &'static str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    pub(crate) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.optional(key).map(Secret::new)
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> bool {
        let fallback = default(key) == "true";
        match self.said.get(key).map(|(raw, _)| raw.clone()) {
            None => fallback,
            Some(Raw::Bool(value)) => value,
            Some(Raw::Text(text)) if !matches!(self.origin(key), Origin::File { .. }) => {
                match text.trim().to_ascii_lowercase().as_str() {
                    "1" | "true" | "yes" | "on" => true,
                    "0" | "false" | "no" | "off" => false,
                    _ => {
                        self.wrong(key, "is neither true nor false", "Write true or false");
                        fallback
                    }
                }
            }
            Some(other) => {
                self.wrong_type(key, &other, "true or false", "true");
                fallback
            }
        }
    }

    pub(crate) fn number(&mut self, key: &'static str) -> u64 {
        let fallback = default(key).parse().unwrap_or(0);
        let Some((raw, origin)) = self.said.get(key).cloned() else { return fallback };
        let text = match (raw, origin) {
            (Raw::Number(text), _) => text,
            (Raw::Text(text), Origin::Env(_) | Origin::Flag(_)) => text.trim().to_owned(),
            (other, _) => {
                self.wrong_type(key, &other, "a whole number", default(key));
                return fallback;
            }
        };
        let (low, high) = match find(key).map(|setting| setting.kind) {
            Some(Kind::Number(low, high)) => (low, high),
            _ => (0, u64::MAX),
        };
        match text.parse::<u64>() {
            Ok(value) if (low..=high).contains(&value) => value,
            // What started the Go original must start us; there, 0 meant *off*, and nothing here waits without end.
            Ok(value) if find(key).is_some_and(Setting::is_of_original) => {
                let used = if value == 0 { fallback } else { value.clamp(low, high) };
                let what = format!("{key} cannot be {value}: {used} is used");
                let mend = format!("Write a number from {low} to {high}");
                self.warnings.push(Problem::new(what, format!("from {}", self.origin(key)), mend));
                used
            }
            _ => {
                let mend = format!("Write a number from {low} to {high}, as in: {} = {}", key, default(key));
                self.wrong(key, format_args!("is not a whole number from {low} to {high}"), mend);
                fallback
            }
        }
    }

    pub(crate) fn seconds(&mut self, key: &'static str) -> Duration {
        Duration::from_secs(self.number(key))
    }

    fn wrong_type(&mut self, key: &str, raw: &Raw, wanted: &str, example: &str) {
        let found = raw.word();
        let last = key.rsplit('.').next().unwrap_or(key);
        self.wrong(key, format_args!("must be {wanted}, not {found}"), format!("Write it as: {last} = {example}"));
    }
}

fn default(key: &str) -> &'static str {
    find(key).map_or("", |setting| setting.default)
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Integer(number) if number.radix() == 10 => Raw::Number(number.as_str().to_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Raw::Number(value.to_string()),
            Err(_) => Raw::Other("a number that is too large"),
        },
        other => Raw::Other(match other {
            DeValue::Float(_) => "a broken number",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            _ => "a section",
        }),
    }
}

fn entry(name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>, at: &dyn Fn(usize) -> Origin) -> Entry {
    let text = |value: &Spanned<DeValue<'_>>| match raw(value) {
        Raw::Text(text) => Ok(text),
        other => Err(other.word()),
    };
    let texts = match value.get_ref() {
        DeValue::Array(list) => list.iter().map(text).collect(),
        _ => text(value).map(|text| vec![text]),
    };
    Entry { name: name.get_ref().to_string(), texts, origin: at(value.span().start) }
}

/// Line and column from 1, as editors count.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn unknown(key: &str, place: &Origin) -> Problem {
    let sections = SETTINGS.iter().filter_map(|setting| setting.key.split_once('.')).map(|(section, _)| section);
    let nearest = SETTINGS
        .iter()
        .map(|setting| setting.key)
        .chain(sections)
        .map(|known| (strsim::damerau_levenshtein(&key.to_lowercase(), known), known))
        .min()
        .filter(|(distance, known)| *distance <= 2.max(known.len() / 3));
    let mend = match nearest {
        Some((_, known)) => format!("Did you mean {known}?"),
        None => "docs/SETTINGS.md lists every setting".to_owned(),
    };
    Problem::new(format!("unknown setting {key}"), format!("at {place}; it is ignored"), mend)
}
