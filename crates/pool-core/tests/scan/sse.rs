//! [`Scanner`] against a simple reader of whole streams.

use std::ops::Range;

use pool_core::scan::json::{Paths, find};
use pool_core::scan::sse::{Event, Scanner};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{cut, sizes};

/// An event as both readers tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) name: Option<String>,
    pub(crate) bytes: Range<u64>,
    pub(crate) values: Vec<Option<Vec<u8>>>,
    done: bool,
}

impl Read {
    fn of(event: &Event<'_>, paths: &Paths) -> Self {
        let values = (0..paths.len()).map(|path| event.raw(path).map(<[u8]>::to_vec)).collect();
        let name = event.name.map(str::to_owned);
        Self { name, bytes: event.start..event.end, values, done: event.data_is(b"[DONE]") }
    }
}

pub(crate) fn scan(stream: &[u8], paths: &Paths, sizes: &[usize]) -> Vec<Read> {
    let mut scanner = Scanner::new(paths, 10_000);
    let mut all = Vec::new();
    for chunk in cut(stream, sizes) {
        scanner.feed(chunk, |event| all.push(Read::of(event, paths)));
    }
    scanner.finish(false, |event| all.push(Read::of(event, paths)));
    all
}

/// The lines of a stream and where each begins and ends, its line end included.
fn lines(stream: &[u8]) -> Vec<(&[u8], Range<usize>)> {
    let mut lines = Vec::new();
    let mut start = 0;
    while let Some(length) = stream[start..].iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let text = start + length;
        let end = if stream[text..].starts_with(b"\r\n") { text + 2 } else { text + 1 };
        lines.push((&stream[start..text], start..end));
        start = end;
    }
    lines
}

/// Reads a whole stream as the standard words it, storing everything.
pub(crate) fn read_simply(stream: &[u8], paths: &Paths) -> Vec<Read> {
    let mut all = Vec::new();
    let (mut start, mut name, mut data) = (0, Vec::new(), Vec::new());
    for (line, place) in lines(stream) {
        let line = if place.start == 0 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        if !line.is_empty() {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"data" => data.extend_from_slice(&[value, b"\n"].concat()),
                b"event" => name = value.to_vec(),
                _ => {}
            }
            continue;
        }
        if let Some((_, data)) = data.split_last() {
            let matches = find(data, paths);
            all.push(Read {
                name: String::from_utf8(name.clone()).ok().filter(|name| (1..=64).contains(&name.len())),
                bytes: start as u64..place.end as u64,
                values: (0..paths.len()).map(|path| matches.raw(path).map(<[u8]>::to_vec)).collect(),
                done: data == b"[DONE]",
            });
        }
        start = place.end;
        name.clear();
        data.clear();
    }
    all
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let beginnings: Vec<&str> = vec![
        "data:", "data: ", "data:  ", "event:", "event: ", ":", "id: ", "data", "event", "dat", "Data: ", " data:",
        "datas:", "", "", "",
    ];
    let rests: Vec<&str> = vec![
        "",
        "[DONE]",
        "{\"type\":\"x\"}",
        "{\"type\":",
        "\"a:b\"",
        "}",
        "{\"type\":\"y\",\"response\":{\"usage\":",
        "{\"n\":[1,2]}",
        "}}",
        "message_stop",
        "\u{feff}",
        " ",
        "é",
    ];
    let text = prop_oneof![
        8 => prop::sample::select(rests).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..90),
        1 => (60..70_usize).prop_map(|length| vec![b'n'; length]),
    ];
    let ends: Vec<&str> = vec!["\n", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\r\r", "\n\r", "\r\n\n"];
    let line = (prop::sample::select(beginnings), text, prop::sample::select(ends))
        .prop_map(|(beginning, text, end)| [beginning.as_bytes(), &text, end.as_bytes()].concat());
    (prop::sample::select(vec![&b""[..], b"\xEF\xBB\xBF", b"\xEF\xBB"]), vec(line, 0..20))
        .prop_map(|(first, lines)| [first, &lines.concat()].concat())
}

fn paths() -> Paths {
    Paths::new(&["type", "response.usage", "n"])
}

proptest! {
    #[test]
    fn reads_as_the_standard_words_it(stream in stream(), sizes in sizes()) {
        let expected = read_simply(&stream, &paths());
        prop_assert_eq!(&scan(&stream, &paths(), &[usize::MAX]), &expected);
        prop_assert_eq!(&scan(&stream, &paths(), &sizes), &expected);
    }

    #[test]
    fn random_bytes_make_no_trouble(stream in vec(any::<u8>(), 0..300), sizes in sizes()) {
        prop_assert_eq!(scan(&stream, &paths(), &sizes), read_simply(&stream, &paths()));
    }

    /// What is known of an unfinished event depends on the bytes alone, and every byte is accounted for.
    #[test]
    fn the_event_at_hand_is_the_same_in_any_chunking(stream in stream(), sizes in sizes()) {
        let paths = paths();
        let mut scanner = Scanner::new(&paths, 10_000);
        let mut fed = 0;
        let mut ended = 0;
        for chunk in cut(&stream, &sizes) {
            let before = ended;
            scanner.feed(chunk, |event| {
                assert!(event.start >= ended && event.end > event.start, "in order and apart");
                ended = event.end;
            });
            fed += chunk.len();
            prop_assert!(ended >= before && scanner.undecided_from() >= ended && scanner.undecided_from() <= fed as u64);

            let mut other = Scanner::new(&paths, 10_000);
            other.feed(&stream[..fed], |_| {});
            prop_assert_eq!(other.undecided_from(), scanner.undecided_from());
            let current = scanner.current().map(|event| Read::of(&event, &paths));
            prop_assert_eq!(other.current().map(|event| Read::of(&event, &paths)), current.clone());
            prop_assert_eq!(current.map(|event| event.bytes), (scanner.undecided_from() < fed as u64).then_some(scanner.undecided_from()..fed as u64));
        }
    }
}
