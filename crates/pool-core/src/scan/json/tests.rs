use super::*;
use crate::scan::splice;

/// What is found of `paths` when `document` is fed at once, byte by byte, and as a whole buffer: all the same.
fn values(document: &str, paths: &[&str]) -> Vec<Option<String>> {
    let paths = Paths::new(paths);
    let text = |raw: Option<&[u8]>| raw.map(|raw| String::from_utf8(raw.to_vec()).expect("text"));
    let matches = find(document.as_bytes(), &paths);
    let whole: Vec<_> = (0..paths.len()).map(|path| text(matches.raw(path))).collect();
    for size in [1, 2, 3, 7, document.len().max(1)] {
        let mut finder = Finder::new(&paths, 1000);
        document.as_bytes().chunks(size).for_each(|chunk| finder.feed(chunk));
        let pieces: Vec<_> = (0..paths.len()).map(|path| text(finder.raw(path))).collect();
        assert_eq!(pieces, whole, "{document} in pieces of {size}");
        for found in finder.found() {
            assert_eq!(
                Some(found.range.start as usize..found.range.end as usize),
                matches.range(found.path),
                "{document}"
            );
        }
    }
    whole
}

/// A document, the wanted paths, the raw values that are there.
type Case<'a> = (&'a str, &'a [&'a str], &'a [Option<&'a str>]);

#[test]
fn finds_the_values_at_the_paths() {
    let cases: &[Case] = &[
        (r#"{"type":"a"}"#, &["type"], &[Some(r#""a""#)]),
        (r#" { "type" : "a" , "b" : 1 } "#, &["type", "b"], &[Some(r#""a""#), Some("1")]),
        (r#"{"n":-1.5e9}"#, &["n"], &[Some("-1.5e9")]),
        ("{\"n\":12\n}", &["n"], &[Some("12")]),
        (r#"{"a":{"b":{"c":[1,{"d":2}]}}}"#, &["a.b.c"], &[Some(r#"[1,{"d":2}]"#)]),
        // A path through another, both found.
        (r#"{"usage":{"x":{"y":null}},"z":0}"#, &["usage", "usage.x.y"], &[Some(r#"{"x":{"y":null}}"#), Some("null")]),
        // Not at the wanted depth.
        (r#"{"o":{"type":1},"l":[{"type":2}],"type":3}"#, &["type"], &[Some("3")]),
        (r#"{"l":[{"x":1}]}"#, &["l.x"], &[None]),
        (r#"{"usage":7}"#, &["usage.x"], &[None]),
        (r#"{"typ":1,"types":2,"":3}"#, &["type", ""], &[None, Some("3")]),
        // The last of a duplicate key; each path for itself.
        (r#"{"u":{"x":1},"u":{}}"#, &["u", "u.x"], &[Some("{}"), Some("1")]),
        // Escapes in keys and values.
        (r#"{"us\u0061ge":1}"#, &["usage"], &[Some("1")]),
        (r#"{"\u0075\u0073\u0061\u0067\u0065":1}"#, &["usage"], &[Some("1")]),
        (r#"{"\u0061b":1}"#, &["a"], &[None]),
        (r#"{"a\"b":{"\\":2}}"#, &["a\"b.\\"], &[Some("2")]),
        (r#"{"a":"\"\\","b":"{\\\"","type":"}\""}"#, &["type", "b"], &[Some(r#""}\"""#), Some(r#""{\\\"""#)]),
        // Rows of documents.
        (r#"[{"u":1},{"x":[{"u":9}]},{"u":2}]"#, &["u"], &[Some("2")]),
        ("{\"u\":1}\n{\"v\":2}", &["u", "v"], &[Some("1"), Some("2")]),
        (r#"[[{"u":1}],"u",{"u":{}}]"#, &["u"], &[Some("{}")]),
        // Cut off: what has ended is found.
        (r#"{"u":{"x":1},"v":12"#, &["u", "v"], &[Some(r#"{"x":1}"#), None]),
        (r#"{"u":{"x":1"#, &["u", "u.x"], &[None, None]),
        // Not JSON: nothing, or nothing more.
        ("", &["u"], &[None]),
        ("[DONE]", &["u"], &[None]),
        (r#"{"u" 1}"#, &["u"], &[None]),
        (r#"{"u":}"#, &["u"], &[None]),
        (r#"{"u":1"x"}"#, &["u"], &[None]),
        (r#"{"u":1} : {"u":2}"#, &["u"], &[Some("1")]),
        (r#"}]{"u":1}"#, &["u"], &[None]),
    ];
    for (document, paths, expected) in cases {
        let expected: Vec<Option<String>> = expected.iter().map(|value| value.map(str::to_owned)).collect();
        assert_eq!(values(document, paths), expected, "{document}");
    }
}

#[test]
fn tells_whole_documents_from_cut_ones() {
    let cases = [
        (r#"{"a":1}"#, true),
        (r#" [{"a":1}] "#, true),
        ("12", true),
        (r#""text""#, true),
        ("", false),
        ("  ", false),
        (r#"{"a":1"#, false),
        (r#"[{"a":1}"#, false),
        (r#""tex"#, false),
        (r#"{"a":[{}"#, false),
        (r#"{"a":1}}"#, false),
    ];
    for (text, whole) in cases {
        let mut finder = Finder::new(&Paths::new(&["a"]), 10);
        finder.feed(text.as_bytes());
        assert_eq!(finder.finish(), whole, "{text}");
    }
}

#[test]
fn a_value_longer_than_the_cap_has_only_a_place() {
    let document = br#"{"a":"0123456789","b":"01234567","c":{"d":"01234567890"},"e":1}"#;
    for size in [1, 5, document.len()] {
        let mut finder = Finder::new(&Paths::new(&["a", "b", "c", "c.d", "e"]), 10);
        document.chunks(size).for_each(|chunk| finder.feed(chunk));
        let seen: Vec<_> =
            finder.found().iter().map(|found| (found.path, found.range.clone(), found.raw.as_deref())).collect();
        let expected = [
            (0, 5..17, None),
            (1, 22..32, Some(&br#""01234567""#[..])),
            (3, 42..55, None),
            (2, 37..56, None),
            (4, 61..62, Some(&b"1"[..])),
        ];
        assert_eq!(seen, expected, "in pieces of {size}");
    }
}

#[test]
fn a_finder_serves_one_document_after_the_other() {
    let mut finder = Finder::new(&Paths::new(&["u", "v"]), 100);
    finder.feed(br#"{"u":"one","v":[1,"#);
    assert_eq!(finder.last(0).and_then(Found::string).as_deref(), Some("one"));
    assert_eq!(finder.raw(1), None);
    finder.reset();
    assert_eq!(finder.found(), []);
    finder.feed(br#"{"v":"two"}{"v":3}"#);
    assert_eq!((finder.raw(0), finder.raw(1)), (None, Some(&b"3"[..])));
    assert_eq!(finder.take(1).map(|found| found.range), Some(16..17));
    assert_eq!(finder.take(1), None);
    finder.feed(b"]");
    finder.feed(br#"{"v":4}"#);
    assert_eq!(finder.found(), [], "what is not JSON ends the search");
}

#[test]
fn undoes_escapes() {
    let cases: [(&[u8], Option<&str>); 9] = [
        (br#""plain""#, Some("plain")),
        (br#""""#, Some("")),
        (br#""a\n\"\\\/\u00e9\ud83d\ude00""#, Some("a\n\"\\/\u{e9}\u{1f600}")),
        (br#""\ud83d""#, None),
        (br#""\x""#, None),
        (b"\"\xff\"", None),
        (b"12", None),
        (b"\"", None),
        (b"", None),
    ];
    for (raw, expected) in cases {
        assert_eq!(string(raw).as_deref(), expected, "{raw:?}");
    }
}

#[test]
fn removes_members() {
    let cases: &[(&str, &[&str], &str)] = &[
        (r#"{"a":1,"b":2,"c":3}"#, &["a"], r#"{"b":2,"c":3}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["b"], r#"{"a":1,"c":3}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["c"], r#"{"a":1,"b":2}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["b", "a"], r#"{"c":3}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["b", "c"], r#"{"a":1}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["a", "c"], r#"{"b":2}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["c", "a", "b"], "{}"),
        (r#"{ "a" : 1 , "b" : {} }"#, &["b"], r#"{ "a" : 1  }"#),
        (r#"{ "a" : 1 , "b" : {} }"#, &["a"], r#"{  "b" : {} }"#),
        (r#"{"o":{"x":1},"b":2}"#, &["o.x"], r#"{"o":{},"b":2}"#),
        (r#"{"o":{"x":1},"b":2}"#, &["o.x", "o"], r#"{"b":2}"#),
        (r#"{"o":{"x":1},"b":2}"#, &["o.x", "b"], r#"{"o":{}}"#),
        (r#"{"a":1}"#, &["none", "a"], "{}"),
    ];
    for (document, gone, expected) in cases {
        let paths = Paths::new(gone);
        let matches = find(document.as_bytes(), &paths);
        let all: Vec<usize> = (0..gone.len()).collect();
        let cuts = matches.removals(&all);
        let left = splice::apply(document.as_bytes(), cuts.iter().map(|cut| (cut.clone(), &b""[..])));
        assert_eq!(
            left.map(|left| String::from_utf8_lossy(&left).into_owned()),
            Ok((*expected).to_owned()),
            "{gone:?}"
        );
    }
    assert_eq!(find(br#"{"a":1,"b":2}"#, &Paths::new(&["b"])).key_range(0), Some(6..12));
    assert_eq!(find(br#"{"a":1,"b":2}"#, &Paths::new(&["c"])).key_range(0), None);
}

#[test]
fn inserts_members() {
    let cases = [
        (r#"{"request":{"a":1}}"#, Some(r#"{"request":{"project":"p","a":1}}"#)),
        (r#"{"request":{ } }"#, Some(r#"{"request":{"project":"p" } }"#)),
        (r#"{"request": {"a":1, "b":"cut o"#, Some(r#"{"request": {"project":"p","a":1, "b":"cut o"#)),
        (r#"{"request":{"#, None),
        (r#"{"request":[]}"#, None),
        ("{}", None),
    ];
    for (document, expected) in cases {
        let paths = Paths::new(&["request"]);
        let matches = find(document.as_bytes(), &paths);
        let put = matches.object_start(0).map(|place| (place.at, place.member("project", br#""p""#)));
        let with = put.map(|(at, text)| splice::apply(document.as_bytes(), [(at..at, &text[..])]).expect("fits"));
        assert_eq!(with.map(|with| String::from_utf8_lossy(&with).into_owned()).as_deref(), expected, "{document}");
    }
    let root = find(b" {\"a\":1}", &Paths::new(&[])).root_start().expect("an object");
    assert_eq!((root, root.member("k\"", b"2")), (InsertAt { at: 2, empty: false }, br#""k\"":2,"#.to_vec()));
    assert_eq!(find(b"[1]", &Paths::new(&["a"])).root_start(), None);
}

#[test]
fn shows_no_content() {
    let paths = Paths::new(&["key"]);
    let document = br#"{"key":"made-up-token"}"#;
    let mut finder = Finder::new(&paths, 100);
    finder.feed(document);
    for shown in [format!("{finder:?}"), format!("{:?}", finder.found()), format!("{:?}", find(document, &paths))] {
        assert!(!shown.contains("made-up"), "{shown}");
    }
}
