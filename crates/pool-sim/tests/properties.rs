//! What must hold of every run, whatever the pool, the trace and the policy.

use pool_core::ProviderId;
use pool_core::Span;
use pool_sim::policies::{ALL, as_one};
use pool_sim::{AccountSpec, Contestant, Failure, Options, Outcome, Scenario, Session, Step, run};
use proptest::prelude::*;

const HOURS: u64 = 30;

fn account() -> impl Strategy<Value = AccountSpec> {
    (2e4..3e6_f64, 1.0..12.0_f64, 0.0..168.0_f64).prop_map(|(weekly_units, short_ratio, phase_hours)| AccountSpec {
        name: String::new(),
        provider: ProviderId("apple"),
        plan: None,
        weekly_units,
        short_ratio,
        phase_hours,
    })
}

fn accounts() -> impl Strategy<Value = Vec<AccountSpec>> {
    proptest::collection::vec(account(), 1..6).prop_map(|mut specs| {
        for (index, spec) in specs.iter_mut().enumerate() {
            spec.name = format!("a{index}");
        }
        specs
    })
}

fn session() -> impl Strategy<Value = Session> {
    let step = (0.0..900.0_f64, 0.0..9000.0_f64, 0.0..900.0_f64, 0.0..60.0_f64)
        .prop_map(|(gap, new, out, secs)| Step { gap, new, out, secs, prefix: None });
    (0.0..90_000.0_f64, proptest::collection::vec(step, 1..25)).prop_map(|(start, steps)| Session {
        session: String::new(),
        user: String::new(),
        provider: None,
        model: None,
        start,
        steps,
    })
}

fn sessions() -> impl Strategy<Value = Vec<Session>> {
    proptest::collection::vec(session(), 1..25).prop_map(|mut sessions| {
        for (index, session) in sessions.iter_mut().enumerate() {
            session.session = format!("s{index}");
        }
        sessions
    })
}

fn options() -> impl Strategy<Value = Options> {
    let failure = (0..6_u8, 0..HOURS, proptest::option::of(1..10_u64)).prop_map(|(account, after, lasts)| Failure {
        account: format!("a{account}"),
        after: Span::from_hours(after),
        lasts: lasts.map(Span::from_hours),
    });
    let failures = proptest::collection::vec(failure, 0..3);
    let whole = prop_oneof![Just(0.0), Just(1.0)];
    (whole, 0..90_u64, any::<bool>(), prop_oneof![Just(0.0), 0.0..0.5_f64], any::<bool>(), failures, any::<u64>())
        .prop_map(|(quantise, delay, at_head, outside, sizes_known, failures, seed)| Options {
            quantise,
            delay: Span::from_secs(delay),
            at_head,
            outside,
            sizes_known,
            failures,
            length: Span::from_hours(HOURS),
            seed,
        })
}

fn play(accounts: &[AccountSpec], sessions: &[Session], options: &Options, contestant: &Contestant) -> Outcome {
    run(&Scenario { accounts, sessions, options }, contestant, &mut |_| ())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What accounts have given is what steps have cost; no request stays in flight; nothing is done twice.
    #[test]
    fn nothing_is_lost(accounts in accounts(), sessions in sessions(), options in options()) {
        let wanted: usize = sessions.iter().map(|session| session.steps.len()).sum();
        for contestant in &ALL {
            let outcome = play(&accounts, &sessions, &options, contestant);
            let ledger = outcome.ledger;
            let near = (ledger.cost - ledger.drawn_inside).abs() <= 1e-6 * ledger.cost.max(1.0);
            prop_assert!(near, "{}: {ledger:?}", contestant.name);
            prop_assert_eq!(ledger.left_in_flight, 0, "{}", contestant.name);
            prop_assert!(outcome.steps <= wanted as u64 && outcome.warm_moves <= outcome.moves);
            prop_assert!(ledger.cost >= ledger.least_cost - 1e-6 && outcome.extra_tokens_pct >= 0.0);
            prop_assert!((ledger.drawn_outside > 0.0) <= (options.outside > 0.0));
        }
    }

    /// The order in which a pool file lists its accounts means nothing, and a run can be repeated.
    #[test]
    fn the_order_of_accounts_changes_nothing(
        accounts in accounts(),
        sessions in sessions(),
        options in options(),
        turn in 0..6_usize,
    ) {
        let mut turned = accounts.clone();
        turned.rotate_left(turn % accounts.len());
        turned.reverse();
        for contestant in &ALL[..ALL.len() - 1] {
            let one = play(&accounts, &sessions, &options, contestant);
            let other = play(&turned, &sessions, &options, contestant);
            prop_assert_eq!((one.steps, one.moves, one.refused_upstream), (other.steps, other.moves, other.refused_upstream));
            // Sums are made in the accounts' order, so the last digits may differ.
            prop_assert!((one.blocked_hours - other.blocked_hours).abs() < 0.01);
            prop_assert!((one.wasted_pct - other.wasted_pct).abs() < 0.01);
        }
    }

    /// Alone in one account, a conversation never leaves a warm cache.
    #[test]
    fn one_account_has_no_moves(accounts in accounts(), sessions in sessions(), options in options()) {
        let one = as_one(&accounts);
        for contestant in &ALL {
            let outcome = play(&one, &sessions, &options, contestant);
            prop_assert_eq!((outcome.moves, outcome.extra_tokens_pct), (0, 0.0));
        }
    }
}
