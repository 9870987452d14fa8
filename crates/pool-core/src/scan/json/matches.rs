//! Finding in a whole buffer, and the places that an edit needs.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::paths::Paths;
use super::walk::{Sink, Walker};

/// Finds the wanted values of a buffer that holds a document, or its beginning: values that do not end in it are not found.
pub fn find<'a>(bytes: &'a [u8], paths: &Paths) -> Matches<'a> {
    let mut matches = Matches { bytes, begun: vec![None; paths.len()], ended: vec![None; paths.len()], root: None };
    Walker::new(paths.clone()).walk(bytes, &mut matches);
    matches
}

/// What [`find`] found. Paths are indexes into the list given to [`Paths::new`]; an index out of range finds nothing.
#[derive(Clone)]
pub struct Matches<'a> {
    bytes: &'a [u8],
    /// The last value of each path that begins in the buffer.
    begun: Vec<Option<Place>>,
    /// The last one that also ends in it.
    ended: Vec<Option<(Place, usize)>>,
    root: Option<usize>,
}

#[derive(Clone, Copy)]
struct Place {
    key: usize,
    value: usize,
}

/// Where a new member can be put into an object, or an element into a list: right behind the opening brace or bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsertAt {
    pub at: usize,
    /// There is nothing in it yet, so no comma may follow.
    pub empty: bool,
}

impl InsertAt {
    /// The text to put at this place for `"key": value`. `value` is raw JSON.
    pub fn member(self, key: &str, value: &[u8]) -> Vec<u8> {
        let mut text = serde_json::Value::from(key).to_string().into_bytes();
        text.push(b':');
        text.extend_from_slice(value);
        if !self.empty {
            text.push(b',');
        }
        text
    }
}

impl<'a> Matches<'a> {
    /// Where the value stands.
    pub fn range(&self, path: usize) -> Option<Range<usize>> {
        let (place, end) = self.place(path)?;
        Some(place.value..end)
    }

    /// Raw JSON text, quotes included.
    pub fn raw(&self, path: usize) -> Option<&'a [u8]> {
        Some(&self.bytes[self.range(path)?])
    }

    /// Raw JSON text, or what of it stands in the buffer if the value does not end there.
    pub fn beginning(&self, path: usize) -> Option<&'a [u8]> {
        self.raw(path).or_else(|| Some(&self.bytes[(*self.begun.get(path)?)?.value..]))
    }

    /// The text of a string value, its escapes undone. See [`super::string`].
    pub fn string(&self, path: usize) -> Option<Cow<'a, str>> {
        super::string(self.raw(path)?)
    }

    /// The whole member with one adjoining comma, so that what stays without it is still JSON. To remove several members
    /// use [`Matches::removals`]: their ranges depend on one another.
    pub fn key_range(&self, path: usize) -> Option<Range<usize>> {
        self.removals(&[path]).pop()
    }

    /// What to cut out so that the members at all these paths are gone: sorted ranges that do not touch each other.
    /// Paths that were not found are passed over. Of a duplicate key only the last member goes.
    pub fn removals(&self, paths: &[usize]) -> Vec<Range<usize>> {
        let members = paths.iter().filter_map(|path| self.place(*path)).map(|(place, end)| place.key..end);
        let mut members: Vec<Range<usize>> = members.collect();
        members.sort_unstable_by_key(|member| (member.start, member.end));

        // Neighbours first become one run, since a comma between two of them can go only once.
        let mut runs: Vec<Range<usize>> = Vec::with_capacity(members.len());
        for member in members {
            match runs.last_mut() {
                Some(run) if member.start < run.end => run.end = run.end.max(member.end),
                Some(run) if self.comma_after(run.end).is_some_and(|at| self.blank(at + 1..member.start)) => {
                    run.end = member.end;
                }
                _ => runs.push(member),
            }
        }
        for run in &mut runs {
            if let Some(comma) = self.comma_after(run.end) {
                run.end = comma + 1;
            } else if let Some(comma) = self.comma_before(run.start) {
                run.start = comma;
            }
        }
        runs
    }

    /// Where a member can be put into the object at this path, even if the object does not end in the buffer. `None`: there
    /// is no such object, or its first byte is not in the buffer.
    pub fn object_start(&self, path: usize) -> Option<InsertAt> {
        self.insert_at((*self.begun.get(path)?)?.value)
    }

    /// Where an element can be put at the front of the list at this path, even if the list does not end in the buffer. `None`:
    /// there is no such list, or its first byte is not in the buffer.
    pub fn list_start(&self, path: usize) -> Option<InsertAt> {
        self.after_opening((*self.begun.get(path)?)?.value, b'[', b']')
    }

    /// Where a member can be put into the document itself (the last one of a row).
    pub fn root_start(&self) -> Option<InsertAt> {
        self.insert_at(self.root?)
    }

    fn insert_at(&self, brace: usize) -> Option<InsertAt> {
        self.after_opening(brace, b'{', b'}')
    }

    fn after_opening(&self, place: usize, opening: u8, closing: u8) -> Option<InsertAt> {
        if self.bytes.get(place) != Some(&opening) {
            return None;
        }
        let at = place + 1;
        let first = self.bytes[at..].iter().find(|byte| !is_blank(**byte))?;
        Some(InsertAt { at, empty: *first == closing })
    }

    fn place(&self, path: usize) -> Option<(Place, usize)> {
        *self.ended.get(path)?
    }

    fn comma_after(&self, end: usize) -> Option<usize> {
        let at = end + self.bytes[end..].iter().position(|byte| !is_blank(*byte))?;
        (self.bytes[at] == b',').then_some(at)
    }

    fn comma_before(&self, start: usize) -> Option<usize> {
        let at = self.bytes[..start].iter().rposition(|byte| !is_blank(*byte))?;
        (self.bytes[at] == b',').then_some(at)
    }

    fn blank(&self, range: Range<usize>) -> bool {
        self.bytes.get(range).is_some_and(|bytes| bytes.iter().all(|byte| is_blank(*byte)))
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

impl Sink for Matches<'_> {
    fn begins(&mut self, path: usize, key_at: u64, at: usize) {
        self.begun[path] = Some(Place { key: key_at as usize, value: at });
    }

    fn ends(&mut self, path: usize, end: usize) {
        self.ended[path] = self.begun[path].map(|place| (place, end));
    }

    fn document(&mut self, at: usize) {
        self.root = Some(at);
    }
}

/// Shows no content: it may be anyone's words.
impl fmt::Debug for Matches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.ended.len()).map(|path| self.range(path))).finish()
    }
}
