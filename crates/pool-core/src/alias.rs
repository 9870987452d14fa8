//! Other names for models: what a request that asks for one of them may be served with.

use std::collections::BTreeMap;

/// Alias → models, the preferred one first. A model may be its own alias: then whoever asks for it takes the others, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<String, Vec<String>>);

impl Aliases {
    pub fn new(aliases: BTreeMap<String, Vec<String>>) -> Self {
        Self(aliases)
    }

    /// The models that stand behind a name; `None`: it is no alias.
    pub fn models(&self, name: &str) -> Option<&[String]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(alias, models)| (alias.as_str(), models.as_slice()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
