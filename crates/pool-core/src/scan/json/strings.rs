//! Every string of a document, wherever it stands.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// The strings of a JSON text (keys and values alike) that are not longer than `longest` bytes, with their escapes undone.
///
/// Like everything here it is no validator: in valid JSON it finds exactly what is there, in a text that is cut off
/// everything before the cut.
///
/// ```
/// use pool_core::scan::json::strings;
///
/// let found: Vec<_> = strings(br#"{"id": ["file-1", "file\u002d2", 3]}"#, 20).collect();
/// assert_eq!(found, ["id", "file-1", "file-2"]);
/// ```
pub fn strings(text: &[u8], longest: usize) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[memchr(b'"', rest)?..];
            let end = end(rest)?;
            let (raw, after) = rest.split_at(end);
            rest = after;
            // An escape takes six bytes for one at most.
            if raw.len() <= 6 * longest + 2
                && let Some(string) = super::string(raw).filter(|string| string.len() <= longest)
            {
                return Some(string);
            }
        }
    })
}

/// The length of the string that begins here, both quotes included. `None`: it does not end.
fn end(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_what_is_there_and_no_more() {
        let cases: [(&str, &[&str]); 8] = [
            (r#"{"a":"b","c":["d",{"e":null}],"f":1}"#, &["a", "b", "c", "d", "e", "f"]),
            (r#"["say \"file-1\"","\\"]"#, &["say \"file-1\"", "\\"]),
            (r#"["\u0066ile-1"]"#, &["file-1"]),
            (r#"["0123456789012345678901","x"]"#, &["x"]),
            (r#"["cut","of"#, &["cut"]),
            (r#"["cut\"#, &[]),
            (r#"["\ud800","x"]"#, &["x"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(strings(text.as_bytes(), 20).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_found(texts in proptest::collection::vec(".*", 0..8), deep in any::<bool>()) {
            let plain = serde_json::to_string(&texts).expect("JSON");
            let text = if deep { format!("{{\"k\":[[{plain}]]}}") } else { plain };
            let found: Vec<_> = strings(text.as_bytes(), 1 << 20).skip(usize::from(deep)).collect();
            prop_assert_eq!(found, texts);
        }

        #[test]
        fn whatever_comes_it_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(strings(&bytes, 100).count() <= bytes.len());
        }
    }
}
