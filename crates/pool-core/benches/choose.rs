//! What a decision costs with 1,000 accounts and 100,000 pins: `cargo bench -p pool-core`.

use divan::{AllocProfiler, Bencher};
use pool_core::ask::Ask;
use pool_core::binding::Binding;
use pool_core::pool::Event;
use pool_core::usage::Drawn;
use pool_core::{
    Account, AccountId, AccountKind, Client, Credentials, Demand, Fraction, Pool, ProviderId, QuotaWindow,
};
use pool_core::{Scope, Secret, SessionKey, Settings, Source, Span, UnixMs};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const PROVIDER: ProviderId = ProviderId("apple");
const NOW: UnixMs = UnixMs(1_800_000_000_000);
const PINS: u64 = 100_000;
const SIZES: [u64; 3] = [10, 100, 1000];

fn main() {
    divan::main();
}

fn id(number: u64) -> AccountId {
    AccountId(format!("apple-{number:012x}").into())
}

fn session(number: u64) -> SessionKey {
    SessionKey((u128::from(number) << 64 | u128::from(number)).to_be_bytes())
}

fn demand() -> Demand {
    Demand::any(PROVIDER, Client::OwnCli)
}

/// A pool in the middle of its work: windows half used, and all pins warm.
fn pool(accounts: u64) -> Pool {
    let mut pool = Pool::default();
    for number in 0..accounts {
        let account = Account {
            id: id(number),
            provider: PROVIDER,
            kind: AccountKind::Subscription,
            name: format!("a{number}"),
            file: format!("apple/a{number}.json"),
            plan: Some("plus".into()),
            email: None,
            settings: Settings::default(),
        };
        let credentials = Credentials::lasting(Secret::new("made-up"));
        pool.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) }, NOW);
        let window = |name: &str, hours: u64| QuotaWindow {
            name: name.into(),
            scope: Scope::Account,
            used: Fraction::new((number % 89) as f64 / 100.0).unwrap_or(Fraction::ONE),
            resets_at: Some(NOW + Span::from_mins(1 + hours * 60 * (number % 97) / 97)),
            span: Some(Span::from_hours(hours)),
            source: Source::Headers,
            seen_at: NOW,
        };
        pool.apply(Event::Read { id: id(number), windows: vec![window("5h", 5), window("week", 168)] }, NOW);
    }
    let demand = demand();
    // Pins are spread by hand: choosing among a thousand a hundred thousand times would take longer than the bench.
    for number in 0..PINS {
        let key = session(number);
        let owner = id(number % accounts);
        pool.pins.set(key, &owner, Binding::default(), NOW);
        let drawn = Drawn { units: 10_000.0, prefix: 50_000, warm: Span::from_hours(1) };
        pool.apply(Event::Drew { id: owner, user: None, session: Some(key), families: Vec::new(), drawn }, NOW);
        if let Ok(grant) = pool.lease(&Ask::new(&demand, Some(key)), NOW) {
            pool.release(&grant);
        }
    }
    pool
}

/// The next request of a conversation whose cache is warm: most requests.
#[divan::bench(args = SIZES)]
fn warm_pin(bencher: Bencher<'_, '_>, accounts: u64) {
    let (mut pool, demand, mut number) = (pool(accounts), demand(), 0);
    bencher.bench_local(|| {
        number = (number + 7919) % PINS;
        let grant = pool.lease(&Ask::new(&demand, Some(session(number))), NOW).ok();
        if let Some(grant) = &grant {
            pool.release(grant);
        }
        grant
    });
}

/// A request without a conversation: all accounts are compared.
#[divan::bench(args = SIZES)]
fn compared(bencher: Bencher<'_, '_>, accounts: u64) {
    let (mut pool, demand) = (pool(accounts), demand());
    bencher.bench_local(|| {
        let grant = pool.lease(&Ask::new(&demand, None), NOW).ok();
        if let Some(grant) = &grant {
            pool.release(grant);
        }
        grant
    });
}
