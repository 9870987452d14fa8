//! What the credential files of all providers have in common: they are JSON objects, and may hold the pool's own keys.

use pool_core::{Account, AccountKind, Credentials, Secret, Settings};
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
pub(crate) fn settings(file: &Map<String, Value>) -> Result<Settings, FileFault> {
    let told = |key: &str| file.get(key).filter(|value| !value.is_null());
    let wrong =
        |key: &str, must: &str| fault(format!("`{key}` is not {must}"), format!("make `{key}` {must}, or drop it"));
    let flag = |key: &str| match told(key) {
        None => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or_else(|| wrong(key, "true or false")),
    };
    let name = match told("name") {
        None => None,
        Some(Value::String(name)) if !name.trim().is_empty() => Some(name.trim().to_owned()),
        Some(_) => return Err(wrong("name", "a text")),
    };
    let priority = match told("priority") {
        None => 0,
        Some(value) => value
            .as_i64()
            .and_then(|priority| i32::try_from(priority).ok())
            .ok_or_else(|| wrong("priority", "a whole number"))?,
    };
    Ok(Settings { name, disabled: flag("disabled")?.unwrap_or(false), priority, share: flag("share")? })
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
        let expected = Settings { name: Some("Maria".into()), disabled: true, priority: -3, share: Some(false) };
        let file = r#"{"x": 1, "name": " Maria ", "disabled": true, "priority": -3, "share": false}"#;
        assert_eq!(of(file), Ok(expected.clone()));
        assert_eq!(of(&format!("\u{feff}{file}")), Ok(expected));
        assert_eq!(of(r#"{"name": null, "disabled": null, "priority": null, "share": null}"#), Ok(Settings::default()));
        for (file, what) in [
            ("", "the file is empty; mend it"),
            ("[]", "the JSON in it is not an object; mend it"),
            (r#"{"name": "se"#, "the JSON breaks off (line 1, column 12); copy the whole file again"),
            ("secret", "it is not JSON (line 1, column 1); copy the file again without editing it"),
            (r#"{"name": " "}"#, "`name` is not a text"),
            (r#"{"disabled": "yes"}"#, "`disabled` is not true or false"),
            (r#"{"priority": 1.5}"#, "`priority` is not a whole number"),
            (r#"{"priority": 99999999999}"#, "`priority` is not a whole number"),
            (r#"{"share": 1}"#, "`share` is not true or false"),
        ] {
            assert_eq!(of(file), Err(what.to_owned()), "{file}");
        }
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
