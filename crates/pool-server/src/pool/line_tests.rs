//! On a paused clock: time passes only where everybody waits.

use std::sync::Mutex;

use pool_core::account::{Account, AccountKind, ProviderId, Settings};
use pool_core::ask::Rights;
use pool_core::pool::Event;
use pool_core::standing::{Refusal, RefusalWhy};
use pool_core::usage::Drawn;
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{Ask, Client, Credentials, Demand, Scope, Secret, Span};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

const PROVIDER: ProviderId = ProviderId("kiwi");

fn id() -> AccountId {
    AccountId("a".into())
}

fn seen(pool: &LivePool, most: u32) {
    let settings = Settings { max_in_flight: Some(most), ..Settings::default() };
    let account = Account {
        id: id(),
        provider: PROVIDER,
        kind: AccountKind::Subscription,
        name: "a".into(),
        file: "a.json".into(),
        plan: None,
        email: None,
        settings,
    };
    let credentials = Credentials::lasting(Secret::new("made-up"));
    pool.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) });
}

/// A pool with one account, which takes this many requests at one time.
fn pool(most: u32) -> Arc<LivePool> {
    let pool = Arc::new(LivePool::default());
    seen(&pool, most);
    pool
}

fn demand() -> Demand {
    Demand::any(PROVIDER, Client::OwnCli)
}

async fn lease(pool: &Arc<LivePool>) -> Result<Lease, Box<Refusal>> {
    pool.lease_by(&Ask::new(&demand(), None), Instant::now() + PATIENCE).await
}

fn spent() -> Penalty {
    Penalty { scope: Scope::Account, cause: Cause::QuotaSpent, until: Until::For(Span::from_hours(1)) }
}

fn in_flight(pool: &LivePool) -> u32 {
    pool.read(|pool, _| pool.slot(&id()).map_or(0, |slot| slot.in_flight))
}

/// A request that waits, notes its number when it is served, and keeps the slot for a second.
fn request(pool: &Arc<LivePool>, number: usize, served: &Arc<Mutex<Vec<usize>>>) -> JoinHandle<bool> {
    let (pool, served) = (pool.clone(), served.clone());
    tokio::spawn(async move {
        let Ok(lease) = lease(&pool).await else { return false };
        served.lock().expect("whole").push(number);
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(lease);
        true
    })
}

#[tokio::test(start_paused = true)]
async fn first_come_is_first_served_and_the_last_are_told_after_ten_seconds() {
    let pool = pool(2);
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut requests = Vec::new();
    for number in 0..30 {
        requests.push(request(&pool, number, &served));
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let mut outcomes = Vec::new();
    for request in requests {
        outcomes.push(request.await.expect("ends"));
    }
    // Two a second: those that are served at once, and ten times two; at the tenth second both may happen first.
    let served = served.lock().expect("whole").clone();
    assert!((20..=22).contains(&served.len()), "{}", served.len());
    assert_eq!(served, (0..served.len()).collect::<Vec<_>>());
    assert_eq!(outcomes.iter().filter(|served| **served).count(), served.len());
    assert!(begun.elapsed() <= PATIENCE + Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(in_flight(&pool), 0);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_learns_so_after_the_wait_and_not_later() {
    let pool = pool(1);
    let held = lease(&pool).await.expect("served");
    let begun = Instant::now();
    let refusal = lease(&pool).await.expect_err("busy");
    assert_eq!((refusal.why, begun.elapsed()), (RefusalWhy::Busy, PATIENCE));
    // A request that has waited before does not wait again.
    let begun = Instant::now();
    assert!(pool.lease_by(&Ask::new(&demand(), None), begun).await.is_err());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    drop(held);
    assert_eq!(in_flight(&pool), 0);
}

#[tokio::test(start_paused = true)]
async fn other_reasons_are_not_waited_for() {
    let pool = pool(1);
    pool.apply(Event::Penalised { id: id(), penalty: spent() });
    let begun = Instant::now();
    assert!(matches!(lease(&pool).await.expect_err("spent").why, RefusalWhy::AllSpent { .. }));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_at_once() {
    let pool = pool(1);
    let _held = lease(&pool).await.expect("served");
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { lease(&pool).await.map(|_| ()) }
    });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    pool.apply(Event::Penalised { id: id(), penalty: spent() });
    let refusal = waiting.await.expect("ends").expect_err("spent");
    assert!(matches!(refusal.why, RefusalWhy::AllSpent { .. }));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_leaves_the_slot_to_the_next() {
    let pool = pool(1);
    let held = lease(&pool).await.expect("served");
    let served = Arc::new(Mutex::new(Vec::new()));
    let leaver = request(&pool, 1, &served);
    tokio::task::yield_now().await;
    let stayer = request(&pool, 2, &served);
    tokio::task::yield_now().await;
    // One leaves while it waits; one after its turn has come and before it has heard of it.
    leaver.abort();
    assert!(leaver.await.is_err());
    let late = pool.join(&Ask::new(&demand(), None)).expect_err("it waits").expect("there is room in line");
    drop(held);
    assert!(stayer.await.expect("ends"));
    assert_eq!(in_flight(&pool), 1, "the slot waits for who joined last");
    drop(late);
    assert_eq!((served.lock().expect("whole").clone(), in_flight(&pool)), (vec![2], 0));
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_serves_the_line_at_once() {
    let pool = pool(1);
    let _held = lease(&pool).await.expect("served");
    let served = Arc::new(Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..3).map(|number| request(&pool, number, &served)).collect();
    tokio::task::yield_now().await;
    let begun = Instant::now();
    seen(&pool, 4);
    for request in waiting {
        assert!(request.await.expect("ends"));
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(1), "all at once");
}

/// Who asks: somebody by name, or the operator.
async fn lease_of(pool: &Arc<LivePool>, name: &str, owner: bool) -> Result<Lease, Box<Refusal>> {
    let (demand, user) = (demand(), UserId(name.into()));
    let ask = Ask::new(&demand, None).by(Rights { owner, user: Some(&user), ..Rights::OWNER });
    pool.lease_by(&ask, Instant::now() + PATIENCE).await
}

/// Somebody has drawn so much.
fn drew(pool: &LivePool, name: &str, units: f64) {
    let (user, drawn) = (Some(UserId(name.into())), Drawn { units, prefix: 0, warm: pool_core::Span::ZERO });
    pool.apply(Event::Drew { id: id(), user, session: None, families: Vec::new(), drawn });
}

/// These ask in this order while the one slot is taken, and keep it for a second each: who is served when.
async fn served(pool: &Arc<LivePool>, people: &[(&'static str, bool)]) -> Vec<(&'static str, u64)> {
    let held = lease(pool).await.expect("served");
    let (served, begun) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let mut requests = Vec::new();
    for (name, owner) in people.iter().copied() {
        let (pool, served) = (pool.clone(), served.clone());
        requests.push(tokio::spawn(async move {
            let Ok(_lease) = lease_of(&pool, name, owner).await else { return };
            served.lock().expect("whole").push((name, begun.elapsed().as_secs()));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }));
        tokio::task::yield_now().await;
    }
    drop(held);
    for request in requests {
        request.await.expect("ends");
    }
    served.lock().expect("whole").clone()
}

#[tokio::test(start_paused = true)]
async fn the_owner_goes_first_and_then_who_has_used_least() {
    let pool = pool(1);
    for (name, units) in [("much", 9e6), ("some", 5e5), ("operator", 9e9)] {
        // Known to the pool since they asked.
        drop(lease_of(&pool, name, name == "operator").await);
        drew(&pool, name, units);
    }
    let asked = ["much", "much", "some", "new", "operator", "much"].map(|name| (name, name == "operator"));
    let order: Vec<_> = served(&pool, &asked).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(order, ["operator", "new", "some", "much", "much", "much"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_used_much_is_served_all_the_same_within_the_patience() {
    let pool = pool(1);
    drop(lease_of(&pool, "much", false).await);
    drew(&pool, "much", 1e12);
    let mut asked = vec![("much", false)];
    asked.extend([("mira", false); 20]);
    asked.extend([("operator", true); 20]);
    let order = served(&pool, &asked).await;
    let of = |wanted: &str| order.iter().filter(|(name, _)| *name == wanted).map(|(_, at)| *at).collect::<Vec<_>>();
    // Overdue after five seconds: the owner's next turn, then theirs, then the owner's again.
    assert!(of("much").first().is_some_and(|at| (5..=8).contains(at)), "{order:?}");
    assert!(!of("mira").is_empty(), "{order:?}");
    assert!(of("operator").len() >= 7, "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_fills_the_line_for_the_others() {
    let pool = pool(1);
    let _held = lease(&pool).await.expect("served");
    let demand = demand();
    let join = |name: &str| {
        let user = UserId(name.into());
        pool.join(&Ask::new(&demand, None).by(Rights { owner: false, user: Some(&user), ..Rights::OWNER }))
    };
    let mut greedy: Vec<_> = (0..LONGEST).map(|_| join("greedy").expect_err("waits").expect("has a place")).collect();
    assert!(join("greedy").expect_err("busy").is_err(), "the line is full");
    let mut mira = join("mira").expect_err("waits").expect("has a place all the same");
    assert!(mira.try_recv().is_err_and(|error| error == TryRecvError::Empty));
    // The latest of whoever has most gave way, and knows.
    let last = greedy.pop().map(|mut told| told.try_recv().map(drop));
    assert_eq!(last, Some(Err(TryRecvError::Closed)));
    assert!(greedy.iter_mut().all(|told| told.try_recv().is_err_and(|error| error == TryRecvError::Empty)));
}
