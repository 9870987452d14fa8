use std::collections::BTreeMap;

use super::*;
use crate::account::{Account, AccountKind, Credentials, Settings};
use crate::ask::Sharing;
use crate::demand::Client;
use crate::pool::{Event, Pool};
use crate::quota::Source;
use crate::secret::Secret;
use crate::usage::Drawn;

const CLAUDE: ProviderId = ProviderId("claude");
const NOW: UnixMs = UnixMs(1_800_000_000_000);
const STRANGER: Rights<'static> = Rights { owner: false, ..Rights::OWNER };

fn id(name: &str) -> AccountId {
    AccountId(name.into())
}

fn window(name: &str, used: f64, resets_in: u64) -> QuotaWindow {
    QuotaWindow {
        name: name.into(),
        scope: Scope::Account,
        used: Fraction::new(used).expect("a number"),
        resets_at: Some(NOW + Span::from_hours(resets_in)),
        span: Some(Span::from_hours(if name == "week" { 168 } else { 5 })),
        source: Source::Headers,
        seen_at: NOW,
    }
}

/// Accounts: name, plan, share kept in reserve, windows.
fn pool(accounts: &[(&str, &str, f64, &[QuotaWindow])]) -> Pool {
    let mut pool = Pool::default();
    for (name, plan, reserve, windows) in accounts {
        let settings = Settings { reserve: Fraction::new(*reserve).expect("a number"), ..Settings::default() };
        let account = Account {
            id: id(name),
            provider: CLAUDE,
            kind: AccountKind::Subscription,
            name: (*name).into(),
            file: format!("claude/{name}.json"),
            plan: Some((*plan).into()),
            email: None,
            settings,
        };
        let access = Secret::new("made-up");
        let credentials =
            Credentials { access, refresh: None, expires_at: None, refreshed_at: None, bound: BTreeMap::new() };
        pool.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) }, NOW);
        pool.apply(Event::Read { id: id(name), windows: windows.to_vec() }, NOW);
    }
    pool
}

fn demand() -> Demand {
    Demand::any(CLAUDE, Client::OwnCli)
}

/// Used percent and hours to the reset of each window.
fn told(standing: &Standing) -> Vec<(&str, f64, Option<u64>)> {
    let hours = |at: UnixMs| at.since(NOW).0 / 3_600_000;
    let windows = standing.windows.iter();
    windows.map(|one| (&*one.name, (one.used.get() * 1000.0).round() / 10.0, one.resets_at.map(hours))).collect()
}

#[test]
fn a_big_account_weighs_more_than_a_small_one() {
    for (plans, percent) in [(["max_5x", "max_20x"], 34.0), (["max_20x", "max_5x"], 16.0), (["pro", "pro"], 25.0)] {
        let pool =
            pool(&[("a", plans[0], 0.0, &[window("5h", 0.1, 3)]), ("b", plans[1], 0.0, &[window("5h", 0.4, 2)])]);
        assert_eq!(told(&pool.standing(&demand(), Rights::OWNER, NOW)), [("5h", percent, Some(2))], "{plans:?}");
    }
}

#[test]
fn what_a_caller_may_not_use_is_not_theirs() {
    let pool = pool(&[
        ("a", "pro", 0.0, &[window("5h", 0.1, 3)]),
        ("b", "pro", 0.5, &[window("5h", 0.4, 2)]),
        ("c", "pro", 0.5, &[window("5h", 0.9, 1)]),
    ]);
    let only = |own: &[AccountId], owner: bool| {
        let rights = Rights { owner, accounts: Some(own), ..Rights::OWNER };
        let standing = pool.standing(&demand(), rights, NOW);
        (standing.accounts, standing.ready, told(&standing).first().map(|(_, used, resets)| (*used, *resets)))
    };
    assert_eq!(only(&[id("a"), id("b")], true), (2, 2, Some((25.0, Some(2)))));
    // Half of it is kept for the owner: of the other half four fifths are used.
    assert_eq!(only(&[id("b")], false), (1, 1, Some((80.0, Some(2)))));
    assert_eq!(only(&[id("c")], false), (1, 0, Some((100.0, Some(1)))));
    // All of one, and half of the other two: (0.1 + 0.4 + 0.5) of 2.
    assert_eq!(only(&[id("a"), id("b"), id("c")], false), (3, 2, Some((50.0, Some(1)))));
    assert_eq!(only(&[], false), (0, 0, None));
    let friend = Rights { friend: Some(Sharing { subscriptions: false }), ..STRANGER };
    assert_eq!(pool.standing(&demand(), friend, NOW), Standing::default());
}

#[test]
fn what_keeps_an_account_out_keeps_all_of_its_windows() {
    let mut pool = pool(&[
        ("a", "pro", 0.0, &[window("5h", 0.2, 3), window("week", 1.0, 50)]),
        ("b", "pro", 0.0, &[window("5h", 0.4, 2), window("week", 0.2, 90)]),
    ]);
    let now = |pool: &Pool| {
        let standing = pool.standing(&demand(), Rights::OWNER, NOW);
        (standing.ready, told(&standing).iter().map(|(_, used, resets)| (*used, *resets)).collect::<Vec<_>>())
    };
    assert_eq!(now(&pool), (1, vec![(70.0, Some(2)), (60.0, Some(50))]));
    let until = crate::verdict::Until::At(NOW + Span::from_hours(4));
    let penalty = crate::verdict::Penalty { scope: Scope::Account, cause: Cause::QuotaSpent, until };
    pool.apply(Event::Penalised { id: id("b"), penalty }, NOW);
    assert_eq!(now(&pool), (0, vec![(100.0, Some(4)), (100.0, Some(4))]));
}

#[test]
fn ones_own_limit_is_told_where_it_ends_sooner_than_the_pool() {
    let pool = pool(&[("a", "pro", 0.0, &[window("5h", 0.5, 3), window("week", 0.6, 50)])]);
    let own = |used: f64| {
        let limit = StandingWindow {
            name: "day".into(),
            scope: Scope::Account,
            span: Some(Span::from_hours(24)),
            used: Fraction::new(used).expect("a number"),
            resets_at: None,
        };
        let standing = pool.standing(&demand(), STRANGER, NOW).with_own(Some(limit));
        (standing.own.is_some(), standing.ready, standing.windows.len())
    };
    assert_eq!(own(0.55), (false, 1, 2));
    assert_eq!(own(0.7), (true, 1, 2));
    assert_eq!(own(1.0), (true, 0, 2));
    assert_eq!(Standing::default().with_own(None), Standing::default());
}

#[test]
fn capacity_is_known_once_something_was_learned() {
    let mut pool = pool(&[
        ("a", "pro", 0.0, &[window("5h", 0.1, 3), window("week", 0.10, 50)]),
        ("b", "pro", 0.0, &[window("5h", 0.1, 3), window("week", 0.10, 50)]),
    ]);
    assert_eq!(pool.capacity(Rights::OWNER), None, "nothing but guesses");
    let drawn = Drawn { units: 1e6, prefix: 0, warm: Span::ZERO };
    pool.apply(Event::Drew { id: id("a"), session: None, families: vec![], user: None, drawn }, NOW);
    pool.apply(Event::Read { id: id("a"), windows: vec![window("week", 0.20, 50)] }, NOW);
    let both = pool.capacity(Rights::OWNER).expect("learned");
    let own = [id("a")];
    let one = pool.capacity(Rights { accounts: Some(&own), ..STRANGER }).expect("learned");
    // A tenth moved by a million: the week holds ten, and so does the other's of the same plan.
    assert!((one - 10e6).abs() < 1e6 && (both - 20e6).abs() < 2e6, "{one} {both}");
    assert_eq!(pool.capacity(Rights { accounts: Some(&[]), ..STRANGER }), None);
}
