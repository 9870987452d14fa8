//! Finding in documents that arrive in pieces.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::paths::Paths;
use super::walk::{Sink, Walker};

/// Buffers larger than this are not kept for the next document.
const SPARE: usize = 4096;

/// A value that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// Index into the list given to [`Paths::new`].
    pub path: usize,
    /// Where its bytes stand in the document: offsets from the first byte fed since the last reset.
    pub range: Range<u64>,
    /// Raw JSON text, quotes included. `None`: longer than the cap, so only its place is known.
    pub raw: Option<Vec<u8>>,
}

impl Found {
    /// Its text with escapes undone, if it is a string. See [`super::string`].
    pub fn string(&self) -> Option<Cow<'_, str>> {
        super::string(self.raw.as_deref()?)
    }
}

/// Shows no content: it may be anyone's words.
impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, range, raw } = self;
        let kept = if raw.is_some() { "kept" } else { "longer than the cap" };
        write!(f, "Found(path {path}, bytes {range:?}, {kept})")
    }
}

/// Finds the wanted values of a document while it arrives. What it keeps is bounded by the cap times the number of paths.
///
/// ```
/// use pool_core::scan::json::{Finder, Paths};
///
/// let mut finder = Finder::new(&Paths::new(&["type", "response.usage"]), 1024);
/// finder.feed(br#"{"type": "response.completed", "response": {"usa"#);
/// assert_eq!(finder.raw(0), Some(&br#""response.completed""#[..]));
/// finder.feed(br#"ge": {"input_tokens": 7}"#);
/// assert_eq!(finder.raw(1), Some(&br#"{"input_tokens": 7}"#[..]));
/// ```
#[derive(Debug)]
pub struct Finder {
    walker: Walker,
    kept: Kept,
}

impl Finder {
    /// `cap`: the longest raw value that is kept, in bytes.
    pub fn new(paths: &Paths, cap: usize) -> Self {
        let kept = Kept { cap, found: Vec::new(), open: Vec::new(), spare: Vec::new() };
        Self { walker: Walker::new(paths.clone()), kept }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        if self.walker.is_lost() {
            return;
        }
        let base = self.walker.base();
        self.walker.walk(bytes, &mut Chunk { bytes, base, kept: &mut self.kept });
        self.kept.carry_over(bytes);
    }

    /// The values that have ended so far, in the order of their ends: at most one for each path, the last.
    pub fn found(&self) -> &[Found] {
        &self.kept.found
    }

    /// The value of a path, if it has ended.
    pub fn last(&self, path: usize) -> Option<&Found> {
        last(self.found(), path)
    }

    /// The raw text of a path's value, if it has ended and is not longer than the cap.
    pub fn raw(&self, path: usize) -> Option<&[u8]> {
        self.last(path)?.raw.as_deref()
    }

    /// Takes the value of a path out, so that the next one at this path can be told from it.
    pub fn take(&mut self, path: usize) -> Option<Found> {
        let index = self.kept.found.iter().position(|found| found.path == path)?;
        Some(self.kept.found.remove(index))
    }

    /// The input ends here: was it one or more whole documents? What was found stays until the reset. (No value is left
    /// to be found at the end, since a member's value ends within its object.)
    pub fn finish(&mut self) -> bool {
        self.walker.is_whole()
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(in crate::scan) fn held(&self) -> usize {
        let Kept { found, open, spare, .. } = &self.kept;
        let raws =
            found.iter().filter_map(|found| found.raw.as_ref()).chain(open.iter().filter_map(|open| open.raw.as_ref()));
        let lists = found.capacity() * size_of::<Found>() + open.capacity() * size_of::<Open>();
        raws.chain(spare).map(Vec::capacity).sum::<usize>() + lists + self.walker.held()
    }

    /// Ready for the next document. Allocates nothing and keeps its small buffers.
    pub fn reset(&mut self) {
        self.walker.reset();
        self.kept.reset();
    }
}

/// The entry of a path in what a finder found.
pub(in crate::scan) fn last(found: &[Found], path: usize) -> Option<&Found> {
    found.iter().find(|found| found.path == path)
}

/// A wanted value that has not ended.
struct Open {
    start: u64,
    /// Where its bytes begin in the chunk at hand.
    from: usize,
    /// Its bytes from earlier chunks. `None`: longer than the cap.
    raw: Option<Vec<u8>>,
}

struct Kept {
    cap: usize,
    found: Vec<Found>,
    /// Outermost first.
    open: Vec<Open>,
    spare: Vec<Vec<u8>>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("cap", &self.cap).field("found", &self.found).finish_non_exhaustive()
    }
}

impl Kept {
    fn reset(&mut self) {
        self.drop_open();
        while let Some(found) = self.found.pop() {
            self.give_back(found.raw);
        }
    }

    fn drop_open(&mut self) {
        while let Some(open) = self.open.pop() {
            self.give_back(open.raw);
        }
    }

    fn give_back(&mut self, raw: Option<Vec<u8>>) {
        if let Some(mut raw) = raw
            && raw.capacity() <= SPARE
        {
            raw.clear();
            self.spare.push(raw);
        }
    }

    /// The chunk ends: what stands in it of open values has to be copied.
    fn carry_over(&mut self, bytes: &[u8]) {
        for index in 0..self.open.len() {
            let from = std::mem::take(&mut self.open[index].from);
            let raw = self.open[index].raw.take();
            self.open[index].raw = self.append(raw, &bytes[from..]);
        }
    }

    fn append(&mut self, raw: Option<Vec<u8>>, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut text = raw?;
        if text.len() + bytes.len() <= self.cap {
            text.extend_from_slice(bytes);
            return Some(text);
        }
        self.give_back(Some(text));
        None
    }
}

/// A chunk on its way through the walker.
struct Chunk<'a> {
    bytes: &'a [u8],
    base: u64,
    kept: &'a mut Kept,
}

impl Sink for Chunk<'_> {
    fn begins(&mut self, _path: usize, _key_at: u64, at: usize) {
        let raw = Some(self.kept.spare.pop().unwrap_or_default());
        self.kept.open.push(Open { start: self.base + at as u64, from: at, raw });
    }

    fn ends(&mut self, path: usize, end: usize) {
        let Some(Open { start, from, raw }) = self.kept.open.pop() else { return };
        let raw = self.kept.append(raw, &self.bytes[from..end]);
        if let Some(earlier) = self.kept.found.iter().position(|found| found.path == path) {
            let earlier = self.kept.found.remove(earlier);
            self.kept.give_back(earlier.raw);
        }
        self.kept.found.push(Found { path, range: start..self.base + end as u64, raw });
    }

    fn document(&mut self, _at: usize) {}
}
