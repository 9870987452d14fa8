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

#[test]
fn shows_no_content() {
    let mut scanner = Scanner::new(&Paths::new(&["type"]), 100);
    let mut shown = String::new();
    scanner.feed(b"data: \"made-up\"\n\n", |event| shown = format!("{event:?}"));
    scanner.feed(b"data: {\"type\":\"made-up\",\"type\":\"made-up", |_| {});
    let shown = format!("{shown}{scanner:?}{:?}", scanner.current());
    let bytes = format!("{:?}", b"made-up").replace(['[', ']'], "");
    assert!(!shown.contains("made-up") && !shown.contains(&bytes), "{shown}");
}

/// Feeds `begin`, then `chunk` so many `times`, then `end`; the most bytes that were held at any time.
fn most_held(
    scanner: &mut Scanner,
    begin: &str,
    (chunk, times): (&str, usize),
    end: &str,
    on: &mut dyn FnMut(&Event<'_>),
) -> usize {
    let mut most = 0;
    scanner.feed(begin.as_bytes(), &mut *on);
    for _ in 0..times {
        scanner.feed(chunk.as_bytes(), &mut *on);
        most = most.max(scanner.event.finder.held());
    }
    scanner.feed(end.as_bytes(), &mut *on);
    most.max(scanner.event.finder.held())
}

const CAP: usize = 2048;
const KIB_64: usize = 64 * 1024;
/// Capped values, and what the vectors around them take.
const HELD: usize = 3 * CAP;

#[test]
fn an_event_of_64_mib_costs_no_memory() {
    let item = r#"{"type":"message","content":[{"text":"a \"quoted\" word\n and a long line of prose after it"}]},"#;
    let mut items = item.repeat(KIB_64 / item.len());
    items.push_str(&" ".repeat(KIB_64 - items.len()));
    let begin = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[";
    let end = "1],\"usage\":{\"total_tokens\":7}}}\n\n";

    // `response.output` is wanted but far longer than the cap.
    let mut scanner = Scanner::new(&Paths::new(&["type", "response.usage", "response.output"]), CAP);
    let mut said = Vec::new();
    let most = most_held(&mut scanner, begin, (&items, 1024), end, &mut |event| {
        let output = event.found.iter().find(|found| found.path == 2).map(|found| found.raw.is_none());
        said.push((event.raw(1).map(<[u8]>::to_vec), output, event.end));
    });
    let length = (begin.len() + 1024 * KIB_64 + end.len()) as u64;
    assert_eq!(said, [(Some(b"{\"total_tokens\":7}".to_vec()), Some(true), length)]);
    assert!(most <= HELD, "held {most} bytes");
}

#[test]
fn endless_lines_cost_no_memory() {
    let text = "x".repeat(KIB_64);
    let begins = [
        "data: {\"type\":\"",
        "data: {\"type\":12",
        "data: {\"",
        "data: {\"type\":{\"a\":[\"",
        "data: ",
        "data: [{\"type\":1},{\"",
        "event: ",
        ": ",
        "",
    ];
    for begin in begins {
        let mut scanner = Scanner::new(&Paths::new(&["type", "type.a"]), CAP);
        let most = most_held(&mut scanner, begin, (&text, 64), "", &mut |_| panic!("no event ends here"));
        assert!(most <= HELD, "{begin:?}: held {most} bytes");
        let current = scanner.current().expect("an event is arriving");
        assert_eq!((current.name, current.end), (None, (begin.len() + 64 * KIB_64) as u64));
    }
}

#[test]
fn many_values_cost_no_memory() {
    for (begin, chunk) in [
        ("data: [", "{\"type\":\"some text\",\"usage\":{\"type\":[1,2,3]}},"),
        ("data: {", "\"type\":{\"a\":{},\"a\":\"b\"},\"usage\":1,"),
        ("data: {\"x\":", "[[{\"type\":"),
        ("data: {\"type\":", "{\"a\":"),
        ("", "data: {\"type\":{\"a\":[\"long enough\"]},\"usage\":\"\n\n"),
    ] {
        let mut scanner = Scanner::new(&Paths::new(&["type", "type.a", "usage", "usage.type"]), CAP);
        let most = most_held(&mut scanner, begin, (chunk, 1024), "", &mut |_| {});
        assert!(most <= HELD, "{begin:?} {chunk:?}: held {most} bytes");
    }
}
