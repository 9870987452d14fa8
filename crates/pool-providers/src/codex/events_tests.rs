use pool_core::verdict::{Cause, Fault};
use pool_core::{AccountKind, Client, Scope};
use proptest::prelude::*;

use super::super::ID;
use super::super::routes::ROUTES;
use super::*;

const NOW: UnixMs = UnixMs(1_795_341_460_000);
const FINAL: &str = include_str!("../../fixtures/codex_final.sse");
const TOOL_CALL: &str = include_str!("../../fixtures/codex_tool_call.sse");
const OVERLOADED: &str = include_str!("../../fixtures/codex_overloaded.sse");
const CUT: &str = include_str!("../../fixtures/codex_cut.sse");

const CREATED: &str =
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"m\",\"usage\":null}}\n\n";
const LIMIT_EVENT: &str = "event: codex.rate_limits\ndata: {\"type\":\"codex.rate_limits\",\"plan_type\":\"plus\",\
    \"rate_limits\":{\"allowed\":false,\"limit_reached\":true,\"primary\":{\"used_percent\":100,\"window_minutes\":300,\
    \"reset_at\":1795341520},\"secondary\":null}}\n\n";
const DELTA: &str =
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n";

const RECORDED_USAGE: TokenCounts =
    TokenCounts { input: 200, cache_read: 1000, cache_write_5m: 0, cache_write_1h: 0, output: 24, reasoning: 10 };

fn reader_of(about_row: &str, stream: bool) -> Box<dyn Reader> {
    let route = ROUTES.iter().find(|route| route.id == about_row).expect("a row");
    let demand = Demand {
        provider: ID,
        client: Client::OwnCli,
        model: Some("gpt-x".into()),
        families: Vec::new(),
        session: None,
        parent: None,
        binding: pool_core::Binding::Cache,
        keep: None,
        light: false,
        kinds: &[AccountKind::ApiKey],
    };
    reader(route, &demand, stream, NOW)
}

fn responses() -> Box<dyn Reader> {
    reader_of("responses", true)
}

#[test]
fn recorded_streams_are_read_to_their_end() {
    for recording in [FINAL, TOOL_CALL] {
        let mut reader = responses();
        let news = reader.feed(recording.as_bytes());
        assert_eq!((reader.stage(), news.failure), (Stage::Ended, None));
        assert_eq!(reader.usage(), Some(RECORDED_USAGE));
        assert_eq!(reader.model(), Some("gpt-6.1-sol"));
        assert_eq!(reader.hidden(), (Vec::new(), recording.len() as u64));
    }
    let mut reader = responses();
    reader.feed(CUT.as_bytes());
    reader.finish();
    assert_eq!((reader.stage(), reader.usage()), (Stage::Meaningful, None));
}

#[test]
fn a_recorded_overload_after_the_start_is_told_but_too_late() {
    let mut reader = responses();
    let failure = reader.feed(OVERLOADED.as_bytes()).failure.expect("a failure");
    assert_eq!((failure.verdict, failure.fault), (Verdict::Elsewhere, Fault::Model));
    assert_eq!(reader.stage(), Stage::Ended);
}

#[test]
fn the_account_can_change_until_something_of_substance_comes() {
    let event = |kind: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"}}\n\n");
    for kind in PREAMBLE {
        let mut reader = responses();
        reader.feed(event(kind).as_bytes());
        assert_eq!(reader.stage(), Stage::Preamble, "{kind}");
    }
    for (kind, stage) in [
        ("response.output_item.added", Stage::Meaningful),
        ("response.output_text.delta", Stage::Meaningful),
        ("response.something_new", Stage::Meaningful),
        ("response.completed", Stage::Ended),
        ("response.incomplete", Stage::Ended),
    ] {
        let mut reader = responses();
        reader.feed(CREATED.as_bytes());
        reader.feed(event(kind).as_bytes());
        assert_eq!(reader.stage(), stage, "{kind}");
        // Without names, as some servers send it.
        let mut reader = responses();
        reader.feed(format!("data: {{\"type\":\"{kind}\"}}\n\n").as_bytes());
        assert_eq!(reader.stage(), stage, "{kind}");
    }
    // Comments are no answer.
    let mut reader = responses();
    reader.feed(b": keep-alive\n\n");
    assert_eq!(reader.stage(), Stage::Preamble);
}

#[test]
fn each_client_gets_the_sign_of_life_that_it_survives() {
    let sign = |id: &str, client| {
        let route = ROUTES.iter().find(|route| route.id == id).expect("a row");
        keep_alive(route, client).map(|sign| std::str::from_utf8(sign).expect("text"))
    };
    let comment = Some(": keep-alive\n\n");
    let event = sign("responses", Client::OwnCli).expect("Codex counts events only");
    assert!(event.ends_with("\n\n") && event.contains("data: {\"type\":\"keepalive\"}"), "{event}");
    assert_eq!(sign("responses", Client::Other), comment);
    assert_eq!(sign("chat completions", Client::OwnCli), comment);
    assert_eq!(sign("image edits", Client::Other), None);
    // As an upstream's own, it commits to nothing.
    let mut reader = responses();
    reader.feed(event.as_bytes());
    assert_eq!(reader.stage(), Stage::Preamble);
}

#[test]
fn a_long_event_counts_before_it_ends() {
    let mut reader = responses();
    reader.feed(CREATED.as_bytes());
    reader.feed(b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[");
    assert_eq!(reader.stage(), Stage::Meaningful);
    let (hidden, decided) = reader.hidden();
    assert!(hidden.is_empty() && decided > CREATED.len() as u64 + 60, "{decided}");
}

#[test]
fn failures_before_anything_of_substance_go_elsewhere() {
    let failed = |code: &str| {
        format!(
            "event: response.failed\ndata: {{\"type\":\"response.failed\",\"response\":{{\"status\":\"failed\",\"error\":\
             {{\"code\":\"{code}\",\"message\":\"try again in 2s\"}},\"usage\":{{\"input_tokens\":7,\"output_tokens\":0}}}}}}\n\n"
        )
    };
    let cases = [
        (failed("server_is_overloaded"), Verdict::Elsewhere, Some((Scope::Family("model:gpt-x".into()), Cause::ModelOverloaded))),
        (failed("rate_limit_exceeded"), Verdict::Elsewhere, Some((Scope::Family("model:gpt-x".into()), Cause::Throttled))),
        (failed("insufficient_quota"), Verdict::Elsewhere, Some((Scope::Account, Cause::OutOfCredit))),
        (failed("context_length_exceeded"), Verdict::Fatal, None),
        ("event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\",\"param\":null}\n\n".into(),
            Verdict::Elsewhere, Some((Scope::Account, Cause::UpstreamFailing))),
        ("data: {\"type\":\"error\",\"status\":429,\"error\":{\"type\":\"usage_limit_reached\",\"resets_in_seconds\":60}}\n\n".into(),
            Verdict::Elsewhere, Some((Scope::Account, Cause::QuotaSpent))),
        ("data: {\"error\":{\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\"}}\n\n".into(),
            Verdict::Elsewhere, Some((Scope::Account, Cause::OutOfCredit))),
        ("event: error\ndata: {}\n\n".into(), Verdict::Fatal, None),
    ];
    for (event, verdict, cooled) in cases {
        let mut reader = responses();
        let failure = reader.feed(format!("{CREATED}{event}").as_bytes()).failure.expect("a failure");
        assert_eq!(failure.verdict, verdict, "{event}");
        assert_eq!(failure.penalty.map(|penalty| (penalty.scope, penalty.cause)), cooled, "{event}");
        let stage = if verdict == Verdict::Elsewhere { Stage::Preamble } else { Stage::Ended };
        assert_eq!(reader.stage(), stage, "{event}");
    }
    let mut reader = responses();
    reader.feed(failed("server_error").as_bytes());
    assert_eq!(reader.usage().map(|usage| usage.input), Some(7));
}

#[test]
fn a_reached_limit_event_is_hidden_and_ends_nothing() {
    let stream = format!("{CREATED}{LIMIT_EVENT}{DELTA}{LIMIT_EVENT}");
    let mut reader = responses();
    let news = reader.feed(stream.as_bytes());
    assert_eq!((news.windows.len(), news.failure), (2, None));
    assert_eq!(news.windows[0].resets_at, Some(UnixMs(1_795_341_520_000)));
    assert_eq!(reader.stage(), Stage::Meaningful);
    let (hidden, decided) = reader.hidden();
    let (first, second) = (CREATED.len() as u64, (CREATED.len() + LIMIT_EVENT.len() + DELTA.len()) as u64);
    let length = LIMIT_EVENT.len() as u64;
    assert_eq!(hidden, [first..first + length, second..second + length]);
    assert_eq!(decided, stream.len() as u64);
    assert_eq!(reader.hidden().0, [], "each is told once");
}

#[test]
fn other_events_are_never_held_back_longer_than_needed() {
    let decided = |bytes: &str| {
        let mut reader = responses();
        reader.feed(bytes.as_bytes());
        reader.hidden().1
    };
    // Undecided: it may become a limit event.
    assert_eq!(decided("event: codex.ra"), 0);
    assert_eq!(decided("data: {\"plan_type\""), 0);
    assert_eq!(decided("event: codex.rate_limits\ndata: {"), 0);
    // Decided by name, by type, by size; a comment at its end.
    for bytes in [
        "event: response.created\n".to_owned(),
        "data: {\"type\":\"response.created\",".to_owned(),
        format!("data: {{\"x\":\"{}", "y".repeat(20_000)),
        ": keep-alive\n\n".to_owned(),
    ] {
        assert_eq!(decided(&bytes), bytes.len() as u64, "{bytes:.40}");
    }
}

#[test]
fn chat_completions_end_with_their_word() {
    let mut reader = reader_of("chat completions", true);
    reader.feed(b"data: {\"model\":\"gpt-y\",\"choices\":[],\"prompt_filter_results\":[]}\n\n");
    assert_eq!(reader.stage(), Stage::Preamble);
    reader.feed(b"data: {\"model\":\"gpt-y\",\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n");
    assert_eq!((reader.stage(), reader.usage()), (Stage::Meaningful, None));
    reader.feed(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n");
    assert_eq!((reader.stage(), reader.model()), (Stage::Ended, Some("gpt-y")));
    assert_eq!(reader.usage().map(|usage| (usage.input, usage.output)), Some((9, 2)));
    assert_eq!(reader.hidden(), (Vec::new(), u64::MAX));
}

#[test]
fn plain_answers_are_whole_or_not() {
    let whole =
        br#" {"model":"gpt-y","output":[{"usage":5}],"error":null,"usage":{"input_tokens":9,"output_tokens":2}}"#;
    let mut reader = reader_of("responses", false);
    reader.feed(whole);
    assert_eq!(reader.stage(), Stage::Meaningful);
    assert_eq!(reader.finish().failure, None);
    assert_eq!((reader.stage(), reader.model()), (Stage::Ended, Some("gpt-y")));
    assert_eq!(reader.usage().map(|usage| usage.total()), Some(11));

    let mut reader = reader_of("responses", false);
    reader.feed(&whole[..40]);
    reader.finish();
    assert_eq!((reader.stage(), reader.usage()), (Stage::Meaningful, None));

    let mut reader = reader_of("speech", false);
    reader.feed(b"ID3\x04\xff\xfb");
    reader.finish();
    assert_eq!(reader.stage(), Stage::Ended);

    let mut reader = reader_of("responses", false);
    reader.feed(br#"{"status":"failed","error":{"code":"insufficient_quota","message":"m"}}"#);
    assert_eq!(reader.finish().failure.map(|failure| failure.verdict), Some(Verdict::Elsewhere));
}

#[test]
fn a_huge_last_event_costs_no_memory_and_tells_its_usage() {
    let mut reader = responses();
    reader.feed(b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[\"");
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..8 {
        reader.feed(&piece);
    }
    reader.feed(b"\"],\"usage\":{\"input_tokens\":9,\"output_tokens\":2}}}\n\n");
    assert_eq!(reader.stage(), Stage::Ended);
    assert_eq!(reader.usage().map(|usage| usage.total()), Some(11));
}

/// What the client would get: everything decided, without what is hidden, whatever the chunks.
fn delivered(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<TokenCounts>, Stage, usize) {
    let mut reader = responses();
    let (mut out, mut sent, mut windows, mut hidden) = (Vec::new(), 0, 0, Vec::new());
    let mut at = 0;
    let ends = cuts.iter().copied().chain([stream.len()]);
    for end in ends {
        windows += reader.feed(&stream[at..end]).windows.len();
        at = end;
        let (more, decided) = reader.hidden();
        hidden.extend(more);
        let decided = decided.min(end as u64);
        for offset in sent..decided {
            if !hidden.iter().any(|range: &Range<u64>| range.contains(&offset)) {
                out.push(stream[offset as usize]);
            }
        }
        sent = decided;
    }
    reader.finish();
    (out, reader.usage(), reader.stage(), windows)
}

proptest! {
    #[test]
    fn chunks_do_not_matter(mut cuts in proptest::collection::vec(0_usize..4000, 0..40), crlf: bool) {
        let (_, rest) = FINAL.split_once("\n\n").expect("events");
        let mut stream = format!("{CREATED}{LIMIT_EVENT}{DELTA}: ping\n\n{LIMIT_EVENT}{rest}");
        let mut clean = format!("{CREATED}{DELTA}: ping\n\n{rest}");
        if crlf {
            stream = stream.replace('\n', "\r\n");
            clean = clean.replace('\n', "\r\n");
        }
        for cut in &mut cuts {
            *cut = (*cut).min(stream.len());
        }
        cuts.sort_unstable();
        let (out, usage, stage, windows) = delivered(stream.as_bytes(), &cuts);
        prop_assert_eq!(String::from_utf8_lossy(&out), clean);
        prop_assert_eq!((usage, stage, windows), (Some(RECORDED_USAGE), Stage::Ended, 2));
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for (row, stream) in [("responses", true), ("chat completions", true), ("responses", false)] {
            let mut reader = reader_of(row, stream);
            reader.feed(b"data: ");
            reader.feed(&bytes);
            reader.finish();
            prop_assert!(reader.hidden().1 <= bytes.len() as u64 + 6 || reader.hidden().1 == u64::MAX);
        }
    }
}
