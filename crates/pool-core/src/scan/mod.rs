//! Reading JSON and event streams beside the bytes: never delaying, altering or failing what is read.
//!
//! [`json::Finder`] walks JSON in any chunking and hands out the raw text of a few wanted paths; everything else is skipped
//! without being stored, so a 64 MiB event costs no memory. [`json::find`] does the same in a whole buffer and tells the
//! places. [`sse::Scanner`] cuts a `text/event-stream` into events and runs a finder over each one's data. [`splice`] edits
//! bytes at found places without re-serialising anything.

pub mod json;
pub mod splice;
pub mod sse;
