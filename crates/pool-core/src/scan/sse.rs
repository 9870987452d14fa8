//! Cutting event streams into events.
//!
//! [`Scanner`] follows the WHATWG HTML standard, "Server-sent events", §9.2.6: lines end in LF, CRLF or CR, a leading BOM is
//! passed over, `data:` lines of one event are joined by LF, a line without a colon is a field without a value, a blank
//! line dispatches an event if it has data. Fields other than `data` and `event` are passed over.
//!
//! An event's data is not stored: a [`Finder`] reads it on its way, so it may be of any size.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;

use super::json::{self, Finder, Found, Paths};

/// Event names longer than this are not kept.
pub const LONGEST_NAME: usize = 64;
/// Data up to this length can be compared by [`Event::data_is`].
pub const LONGEST_WORD: usize = 16;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// An event, or the part of it that has arrived.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// The value of its `event:` line, once that line has ended. `None` also for a name that is empty, longer than
    /// [`LONGEST_NAME`] or not UTF-8.
    pub name: Option<&'a str>,
    /// The values found in its data, at most one for each path. Their ranges count from the data's first byte.
    pub found: &'a [Found],
    /// Where it begins: right behind the previous event, so comments before it are its own.
    pub start: u64,
    /// Where it ends, behind its blank line; or how far it has come. Both count from the first byte ever fed.
    pub end: u64,
    /// The whole data, if that is known and no longer than [`LONGEST_WORD`].
    word: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    /// An event that came by itself, without a stream around it: a document of `length` bytes, in which these values were found.
    pub fn alone(found: &'a [Found], length: u64) -> Self {
        Self { name: None, found, start: 0, end: length, word: None }
    }

    /// Is this the whole data? For words that are not JSON, as `[DONE]` at the end of a chat completion. Never true for
    /// words longer than [`LONGEST_WORD`], or for an event that is still arriving.
    pub fn data_is(&self, word: &[u8]) -> bool {
        self.word == Some(word)
    }

    /// The raw text of a path's value, if it has ended and is not longer than the finder's cap.
    pub fn raw(&self, path: usize) -> Option<&'a [u8]> {
        json::last(self.found, path)?.raw.as_deref()
    }

    /// The text of a path's value, if that is a string. See [`json::string`].
    pub fn string(&self, path: usize) -> Option<Cow<'a, str>> {
        json::string(self.raw(path)?)
    }
}

/// Shows the name, but nothing of the data: it may be anyone's words.
impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, start, end, word: _ } = self;
        f.debug_struct("Event")
            .field("name", name)
            .field("found", found)
            .field("bytes", &(start..end))
            .finish_non_exhaustive()
    }
}

/// Cuts a stream, fed in any chunks, into events. The same bytes give the same events, however they are cut.
///
/// ```
/// use pool_core::scan::json::Paths;
/// use pool_core::scan::sse::Scanner;
///
/// let mut scanner = Scanner::new(&Paths::new(&["type"]), 64);
/// let mut seen = Vec::new();
/// scanner.feed(b"event: ping\ndata: {\"type\": \"ping\"}\n\nevent: over", |event| {
///     seen.push((event.name.map(str::to_owned), event.string(0).map(Into::into), event.start..event.end));
/// });
/// assert_eq!(seen, [(Some("ping".to_owned()), Some("ping".to_owned()), 0..36)]);
/// assert_eq!(scanner.undecided_from(), 36);
/// ```
#[derive(Debug)]
pub struct Scanner {
    /// Bytes fed.
    at: u64,
    line: Line,
    /// The last byte was a CR that ended a line: an LF now belongs to it.
    after_cr: bool,
    /// The event at hand has ended with that CR: it is dispatched when its end is known.
    held: bool,
    field: Short<6>,
    event: Current,
}

/// Where in a line the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Name,
    /// Behind the colon, where one space is passed over.
    Colon(Field),
    Value(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Other,
}

/// The event at hand.
#[derive(Debug)]
struct Current {
    start: u64,
    name: Short<LONGEST_NAME>,
    /// The line of `name` has ended.
    named: bool,
    /// It has a `data` line.
    data: bool,
    word: Short<LONGEST_WORD>,
    finder: Finder,
}

impl Scanner {
    /// `cap`: the longest raw value that is kept of an event, in bytes.
    pub fn new(paths: &Paths, cap: usize) -> Self {
        Self {
            at: 0,
            line: Line::Name,
            after_cr: false,
            held: false,
            field: Short::new(),
            event: Current {
                start: 0,
                name: Short::new(),
                named: false,
                data: false,
                word: Short::new(),
                finder: Finder::new(paths, cap),
            },
        }
    }

    /// Reads on and hands every event that ends in `bytes` to `on`.
    ///
    /// An event whose blank line ends in a CR at the very end of `bytes` waits for the next byte, which may be the LF that
    /// belongs to it, or for [`Scanner::finish`].
    pub fn feed(&mut self, bytes: &[u8], mut on: impl FnMut(&Event<'_>)) {
        let mut i = 0;
        while i < bytes.len() {
            if self.after_cr {
                self.after_cr = false;
                let pair = bytes[i] == b'\n';
                i += usize::from(pair);
                self.at += u64::from(pair);
                self.end_held(&mut on);
                continue;
            }
            let step = match self.line {
                Line::Name => self.in_name(&bytes[i..]),
                Line::Colon(field) => {
                    self.line = Line::Value(field);
                    usize::from(bytes[i] == b' ')
                }
                Line::Value(field) => {
                    let rest = &bytes[i..];
                    let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    self.event.value(field, &rest[..end]);
                    end
                }
            };
            i += step;
            self.at += step as u64;
            // Every step but the one over a space stops before a line end, if there is one.
            if let Some(end @ (b'\n' | b'\r')) = bytes.get(i).copied() {
                i += 1;
                self.at += 1;
                self.after_cr = end == b'\r';
                self.end_line(&mut on);
            }
        }
    }

    /// The stream ended. An event without its blank line is no event by the standard; with `rest` it is handed out all the
    /// same.
    pub fn finish(&mut self, rest: bool, mut on: impl FnMut(&Event<'_>)) {
        self.after_cr = false;
        self.end_held(&mut on);
        if rest {
            if self.line != Line::Name || !self.field.is_empty() {
                self.end_line(&mut on);
            }
            self.dispatch(&mut on);
        }
    }

    /// The event that is still arriving. `None`: nothing of it has come.
    pub fn current(&self) -> Option<Event<'_>> {
        (self.at > self.event.start).then(|| Event { word: None, ..self.event.view(self.at) })
    }

    /// Where the event that is still arriving begins: every byte before belongs to events that were handed out (or to
    /// blocks without data, which are none). Counts from the first byte ever fed.
    pub fn undecided_from(&self) -> u64 {
        self.event.start
    }

    /// In a field's name. Returns how far to go on.
    fn in_name(&mut self, rest: &[u8]) -> usize {
        if self.at < BOM.len() as u64 && !matches!(rest[0], b':' | b'\n' | b'\r') {
            self.field.push(&rest[..1]);
            if self.field.whole() == Some(BOM) {
                self.field.clear();
            }
            return 1;
        }
        let end = rest.iter().position(|byte| matches!(byte, b':' | b'\n' | b'\r'));
        self.field.push(&rest[..end.unwrap_or(rest.len())]);
        match end {
            Some(colon) if rest[colon] == b':' => {
                let field = self.take_field();
                self.event.open(field);
                self.line = Line::Colon(field);
                colon + 1
            }
            Some(line_end) => line_end,
            None => rest.len(),
        }
    }

    fn take_field(&mut self) -> Field {
        let field = match self.field.whole() {
            Some(b"data") => Field::Data,
            Some(b"event") => Field::Event,
            _ => Field::Other,
        };
        self.field.clear();
        field
    }

    fn end_line(&mut self, on: &mut impl FnMut(&Event<'_>)) {
        let field = match std::mem::replace(&mut self.line, Line::Name) {
            Line::Name if self.field.is_empty() => {
                self.held = true;
                if !self.after_cr {
                    self.end_held(on);
                }
                return;
            }
            Line::Name => {
                let field = self.take_field();
                self.event.open(field);
                field
            }
            Line::Colon(field) | Line::Value(field) => field,
        };
        if field == Field::Event {
            self.event.named = true;
        }
    }

    fn end_held(&mut self, on: &mut impl FnMut(&Event<'_>)) {
        if std::mem::take(&mut self.held) {
            self.dispatch(on);
        }
    }

    fn dispatch(&mut self, on: &mut impl FnMut(&Event<'_>)) {
        if self.event.data {
            on(&self.event.view(self.at));
        }
        self.event.reset(self.at);
    }
}

impl Current {
    fn view(&self, end: u64) -> Event<'_> {
        let name = self.name.whole().filter(|name| self.named && !name.is_empty());
        Event {
            name: name.and_then(|name| std::str::from_utf8(name).ok()),
            found: self.finder.found(),
            start: self.start,
            end,
            word: self.word.whole().filter(|_| self.data),
        }
    }

    fn reset(&mut self, start: u64) {
        self.start = start;
        self.name.clear();
        self.named = false;
        self.data = false;
        self.word.clear();
        self.finder.reset();
    }

    /// A line of this field begins.
    fn open(&mut self, field: Field) {
        match field {
            Field::Data => {
                if self.data {
                    self.value(field, b"\n");
                }
                self.data = true;
            }
            Field::Event => {
                self.name.clear();
                self.named = false;
            }
            Field::Other => {}
        }
    }

    fn value(&mut self, field: Field, piece: &[u8]) {
        match field {
            Field::Data => {
                self.word.push(piece);
                self.finder.feed(piece);
            }
            Field::Event => self.name.push(piece),
            Field::Other => {}
        }
    }
}

/// Bytes that are kept only if there are few of them.
#[derive(Clone, Copy)]
struct Short<const N: usize> {
    bytes: [u8; N],
    len: usize,
    over: bool,
}

impl<const N: usize> Short<N> {
    fn new() -> Self {
        Self { bytes: [0; N], len: 0, over: false }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.over = false;
    }

    fn is_empty(&self) -> bool {
        self.len == 0 && !self.over
    }

    fn push(&mut self, more: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + more.len()) {
            Some(room) if !self.over => {
                room.copy_from_slice(more);
                self.len += more.len();
            }
            _ => self.over |= !more.is_empty(),
        }
    }

    /// `None`: there are too many.
    fn whole(&self) -> Option<&[u8]> {
        (!self.over).then(|| &self.bytes[..self.len])
    }
}

/// Shows no content: it may be anyone's words.
impl<const N: usize> fmt::Debug for Short<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Short({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests;
