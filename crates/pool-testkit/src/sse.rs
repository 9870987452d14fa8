//! Reading and writing `text/event-stream`, by the letter of the HTML standard and independent of the pool's own parser.

use bytes::Bytes;

/// One event as a client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// `event:`, or the `type` in its data if there is none; empty if there is neither.
    pub name: String,
    /// Its `data:` lines joined by line feeds.
    pub data: Vec<u8>,
}

/// All events of a body, a last one without its blank line left out.
pub fn events(body: &[u8]) -> Vec<SseEvent> {
    let mut found = Vec::new();
    let mut name = String::new();
    let mut data: Option<Vec<u8>> = None;
    for line in lines(body) {
        if line.is_empty() {
            if let Some(data) = data.take() {
                let name = if name.is_empty() { type_of(&data) } else { std::mem::take(&mut name) };
                found.push(SseEvent { name, data });
            }
            name.clear();
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &b""[..]),
        };
        match field {
            b"event" => name = String::from_utf8_lossy(value).into_owned(),
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    found
}

/// Complete lines, whether they end in CR, LF or both.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let line = &rest[..end];
        let skip = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + skip..];
        Some(line)
    })
}

fn type_of(data: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_slice::<Typed>(data).map(|typed| typed.kind).unwrap_or_default()
}

/// How events are written down. All of them mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dress {
    #[default]
    Plain,
    Crlf,
    /// A comment before each event.
    Comments,
    /// Each event's data over two lines, broken after its first byte.
    MultiData,
}

/// Writes one event.
pub(crate) fn write(name: Option<&str>, data: &[u8], dress: Dress) -> Bytes {
    let end = if dress == Dress::Crlf { "\r\n" } else { "\n" };
    let mut text = Vec::with_capacity(data.len() + 64);
    if dress == Dress::Comments {
        text.extend_from_slice(b": a comment\n");
    }
    if let Some(name) = name {
        text.extend_from_slice(format!("event: {name}{end}").as_bytes());
    }
    text.extend_from_slice(b"data: ");
    if dress == Dress::MultiData && data.len() > 1 {
        text.extend_from_slice(&data[..1]);
        text.extend_from_slice(b"\ndata: ");
        text.extend_from_slice(&data[1..]);
    } else {
        text.extend_from_slice(data);
    }
    text.extend_from_slice(end.as_bytes());
    text.extend_from_slice(end.as_bytes());
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for dress in [Dress::Plain, Dress::Crlf, Dress::Comments, Dress::MultiData] {
            let body = write(Some("a"), b"{\"type\":\"a\"}", dress);
            let read = events(&body);
            assert_eq!(read.len(), 1, "{dress:?}");
            assert_eq!(read[0].name, "a");
            let value: serde_json::Value = serde_json::from_slice(&read[0].data).expect("JSON");
            assert_eq!(value["type"], "a");
        }
    }

    #[test]
    fn an_event_without_its_blank_line_is_none() {
        assert_eq!(events(b"data: x\n").len(), 0);
        assert_eq!(events(b"data: x\n\ndata: y").len(), 1);
    }
}
