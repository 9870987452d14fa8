//! Finding a few values in JSON of any size, fed in any chunks.

use std::ops::Range;

/// A compiled set of wanted paths. A path is written with dots, as `response.usage`; array elements are not addressable,
/// except that a top-level array is read as a row of documents (`[{…},{…}]`).
#[derive(Debug)]
pub struct Paths;

/// A value that was found: which path (index into the list given to [`Paths::new`]), where its bytes stand in the input
/// (offsets from the first byte ever fed), and its raw text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: usize,
    pub range: Range<u64>,
    /// Raw JSON text, quotes included. `None`: longer than the cap, so only its place is known.
    pub raw: Option<Vec<u8>>,
}
