//! What the credential files of all providers have in common: they are JSON objects, and may hold the pool's own keys.

use pool_core::wishes::{ModelList, Weight};
use pool_core::{Account, AccountKind, Credentials, Fraction, MicroUsd, Secret, Settings};
use serde_json::{Map, Value};

use crate::provider::{FileContent, FileFault, Provider};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What people see of a name or a plan is no longer than this.
const LONGEST_LABEL: usize = 64;

pub(crate) fn fault(what: impl Into<String>, mend: impl Into<String>) -> FileFault {
    FileFault { what: what.into(), mend: mend.into() }
}

/// The text without the byte order mark that some editors put in front.
pub(crate) fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// The file's JSON object. `mend` says what belongs into such a file.
pub(crate) fn parse(text: &[u8], mend: &str) -> Result<Map<String, Value>, FileFault> {
    let text = without_bom(text);
    if text.trim_ascii().is_empty() {
        return Err(fault("the file is empty", mend));
    }
    // Of an error only the place is told: the parser's own words may quote the content.
    let place = |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    match serde_json::from_slice(text) {
        Ok(Value::Object(file)) => Ok(file),
        Ok(_) => Err(fault("the JSON in it is not an object", mend)),
        Err(error) if error.is_eof() => {
            Err(fault(format!("the JSON breaks off ({})", place(&error)), "copy the whole file again"))
        }
        Err(error) => {
            let what = format!("it is not JSON ({})", place(&error));
            Err(fault(what, "copy the file again without editing it"))
        }
    }
}

/// The pool's own keys, which may stand at the top of any credential file. `null` is the same as absent.
pub fn settings(file: &Map<String, Value>) -> Result<Settings, FileFault> {
    let keys = Keys(file);
    Ok(Settings {
        name: keys.read("name", "a text", name)?,
        owner: keys.read("owner", "a user's name or id", |value| name(value).map(|name| label(&name)))?,
        disabled: keys.read("disabled", "true or false", Value::as_bool)?.unwrap_or(false),
        priority: keys.read("priority", "a whole number", priority)?.unwrap_or(0),
        share: keys.read("share", "true or false", Value::as_bool)?,
        weight: keys
            .read("weight", "a number from 0.01 to 100", |value| Weight::new(value.as_f64()?))?
            .unwrap_or_default(),
        reserve: keys.read("reserve", "a share from 0 to 1 (0.2 is 20 %)", share)?.unwrap_or_default(),
        max_in_flight: keys.read("max_in_flight", "a whole number from 1", count)?,
        models: keys.read("models", "a list of model names", models)?,
        daily_spend: keys
            .read("daily_spend_usd", "an amount of dollars", |value| MicroUsd::from_dollars(value.as_f64()?))?,
    })
}

/// The top of a credential file.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    /// The value of a key, if it is there. `must` says what it has to be.
    fn read<T>(&self, key: &str, must: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>, FileFault> {
        let Some(value) = self.0.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        let wrong = || fault(format!("`{key}` is not {must}"), format!("make `{key}` {must}, or drop it"));
        read(value).map(Some).ok_or_else(wrong)
    }
}

fn name(value: &Value) -> Option<String> {
    let name = value.as_str()?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

fn priority(value: &Value) -> Option<i32> {
    i32::try_from(value.as_i64()?).ok()
}

fn share(value: &Value) -> Option<Fraction> {
    let share = value.as_f64()?;
    Fraction::new(share).filter(|_| (0.0..=1.0).contains(&share))
}

fn count(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok().filter(|count| *count > 0)
}

/// The names in a list of models, which may also be a single one.
fn models(value: &Value) -> Option<ModelList> {
    let names = match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    ModelList::new(names)
}

impl FileContent {
    /// One key or token that is never renewed, and tells nothing of its owner.
    pub(crate) fn lasting(kind: AccountKind, access: Secret, settings: Settings) -> Self {
        let credentials = Credentials::lasting(access);
        Self { kind, identity: None, plan: None, email: None, settings, credentials, warning: None }
    }

    /// The account that a file at `rel` (below the pool folder) with this content is.
    pub fn account(&self, rel: &str, provider: &dyn Provider) -> Account {
        let file_name = rel.rsplit('/').next().unwrap_or(rel);
        let stem = file_name.strip_suffix(".json").unwrap_or(file_name);
        Account {
            id: self.identity(rel).account_id(provider.id()),
            provider: provider.id(),
            kind: self.kind,
            name: label(self.settings.name.as_deref().unwrap_or(stem)),
            file: rel.to_owned(),
            plan: self.plan.as_deref().map(label),
            email: self.email.as_deref().map(label),
            settings: self.settings.clone(),
        }
    }
}

/// Text that is fit to stand in a line on a terminal: claims and names come from outside, and may hold what steers one.
fn label(text: &str) -> String {
    let fit = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    text.chars().map(fit).take(LONGEST_LABEL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codex::Codex;

    fn of(text: &str) -> Result<Settings, String> {
        settings(&parse(text.as_bytes(), "mend it").map_err(|fault| fault.to_string())?).map_err(|fault| fault.what)
    }

    #[test]
    fn the_pools_own_keys_are_read_whatever_stands_beside_them() {
        let expected = Settings {
            name: Some("Maria".into()),
            disabled: true,
            priority: -3,
            share: Some(false),
            owner: Some("mi\u{fffd}ra".into()),
            ..Settings::default()
        };
        let file =
            r#"{"x": 1, "name": " Maria ", "disabled": true, "priority": -3, "share": false, "owner": " mi\u001bra"}"#;
        assert_eq!(of(file), Ok(expected.clone()));
        assert_eq!(of(&format!("\u{feff}{file}")), Ok(expected));
        assert_eq!(of(r#"{"name": null, "disabled": null, "priority": null, "share": null}"#), Ok(Settings::default()));
        for (file, what) in [
            ("", "the file is empty; mend it"),
            ("[]", "the JSON in it is not an object; mend it"),
            (r#"{"name": "se"#, "the JSON breaks off (line 1, column 12); copy the whole file again"),
            ("secret", "it is not JSON (line 1, column 1); copy the file again without editing it"),
            (r#"{"name": " "}"#, "`name` is not a text"),
            (r#"{"owner": 7}"#, "`owner` is not a user's name or id"),
            (r#"{"disabled": "yes"}"#, "`disabled` is not true or false"),
            (r#"{"priority": 1.5}"#, "`priority` is not a whole number"),
            (r#"{"priority": 99999999999}"#, "`priority` is not a whole number"),
            (r#"{"share": 1}"#, "`share` is not true or false"),
            (r#"{"weight": 0}"#, "`weight` is not a number from 0.01 to 100"),
            (r#"{"weight": "2"}"#, "`weight` is not a number from 0.01 to 100"),
            (r#"{"reserve": 20}"#, "`reserve` is not a share from 0 to 1 (0.2 is 20 %)"),
            (r#"{"reserve": -0.1}"#, "`reserve` is not a share from 0 to 1 (0.2 is 20 %)"),
            (r#"{"max_in_flight": 0}"#, "`max_in_flight` is not a whole number from 1"),
            (r#"{"max_in_flight": 1.5}"#, "`max_in_flight` is not a whole number from 1"),
            (r#"{"models": []}"#, "`models` is not a list of model names"),
            (r#"{"models": ["a", 1]}"#, "`models` is not a list of model names"),
            (r#"{"daily_spend_usd": "5"}"#, "`daily_spend_usd` is not an amount of dollars"),
            (r#"{"daily_spend_usd": -5}"#, "`daily_spend_usd` is not an amount of dollars"),
        ] {
            assert_eq!(of(file), Err(what.to_owned()), "{file}");
        }
    }

    #[test]
    fn the_operators_wishes_are_read() {
        let file =
            r#"{"weight": 2, "reserve": 0.2, "max_in_flight": 3, "models": ["claude-*", "x"], "daily_spend_usd": 2.5}"#;
        let expected = Settings {
            weight: Weight::new(2.0).expect("a weight"),
            reserve: Fraction::new(0.2).expect("a share"),
            max_in_flight: Some(3),
            models: ModelList::new(vec!["claude-*".into(), "x".into()]),
            daily_spend: Some(MicroUsd(2_500_000)),
            ..Settings::default()
        };
        assert_eq!(of(file), Ok(expected));
        assert_eq!(of(r#"{"models": "x"}"#).map(|settings| settings.models), Ok(ModelList::new(vec!["x".into()])));
        let none =
            r#"{"weight": null, "reserve": null, "max_in_flight": null, "models": null, "daily_spend_usd": null}"#;
        assert_eq!(of(none), Ok(Settings::default()));
    }

    #[test]
    fn what_is_shown_of_an_account_steers_no_terminal() {
        let settings = Settings { name: Some("a\u{1b}]0;b".into()), ..Settings::default() };
        let content = FileContent {
            plan: Some("pl\u{1b}[32mus".into()),
            email: Some("a…@x\n.y".into()),
            ..FileContent::lasting(AccountKind::Subscription, Secret::new("made-up"), settings)
        };
        let account = content.account("codex/work.json", &Codex);
        assert_eq!(account.name, "a\u{fffd}]0;b");
        assert_eq!(account.plan.as_deref(), Some("pl\u{fffd}[32mus"));
        assert_eq!(account.email.as_deref(), Some("a…@x\u{fffd}.y"));
        let unnamed = FileContent { settings: Settings::default(), ..content };
        assert_eq!(unnamed.account("codex/work.json", &Codex).name, "work");
        assert_eq!(unnamed.account("odd.json.json", &Codex).name, "odd.json");
    }
}
