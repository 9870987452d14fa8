//! Every fault, as it looks on the wire.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Ask, EACH, fake};
use crate::{Ended, Fault, Target, payload_sha256, sse};

#[tokio::test]
async fn refusals_speak_the_providers_own_words() {
    let fake = fake().await;
    // In the order anna, oak, clara, sue, ash, gina, gum.
    let cases: [(Fault, [u16; 7], &str); 9] = [
        (Fault::Throttle { retry_after: 2 }, [429; 7], ""),
        (Fault::Expired, [401, 401, 401, 401, 401, 401, 400], ""),
        (Fault::Unpaid, [402, 429, 402, 402, 402, 403, 403], ""),
        (Fault::Forbidden, [403; 7], ""),
        (Fault::CdnHtml, [403; 7], "Cloudflare"),
        (Fault::ModelNotSupported, [400, 404, 404, 404, 404, 404, 404], ""),
        (Fault::ServerError, [500; 7], ""),
        (Fault::Overloaded, [503, 503, 529, 529, 529, 503, 503], "overloaded"),
        (Fault::Status(422), [422; 7], ""),
    ];
    for (fault, statuses, words) in cases {
        for (account, status) in EACH.into_iter().zip(statuses) {
            fake.account(account).fault_next(1, fault.clone());
            let seen = Ask::of(&fake, account).send(&fake).await;
            assert_eq!(seen.status, Some(status), "{account} {fault:?}");
            assert!(seen.text().contains(words), "{account} {fault:?}: {}", seen.text());
        }
    }
    let limits = [
        ("anna", "usage_limit_reached"),
        ("oak", "rate_limit_exceeded"),
        ("clara", "rate_limit_error"),
        ("gina", "QUOTA_EXHAUSTED"),
        ("gum", "PerMinute"),
    ];
    for (account, words) in limits {
        fake.account(account).fault_next(1, Fault::Limit);
        for _ in 0..2 {
            let seen = Ask::of(&fake, account).send(&fake).await;
            assert_eq!(seen.status, Some(429), "{account}");
            assert!(seen.text().contains(words), "{account}: {}", seen.text());
        }
    }
}

#[tokio::test]
async fn a_throttle_has_no_unified_headers_and_a_limit_has() {
    let fake = fake().await;
    let claude = fake.account("clara");
    claude.fault_next(1, Fault::Throttle { retry_after: 1 });
    let throttled = Ask::of(&fake, "clara").send(&fake).await;
    assert!(throttled.header("anthropic-ratelimit-unified-status").is_none());
    claude.limit("7d", Duration::from_hours(1));
    let limited = Ask::of(&fake, "clara").send(&fake).await;
    assert_eq!(limited.header("anthropic-ratelimit-unified-status"), Some("rejected"));
    assert_eq!(limited.header("anthropic-ratelimit-unified-representative-claim"), Some("seven_day"));
}

#[tokio::test]
async fn broken_transports_break_as_said() {
    let fake = fake().await;
    // Fault, status if any, is the framing whole, how it is logged.
    let cases = [
        (Fault::CloseBeforeHead, None, false, Ended::Broken),
        (Fault::Reset, None, false, Ended::Broken),
        (Fault::Garbage, None, false, Ended::Broken),
        (Fault::DuplicateContentLength, Some(200), true, Ended::Broken),
        (Fault::Silent, None, false, Ended::PeerLeft),
        (Fault::CutFirst, Some(200), false, Ended::Broken),
        (Fault::CutMid, Some(200), false, Ended::Broken),
        (Fault::RstMid, Some(200), false, Ended::Broken),
        (Fault::Stall, Some(200), false, Ended::PeerLeft),
        (Fault::BadChunk, Some(200), false, Ended::Broken),
        (Fault::ShortGzip, Some(200), true, Ended::Broken),
        (Fault::LongContentLength, Some(200), false, Ended::Broken),
        (Fault::EndlessLine { mib: 1 }, Some(200), true, Ended::Broken),
    ];
    for (fault, status, whole, ended) in cases {
        for account in ["anna", "ash", "gum"] {
            fake.account(account).fault_next(1, fault.clone());
            let seen = Ask::of(&fake, account).send(&fake).await;
            assert_eq!((seen.status, seen.whole), (status, whole), "{account} {fault:?}");
            let logged = wait_for_end(&fake).await;
            assert_eq!(logged, ended, "{account} {fault:?}");
            if matches!(fault, Fault::RstMid | Fault::Reset) {
                assert_eq!(seen.broke, Some(std::io::ErrorKind::ConnectionReset), "{account} {fault:?}");
            }
            let began = matches!(fault, Fault::CutMid | Fault::RstMid | Fault::Stall | Fault::BadChunk);
            assert_eq!(
                began,
                !sse::events(&seen.body).is_empty() && !seen.whole && seen.header("content-length").is_none(),
                "{account} {fault:?}"
            );
        }
    }
    assert_eq!(fake.books().account("anna").completed, 0);
}

async fn wait_for_end(fake: &crate::FakeUpstream) -> Ended {
    for _ in 0..200 {
        let last = fake.books().log.last().expect("logged").ended;
        if last != Ended::Open {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ended::Open
}

#[tokio::test]
async fn odd_but_proper_answers_arrive_whole() {
    let fake = fake().await;
    let ask = Ask::of(&fake, "anna");
    let faults = [
        Fault::SlowHead(Duration::from_millis(200)),
        Fault::Paced(Duration::from_millis(5)),
        Fault::Http10,
        Fault::Trailers,
        Fault::ChunkExtensions,
        Fault::EarlyHints,
        Fault::InvalidUtf8,
        Fault::Malformed,
        Fault::DeepJson,
        Fault::LimitEvent,
        Fault::Crlf,
        Fault::Comments,
        Fault::MultiData,
        Fault::Tiny,
        Fault::LeakyHeaders,
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        fake.account("anna").fault_next(1, fault.clone());
        let seen = ask.send(&fake).await;
        assert_eq!((seen.status, seen.whole), (Some(200), true), "{fault:?}");
        assert!(sse::events(&seen.body).iter().any(|event| event.name == "response.completed"), "{fault:?}");
        let entry = fake.books().log.last().cloned().expect("logged");
        assert_eq!(entry.payload_sha256, Some(payload_sha256(&seen.body)), "{fault:?}");
        assert_eq!(wait_for_end(&fake).await, Ended::Whole, "{fault:?}");
        assert_eq!(fake.books().account("anna").completed, n as u64 + 1, "{fault:?}");
    }
}

#[tokio::test]
async fn huge_answers_tell_their_usage_at_the_end() {
    let fake = fake().await;
    for account in EACH {
        fake.account(account).fault_next(1, Fault::HugeEvent { mib: 2 });
        let seen = Ask::of(&fake, account).send(&fake).await;
        assert!(seen.body.len() > 2 << 20, "{account}");
        assert_eq!(fake.books().account(account).completed, 1, "{account}");
        let last = sse::events(&seen.body).pop().expect("an event");
        let value: serde_json::Value = serde_json::from_slice(&last.data).expect("JSON in spite of its size");
        assert_eq!(value["padding"].as_str().map(str::len), Some(2 << 20));
    }
    fake.account("oak").fault_next(1, Fault::GzipBomb { mib: 8 });
    let seen = Ask::of(&fake, "oak").body("stream", json!(false)).send(&fake).await;
    assert_eq!(seen.header("content-encoding"), Some("gzip"));
    assert!(seen.body.len() < 1 << 20);
}

#[tokio::test]
async fn overload_inside_a_200_comes_before_or_after_content() {
    let fake = fake().await;
    for (account, content, error) in
        [("anna", "response.output_item.added", "response.failed"), ("ash", "content_block_start", "error")]
    {
        for (fault, begun) in [(Fault::OverloadFirst, false), (Fault::ErrMid, true)] {
            fake.account(account).fault_next(1, fault);
            let seen = Ask::of(&fake, account).send(&fake).await;
            let names: Vec<_> = sse::events(&seen.body).into_iter().map(|event| event.name).collect();
            assert_eq!(names.iter().any(|name| name == content), begun, "{names:?}");
            assert_eq!(names.last().map(String::as_str), Some(error), "{names:?}");
        }
        assert_eq!(fake.books().account(account).completed, 0);
    }
    fake.account("ash").fault_next(1, Fault::OverloadFirst);
    let plain = Ask::of(&fake, "ash").body("stream", json!(false)).send(&fake).await;
    assert_eq!((plain.status, fake.books().account("ash").completed), (Some(200), 1), "a plain answer has no inside");
    fake.account("gum").fault_next(1, Fault::NoTerminal);
    let seen = Ask::of(&fake, "gum").send(&fake).await;
    assert!(seen.whole && !seen.text().contains("finishReason"));
}

#[tokio::test]
async fn absurd_usage_is_told_but_not_booked() {
    let fake = fake().await;
    for account in EACH {
        fake.account(account).fault_next(1, Fault::AbsurdUsage);
        let seen = Ask::of(&fake, account).send(&fake).await;
        assert!(seen.whole && seen.text().contains("4611686018427387904"), "{account}: {}", seen.text());
        assert_eq!(fake.books().account(account).tokens.total(), 0);
    }
}

#[tokio::test]
async fn a_peer_that_leaves_is_noticed() {
    let fake = fake().await;
    let slow = Duration::from_secs(30);
    let faults = [Fault::Paced(slow), Fault::SlowHead(slow), Fault::Silent, Fault::Stall];
    for fault in faults {
        fake.account("anna").fault_next(1, fault.clone());
        let ask = Ask::of(&fake, "anna");
        let gone = tokio::time::timeout(Duration::from_millis(200), ask.send(&fake)).await;
        assert!(gone.is_err(), "{fault:?}: still waiting when it left");
        let left_at = Instant::now();
        assert_eq!(wait_for_end(&fake).await, Ended::PeerLeft, "{fault:?}");
        assert!(left_at.elapsed() < Duration::from_secs(2), "{fault:?}");
    }
    assert_eq!(fake.books().account("anna").completed, 0);
}

#[tokio::test]
async fn plans_are_by_account_and_by_sort_of_call() {
    let fake = fake().await;
    fake.fault_next(1, Fault::ServerError);
    fake.account("anna").plan(Target::Probe, Some(1), Fault::Overloaded);
    fake.account("anna").fault_sequence([Fault::Status(418), Fault::Fine]);
    let statuses = [Some(418), Some(200), Some(500), Some(200)];
    for status in statuses {
        assert_eq!(Ask::of(&fake, "anna").send(&fake).await.status, status);
    }
}

#[test]
fn faults_are_found_by_name() {
    for (name, fault) in Fault::all() {
        assert_eq!(Fault::parse(name).as_ref(), Some(&fault));
        assert_eq!(fault.name(), name);
    }
    assert_eq!(Fault::parse("huge_event=8"), Some(Fault::HugeEvent { mib: 8 }));
    assert_eq!(Fault::parse("cut_mid=8"), None);
    assert_eq!(Fault::parse("nothing"), None);
}
