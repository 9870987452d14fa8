//! Random JSON with everything that is awkward: duplicate keys, escapes, white space, depth; and the plain way to look into it.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) enum Tree {
    /// A number, `true`, `false`, `null`, as written.
    Scalar(&'static str),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// Paths made of the keys that [`key`] likes best.
pub(crate) const PATHS: [&str; 7] = ["a", "a.b", "a.b.usage", "usage", "usage.a", "é\"\\", "b.a.usage.b"];

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "usage", "é\"\\"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", "usag", "usagee", "a.b", "{", "\u{1f600}", "\n"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn leaf() -> impl Strategy<Value = Tree> {
    let scalars = vec!["0", "-1", "1.5e300", "-0.25E-7", "18446744073709551615", "true", "false", "null"];
    let texts = vec!["", "\"", "\\", "\\\"}", "{\"usage\":1}", "a\u{0}\n\u{7f}", "\u{1f600}é", "],[:", "usage"];
    prop_oneof![
        prop::sample::select(scalars).prop_map(Tree::Scalar),
        prop::sample::select(texts).prop_map(|text| Tree::Text(text.to_owned())),
        any::<String>().prop_map(Tree::Text),
    ]
}

pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    leaf().prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Tree::List),
            4 => vec((key(), inner), 0..6).prop_map(Tree::Object),
        ]
    })
}

pub(crate) fn object() -> impl Strategy<Value = Tree> {
    vec((key(), tree()), 0..6).prop_map(Tree::Object)
}

/// Writes trees as JSON; `noise` decides about white space and escapes.
pub(crate) struct Writer<'a> {
    pub(crate) out: String,
    noise: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl<'a> Writer<'a> {
    /// `noise` must not be empty.
    pub(crate) fn new(noise: &'a [u8]) -> Self {
        Self { out: String::new(), noise: noise.iter().cycle() }
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::from(*self.noise.next().expect("noise")) % of
    }

    /// True once in so many times.
    fn chance(&mut self, times: usize) -> bool {
        self.pick(times) == 0
    }

    pub(crate) fn blank(&mut self) {
        let blank = ["", "", "", " ", "\n", "\t", "\r\n", "  "];
        let choice = self.pick(blank.len());
        self.out.push_str(blank[choice]);
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            if c == '"' || c == '\\' || c < ' ' || self.chance(8) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(self.out, "\\u{unit:04x}").expect("a string takes anything");
                }
                if matches!(c, '"' | '\\') && self.chance(2) {
                    self.out.truncate(self.out.len() - 6);
                    self.out.extend(['\\', c]);
                }
            } else {
                self.out.push(c);
            }
        }
        self.out.push('"');
    }

    pub(crate) fn tree(&mut self, tree: &Tree) {
        match tree {
            Tree::Scalar(text) => self.out.push_str(text),
            Tree::Text(text) => self.text(text),
            Tree::List(items) => self.row('[', items, ']', Self::tree),
            Tree::Object(members) => self.row('{', members, '}', |writer, (key, value)| {
                writer.text(key);
                writer.blank();
                writer.out.push(':');
                writer.blank();
                writer.tree(value);
            }),
        }
    }

    pub(crate) fn row<T>(&mut self, open: char, items: &[T], close: char, mut item: impl FnMut(&mut Self, &T)) {
        self.out.push(open);
        for (index, one) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.blank();
            item(self, one);
            self.blank();
        }
        self.blank();
        self.out.push(close);
    }
}

impl Tree {
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Scalar(text) => serde_json::from_str(text).expect("a scalar"),
            Self::Text(text) => Value::from(text.as_str()),
            Self::List(items) => items.iter().map(Self::value).collect(),
            Self::Object(members) => {
                Value::Object(members.iter().map(|(key, value)| (key.clone(), value.value())).collect())
            }
        }
    }

    /// The last value at a path, every duplicate key looked into.
    pub(crate) fn last(&self, path: &[&str]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let Self::Object(members) = self else { return None };
        members.iter().rev().filter(|(key, _)| key == first).find_map(|(_, value)| value.last(rest))
    }

    /// Keeps the first of duplicate keys, everywhere.
    pub(crate) fn without_duplicates(self) -> Self {
        match self {
            Self::Object(members) => {
                let mut kept: Vec<(String, Self)> = Vec::new();
                for (key, value) in members {
                    if kept.iter().all(|(earlier, _)| *earlier != key) {
                        kept.push((key, value.without_duplicates()));
                    }
                }
                Self::Object(kept)
            }
            Self::List(items) => Self::List(items.into_iter().map(Self::without_duplicates).collect()),
            leaf => leaf,
        }
    }
}
