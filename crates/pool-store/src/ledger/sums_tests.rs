//! Totals, series and pages say what the records say.

use std::time::Duration;

use pool_core::UsageRecord;
use pool_core::usage::Ending;

use super::super::Options;
use super::super::records::{Filter, Order};
use super::super::tests::record;
use super::*;
use crate::rig::homes;

const NOON: i64 = 1_800_014_400_000 / DAY * DAY + 12 * HOUR;

fn priced() -> Prices {
    let text =
        r#"{"models": {"m-1": {"input": 1, "output": 10, "long": {"above": 200000, "input": 2, "output": 20}}}}"#;
    Prices::read(text).expect("prices")
}

/// One an hour over five days, of two accounts and three models, one of them without a price.
fn records() -> Vec<UsageRecord> {
    let models = [Some("m-1".to_owned()), Some("m-2".to_owned()), None];
    let one = |number: i64| {
        let mut one = record(&format!("r{number:03}"), ["a", "b"][number as usize % 2], NOON + number * HOUR + 60_000);
        one.model = models[number as usize % 3].clone();
        one.first_byte_ms = if number % 10 == 0 { 3000 } else { 100 };
        if number % 6 == 0 {
            one.tokens = Some(TokenCounts { input: 200_001, output: 1, ..TokenCounts::default() });
        }
        if number % 20 == 5 {
            (one.status, one.ending, one.tokens) = (529, Ending::Failed, None);
        }
        one
    };
    (0..120).map(one).collect()
}

async fn filled(home: &crate::rig::Home) -> Ledger {
    let opened = Ledger::open(&home.location, Options::default()).await.expect("opens");
    let writer = tokio::spawn(opened.writer.run());
    for record in records() {
        assert!(opened.ledger.record(record));
    }
    assert_eq!(opened.ledger.close(Duration::from_secs(30)).await, 0);
    writer.await.expect("ends");
    Ledger::open(&home.location, Options::default()).await.expect("opens").ledger
}

#[tokio::test]
async fn totals_and_series_are_those_of_the_records() {
    let prices = priced();
    for home in homes() {
        let ledger = filled(&home).await;
        let all = records();
        let ask = |since: Option<i64>, until: Option<i64>, step| Asked {
            since: since.map(UnixMs),
            until: until.map(UnixMs),
            step,
            ..Asked::default()
        };
        for (since, until) in [
            (None, None),
            (Some(NOON), Some(NOON + 2 * HOUR)),
            (Some(NOON + 3 * HOUR), Some(NOON + 90 * HOUR)),
            (Some(NOON - NOON % DAY), Some(NOON - NOON % DAY + 2 * DAY)),
            (Some(NOON + 100 * HOUR), None),
            (None, Some(NOON + 30 * HOUR)),
        ] {
            let within = |one: &&UsageRecord| {
                since.is_none_or(|since| one.at.0 >= since) && until.is_none_or(|until| one.at.0 < until)
            };
            let expected: Vec<&UsageRecord> = all.iter().filter(within).collect();
            let whole = ledger.sums(&ask(since, until, Step::Whole), &prices).await.expect("sums");
            let hours = ledger.sums(&ask(since, until, Step::Hour), &prices).await.expect("sums");
            assert_eq!((whole.len(), hours.len()), (1, expected.len()), "{since:?} {until:?} in {}", home.name);
            let sums = &whole[0].sums;
            let tokens =
                expected.iter().filter_map(|one| one.tokens).fold(TokenCounts::default(), |sum, one| sum.plus(&one));
            let cost: u64 = expected
                .iter()
                .filter_map(|one| prices.cost(one.model.as_deref(), one.tokens.as_ref()))
                .map(|cost| cost.0)
                .sum();
            assert_eq!((sums.requests, sums.tokens), (expected.len() as u64, tokens));
            assert_eq!(sums.cost, MicroUsd(cost), "{since:?} {until:?}");
            let unpriced = expected.iter().filter(|one| one.tokens.is_some() && one.model.as_deref() != Some("m-1"));
            assert_eq!(sums.unpriced, unpriced.count() as u64);
            assert_eq!(sums.failed + sums.delivered, sums.requests);
            assert_eq!(hours.iter().map(|hour| hour.sums.requests).sum::<u64>(), sums.requests);
        }
        let days = ledger.sums(&ask(None, None, Step::Day), &prices).await.expect("sums");
        assert_eq!(days.iter().map(|day| day.sums.requests).collect::<Vec<_>>(), [12, 24, 24, 24, 24, 12]);
        assert_eq!(days[0].start, Some(UnixMs(NOON - NOON % DAY)));

        let mut by = ask(None, None, Step::Whole);
        (by.by, by.only) = (vec![Dimension::Account, Dimension::Model], vec![(Dimension::Account, "b".into())]);
        let told = ledger.sums(&by, &prices).await.expect("sums");
        let told: Vec<(String, u64)> =
            told.into_iter().map(|used| (used.names.join("/"), used.sums.requests)).collect();
        assert_eq!(told, [("b/".to_owned(), 20), ("b/m-1".to_owned(), 20), ("b/m-2".to_owned(), 20)]);
    }
}

#[tokio::test]
async fn pages_hold_every_record_once_whatever_comes_in_meanwhile() {
    for home in homes() {
        let ledger = filled(&home).await;
        let all = records();
        let failed = Filter { status: Some((400, 599)), ending: Some(Ending::Failed), ..Filter::default() };
        let some = Filter {
            since: Some(UnixMs(NOON + 10 * HOUR)),
            until: Some(UnixMs(NOON + 50 * HOUR)),
            account: Some("b".into()),
            model: Some("m-2".into()),
            provider: Some("acme".into()),
            ..Filter::default()
        };
        let nobodys = Filter { user: Some(String::new()), client: None, ..Filter::default() };
        let somebodys = Filter { user: Some("u-1".into()), ..Filter::default() };
        for (filter, count) in [(Filter::default(), 120), (failed, 6), (some, 7), (nobodys, 120), (somebodys, 0)] {
            for order in [Order::NewestFirst, Order::OldestFirst] {
                let (mut ids, mut after) = (Vec::new(), None);
                loop {
                    let page = ledger.records(&filter, order, after.as_ref(), 7).await.expect("a page");
                    ids.extend(page.records.iter().map(|record| record.request_id.clone()));
                    assert!(page.records.iter().all(|one| all.contains(one)));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(ids.len(), count, "{filter:?} in {}", home.name);
                if order == Order::NewestFirst {
                    ids.reverse();
                }
                assert!(ids.is_sorted());
            }
        }
    }
}

#[test]
fn shares_of_first_bytes_are_read_off_the_steps() {
    let sums =
        |first_bytes: [u64; 9]| UsageSums { delivered: first_bytes.iter().sum(), first_bytes, ..UsageSums::default() };
    for (first_bytes, share, expected) in [
        ([0; 9], 0.5, None),
        ([100, 0, 0, 0, 0, 0, 0, 0, 0], 0.5, Some(125)),
        ([50, 0, 0, 50, 0, 0, 0, 0, 0], 0.75, Some(1500)),
        ([50, 0, 0, 50, 0, 0, 0, 0, 0], 1.0, Some(2000)),
        ([1, 0, 0, 0, 0, 0, 0, 0, 99], 0.5, None),
    ] {
        assert_eq!(sums(first_bytes).first_byte_within(share), expected, "{first_bytes:?} {share}");
    }
}
