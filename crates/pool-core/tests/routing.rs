//! What holds for every choice, whatever happens: found by playing random events.

use std::collections::BTreeMap;

use pool_core::ask::{Ask, Rights};
use pool_core::binding::Binding;
use pool_core::eligible::eligible;
use pool_core::policy::Why;
use pool_core::pool::{Event, Grant};
use pool_core::usage::Drawn;
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{
    Account, AccountId, AccountKind, Client, Credentials, Demand, Fraction, Pool, ProviderId, QuotaWindow,
};
use pool_core::{Scope, Secret, SessionKey, Settings, Source, Span, UnixMs};
use proptest::prelude::*;

const PROVIDER: ProviderId = ProviderId("apple");
const START: UnixMs = UnixMs(1_800_000_000_000);
const ACCOUNTS: u8 = 5;
const SESSIONS: u8 = 6;

/// Something that happens to the pool.
#[derive(Clone, Debug)]
enum Step {
    Lease {
        session: Option<u8>,
        bound: bool,
    },
    /// The oldest request under way ends.
    End {
        units: u32,
        warm_secs: u16,
    },
    Read {
        account: u8,
        short: u8,
        week: u8,
        short_mins: u16,
        week_mins: u16,
    },
    Trouble {
        account: u8,
        cause: Cause,
        told: bool,
    },
    Gone(u8),
    Seen(u8),
    Pass {
        secs: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let account = || 0..ACCOUNTS;
    let cause = prop_oneof![Just(Cause::QuotaSpent), Just(Cause::UpstreamFailing), Just(Cause::Throttled)];
    prop_oneof![
        6 => (proptest::option::weighted(0.8, 0..SESSIONS), prop::bool::weighted(0.1))
            .prop_map(|(session, bound)| Step::Lease { session, bound }),
        6 => (0..3_000_000_u32, 0..4000_u16).prop_map(|(units, warm_secs)| Step::End { units, warm_secs }),
        4 => (account(), 0..=100_u8, 0..=100_u8, 1..300_u16, 1..10_080_u16).prop_map(
            |(account, short, week, short_mins, week_mins)| Step::Read { account, short, week, short_mins, week_mins }
        ),
        1 => (account(), cause, any::<bool>()).prop_map(|(account, cause, told)| Step::Trouble { account, cause, told }),
        1 => account().prop_map(Step::Gone),
        2 => account().prop_map(Step::Seen),
        3 => (0..20_000_u32).prop_map(|secs| Step::Pass { secs }),
    ]
}

fn id(number: u8) -> AccountId {
    AccountId(format!("apple-{number}").into())
}

fn seen(number: u8) -> Event {
    let account = Account {
        id: id(number),
        provider: PROVIDER,
        kind: if number == 0 { AccountKind::ApiKey } else { AccountKind::Subscription },
        name: format!("a{number}"),
        file: format!("apple/a{number}.json"),
        plan: None,
        email: None,
        settings: Settings::default(),
    };
    Event::Seen { account: Box::new(account), credentials: Box::new(Credentials::lasting(Secret::new("made-up"))) }
}

fn window(name: &str, span: Span, percent: u8, resets_in: Span, now: UnixMs) -> QuotaWindow {
    QuotaWindow {
        name: name.into(),
        scope: Scope::Account,
        used: Fraction::from_percent(f64::from(percent)).unwrap_or(Fraction::ONE),
        resets_at: Some(now + resets_in),
        span: Some(span),
        source: Source::Headers,
        seen_at: now,
    }
}

/// A pool with what the test must know of it.
struct World {
    pool: Pool,
    now: UnixMs,
    running: Vec<(Grant, Option<SessionKey>)>,
    /// Where a conversation was last, and until when its cache is surely warm.
    last: BTreeMap<u8, (AccountId, UnixMs)>,
}

impl World {
    fn new(order: impl Iterator<Item = u8>) -> Self {
        let mut pool = Pool::default();
        for number in order {
            pool.apply(seen(number), START);
        }
        Self { pool, now: START, running: Vec::new(), last: BTreeMap::new() }
    }

    /// The account that a lease chose, with its reason.
    fn play(&mut self, step: &Step) -> Option<(AccountId, Why)> {
        let now = self.now;
        match *step {
            Step::Lease { session, bound } => return self.lease(session, bound),
            Step::End { units, warm_secs } if !self.running.is_empty() => {
                let (grant, session) = self.running.remove(0);
                let drawn =
                    Drawn { units: f64::from(units), prefix: 1000, warm: Span::from_secs(u64::from(warm_secs)) };
                let event =
                    Event::Drew { id: grant.account.id.clone(), user: None, session, families: Vec::new(), drawn };
                self.pool.apply(event, now);
                self.pool.release(&grant);
            }
            Step::End { .. } => {}
            Step::Read { account, short, week, short_mins, week_mins } => {
                let mins = |count: u16| Span::from_mins(u64::from(count));
                let windows = vec![
                    window("5h", Span::from_hours(5), short, mins(short_mins), now),
                    window("week", Span::from_hours(168), week, mins(week_mins), now),
                ];
                self.pool.apply(Event::Read { id: id(account), windows }, now);
            }
            Step::Trouble { account, cause, told } => {
                let until = if told { Until::For(Span::from_mins(3)) } else { Until::BackOff };
                let penalty = Penalty { scope: Scope::Account, cause, until };
                self.pool.apply(Event::Penalised { id: id(account), penalty }, now);
            }
            Step::Gone(account) => self.pool.apply(Event::Gone { id: id(account) }, now),
            Step::Seen(account) => self.pool.apply(seen(account), now),
            Step::Pass { secs } => self.now = now + Span::from_secs(u64::from(secs)),
        }
        None
    }

    fn lease(&mut self, session: Option<u8>, bound: bool) -> Option<(AccountId, Why)> {
        let binding = if bound { Binding::StoredAnswer } else { Binding::default() };
        let demand = Demand { binding, ..Demand::any(PROVIDER, Client::OwnCli) };
        let able: Vec<AccountId> = self
            .pool
            .slots()
            .filter(|slot| eligible(slot, &demand, Rights::OWNER, self.now).is_ok())
            .map(|slot| slot.account.id.clone())
            .collect();
        let key = session.map(|number| SessionKey([number; 16]));
        let grant = self.pool.lease(&Ask::new(&demand, key), self.now).ok()?;
        let (chosen, why) = (grant.account.id.clone(), grant.decision.why);
        assert!(able.contains(&chosen), "{chosen} is not able");
        if let Some(number) = session {
            if let Some((before, used)) = self.last.get(&number).filter(|(before, _)| *before != chosen) {
                assert!(matches!(why, Why::Cold | Why::PinUnable | Why::Cheaper | Why::Best | Why::Only), "{why:?}");
                // Nobody leaves a warm cache on an account that can serve, but for money.
                let warm = self.now.since(*used) < Span::from_mins(5);
                let plan = *before != id(0);
                assert!(!(warm && plan && able.contains(before)), "{number} left {before}: {why:?}");
            }
            self.last.insert(number, (chosen.clone(), self.now));
        }
        self.running.push((grant, key));
        Some((chosen, why))
    }
}

proptest! {
    #[test]
    fn only_the_able_are_chosen_and_all_slots_come_back(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(0..ACCOUNTS);
        for step in &steps {
            // An account that has gone and come again has forgotten its requests.
            world.play(step);
            if let Step::Gone(account) = step {
                world.running.retain(|(grant, _)| grant.account.id != id(*account));
                world.last.retain(|_, (last, _)| *last != id(*account));
            }
        }
        for (grant, _) in std::mem::take(&mut world.running) {
            world.pool.release(&grant);
        }
        prop_assert_eq!(world.pool.slots().map(|slot| slot.in_flight).sum::<u32>(), 0);
        // And a day later no conversation is under way.
        let demand = Demand::any(PROVIDER, Client::OwnCli);
        let later = world.now + Span::from_hours(24);
        let _ = world.pool.lease(&Ask::new(&demand, None), later);
        prop_assert_eq!(world.pool.slots().map(|slot| slot.live).sum::<u32>(), 0);
    }

    #[test]
    fn the_order_of_accounts_does_not_matter(steps in prop::collection::vec(step(), 1..80)) {
        let mut one = World::new(0..ACCOUNTS);
        let mut other = World::new((0..ACCOUNTS).rev());
        for step in &steps {
            prop_assert_eq!(one.play(step), other.play(step));
        }
    }

    #[test]
    fn what_was_learned_survives_a_restart(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(0..ACCOUNTS);
        for step in &steps {
            world.play(step);
        }
        let sizes = world.pool.take_changed_sizes();
        let mut again = World::new(0..ACCOUNTS);
        again.pool.apply(Event::Resized { sizes }, world.now);
        for slot in world.pool.slots() {
            let restored = again.pool.slot(&slot.account.id).expect("an account");
            for (before, after) in slot.meters.iter().zip(&restored.meters) {
                prop_assert_eq!(&before.window, &after.window);
                prop_assert_eq!(before.taught(), after.taught());
                prop_assert!(after.size().is_some_and(|size| size.units.is_finite() && size.units > 0.0));
            }
        }
    }
}
