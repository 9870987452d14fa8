//! Wrapping an answer's JSON documents while they pass: what a Code Assist client expects around the public API's answers.

use bytes::{Bytes, BytesMut};

/// Puts a text before and after each `data:` line of an event stream, in any chunking.
#[derive(Debug)]
pub struct StreamWrapper {
    before: &'static str,
    after: &'static str,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line, with this many bytes of `data:` seen (and held back).
    Start(usize),
    /// After `data:`, before the document; a space has or has not been seen.
    Field,
    /// Inside a document: its end wants the text after it.
    Document,
    /// In a line of another kind.
    Other,
}

const FIELD: &[u8] = b"data:";

impl StreamWrapper {
    pub fn new(before: &'static str, after: &'static str) -> Self {
        Self { before, after, state: State::Start(0) }
    }

    /// The bytes to send for these.
    pub fn feed(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(chunk.len() + 2 * (self.before.len() + self.after.len()));
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            let is_end = byte == b'\n' || byte == b'\r';
            match self.state {
                State::Start(seen) if byte == FIELD[seen] => {
                    self.state = if seen + 1 == FIELD.len() { State::Field } else { State::Start(seen + 1) };
                    if self.state == State::Field {
                        out.extend_from_slice(FIELD);
                    }
                    at += 1;
                }
                State::Start(seen) => {
                    out.extend_from_slice(&FIELD[..seen]);
                    self.state = State::Other;
                }
                State::Field if byte == b' ' => {
                    out.extend_from_slice(b" ");
                    at += 1;
                }
                State::Field if is_end => self.state = State::Other,
                State::Field => {
                    out.extend_from_slice(self.before.as_bytes());
                    self.state = State::Document;
                }
                State::Document | State::Other => {
                    let line = memchr::memchr2(b'\n', b'\r', &chunk[at..]).unwrap_or(chunk.len() - at);
                    out.extend_from_slice(&chunk[at..at + line]);
                    at += line;
                    if at < chunk.len() {
                        if self.state == State::Document {
                            out.extend_from_slice(self.after.as_bytes());
                        }
                        out.extend_from_slice(&chunk[at..=at]);
                        at += 1;
                        self.state = State::Start(0);
                    }
                }
            }
        }
        out.freeze()
    }

    /// The last bytes, when the stream has ended cleanly.
    pub fn finish(&mut self) -> Bytes {
        let last = match self.state {
            State::Start(seen) => Bytes::from_static(&FIELD[..seen]),
            State::Document => Bytes::from_static(self.after.as_bytes()),
            State::Field | State::Other => Bytes::new(),
        };
        self.state = State::Start(0);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(chunks: &[&[u8]]) -> String {
        let mut wrapper = StreamWrapper::new("{\"response\":", "}");
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| wrapper.feed(chunk)).collect();
        out.extend(wrapper.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_document_is_wrapped_and_nothing_else() {
        for (stream, expected) in [
            (
                "data: {\"a\":1}\n\ndata: {\"b\":2}\n\n",
                "data: {\"response\":{\"a\":1}}\n\ndata: {\"response\":{\"b\":2}}\n\n",
            ),
            ("data:{}\r\n\r\n", "data:{\"response\":{}}\r\n\r\n"),
            (": note\n\nevent: x\ndata: 1\n\n", ": note\n\nevent: x\ndata: {\"response\":1}\n\n"),
            ("data:\n\n", "data:\n\n"),
            ("dat", "dat"),
            ("data: {}", "data: {\"response\":{}}"),
            ("database: no\n", "database: no\n"),
        ] {
            assert_eq!(wrapped(&[stream.as_bytes()]), expected);
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(wrapped(&bytes), expected, "byte by byte");
        }
    }
}
