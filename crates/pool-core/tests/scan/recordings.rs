//! The recorded answers of the three providers.

use std::path::{Path, PathBuf};

use pool_core::scan::json::Paths;
use serde_json::Value;

use crate::sse::{Read, read_simply, scan};

const PATHS: [&str; 6] =
    ["response.usage", "message.usage", "usage", "usageMetadata", "response.usageMetadata", "type"];
const TYPE: usize = 5;

/// A usage object: at which path, and what.
type Usage = (usize, Value);
/// The same, as text.
type Written = (usize, &'static str);

const CODEX: Written = (
    0,
    r#"{"input_tokens": 1200, "input_tokens_details": {"cached_tokens": 1000}, "output_tokens": 34,
        "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 1234}"#,
);
const CLAUDE_START: Written = (
    1,
    r#"{"input_tokens": 12, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 1000,
        "output_tokens": 1, "service_tier": "standard"}"#,
);
const CLAUDE_DELTA: Written = (2, r#"{"output_tokens": 34}"#);
const GEMINI: Written = (3, GEMINI_USAGE);
const CODE_ASSIST: Written = (4, GEMINI_USAGE);
const GEMINI_USAGE: &str = r#"{"promptTokenCount": 1200, "candidatesTokenCount": 34, "totalTokenCount": 1234,
    "cachedContentTokenCount": 1000}"#;

/// How many events a recording has, and the usage objects in it.
const EXPECTED: [(&str, usize, &[Written]); 12] = [
    ("claude_cut", 5, &[CLAUDE_START]),
    ("claude_final", 12, &[CLAUDE_START, CLAUDE_DELTA]),
    ("claude_overloaded", 6, &[CLAUDE_START]),
    ("claude_tool_use", 10, &[CLAUDE_START, CLAUDE_DELTA]),
    ("codex_cut", 2, &[]),
    ("codex_final", 12, &[CODEX]),
    ("codex_overloaded", 3, &[]),
    ("codex_tool_call", 4, &[CODEX]),
    ("gemini_api_final", 2, &[GEMINI, GEMINI]),
    ("gemini_api_truncated", 1, &[GEMINI]),
    ("gemini_codeassist_final", 2, &[CODE_ASSIST, CODE_ASSIST]),
    ("gemini_codeassist_tool", 1, &[CODE_ASSIST]),
];

fn usages(events: &[Read]) -> Vec<Usage> {
    let found = events.iter().flat_map(|event| event.values[..TYPE].iter().enumerate());
    found
        .filter_map(|(path, raw)| Some((path, serde_json::from_slice(raw.as_ref()?).expect("JSON"))))
        .filter(|(_, value): &Usage| !value.is_null())
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pool-providers/fixtures")
}

#[test]
fn the_usage_in_the_recordings_is_found() {
    for (name, count, usage) in EXPECTED {
        let usage: Vec<Usage> =
            usage.iter().map(|(path, text)| (*path, serde_json::from_str(text).expect("JSON"))).collect();
        let stream = std::fs::read(folder().join(name).with_extension("sse")).expect(name);
        let crlf = String::from_utf8(stream.clone()).expect(name).replace("\r\n", "\n").replace('\n', "\r\n");
        for sizes in [&[usize::MAX][..], &[1], &[7, 1000], &[64]] {
            let events = scan(&stream, &Paths::new(&PATHS), sizes);
            assert_eq!(events.len(), count, "{name}");
            assert_eq!(usages(&events), usage, "{name}");
            assert_eq!(events.last().map(|event| event.bytes.end), Some(stream.len() as u64), "{name}");
            for event in &events {
                // Codex and Claude name every event twice, in its line and in its data; Gemini never.
                let kind = event.values[TYPE].as_deref().map(|raw| String::from_utf8_lossy(raw).replace('"', ""));
                assert_eq!(event.name, kind, "{name}");
            }
            assert_eq!(usages(&scan(crlf.as_bytes(), &Paths::new(&PATHS), sizes)), usage, "{name}");
        }
    }
}

/// Also those that are not in the table.
#[test]
fn every_recording_reads_as_the_standard_words_it() {
    let paths = Paths::new(&PATHS);
    let files = std::fs::read_dir(folder()).expect("the recordings").map(|file| file.expect("a file").path());
    let streams: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "sse")).collect();
    assert!(streams.len() >= EXPECTED.len());
    for path in streams {
        let stream = std::fs::read(&path).expect("a recording");
        assert_eq!(scan(&stream, &paths, &[13]), read_simply(&stream, &paths), "{}", path.display());
    }
}
