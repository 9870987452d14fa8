//! Show: half an hour of two busy accounts: one person with thirty agents, and nine who ask now and then, in the real line on a
//! paused clock. What each got is printed, and stands in docs/FAIRNESS.md
//! (`cargo test -p pool-server --test fairness -- --nocapture`).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pool_core::account::{Account, AccountKind, ProviderId, Settings};
use pool_core::ask::Rights;
use pool_core::people::UserId;
use pool_core::pool::Event;
use pool_core::usage::Drawn;
use pool_core::{AccountId, Ask, Client, Credentials, Demand, Secret, Span};
use pool_server::pool::LivePool;
use pool_server::pool::line::PATIENCE;
use tokio::time::Instant;

const KIWI: ProviderId = ProviderId("kiwi");
const LASTS: Duration = Duration::from_mins(30);
const AT_ONCE: u32 = 3;
const AGENTS: u64 = 30;
const MODEST: usize = 9;
/// What clients are told to wait after a refusal, on the average.
const AGAIN: Duration = Duration::from_secs(5);
const REQUEST: f64 = 3e4;

/// What one person got.
#[derive(Clone, Debug, Default)]
struct Got {
    served: u32,
    refused: u32,
    waited: Vec<Duration>,
}

/// Two accounts that take three requests each at one time.
fn pool() -> Arc<LivePool> {
    let pool = LivePool::default();
    for name in ["a", "b"] {
        let settings = Settings { max_in_flight: Some(AT_ONCE), ..Settings::default() };
        let account = Account {
            id: AccountId(name.into()),
            provider: KIWI,
            kind: AccountKind::Subscription,
            name: name.into(),
            file: format!("{name}.json"),
            plan: None,
            email: None,
            settings,
        };
        let credentials = Credentials::lasting(Secret::new("made-up"));
        pool.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) });
    }
    Arc::new(pool)
}

/// Answers of 15 to 25 seconds, pauses likewise scattered about their length: always the same.
fn scattered(around: Duration, seed: &mut u64) -> Duration {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let share = 0.75 + (*seed >> 33) as f64 / f64::from(1u32 << 31) * 0.5;
    around.mul_f64(share)
}

/// One agent: asks, works, pauses, and asks again.
async fn agent(
    pool: Arc<LivePool>,
    user: Option<UserId>,
    owner: bool,
    pause: Duration,
    mut seed: u64,
    got: Arc<Mutex<Got>>,
) {
    let (demand, end) = (Demand::any(KIWI, Client::OwnCli), Instant::now() + LASTS);
    tokio::time::sleep(scattered(pause / 2, &mut seed)).await;
    while Instant::now() < end {
        let asked = Instant::now();
        let ask = Ask::new(&demand, None).by(Rights { owner, user: user.as_ref(), ..Rights::OWNER });
        let Ok(lease) = pool.lease_by(&ask, asked + PATIENCE).await else {
            got.lock().refused += 1;
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        got.lock().waited.push(asked.elapsed());
        tokio::time::sleep(scattered(Duration::from_secs(20), &mut seed)).await;
        let drawn = Drawn { units: REQUEST, prefix: 0, warm: Span::ZERO };
        let id = lease.account.id.clone();
        pool.apply(Event::Drew { id, user: user.clone(), session: None, families: Vec::new(), drawn });
        drop(lease);
        got.lock().served += 1;
        tokio::time::sleep(scattered(pause, &mut seed)).await;
    }
}

/// The greedy one first, then the nine. `known`: the pool knows who asks; else all stand in one queue, first come, first served.
async fn play(known: bool, greedy_owns: bool) -> Vec<Got> {
    let pool = pool();
    let got: Vec<_> = (0..=MODEST).map(|_| Arc::new(Mutex::new(Got::default()))).collect();
    let mut agents = tokio::task::JoinSet::new();
    for (person, got) in got.iter().enumerate() {
        let user = known.then(|| UserId(format!("u-{person}").into()));
        let (count, pause) =
            if person == 0 { (AGENTS, Duration::from_millis(500)) } else { (1, Duration::from_mins(1)) };
        for number in 0..count {
            let seed = person as u64 * 1000 + number;
            let owner = person == 0 && greedy_owns;
            agents.spawn(agent(pool.clone(), user.clone(), owner, pause, seed, got.clone()));
        }
    }
    agents.join_all().await;
    got.iter().map(|got| got.lock().clone()).collect()
}

fn sum(people: &[Got]) -> Got {
    people.iter().fold(Got::default(), |sum, one| Got {
        served: sum.served + one.served,
        refused: sum.refused + one.refused,
        waited: [sum.waited, one.waited.clone()].concat(),
    })
}

impl Got {
    fn mean_wait(&self) -> f64 {
        self.waited.iter().sum::<Duration>().as_secs_f64() / self.waited.len().max(1) as f64
    }

    fn row(&self, people: u32) -> String {
        let each = |count: u32| f64::from(count) / f64::from(people);
        let longest = self.waited.iter().max().map_or(0.0, Duration::as_secs_f64);
        format!("{:.0} | {:.0} | {:.1} s | {longest:.1} s", each(self.served), each(self.refused), self.mean_wait())
    }
}

#[tokio::test(start_paused = true)]
async fn nine_modest_people_beside_a_greedy_one() {
    println!("| | | served | refused | waited | at most |\n|---|---|---|---|---|---|");
    let mut nine = Vec::new();
    for (name, known, owns) in
        [("whoever comes first", false, false), ("as it is", true, false), ("the greedy one is the owner", true, true)]
    {
        let got = play(known, owns).await;
        let modest = sum(&got[1..]);
        println!("| {name} | the greedy one | {} |", got[0].row(1));
        println!("| | each of the nine | {} |", modest.row(9));
        // No slot stands empty: six answers of 20 s on the average.
        let all = got[0].served + modest.served;
        assert!((460..=560).contains(&all), "{name}: {all}");
        let least = got[1..].iter().map(|one| one.served).min();
        nine.push((modest, least));
    }
    let [(unfair, _), (fair, least), (beside_owner, least_beside_owner)] = nine.as_slice() else { panic!("three") };
    // They get nearly all that they ask for: answers take 20 s, so even who is next may wait for a slot in vain now and then.
    assert!(fair.served * 2 > unfair.served * 3 && fair.refused * 8 < fair.served, "{} {}", fair.served, fair.refused);
    assert!(fair.mean_wait() < 4.0 && *least >= Some(18), "{least:?} {}", fair.mean_wait());
    // Beside an owner who takes all that there is they are slow, and none starves.
    assert!(beside_owner.served > unfair.served && *least_beside_owner >= Some(10), "{least_beside_owner:?}");
}
