use crate::account::{Account, AccountId, AccountKind, Credentials, ProviderId, Settings};
use crate::ask::Ask;
use crate::binding::Binding;
use crate::demand::{Client, Demand, SessionKey};
use crate::policy::{Part, Why};
use crate::pool::{Event, Grant, Pool};
use crate::quota::{Fraction, QuotaWindow, Scope, Source};
use crate::secret::Secret;
use crate::time::{Span, UnixMs};
use crate::usage::Drawn;
use crate::verdict::{Cause, Penalty, Until};

const PROVIDER: ProviderId = ProviderId("kiwi");
const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn id(name: &str) -> AccountId {
    AccountId(name.into())
}

fn read(pool: &mut Pool, name: &str, short: f64, week: f64, week_ends: Span, now: UnixMs) {
    let window = |name: &str, span: Span, used: f64, ends: Span| QuotaWindow {
        name: name.into(),
        scope: Scope::Account,
        used: Fraction::new(used).expect("a number"),
        resets_at: Some(now + ends),
        span: Some(span),
        source: Source::Headers,
        seen_at: now,
    };
    let (short, week) = (
        window("5h", Span::from_hours(5), short, Span::from_hours(3)),
        window("week", Span::from_hours(168), week, week_ends),
    );
    pool.apply(Event::Read { id: id(name), windows: vec![short, week] }, now);
}

/// Accounts with what is used of their short window and week, and when the week ends.
fn pool(accounts: &[(&str, f64, f64, u64)]) -> Pool {
    let mut pool = Pool::default();
    for (name, short, week, hours) in accounts {
        let account = Account {
            id: id(name),
            provider: PROVIDER,
            kind: AccountKind::Subscription,
            name: (*name).into(),
            file: format!("{name}.json"),
            plan: None,
            email: None,
            settings: Settings::default(),
        };
        let credentials = Credentials::lasting(Secret::new("made-up"));
        pool.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) }, NOW);
        read(&mut pool, name, *short, *week, Span::from_hours(*hours), NOW);
    }
    pool
}

fn lease(pool: &mut Pool, session: u8, now: UnixMs) -> Grant {
    let demand = Demand::any(PROVIDER, Client::OwnCli);
    pool.lease(&Ask::new(&demand, Some(SessionKey([session; 16]))), now).expect("somebody serves")
}

fn chosen(pool: &mut Pool, session: u8, now: UnixMs) -> (String, Why) {
    let grant = lease(pool, session, now);
    (grant.account.name.clone(), grant.decision.why)
}

#[test]
fn a_new_conversation_goes_where_quota_would_expire_and_somebody_has_room() {
    for (what, accounts, expected) in [
        ("the week that ends first", [("a", 0.2, 0.5, 100), ("b", 0.2, 0.5, 20)], "b"),
        ("the week with more left", [("a", 0.2, 0.3, 60), ("b", 0.2, 0.6, 60)], "a"),
        ("the roomier short window", [("a", 0.7, 0.5, 60), ("b", 0.2, 0.5, 60)], "b"),
        ("nobody is run over because a week ends soon", [("a", 0.0, 0.4, 90), ("b", 0.93, 0.2, 1)], "a"),
    ] {
        assert_eq!(chosen(&mut pool(&accounts), 1, NOW).0, expected, "{what}");
    }
}

#[test]
fn live_conversations_are_counted_and_spread() {
    let mut pool = pool(&[("a", 0.2, 0.5, 60), ("b", 0.2, 0.5, 60), ("c", 0.2, 0.5, 60)]);
    let mut counts = std::collections::BTreeMap::new();
    for session in 0..12 {
        *counts.entry(chosen(&mut pool, session, NOW).0).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [4, 4, 4]);
}

#[test]
fn those_that_lose_their_account_do_not_all_run_to_one() {
    let mut pool = pool(&[("a", 0.0, 0.1, 60), ("b", 0.5, 0.5, 60), ("c", 0.5, 0.5, 60)]);
    for session in 0..8 {
        let grant = lease(&mut pool, session, NOW);
        pool.release(&grant);
    }
    let soon = NOW + Span::from_mins(1);
    let penalty = Penalty { scope: Scope::Account, cause: Cause::QuotaSpent, until: Until::For(Span::from_hours(2)) };
    pool.apply(Event::Penalised { id: id("a"), penalty }, soon);
    for session in 0..8 {
        let grant = lease(&mut pool, session, soon);
        assert_ne!(grant.account.name, "a");
        pool.release(&grant);
    }
    let live = |name: &str| pool.slot(&id(name)).map_or(0, |slot| slot.live);
    assert_eq!((live("a"), live("b") + live("c")), (0, 8));
    assert!(live("b").abs_diff(live("c")) <= 1, "{} and {}", live("b"), live("c"));
}

#[test]
fn a_warm_conversation_stays_and_a_cold_one_looks_anew() {
    let mut pool = pool(&[("a", 0.2, 0.5, 20), ("b", 0.2, 0.5, 100)]);
    let grant = lease(&mut pool, 1, NOW);
    assert_eq!(grant.account.name, "a");
    let session = Some(SessionKey([1; 16]));
    let drawn = Drawn { units: 1e5, prefix: 80_000, warm: Span::from_mins(30) };
    pool.apply(Event::Drew { id: id("a"), user: None, session, families: Vec::new(), drawn }, NOW);
    pool.release(&grant);
    let warm = NOW + Span::from_mins(29);
    read(&mut pool, "a", 0.8, 0.9, Span::from_hours(20), warm);
    assert_eq!(chosen(&mut pool, 1, warm), ("a".into(), Why::Kept));
    // That request has not ended: for five minutes nobody knows better.
    assert_eq!(chosen(&mut pool, 1, warm + Span::from_mins(4)), ("a".into(), Why::Kept));
    assert_eq!(chosen(&mut pool, 1, warm + Span::from_mins(10)), ("b".into(), Why::Cold));
}

#[test]
fn a_big_account_takes_more_conversations_than_a_small_one_that_is_as_full() {
    let mut pool = pool(&[("big", 0.1, 0.1, 60), ("small", 0.1, 0.1, 60)]);
    // Both have moved a tenth; the big one took ten times as much for it.
    for (name, units) in [("big", 2e6), ("small", 0.2e6)] {
        let drawn = Drawn { units, prefix: 0, warm: Span::ZERO };
        pool.apply(Event::Drew { id: id(name), user: None, session: None, families: Vec::new(), drawn }, NOW);
        read(&mut pool, name, 0.2, 0.1 + 0.1 / 8.0, Span::from_hours(60), NOW);
    }
    for session in 0..10 {
        chosen(&mut pool, session, NOW);
    }
    let live = |name: &str| pool.slot(&id(name)).map_or(0, |slot| slot.live);
    assert!(live("big") >= 8, "{} and {}", live("big"), live("small"));
}

#[test]
fn trust_comes_back_little_by_little() {
    let mut pool = pool(&[("a", 0.2, 0.5, 60), ("b", 0.3, 0.5, 60)]);
    let penalty = Penalty { scope: Scope::Account, cause: Cause::Throttled, until: Until::For(Span::from_mins(1)) };
    pool.apply(Event::Penalised { id: id("a"), penalty }, NOW);
    for (mins, expected) in [(2, 0.2), (4, 0.6), (9, 1.0)] {
        let grant = lease(&mut pool, mins, NOW + Span::from_mins(u64::from(mins)));
        let trust =
            grant.decision.considered.iter().find(|considered| considered.account == id("a")).and_then(|seen| {
                let crate::decision::Finding::Able(Some(score)) = &seen.finding else { return None };
                Some(score.parts.iter().find(|(part, _)| *part == Part::Trust).map_or(1.0, |(_, trust)| *trust))
            });
        assert!(trust.is_some_and(|trust| (trust - expected).abs() < 1e-9), "{mins} min: {trust:?}");
        pool.release(&grant);
    }
}

#[test]
fn a_cold_conversation_with_sealed_state_moves_for_a_great_gain_only() {
    for (short, expected) in [(0.6, "a"), (0.97, "b")] {
        let mut pool = pool(&[("a", 0.2, 0.5, 20), ("b", 0.2, 0.5, 40)]);
        let demand = Demand { binding: Binding::SealedReasoning, ..Demand::any(PROVIDER, Client::OwnCli) };
        let session = Some(SessionKey([1; 16]));
        let grant = pool.lease(&Ask::new(&demand, session), NOW).expect("somebody serves");
        assert_eq!(grant.account.name, "a");
        pool.release(&grant);
        let cold = NOW + Span::from_mins(40);
        read(&mut pool, "a", short, 0.55, Span::from_hours(20), cold);
        let grant = pool.lease(&Ask::new(&demand, session), cold).expect("somebody serves");
        assert_eq!(grant.account.name, expected, "{short}");
    }
}
