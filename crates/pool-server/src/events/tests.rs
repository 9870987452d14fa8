use std::time::Instant;

use pool_core::people::UserId;
use pool_core::usage::Ending;
use pool_core::{Client, Demand, ProviderId, UnixMs};

use super::*;
use crate::admit::Caller;

fn flight(id: &str) -> Flight {
    let demand = Demand::any(ProviderId("claude"), Client::OwnCli);
    Flight::new(id.into(), &Caller::Local, &demand, None, None)
}

fn record(id: &str) -> UsageRecord {
    UsageRecord {
        request_id: id.into(),
        at: UnixMs(1_800_000_000_000),
        user: Some(UserId("u-1".into())),
        provider: "claude".into(),
        account: AccountId("claude-1".into()),
        model: Some("claude-sonnet-5-5".into()),
        client: None,
        session: None,
        status: 200,
        ending: Ending::Complete,
        tokens: Some(TokenCounts { input: 3, ..TokenCounts::default() }),
        attempts: 1,
        first_byte_ms: 5,
        total_ms: 9,
        parts: None,
    }
}

fn numbers(news: News) -> Option<Vec<u64>> {
    match news {
        News::Since(news) => Some(news.into_iter().map(|(number, _)| number).collect()),
        News::Gap => None,
    }
}

#[test]
fn what_is_kept_is_told_again_and_what_is_not_is_a_gap() {
    let events = Events::keeping(3);
    assert_eq!(numbers(events.after(0)), Some(vec![]));
    for _ in 0..5 {
        events.tell(Happening::Notices(Vec::new()));
    }
    for (seen, expected) in [
        (5, Some(vec![])),
        (4, Some(vec![5])),
        (2, Some(vec![3, 4, 5])),
        (1, None),
        (0, None),
        // Of a time that never was.
        (6, None),
        (u64::MAX - 1, None),
    ] {
        assert_eq!(numbers(events.after(seen)), expected, "{seen}");
    }
}

#[test]
fn an_id_of_another_process_means_nothing() {
    let (one, other) = (Events::default(), Events::default());
    assert_eq!(one.number(&one.id(7)), Some(7));
    for id in [other.id(7).as_str(), "", "7", "-", &one.id(7).replace('7', "x")] {
        assert_eq!(one.number(id), None, "{id:?}");
    }
}

#[test]
fn a_request_is_told_from_its_beginning_to_its_end_once() {
    let events = Arc::new(Events::default());
    let underway = Underway::begin(events.clone(), flight("r1"));
    underway.enter(Phase::Waiting);
    underway.enter(Phase::Streaming);
    assert_eq!(events.flights().len(), 1);
    events.ended(&record("r1"), &Trail::default());
    // What comes after the end is nobody's.
    underway.enter(Phase::Choosing);
    drop(underway);
    let News::Since(news) = events.after(0) else { panic!("a gap") };
    let told: Vec<String> = news
        .iter()
        .map(|(_, happening)| match &**happening {
            Happening::Flight(flight) => format!("{:?}", flight.phase),
            Happening::Landed(landed) => format!("ended {:?}", landed.status),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["Choosing", "Waiting", "Streaming", "ended Some(200)"]);
    assert!(events.flights().is_empty());

    // Without a record (the client left while its body came, say).
    drop(Underway::begin(events.clone(), flight("r2")));
    assert!(events.flights().is_empty());
    let Some((_, last)) = events.state.lock().ring.back().cloned() else { panic!("nothing was told") };
    assert!(matches!(&*last, Happening::Landed(landed) if landed.status.is_none()), "{last:?}");
}

#[test]
fn use_is_summed_up_between_ticks() {
    let events = Events::default();
    let failed = UsageRecord { status: 429, tokens: None, ..record("r3") };
    for record in [record("r1"), record("r2"), failed] {
        events.ended(&record, &Trail::default());
    }
    events.tick();
    events.tick();
    let News::Since(news) = events.after(0) else { panic!("a gap") };
    let [(_, tick)] = news.as_slice() else { panic!("{news:?}") };
    let Happening::Tick(user, tick) = &**tick else { panic!("{tick:?}") };
    assert_eq!(user.as_ref().map(|user| &*user.0), Some("u-1"));
    assert_eq!((tick.requests, tick.failed, tick.tokens.input), (3, 1, 6));
}

/// What a request pays for being watched: `cargo test -p pool-server --lib -- --ignored --nocapture what_telling_costs`.
#[test]
#[ignore = "a measurement"]
fn what_telling_costs() {
    for listeners in [0, 100] {
        let events = Arc::new(Events::default());
        let _told: Vec<_> = (0..listeners).map(|_| events.listen()).collect();
        let others: Vec<_> = (0..50).map(|n| Underway::begin(events.clone(), flight(&format!("o{n}")))).collect();
        let begun = Instant::now();
        let count = 20_000;
        for number in 0..count {
            let underway = Underway::begin(events.clone(), flight(&format!("r{number}")));
            underway.enter(Phase::Thinking);
            underway.enter(Phase::Streaming);
            events.ended(&record(&format!("r{number}")), &Trail::default());
        }
        println!("{listeners} listeners: {:?} a request", begun.elapsed() / count);
        drop(others);
    }
}
