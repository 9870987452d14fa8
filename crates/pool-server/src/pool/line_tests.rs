//! On a paused clock: time passes only where everybody waits.

use std::sync::Mutex;

use pool_core::account::{Account, AccountKind, ProviderId, Settings};
use pool_core::pool::Event;
use pool_core::standing::{Refusal, RefusalWhy};
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{Ask, Client, Credentials, Demand, Scope, Secret, Span};
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
