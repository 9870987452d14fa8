//! The pool's own keys in a credential file (`name`, `disabled`, `priority`, …): edited at their place, everything else
//! stays as it was to the byte.

use std::sync::LazyLock;

use pool_core::scan::json::{Paths, find};
use pool_core::scan::splice::apply;
use serde_json::Value;

const KEYS: [&str; 10] = [
    "name",
    "owner",
    "disabled",
    "priority",
    "share",
    "weight",
    "reserve",
    "max_in_flight",
    "models",
    "daily_spend_usd",
];

static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths::new(&KEYS));

fn path(key: &str) -> Option<usize> {
    KEYS.iter().position(|known| *known == key)
}

/// What one of the keys says, if it is there.
pub fn value(text: &[u8], key: &str) -> Option<Value> {
    serde_json::from_slice(find(text, &PATHS).raw(path(key)?)?).ok()
}

/// `text` with one of the keys set, or taken out. `None`: it is no JSON object, or the key is none of the pool's.
pub fn with(text: &[u8], key: &str, value: Option<&Value>) -> Option<Vec<u8>> {
    let (found, path) = (find(text, &PATHS), path(key)?);
    let place = found.root_start()?;
    let value = value.map(ToString::to_string);
    match (found.range(path), value) {
        (Some(range), Some(value)) => apply(text, [(range, value.as_bytes())]).ok(),
        (Some(_), None) => apply(text, [(found.key_range(path)?, &b""[..])]).ok(),
        (None, Some(value)) => apply(text, [(place.at..place.at, &*place.member(key, value.as_bytes()))]).ok(),
        (None, None) => Some(text.to_vec()),
    }
}

/// `text` with `disabled` set, or left out where that says the same.
pub fn with_disabled(text: &[u8], disabled: bool) -> Option<Vec<u8>> {
    let absent = value(text, "disabled").is_none();
    with(text, "disabled", (disabled || !absent).then_some(&Value::Bool(disabled)))
}

/// `new` with the pool keys of `old` that it does not have itself: a new login of an account keeps what was set for it.
pub fn carried_over(old: &[u8], new: Vec<u8>) -> Vec<u8> {
    let (kept, present) = (find(old, &PATHS), find(&new, &PATHS));
    let Some(place) = present.root_start() else { return new };
    let mut members = Vec::new();
    for (path, key) in KEYS.iter().enumerate() {
        if let (Some(raw), None) = (kept.raw(path), present.range(path)) {
            if !members.is_empty() {
                members.push(b',');
            }
            members.extend_from_slice(format!("\"{key}\":").as_bytes());
            members.extend_from_slice(raw);
        }
    }
    if members.is_empty() {
        return new;
    }
    if !place.empty {
        members.push(b',');
    }
    let edited = apply(&new, [(place.at..place.at, members.as_slice())]);
    edited.unwrap_or_else(|_| new.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pausing_changes_one_word_and_nothing_else() {
        for (before, paused, resumed) in [
            (r#"{"a": 1.50}"#, r#"{"disabled":true,"a": 1.50}"#, r#"{"disabled":false,"a": 1.50}"#),
            ("{ }", r#"{"disabled":true }"#, r#"{"disabled":false }"#),
            (
                r#"{"a":{"disabled":false}, "disabled" : false}"#,
                r#"{"a":{"disabled":false}, "disabled" : true}"#,
                r#"{"a":{"disabled":false}, "disabled" : false}"#,
            ),
        ] {
            let on = with_disabled(before.as_bytes(), true).expect("an object");
            assert_eq!(String::from_utf8_lossy(&on), paused);
            let off = with_disabled(&on, false).expect("an object");
            assert_eq!(String::from_utf8_lossy(&off), resumed);
            serde_json::from_slice::<serde_json::Value>(&on).expect("valid JSON");
        }
        assert_eq!(with_disabled(br#"{"a":1}"#, false).as_deref(), Some(&br#"{"a":1}"#[..]));
        assert_eq!(with_disabled(b"[1]", true), None);
    }

    #[test]
    fn one_key_is_set_or_taken_out_and_nothing_else_changes() {
        let set = |text: &str, key: &str, value: Value| {
            let value = Some(value).filter(|value| !value.is_null());
            let edited = with(text.as_bytes(), key, value.as_ref()).expect("an object");
            serde_json::from_slice::<Value>(&edited).expect("valid JSON");
            String::from_utf8(edited).expect("text")
        };
        for (before, key, value, after) in [
            (r#"{"a": 1.50}"#, "weight", Value::from(2), r#"{"weight":2,"a": 1.50}"#),
            (r#"{"a": 1.50, "weight" : 0.5 }"#, "weight", 2.5.into(), r#"{"a": 1.50, "weight" : 2.5 }"#),
            (r#"{"a": 1.50, "weight" : 0.5 }"#, "weight", Value::Null, r#"{"a": 1.50 }"#),
            (r#"{"weight":1,"a": 1.50}"#, "weight", Value::Null, r#"{"a": 1.50}"#),
            (r#"{"a":{"weight":1}}"#, "weight", Value::Null, r#"{"a":{"weight":1}}"#),
            (r#"{"models":["x"]}"#, "models", vec!["y", "z"].into(), r#"{"models":["y","z"]}"#),
        ] {
            assert_eq!(set(before, key, value), after, "{before}");
        }
        assert_eq!(with(b"{}", "no key of ours", None), None);
        assert_eq!(with(b"[]", "weight", None), None);
    }

    #[test]
    fn a_new_login_keeps_what_was_set_for_the_account() {
        let old = br#"{"x":1,"share":false,"priority":3,"name":"work"}"#;
        for (new, expected) in [
            (r#"{"y":2}"#, r#"{"name":"work","priority":3,"share":false,"y":2}"#),
            (r#"{"y":2,"name":"home"}"#, r#"{"priority":3,"share":false,"y":2,"name":"home"}"#),
            ("{}", r#"{"name":"work","priority":3,"share":false}"#),
        ] {
            let carried = carried_over(old, new.as_bytes().to_vec());
            assert_eq!(String::from_utf8_lossy(&carried), expected);
        }
    }
}
