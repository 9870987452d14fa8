use pool_core::Verdict;
use pool_core::verdict::{Cause, Fault};
use proptest::prelude::*;

use super::super::testing::demand;
use super::*;

/// Feeds in pieces of the given sizes (the last size repeats).
fn read(mut reader: Box<dyn Reader>, bytes: &[u8], sizes: &[usize]) -> (Box<dyn Reader>, Vec<pool_core::Judgement>) {
    let mut failures = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied();
    let mut size = usize::MAX;
    while !rest.is_empty() {
        size = sizes.next().unwrap_or(size).max(1);
        let (piece, after) = rest.split_at(size.min(rest.len()));
        failures.extend(reader.feed(piece).failure);
        rest = after;
    }
    failures.extend(reader.finish().failure);
    (reader, failures)
}

fn stream(bytes: &[u8]) -> (Box<dyn Reader>, Vec<pool_core::Judgement>) {
    read(Box::new(Events::new(&demand("claude-opus-5-5"))), bytes, &[])
}

fn plain(bytes: &[u8]) -> (Box<dyn Reader>, Vec<pool_core::Judgement>) {
    read(Box::new(Plain::new(&demand("claude-opus-5-5"))), bytes, &[7])
}

#[test]
fn a_whole_stream_is_counted_once() {
    let (reader, failures) = stream(include_bytes!("../../fixtures/claude_final.sse"));
    assert_eq!(failures, []);
    assert_eq!(reader.stage(), Stage::Ended);
    assert_eq!(reader.model(), Some("claude-opus-5-5"));
    let counts = TokenCounts { input: 12, cache_read: 1000, cache_write_5m: 300, output: 34, ..TokenCounts::default() };
    assert_eq!(reader.usage(), Some(counts));
}

#[test]
fn what_comes_before_content_can_still_be_taken_back() {
    let mut reader = Events::new(&demand("claude-opus-5-5"));
    let text = include_str!("../../fixtures/claude_final.sse");
    let (start, content) = text.split_at(text.find("event: content_block_start").expect("content"));
    reader.feed(start.as_bytes());
    reader.feed(b"event: ping\ndata: {\"type\": \"ping\"}\n\n: comment\n\n");
    assert_eq!(reader.stage(), Stage::Preamble);
    reader.feed(&content.as_bytes()[.."event: content_block_start\n".len()]);
    assert_eq!(reader.stage(), Stage::Meaningful, "known by its name");
}

#[test]
fn a_cut_stream_has_not_ended() {
    let (reader, failures) = stream(include_bytes!("../../fixtures/claude_cut.sse"));
    assert_eq!((reader.stage(), failures.len()), (Stage::Meaningful, 0));
    let text = include_str!("../../fixtures/claude_final.sse");
    let (reader, _) = stream(text.trim_end().as_bytes());
    assert_eq!(reader.stage(), Stage::Meaningful, "message_stop without its blank line is no event");
}

#[test]
fn an_error_in_the_stream_is_news() {
    let (reader, failures) = stream(include_bytes!("../../fixtures/claude_overloaded.sse"));
    assert_eq!(reader.stage(), Stage::Meaningful);
    let [failure] = &failures[..] else { panic!("one failure") };
    assert_eq!((failure.verdict, failure.fault), (Verdict::Elsewhere, Fault::Model));
    assert_eq!(failure.penalty.as_ref().expect("a cooldown").cause, Cause::ModelOverloaded);
    let (reader, failures) =
        stream(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"x\"}}\n\n");
    assert_eq!((reader.stage(), failures[0].fault), (Stage::Preamble, Fault::Provider));
}

#[test]
fn deltas_replace_what_was_told_and_thinking_is_told_apart() {
    let (reader, _) = stream(
        b"data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"cache_creation_input_tokens\":30,\
          \"cache_creation\":{\"ephemeral_5m_input_tokens\":10,\"ephemeral_1h_input_tokens\":20},\"output_tokens\":1}}}\n\n\
          data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":50,\"output_tokens_details\":{\"thinking_tokens\":20}}}\n\n\
          data: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":7,\"output_tokens\":100,\"cache_read_input_tokens\":null,\
          \"output_tokens_details\":{\"thinking_tokens\":40},\"iterations\":[{\"output_tokens\":9}]}}\n\n",
    );
    let counts =
        TokenCounts { input: 7, cache_read: 0, cache_write_5m: 10, cache_write_1h: 20, output: 60, reasoning: 40 };
    assert_eq!(reader.usage(), Some(counts));
}

#[test]
fn absurd_counts_are_not_believed() {
    for absurd in ["-5", "1e30", "99999999999999999999999", "\"12\"", "null", "[1]"] {
        let event = format!("data: {{\"type\":\"message_delta\",\"usage\":{{\"output_tokens\":{absurd}}}}}\n\n");
        assert_eq!(stream(event.as_bytes()).0.usage(), None, "{absurd}");
    }
    let (reader, failures) = stream(b"\xff\xfe\n\ndata: {{{{\n\ndata: {\"type\":\"news\"}\n\n");
    assert_eq!((reader.usage(), failures.len(), reader.stage()), (None, 0, Stage::Meaningful));
}

#[test]
fn plain_answers_are_read_at_their_end() {
    let message = br#"{"id":"msg_1","type":"message","model":"claude-opus-5-5","content":[{"type":"text","text":"x"}],
        "stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":5}}"#;
    let (reader, failures) = plain(message);
    assert_eq!((reader.stage(), failures.len(), reader.model()), (Stage::Ended, 0, Some("claude-opus-5-5")));
    let counts = TokenCounts { input: 3, cache_read: 5, output: 4, ..TokenCounts::default() };
    assert_eq!(reader.usage(), Some(counts));

    let (reader, _) = plain(&message[..message.len() - 1]);
    assert_eq!(reader.stage(), Stage::Meaningful, "cut off");

    let (reader, _) = plain(br#"{"input_tokens":2095}"#);
    assert_eq!((reader.stage(), reader.usage()), (Stage::Ended, None), "counting costs nothing");

    let (reader, failures) = plain(br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    assert_eq!((reader.stage(), failures.len()), (Stage::Preamble, 1));
}

proptest! {
    #[test]
    fn however_it_is_cut_it_reads_the_same(sizes in proptest::collection::vec(1_usize..90, 1..40)) {
        for bytes in [
            &include_bytes!("../../fixtures/claude_final.sse")[..],
            include_bytes!("../../fixtures/claude_tool_use.sse"),
            include_bytes!("../../fixtures/claude_overloaded.sse"),
        ] {
            let (whole, whole_failures) = stream(bytes);
            let (cut, failures) = read(Box::new(Events::new(&demand("claude-opus-5-5"))), bytes, &sizes);
            prop_assert_eq!(cut.usage(), whole.usage());
            prop_assert_eq!(cut.stage(), whole.stage());
            prop_assert_eq!(failures, whole_failures);
        }
    }
}
