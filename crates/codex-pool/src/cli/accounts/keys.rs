//! The pool's own keys in a credential file (`name`, `disabled`, `priority`, `share`): edited at their place, everything else
//! stays as it was to the byte.

use std::sync::LazyLock;

use pool_core::scan::json::{Paths, find};
use pool_core::scan::splice::apply;

const KEYS: [&str; 4] = ["name", "disabled", "priority", "share"];

static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths::new(&KEYS));

/// `text` with `disabled` set, or taken out where that says the same. `None`: it is no JSON object.
pub(super) fn with_disabled(text: &[u8], disabled: bool) -> Option<Vec<u8>> {
    let found = find(text, &PATHS);
    match (found.range(1), disabled) {
        (Some(range), _) => apply(text, [(range, if disabled { &b"true"[..] } else { b"false" })]).ok(),
        (None, true) => {
            let place = found.root_start()?;
            apply(text, [(place.at..place.at, place.member("disabled", b"true").as_slice())]).ok()
        }
        (None, false) => found.root_start().map(|_| text.to_vec()),
    }
}

/// `new` with the pool keys of `old` that it does not have itself: a new login of an account keeps what was set for it.
pub(super) fn carried_over(old: &[u8], new: Vec<u8>) -> Vec<u8> {
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
