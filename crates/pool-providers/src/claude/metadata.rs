//! `metadata.user_id`: a text inside the request that Claude Code fills with ids, one of which names the account.
//!
//! Measured on Claude Code 2.1.330: `{"device_id":…,"account_uuid":…,"session_id":…}` as JSON inside a JSON string. Older
//! versions wrote `user_<hash>_account_<uuid>_session_<uuid>`.

use std::ops::Range;

use pool_core::scan::json::{Paths, find};

/// Longer ones are an SDK user's own and none of our business.
const LONGEST: usize = 4096;

pub(super) struct Metadata {
    /// Without the quotes and escapes of the outer string.
    text: String,
    /// For each byte of `text` and for its end, where it stands in the raw string.
    places: Vec<usize>,
    ids: Ids,
}

/// Where the ids stand in the text.
#[derive(Default)]
struct Ids {
    account: Option<Range<usize>>,
    session: Option<Range<usize>>,
    parent: Option<Range<usize>>,
}

impl Metadata {
    /// From the raw JSON string, quotes included.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        if raw.len() > LONGEST {
            return None;
        }
        let (text, places) = unescape(raw)?;
        let ids = if text.trim_start().starts_with('{') { in_json(&text) } else { in_words(&text) };
        Some(Self { text, places, ids })
    }

    pub(super) fn session(&self) -> Option<&str> {
        Some(&self.text[self.ids.session.clone()?]).filter(|id| !id.is_empty())
    }

    /// The session that this one is a part of.
    pub(super) fn parent(&self) -> Option<&str> {
        Some(&self.text[self.ids.parent.clone()?])
    }

    /// The account that the client believes to be signed in with; often empty.
    pub(super) fn account(&self) -> Option<&str> {
        Some(&self.text[self.ids.account.clone()?])
    }

    /// Where the account's id stands in the raw string.
    pub(super) fn account_place(&self) -> Option<Range<usize>> {
        let account = self.ids.account.clone()?;
        Some(*self.places.get(account.start)?..*self.places.get(account.end)?)
    }
}

fn in_json(text: &str) -> Ids {
    let found = find(text.as_bytes(), &Paths::new(&["account_uuid", "session_id", "parent_session_id"]));
    // Between the quotes. An id with escapes in it is none.
    let inner = |path| {
        let raw = found.raw(path)?;
        let range = found.range(path)?;
        (raw.len() >= 2 && raw[0] == b'"' && !raw.contains(&b'\\')).then(|| range.start + 1..range.end - 1)
    };
    Ids { account: inner(0), session: inner(1), parent: inner(2) }
}

fn in_words(text: &str) -> Ids {
    let Some((user, rest)) = text.split_once("_account_").filter(|_| text.starts_with("user_")) else {
        return Ids::default();
    };
    let Some((account, session)) = rest.split_once("_session_") else { return Ids::default() };
    let start = user.len() + "_account_".len();
    Ids {
        account: Some(start..start + account.len()),
        session: Some(text.len() - session.len()..text.len()),
        parent: None,
    }
}

/// Undoes a JSON string's escapes and remembers where each byte came from.
fn unescape(raw: &[u8]) -> Option<(String, Vec<usize>)> {
    let text = pool_core::scan::json::string(raw)?.into_owned();
    let mut places = Vec::with_capacity(text.len() + 1);
    let mut at = 1;
    for letter in text.chars() {
        places.extend(std::iter::repeat_n(at, letter.len_utf8()));
        at += match (raw.get(at)?, raw.get(at + 1)?) {
            // Beyond the first plane a letter takes two escapes.
            (b'\\', b'u') => 6 * letter.len_utf16(),
            (b'\\', _) => 2,
            _ => letter.len_utf8(),
        };
    }
    places.push(at);
    (at + 1 == raw.len()).then_some((text, places))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn replacing_the_account_leaves_everything_else(device in any::<String>(), account in "[a-z0-9-]{1,20}") {
            let ids = |account: &str| json!({"device_id": device, "account_uuid": account, "session_id": "s"});
            let raw = Value::from(ids(&account).to_string()).to_string();
            prop_assume!(raw.len() <= LONGEST);
            let place = Metadata::read(raw.as_bytes()).expect("a string").account_place().expect("an account");
            let edited = format!("{}new{}", &raw[..place.start], &raw[place.end..]);
            prop_assert_eq!(edited, Value::from(ids("new").to_string()).to_string());
        }

        #[test]
        fn no_bytes_can_break_it(bytes in any::<Vec<u8>>(), text in "\"[\\PC\\\\\"u0-9a-f]{0,60}\"") {
            for raw in [&bytes[..], text.as_bytes()] {
                if let Some(metadata) = Metadata::read(raw) {
                    prop_assert!(metadata.account_place().is_none_or(|place| place.end <= raw.len()));
                }
            }
        }
    }

    fn read(text: &str) -> (Option<String>, Option<String>, Option<String>) {
        let raw = text.as_bytes();
        let metadata = Metadata::read(raw).expect("a string");
        let at_place = metadata.account_place().map(|place| text[place].to_owned());
        (metadata.account().map(str::to_owned), at_place, metadata.session().map(str::to_owned))
    }

    #[test]
    fn ids_are_found_in_every_form() {
        let some = |text: &str| Some(text.to_owned());
        for (raw, account, session) in [
            (r#""{\"device_id\":\"d\",\"account_uuid\":\"a-1\",\"session_id\":\"s-1\"}""#, some("a-1"), some("s-1")),
            (r#""{\"account_uuid\":\"\",\"session_id\":\"s-1\"}""#, some(""), some("s-1")),
            (r#""{ \"x\": \"é😀\\\"\", \"account_uuid\" : \"a-1\" }""#, some("a-1"), None),
            (r#""{\"x\":\"\u00e9\ud83d\ude00\",\"account_uuid\":\"a-1\"}""#, some("a-1"), None),
            (r#""{\"y\":{\"account_uuid\":\"not this\"},\"account_uuid\":5}""#, None, None),
            (r#""user_ab12_account_a-1_session_s-1""#, some("a-1"), some("s-1")),
            (r#""user_ab12_account__session_s-1""#, some(""), some("s-1")),
            (r#""customer-5""#, None, None),
            (r#""""#, None, None),
        ] {
            assert_eq!(read(raw), (account.clone(), account, session), "{raw}");
        }
        assert!(Metadata::read(b"5").is_none());
        assert!(Metadata::read(&[b"\"", &b"x".repeat(5000)[..], b"\""].concat()).is_none());
    }
}
