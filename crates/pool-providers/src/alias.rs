//! A request for an alias goes out with the name of a model: where that stands, and what a list of models says of an alias.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use crate::request::Edit;

/// A JSON list of models in an answer, to which aliases can be added.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// The key of the list at the top of the answer.
    pub list: &'static str,
    /// What the list says of a model of this name.
    pub entry: fn(&str) -> Value,
}

/// Puts a model's name in the place of a JSON string.
pub(crate) fn rename(place: Range<usize>, model: &str) -> Edit {
    Edit { range: place, with: Bytes::from(Value::from(model).to_string()) }
}
