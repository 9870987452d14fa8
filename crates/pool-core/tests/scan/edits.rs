//! Cutting members out and putting members in, by place: what is left is still JSON, and the right one.

use pool_core::scan::json::{Paths, find};
use pool_core::scan::splice::apply;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::tree::{PATHS, Tree, Writer, object};

fn remove(tree: &mut Value, path: &[&str]) {
    match path {
        [] => {}
        [key] => {
            tree.as_object_mut().map(|members| members.shift_remove(*key));
        }
        [key, rest @ ..] => {
            if let Some(inner) = tree.get_mut(*key) {
                remove(inner, rest);
            }
        }
    }
}

proptest! {
    #[test]
    fn removing_members_leaves_the_rest(
        tree in object().prop_map(Tree::without_duplicates),
        noise in vec(any::<u8>(), 1..64),
        gone in vec(0..PATHS.len(), 0..5),
    ) {
        let mut writer = Writer::new(&noise);
        writer.tree(&tree);
        let text = writer.out;
        let matches = find(text.as_bytes(), &Paths::new(&PATHS)).removals(&gone);
        let left = apply(text.as_bytes(), matches.iter().map(|range| (range.clone(), &b""[..])));

        let mut expected = tree.value();
        for path in gone {
            remove(&mut expected, &PATHS[path].split('.').collect::<Vec<_>>());
        }
        // As text, since the order of the keys must stay too.
        let left: Value = serde_json::from_slice(&left.expect("sorted and apart")).expect("still JSON");
        prop_assert_eq!(left.to_string(), expected.to_string(), "{}", text);
    }

    #[test]
    fn a_member_put_in_comes_first(
        tree in object().prop_map(Tree::without_duplicates),
        noise in vec(any::<u8>(), 1..64),
        path in 0..=PATHS.len(),
    ) {
        let mut writer = Writer::new(&noise);
        writer.blank();
        writer.tree(&tree);
        let text = writer.out;
        let matches = find(text.as_bytes(), &Paths::new(&PATHS));
        let keys: Vec<&str> = PATHS.get(path).map(|path| path.split('.').collect()).unwrap_or_default();
        let (place, at) = match PATHS.get(path) {
            Some(_) => (matches.object_start(path), tree.last(&keys)),
            None => (matches.root_start(), Some(&tree)),
        };
        prop_assert_eq!(place.is_some(), matches!(at, Some(Tree::Object(_))), "{}", text);
        if let Some(place) = place {
            let member = place.member("new \"key\"", b"[1]");
            let with = apply(text.as_bytes(), [(place.at..place.at, &member[..])]).expect("one edit");
            let with: Value = serde_json::from_slice(&with).expect("still JSON");
            let object = keys.iter().try_fold(&with, |object, key| object.get(key)).and_then(Value::as_object);
            let first = object.and_then(|object| object.iter().next()).map(|(key, value)| (key.as_str(), value.to_string()));
            prop_assert_eq!(first, Some(("new \"key\"", "[1]".to_owned())));
            prop_assert_eq!(object.map(serde_json::Map::len), at.and_then(|at| at.value().as_object().map(|o| o.len() + 1)));
        }
    }
}
