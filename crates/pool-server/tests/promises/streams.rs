//! Bytes are not lost or altered, whatever they look like on the wire (P-1).

use std::collections::BTreeMap;

use pool_testkit::sse::events;
use pool_testkit::{Fault, Style, World, payload_sha256};

use crate::send_all;
use crate::support::Rig;
use crate::support::clients::{CLAUDE, CODE_ASSIST, CODEX, GEMINI};

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_many_streams_is_lost_or_altered() {
    let clients = [CODEX, CLAUDE, CODE_ASSIST];
    let rig = Rig::start(World::one_of_each()).await;
    let shapes = [
        (Fault::Tiny, Style { extra_events: 3, ..Style::default() }),
        (Fault::MultiData, Style { extra_events: 40, event_chars: 1, ..Style::default() }),
        (Fault::Comments, Style { extra_events: 40, event_chars: 3000, ..Style::default() }),
        (Fault::Crlf, Style { extra_events: 10, event_chars: 30_000, ..Style::default() }),
        (Fault::Fine, Style { extra_events: 2, event_chars: 200_000, ..Style::default() }),
    ];
    for (round, (shape, style)) in shapes.into_iter().enumerate() {
        rig.fake.clear_faults();
        rig.fake.fault(shape.clone());
        rig.fake.set_style(style);
        let before = rig.fake.books().inference().count();
        let requests = (0..20).map(|n| (clients[n % 3].request)(&format!("round {round}, stream {n}"))).collect();
        let mut received: BTreeMap<String, usize> = BTreeMap::new();
        for seen in send_all(&rig, requests).await {
            assert_eq!((seen.status, seen.whole), (Some(200), true), "{shape:?}");
            assert!(events(&seen.body).iter().all(|event| event.name != "codex.rate_limits"), "{shape:?}");
            *received.entry(payload_sha256(&seen.body)).or_default() += 1;
        }
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for entry in rig.fake.books().inference().skip(before) {
            *sent.entry(entry.payload_sha256.clone().expect("a whole answer")).or_default() += 1;
        }
        assert_eq!(received, sent, "{shape:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_events_of_one_account_are_the_only_thing_taken_out() {
    let rig = Rig::start(World::new().account(pool_testkit::FakeAccount::chatgpt("anna"))).await;
    let direct = (CODEX.request)("one")
        .header("authorization", &format!("Bearer {}", rig.fake.account("anna").access_token()))
        .header("chatgpt-account-id", &rig.fake.account("anna").workspace());
    let mut direct = direct;
    // The later headers replace the client's own.
    direct.headers.drain(..2);
    for shape in [Fault::Fine, Fault::Crlf, Fault::Comments] {
        rig.fake.clear_faults();
        rig.fake.fault(shape.clone());
        let plain = direct.send(rig.fake.addr(), std::time::Duration::from_secs(5)).await.expect("connected");
        assert_eq!(plain.status, Some(200), "{}", plain.text());
        let pooled = rig.send(&(CODEX.request)("one")).await;
        // Ids and counts differ from answer to answer, lengths and lines do not.
        let lines = |text: String| {
            let blocks: Vec<_> = text
                .split_inclusive(if shape == Fault::Crlf { "\r\n\r\n" } else { "\n\n" })
                .filter(|block| !block.contains("codex.rate_limits"))
                .map(|block| block.split(|c: char| c.is_ascii_digit()).collect::<String>())
                .collect();
            blocks
        };
        let tag = |text: String| text.replace(|c: char| c.is_ascii_digit(), "");
        assert!(plain.text().contains("codex.rate_limits"), "{shape:?}");
        assert_eq!(
            lines(pooled.text()).into_iter().map(tag).collect::<Vec<_>>(),
            lines(plain.text()).into_iter().map(tag).collect::<Vec<_>>(),
            "{shape:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_public_api_is_wrapped_for_code_assist_clients_in_any_chunking() {
    let rig = Rig::start(World::new().account((GEMINI.account)("gum"))).await;
    for shape in [Fault::Fine, Fault::Tiny, Fault::Comments] {
        rig.fake.clear_faults();
        rig.fake.fault(shape.clone());
        let seen = rig.send(&(CODE_ASSIST.request)("one")).await;
        assert_eq!((seen.status, seen.whole), (Some(200), true), "{shape:?}: {}", seen.text());
        let found = events(&seen.body);
        assert!(!found.is_empty(), "{shape:?}");
        for event in found {
            let document: serde_json::Value = serde_json::from_slice(&event.data).expect("JSON");
            assert!(document["response"].is_object(), "{shape:?}: {document}");
        }
        assert!(seen.text().contains("finishReason"), "{shape:?}");
    }
}
