//! The sums' promises: what the records say, once, whoever writes and however often.

use std::time::Duration;

use pool_core::people::UserId;
use pool_core::{AccountId, LatencyParts, TokenCounts};

use super::super::Options;
use super::*;
use crate::rig::homes;

const DEADLINE: Duration = Duration::from_secs(30);

/// The same every time, and as different from each other as records can be.
fn record(number: u64) -> UsageRecord {
    let pick = |of: u64, salt: u64| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt * 7919) >> 13) % of;
    let endings = [Ending::Complete, Ending::Incomplete, Ending::Aborted, Ending::Failed];
    let first_byte_ms = [0, 249, 250, 999, 31_999, 32_000, 1 << 50][pick(7, 1) as usize];
    let scale = [1, 20_000, 30_000, 50_000, 70_000, u64::MAX / 8][pick(6, 2) as usize];
    let tokens =
        TokenCounts { input: scale, cache_read: scale, cache_write_5m: scale, output: 3, ..TokenCounts::default() };
    let parts = LatencyParts { choose_us: pick(900, 3), wait_ms: pick(9, 4), connect_ms: 2, upstream_ms: pick(999, 5) };
    UsageRecord {
        request_id: format!("r{number}"),
        at: UnixMs(1_800_000_000_000 + (pick(5, 6) * 7 * HOUR as u64 + pick(HOUR as u64, 7)) as i64),
        user: (pick(3, 8) > 0).then(|| UserId(format!("u-{}", pick(2, 9)).into())),
        provider: ["acme", "other"][pick(2, 10) as usize].into(),
        account: if pick(6, 11) == 0 { AccountId::nobody() } else { AccountId(format!("a-{}", pick(2, 12)).into()) },
        model: [None, Some("m-1".into()), Some("ä".repeat(150)), Some("with\0nothing".into())][pick(4, 13) as usize]
            .clone(),
        client: (pick(4, 14) > 0).then(|| "cli/1".to_owned()),
        session: None,
        status: [200, 200, 101, 429][pick(4, 15) as usize],
        ending: endings[pick(4, 16) as usize],
        tokens: (pick(4, 17) > 0).then_some(tokens),
        attempts: pick(4, 18) as u32,
        first_byte_ms,
        total_ms: first_byte_ms + pick(5000, 19),
        parts: (pick(3, 20) > 0).then_some(parts),
    }
}

async fn requests(ledger: &Ledger, table: &'static str) -> i64 {
    let sum = built(format!("SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS requests FROM {table}"));
    ledger.database().all(sum).await.expect("sums")[0].get("requests").expect("a number")
}

#[tokio::test]
async fn the_sums_are_what_the_records_say() {
    for home in homes() {
        // Two writers, as of two replicas, that are handed much the same.
        let options = Options { batch: 37, linger: Duration::from_millis(1), ..Options::default() };
        let one = Ledger::open(&home.location, options).await.expect("opens");
        let two = Ledger::open(&home.location, options).await.expect("opens");
        let writers = [tokio::spawn(one.writer.run()), tokio::spawn(two.writer.run())];
        for number in 0..600 {
            assert!(number >= 500 || one.ledger.record(record(number)));
            assert!(number < 100 || two.ledger.record(record(number)));
            assert!(number % 7 > 0 || two.ledger.record(record(number)));
        }
        assert_eq!((one.ledger.close(DEADLINE).await, two.ledger.close(DEADLINE).await), (0, 0), "{}", home.name);
        for writer in writers {
            writer.await.expect("ends");
        }
        let ledger = Ledger::open(&home.location, options).await.expect("opens").ledger;
        assert_eq!(ledger.count().await, Ok(600));
        let right = Checked { since: None, hours: 0, days: 0 };
        assert_eq!(ledger.check_sums().await, Ok(right), "{}", home.name);
        for table in ["usage_hours", "usage_days"] {
            assert_eq!(requests(&ledger, table).await, 600, "{table} in {}", home.name);
        }

        let harm = "UPDATE usage_hours SET output = output + 1 WHERE start_ms = (SELECT MIN(start_ms) FROM usage_hours) AND account = 'a-1'; \
             DELETE FROM usage_days WHERE account = 'a-0'";
        ledger.database().connection().await.expect("one").script(harm).await.expect("harmed");
        let found = ledger.check_sums().await.expect("checks");
        assert!(found.hours > 0 && found.days > 0, "{found:?}");
        assert_eq!(ledger.rebuild_sums().await, Ok(found));
        assert_eq!(ledger.check_sums().await, Ok(right), "{}", home.name);
    }
}

#[tokio::test]
async fn a_name_that_comes_from_outside_cannot_swell_what_is_kept_for_good() {
    let long = UsageRecord { model: Some("m".repeat(5000)), account: AccountId("a".into()), ..record(1) };
    assert_eq!(key(&long, HOUR).names[3].len(), LONGEST_NAME);
    let unserved = UsageRecord { account: AccountId::nobody(), ..long };
    assert_eq!(key(&unserved, HOUR).names[3..], ["", ""]);
}
