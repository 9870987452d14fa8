//! Finding a few values in JSON of any size.
//!
//! - [`Paths`]: what is wanted, compiled once.
//! - [`Finder`]: for documents that arrive in pieces; keeps nothing but the wanted values, up to a cap each.
//! - [`find`]: for a whole buffer; borrows the values and tells where their members stand, for [`super::splice`].
//!
//! - [`strings`]: every string of a buffer.
//!
//! The first two share one walker, so they read alike:
//!
//! - Only members of objects are addressed, never array elements. But a top-level array is a row of documents
//!   (`[{…},{…}]`, Gemini's answer without SSE), and so are documents that just follow one another.
//! - Of several values at one path (duplicate keys, a row of documents) the last one counts, each path for itself.
//! - A key written with escapes is the same key.
//! - This is no validator. In valid JSON it finds exactly what is there; what is not JSON finds nothing more from there on,
//!   or something that only a validator would reject. It never fails, whatever the bytes and however deep their nesting.

mod finder;
mod matches;
mod paths;
mod strings;
mod walk;

use std::borrow::Cow;

pub(super) use finder::last;
pub use finder::{Finder, Found};
pub use matches::{InsertAt, Matches, find};
pub use paths::Paths;
pub use strings::strings;

/// The text of a raw JSON string, quotes included, with its escapes undone. `None`: it is not a string, not UTF-8, or it
/// has an escape that stands for no character (half of a surrogate pair).
pub fn string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
