//! The walker under [`super::Finder`] and [`super::find`]: follows JSON byte by byte in any chunking.
//!
//! Where no wanted path can lead it only counts brackets, so depth costs nothing; its stack is never longer than the
//! longest wanted path.

use memchr::memchr2;

use super::paths::Paths;

/// Takes what the walker finds. Places are offsets in the chunk being walked, except `key_at`, which may lie in an earlier
/// one and counts from the first byte of all.
pub(super) trait Sink {
    /// The value of `path` begins; its key's opening quote stood at `key_at`.
    fn begins(&mut self, path: usize, key_at: u64, at: usize);

    /// The value of `path` ended before `end`. The begun value that is innermost ends first.
    fn ends(&mut self, path: usize, end: usize);

    /// A document that is an object begins.
    fn document(&mut self, at: usize);
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Outside of every document, or between the elements of a row.
    Top,
    /// Behind `{`: a key or the end.
    FirstKey,
    /// Behind a comma.
    Key,
    InKey,
    Colon,
    Value,
    String,
    /// A number, `true`, `false`, `null`.
    Scalar,
    /// In a container that no path leads into.
    Skip,
    SkipString,
    /// Behind a member's value.
    After,
    /// What came is not JSON.
    Lost,
}

#[derive(Debug)]
pub(super) struct Walker {
    paths: Paths,
    mode: Mode,
    /// Bytes walked in earlier chunks.
    base: u64,
    /// The last byte of the chunk was a backslash within a string.
    escaped: bool,
    /// A backslash was met since this was last cleared.
    escapes: bool,
    /// In a top-level array.
    row: bool,
    /// Something other than white space came.
    any: bool,
    /// The open objects that paths lead through.
    stack: Vec<usize>,
    /// Open brackets in [`Mode::Skip`].
    depth: u64,
    /// The beginning of a key that is split over chunks, never longer than a wanted key can be.
    key: Vec<u8>,
    key_at: u64,
    /// Where the value at hand stands in the tree, if any path leads there.
    node: Option<usize>,
}

impl Walker {
    pub(super) fn new(paths: Paths) -> Self {
        Self {
            paths,
            mode: Mode::Top,
            base: 0,
            escaped: false,
            escapes: false,
            row: false,
            any: false,
            stack: Vec::new(),
            depth: 0,
            key: Vec::new(),
            key_at: 0,
            node: None,
        }
    }

    /// Forgets everything but the paths.
    pub(super) fn reset(&mut self) {
        self.mode = Mode::Top;
        self.base = 0;
        self.escaped = false;
        self.row = false;
        self.any = false;
        self.stack.clear();
        self.node = None;
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.key.capacity() + self.stack.capacity() * size_of::<usize>()
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn is_lost(&self) -> bool {
        self.mode == Mode::Lost
    }

    /// Could the input end here?
    pub(super) fn is_whole(&self) -> bool {
        let between = self.mode == Mode::Top || (self.mode == Mode::Scalar && self.stack.is_empty());
        self.any && between && !self.row
    }

    pub(super) fn walk(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let mut at = 0;
        while at < bytes.len() {
            at = match self.mode {
                Mode::Skip => self.skip(bytes, at, sink),
                Mode::String => self.in_string(bytes, at, sink),
                Mode::SkipString => self.in_skipped_string(bytes, at),
                Mode::Scalar => self.in_scalar(bytes, at, sink),
                Mode::InKey => self.in_key(bytes, at, sink),
                Mode::Lost => break,
                Mode::Top | Mode::FirstKey | Mode::Key | Mode::Colon | Mode::Value | Mode::After => {
                    self.between(bytes, at, sink)
                }
            };
        }
        self.base += bytes.len() as u64;
    }

    /// A byte of the structure. Returns where to go on, as all of these steps do. What nearly always follows is taken along
    /// at once: choosing the step by the mode is the dear part of walking a small event.
    fn between(&mut self, bytes: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let byte = bytes[at];
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return at + 1;
        }
        match (self.mode, byte) {
            (Mode::FirstKey | Mode::Key, b'"') => return self.key(bytes, at, sink),
            (Mode::FirstKey | Mode::After, b'}') => self.leave(at + 1, sink),
            (Mode::Colon, b':') => self.mode = Mode::Value,
            (Mode::After, b',') => {
                self.mode = Mode::Key;
                let next = past_space(bytes, at + 1);
                return if bytes.get(next) == Some(&b'"') { self.key(bytes, next, sink) } else { next };
            }
            (Mode::Value, _) => return self.value(bytes, at, sink),
            (Mode::Top, _) => return self.top(bytes, at, sink),
            _ => self.mode = Mode::Lost,
        }
        at + 1
    }

    fn top(&mut self, bytes: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        self.any = true;
        match bytes[at] {
            b'{' => {
                sink.document(at);
                self.stack.push(Paths::ROOT);
                self.mode = Mode::FirstKey;
            }
            b'[' if !self.row => self.row = true,
            b']' if self.row => self.row = false,
            b',' if self.row => {}
            _ => return self.value(bytes, at, sink),
        }
        at + 1
    }

    /// From the first byte of a value on.
    fn value(&mut self, bytes: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let byte = bytes[at];
        if matches!(byte, b',' | b':' | b'}' | b']') {
            self.mode = Mode::Lost;
            return at;
        }
        let node = self.node.map(|index| (index, self.paths.node(index)));
        if let Some(path) = node.and_then(|(_, node)| node.path) {
            sink.begins(path, self.key_at, at);
        }
        match (byte, node) {
            (b'"', _) => {
                self.mode = Mode::String;
                self.in_string(bytes, at + 1, sink)
            }
            (b'{', Some((index, node))) if !node.is_leaf() => {
                self.stack.push(index);
                self.mode = Mode::FirstKey;
                at + 1
            }
            (b'{' | b'[', _) => {
                self.depth = 1;
                self.mode = Mode::Skip;
                self.skip(bytes, at + 1, sink)
            }
            _ => {
                self.mode = Mode::Scalar;
                self.in_scalar(bytes, at + 1, sink)
            }
        }
    }

    fn value_ended(&mut self, end: usize, sink: &mut impl Sink) {
        if let Some(path) = self.node.take().and_then(|node| self.paths.node(node).path) {
            sink.ends(path, end);
        }
        self.mode = if self.stack.is_empty() { Mode::Top } else { Mode::After };
    }

    /// An object that paths lead through ends.
    fn leave(&mut self, end: usize, sink: &mut impl Sink) {
        self.node = self.stack.pop();
        self.value_ended(end, sink);
    }

    /// From a key's opening quote on.
    fn key(&mut self, bytes: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        self.key_at = self.base + at as u64;
        self.key.clear();
        self.escapes = false;
        self.mode = Mode::InKey;
        self.in_key(bytes, at + 1, sink)
    }

    fn in_key(&mut self, bytes: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let end = self.string_end(bytes, at);
        let piece = &bytes[at..end.map_or(bytes.len(), |end| end - 1)];
        let split = !self.key.is_empty() || end.is_none();
        if split {
            // One byte more than the longest is enough to tell that it is too long.
            let room = (self.paths.longest_written_key() + 1).saturating_sub(self.key.len());
            self.key.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        let Some(end) = end else { return bytes.len() };
        let key = if split { &self.key } else { piece };
        self.node = self.stack.last().and_then(|node| self.paths.child(*node, key, self.escapes));
        if bytes.get(end) != Some(&b':') {
            self.mode = Mode::Colon;
            return end;
        }
        self.mode = Mode::Value;
        let next = past_space(bytes, end + 1);
        match bytes.get(next) {
            None | Some(b' ' | b'\n' | b'\r' | b'\t') => next,
            Some(_) => self.value(bytes, next, sink),
        }
    }

    fn in_string(&mut self, bytes: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let Some(end) = self.string_end(bytes, at) else { return bytes.len() };
        self.value_ended(end, sink);
        end
    }

    fn in_skipped_string(&mut self, bytes: &[u8], at: usize) -> usize {
        let Some(end) = self.string_end(bytes, at) else { return bytes.len() };
        self.mode = Mode::Skip;
        end
    }

    fn in_scalar(&mut self, bytes: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let rest = &bytes[at..];
        let stop = rest.iter().position(|byte| {
            matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' | b'"' | b'{' | b'[' | b':')
        });
        let Some(stop) = stop else { return bytes.len() };
        if matches!(rest[stop], b'"' | b'{' | b'[' | b':') {
            self.mode = Mode::Lost;
        } else {
            self.value_ended(at + stop, sink);
        }
        at + stop
    }

    fn skip(&mut self, bytes: &[u8], mut at: usize, sink: &mut impl Sink) -> usize {
        while at < bytes.len() {
            match bytes[at] {
                b'"' => {
                    let Some(end) = self.string_end(bytes, at + 1) else {
                        self.mode = Mode::SkipString;
                        return bytes.len();
                    };
                    at = end;
                    continue;
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.value_ended(at + 1, sink);
                        return at + 1;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Where the string that is open at `at` ends, behind its closing quote. `None`: not in this chunk.
    fn string_end(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        if self.escaped && at < bytes.len() {
            self.escaped = false;
            at += 1;
        }
        loop {
            let stop = quote_or_backslash(bytes, at)?;
            if bytes[stop] == b'"' {
                return Some(stop + 1);
            }
            self.escapes = true;
            at = stop + 2;
            if at > bytes.len() {
                self.escaped = true;
                return None;
            }
        }
    }
}

/// Behind the one space that may stand there.
fn past_space(bytes: &[u8], at: usize) -> usize {
    at + usize::from(bytes.get(at) == Some(&b' '))
}

/// The first of the two bytes from `at` on.
#[inline]
fn quote_or_backslash(bytes: &[u8], at: usize) -> Option<usize> {
    // Most strings in events are short: the first few bytes are looked at eight at a time before memchr is worth its call.
    let mut at = at;
    for _ in 0..3 {
        let Some(word) = bytes[at..].first_chunk() else { break };
        let word = u64::from_le_bytes(*word);
        let hits = zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\'));
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    memchr2(b'"', b'\\', &bytes[at..]).map(|stop| at + stop)
}

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The top bit of every byte that is zero; bits above the lowest of these may be wrong.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x01)) & !word & repeat(0x80)
}
