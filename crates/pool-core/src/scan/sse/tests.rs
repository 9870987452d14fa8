use super::*;

/// An event as these tests compare it: name, raw `type`, start, end.
type Seen = (Option<String>, Option<String>, u64, u64);

fn seen(event: &Event<'_>) -> Seen {
    let text = event.raw(0).map(|raw| String::from_utf8_lossy(raw).into_owned());
    (event.name.map(str::to_owned), text, event.start, event.end)
}

fn events(stream: &[u8], size: usize, rest: bool) -> Vec<Seen> {
    let mut scanner = Scanner::new(&Paths::new(&["type"]), 100);
    let mut all = Vec::new();
    for chunk in stream.chunks(size) {
        scanner.feed(chunk, |event| all.push(seen(event)));
    }
    scanner.finish(rest, |event| all.push(seen(event)));
    all
}

/// Name, `type`, start, end.
type Expected<'a> = (Option<&'a str>, Option<&'a str>, u64, u64);

#[test]
fn cuts_streams_into_events() {
    let long = format!("event: {}\ndata: 1\n\n", "n".repeat(65));
    let fits = format!("event: {}\ndata: 1\n\n", "n".repeat(64));
    let name = "n".repeat(64);
    let cases: &[(&str, &[Expected])] = &[
        ("data: {\"type\":1}\n\n", &[(None, Some("1"), 0, 18)]),
        ("data: {\"type\":1}\r\n\r\n", &[(None, Some("1"), 0, 20)]),
        ("data: {\"type\":1}\r\r", &[(None, Some("1"), 0, 18)]),
        ("data: {\"type\":1}\r\n\rdata: {\"type\":2}\n\r\n", &[(None, Some("1"), 0, 19), (None, Some("2"), 19, 38)]),
        (
            "event:a\ndata:{\"type\":1}\n\nevent: b\ndata:  2\n\n",
            &[(Some("a"), Some("1"), 0, 25), (Some("b"), None, 25, 44)],
        ),
        ("\u{feff}event: a\ndata: 1\n\n", &[(Some("a"), None, 0, 21)]),
        // A BOM anywhere else makes another field's name of it.
        ("\n\u{feff}event: a\ndata: 1\n\n", &[(None, None, 1, 22)]),
        // Comments and other fields.
        (": hello\n\n:\nid: 7\ndata: 1\nretry: 10\n\n", &[(None, None, 9, 36)]),
        // Several data lines are one text; a data line may stand anywhere.
        ("data: {\"type\":\nevent: m\ndata:1\ndata\ndata: }\n\n", &[(Some("m"), Some("1"), 0, 45)]),
        // Without data there is no event; an empty line of data is data.
        ("event: a\n\ndata\n\n", &[(None, None, 10, 16)]),
        // The last name counts, and an empty one is none.
        ("event: a\nevent: b\ndata: 1\n\n", &[(Some("b"), None, 0, 27)]),
        ("event: a\nevent\ndata: 1\n\n", &[(None, None, 0, 24)]),
        ("events: a\ndatas: 1\ndata: 1\n\n", &[(None, None, 0, 28)]),
        (&long, &[(None, None, 0, 82)]),
        (&fits, &[(Some(&name), None, 0, 81)]),
    ];
    for (stream, expected) in cases {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let expected: Vec<Seen> = expected.iter().map(|e| (owned(e.0), owned(e.1), e.2, e.3)).collect();
        for size in [1, 2, 3, 5, stream.len()] {
            assert_eq!(events(stream.as_bytes(), size, false), expected, "{stream:?} in pieces of {size}");
            assert_eq!(events(stream.as_bytes(), size, true), expected, "{stream:?} in pieces of {size}");
        }
    }
}

#[test]
fn hands_out_an_unfinished_event_only_if_asked() {
    for (stream, unfinished) in [
        ("event: a\ndata: {\"type\":1}", (Some("a"), Some("1"), 2, 27)),
        ("event: a\ndata: {\"type\":1}\n", (Some("a"), Some("1"), 2, 28)),
        ("data: {\"type\":1}\nevent: a", (Some("a"), Some("1"), 2, 27)),
        ("data", (None, None, 2, 6)),
    ] {
        let stream = format!("\n\n{stream}");
        let expected = (unfinished.0.map(str::to_owned), unfinished.1.map(str::to_owned), unfinished.2, unfinished.3);
        assert_eq!(events(stream.as_bytes(), 4, false), []);
        assert_eq!(events(stream.as_bytes(), 4, true), [expected], "{stream:?}");
    }
    for nothing in ["", ":", ": comment", "event: a\n", "id: 1", "da"] {
        assert_eq!(events(nothing.as_bytes(), 1, true), [], "{nothing:?}");
    }
}

#[test]
fn shows_an_event_that_is_still_arriving() {
    let mut scanner = Scanner::new(&Paths::new(&["type", "response.usage"]), 100);
    let mut step = |piece: &str| {
        let mut ended = 0;
        scanner.feed(piece.as_bytes(), |_| ended += 1);
        (ended, scanner.current().as_ref().map(seen), scanner.undecided_from())
    };
    let some = |name: Option<&str>, kind: Option<&str>, start, end| {
        Some((name.map(str::to_owned), kind.map(str::to_owned), start, end))
    };
    assert_eq!(step(""), (0, None, 0));
    assert_eq!(step("event: resp"), (0, some(None, None, 0, 11), 0));
    assert_eq!(step("onse.done\n"), (0, some(Some("response.done"), None, 0, 21), 0));
    assert_eq!(step("data: {\"type\":\"x"), (0, some(Some("response.done"), None, 0, 37), 0));
    assert_eq!(step("y\","), (0, some(Some("response.done"), Some("\"xy\""), 0, 40), 0));
    assert_eq!(step("}\n\n"), (1, None, 43));
    assert_eq!(step(": note\n\n"), (0, None, 51));
    assert_eq!(step("data: 1\r\n\r"), (0, some(None, None, 51, 61), 51));
    assert_eq!(step("\nd"), (1, some(None, None, 62, 63), 62));
}

#[test]
fn tells_short_words() {
    let cases: [(&str, bool); 6] = [
        ("data: [DONE]\n\n", true),
        ("data:[DONE]\r\n\r\n", true),
        ("data: [DONE] \n\n", false),
        ("data: [DONE]\ndata:\n\n", false),
        ("data: [DON]\n\n", false),
        ("data: [DONE] and so on and so on\n\n", false),
    ];
    for (stream, expected) in cases {
        for size in [1, 100] {
            let mut scanner = Scanner::new(&Paths::new(&["type"]), 100);
            let mut said = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                assert!(!scanner.current().is_some_and(|event| event.data_is(b"[DONE]")));
                scanner.feed(chunk, |event| said.push(event.data_is(b"[DONE]")));
            }
            scanner.finish(false, |event| said.push(event.data_is(b"[DONE]")));
            assert_eq!(said, [expected], "{stream:?}");
        }
    }
}
