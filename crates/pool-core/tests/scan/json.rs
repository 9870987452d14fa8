//! [`Finder`] and [`find`] against `serde_json` and against each other.

use pool_core::scan::json::{Finder, Found, Paths, find, string};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::tree::{PATHS, Tree, Writer, object, tree};
use crate::{cut, sizes};

fn feed(paths: &Paths, cap: usize, bytes: &[u8], sizes: &[usize]) -> (Vec<Found>, bool) {
    let mut finder = Finder::new(paths, cap);
    cut(bytes, sizes).for_each(|chunk| finder.feed(chunk));
    let whole = finder.finish();
    (finder.found().to_vec(), whole)
}

/// Bytes that are JSON's own much more often than not.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\\",
        b" ",
        b"\n",
        b"\"a\":",
        b"\"a\"",
        b"\"b\":{",
        b"{\"usage\":",
        b"{\"a\":{\"b\":",
        b"\"us\\u0061ge\":",
        b"12",
        b"-1e5",
        b"true",
        b"\xff",
        b"\xc3",
        b"\\u",
        b"\\\"",
        b"}}",
        b"},",
    ];
    let piece = prop_oneof![
        9 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn finds_what_is_there(tree in object(), noise in vec(any::<u8>(), 1..64), sizes in sizes()) {
        let mut writer = Writer::new(&noise);
        writer.blank();
        writer.tree(&tree);
        writer.blank();
        let text = writer.out;
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");

        let paths = Paths::new(&PATHS);
        let matches = find(text.as_bytes(), &paths);
        for (index, path) in PATHS.iter().enumerate() {
            let expected = tree.last(&path.split('.').collect::<Vec<_>>());
            let raw = matches.raw(index);
            let value = raw.map(|raw| serde_json::from_slice::<Value>(raw).expect("one whole value, nothing around it"));
            prop_assert_eq!(&value, &expected.map(Tree::value), "{} in {}", path, text);
            if let Some(Tree::Text(expected)) = expected {
                let found = raw.and_then(string);
                prop_assert_eq!(found.as_deref(), Some(expected.as_str()));
            }
        }
        let (found, whole) = feed(&paths, usize::MAX, text.as_bytes(), &sizes);
        prop_assert!(whole, "{}", text);
        for (index, path) in PATHS.iter().enumerate() {
            let raw = found.iter().find(|found| found.path == index).and_then(|found| found.raw.as_deref());
            prop_assert_eq!(raw, matches.raw(index), "{} in {}", path, text);
        }
    }

    #[test]
    fn reads_a_row_of_documents_as_documents(trees in vec(tree(), 0..5), noise in vec(any::<u8>(), 1..64), list: bool, sizes in sizes()) {
        // Outside of a list a bare list would itself be taken for a row.
        let trees: Vec<Tree> = trees.into_iter().filter(|tree| list || !matches!(tree, Tree::List(_))).collect();
        let mut writer = Writer::new(&noise);
        if list {
            writer.row('[', &trees, ']', Writer::tree);
        } else {
            for tree in &trees {
                writer.tree(tree);
                writer.out.push('\n');
            }
        }
        let text = writer.out;
        let (found, whole) = feed(&Paths::new(&PATHS), usize::MAX, text.as_bytes(), &sizes);
        prop_assert_eq!(whole, list || !trees.is_empty(), "{}", text);
        for (index, path) in PATHS.iter().enumerate() {
            let path: Vec<_> = path.split('.').collect();
            let expected = trees.iter().rev().find_map(|tree| tree.last(&path)).map(Tree::value);
            let raw = found.iter().find(|found| found.path == index).and_then(|found| found.raw.as_deref());
            prop_assert_eq!(raw.map(|raw| serde_json::from_slice::<Value>(raw).expect("one value")), expected, "{}", text);
        }
    }

    #[test]
    fn chunks_make_no_difference_to_anything(
        bytes in prop_oneof![nearly_json(), vec(any::<u8>(), 0..200)],
        sizes in sizes(),
        cap in 0..40_usize,
    ) {
        let paths = Paths::new(&PATHS);
        let at_once = feed(&paths, cap, &bytes, &[usize::MAX]);
        prop_assert_eq!(&at_once, &feed(&paths, cap, &bytes, &sizes));

        let matches = find(&bytes, &paths);
        for index in 0..PATHS.len() {
            let found = at_once.0.iter().find(|found| found.path == index);
            let range = found.map(|found| found.range.start as usize..found.range.end as usize);
            prop_assert_eq!(matches.range(index), range.clone());
            let fits = range.is_some_and(|range| range.len() <= cap);
            prop_assert_eq!(found.and_then(|found| found.raw.as_deref()), matches.raw(index).filter(|_| fits));
        }
    }

    /// Nothing that has been found changes by what follows, and it is there as soon as it has ended.
    #[test]
    fn finds_at_the_earliest_byte(tree in object(), noise in vec(any::<u8>(), 1..64)) {
        let mut writer = Writer::new(&noise);
        writer.tree(&tree.without_duplicates());
        let text = writer.out;
        let paths = Paths::new(&PATHS);
        let matches = find(text.as_bytes(), &paths);
        let mut finder = Finder::new(&paths, usize::MAX);
        for (at, byte) in text.as_bytes().iter().enumerate() {
            finder.feed(&[*byte]);
            for index in 0..PATHS.len() {
                // A number ends with the byte after it.
                let due = |end: usize| end + usize::from(matches!(text.as_bytes()[end - 1], b'0'..=b'9' | b'e' | b'l'));
                let expected = matches.range(index).filter(|range| due(range.end) <= at + 1);
                let found = finder.last(index).map(|found| found.range.start as usize..found.range.end as usize);
                prop_assert_eq!(found, expected, "path {} at {} of {}", index, at, text);
            }
        }
    }

    #[test]
    fn invalid_utf8_in_strings_is_passed_over(junk in vec(128..=255_u8, 0..40), sizes in sizes()) {
        let text = [&b"{\"x\":\""[..], &junk, b"\",\"a\":\"", &junk, b"\",\"", &junk, b"\":{},\"usage\":[\"", &junk, b"\"],\"b\":1}"].concat();
        let paths = Paths::new(&["a", "usage", "b"]);
        let (found, whole) = feed(&paths, 1000, &text, &sizes);
        prop_assert!(whole);
        let raw: Vec<_> = found.iter().map(|found| found.raw.clone().unwrap_or_default()).collect();
        prop_assert_eq!(raw, [[b"\"", &junk[..], b"\""].concat(), [b"[\"", &junk[..], b"\"]"].concat(), b"1".to_vec()]);
        prop_assert_eq!(found[0].string().is_some(), std::str::from_utf8(&junk).is_ok());
    }
}

#[test]
fn any_depth_is_walked_without_recursion() {
    let depth = 1_000_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"b\":", "}]")] {
        let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let text = format!("{{\"x\":{deep},\"a\":{deep},\"usage\":7}}");
        let (found, whole) = feed(&Paths::new(&["a.a.a", "usage"]), 100, text.as_bytes(), &[4096]);
        assert!(whole, "{open}");
        assert_eq!(found.last().and_then(|found| found.raw.as_deref()), Some(&b"7"[..]), "{open}");
    }
}
