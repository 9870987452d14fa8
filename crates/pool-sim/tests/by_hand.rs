//! Runs small enough to be reckoned by hand.

use pool_core::{ProviderId, Span};
use pool_sim::{AccountSpec, Contestant, Failure, Options, Outcome, Scenario, Session, Step, run};

const HOUR: f64 = 3600.0;

/// Weekly units and hours until the week ends; the short window holds an eighth.
fn accounts(sizes: &[(f64, f64)]) -> Vec<AccountSpec> {
    let spec = |(index, (weekly_units, phase_hours)): (usize, &(f64, f64))| AccountSpec {
        name: format!("a{index}"),
        provider: ProviderId("apple"),
        plan: None,
        weekly_units: *weekly_units,
        short_ratio: 8.0,
        phase_hours: *phase_hours,
    };
    sizes.iter().enumerate().map(spec).collect()
}

/// A conversation from the start; each step takes 10 s.
fn session(name: &str, steps: &[(f64, f64, f64)]) -> Session {
    let step = |(gap, new, out): &(f64, f64, f64)| Step { gap: *gap, new: *new, out: *out, secs: 10.0, prefix: None };
    Session {
        session: name.into(),
        user: String::new(),
        provider: None,
        model: None,
        start: 0.0,
        steps: steps.iter().map(step).collect(),
    }
}

fn play(policy: &str, accounts: &[AccountSpec], sessions: &[Session], options: &Options) -> Outcome {
    let contestant = Contestant::named(policy).expect("a policy");
    run(&Scenario { accounts, sessions, options }, &contestant, &mut |_| ())
}

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-3, "{found} is not {wanted}");
}

#[test]
fn a_warm_prefix_is_read_and_a_cold_one_is_written() {
    let steps = [(0.0, 1000.0, 100.0), (299.0, 100.0, 0.0), (300.0, 0.0, 0.0)];
    let outcome = play("ours", &accounts(&[(1e6, 100.0)]), &[session("s", &steps)], &Options::default());
    let first = 1250.0 + 500.0;
    let warm = 110.0 + 125.0;
    let cold = 1200.0 * 1.25;
    near(outcome.ledger.cost, first + warm + cold);
    near(outcome.extra_tokens_pct, 0.0);
}

#[test]
fn a_move_from_a_warm_cache_costs_what_the_cache_would_have_saved() {
    let steps = [(0.0, 1000.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0)];
    let outcome =
        play("round-robin", &accounts(&[(1e6, 9.0), (1e6, 9.0)]), &[session("s", &steps)], &Options::default());
    // The third step finds the first one's cache still warm.
    let (cost, least) = (1250.0 + 1250.0 + 100.0, 1250.0 + 100.0 + 100.0);
    near(outcome.ledger.cost, cost);
    near(outcome.extra_tokens_pct, 100.0 * (cost - least) / least);
    assert_eq!((outcome.moves, outcome.warm_moves), (2, 2));
}

#[test]
fn who_finds_every_account_spent_waits_for_the_first_reset() {
    // One step fills the short window of 125,000.
    let steps = [(0.0, 100_000.0, 0.0), (50.0, 100_000.0, 0.0), (0.0, 1.0, 0.0)];
    let pool = accounts(&[(1e6, 100.0)]);
    let outcome = play("ours", &pool, &[session("s", &steps)], &Options::default());
    // The window opened at 0 and ends after five hours; the second step was ready after 60 s, the third 10 s after its end.
    near(outcome.blocked_hours, 5.0 - 60.0 / HOUR + 5.0 - 10.0 / HOUR);
    assert_eq!((outcome.steps, outcome.blocked_steps, outcome.refused_upstream), (3, 2, 0));
    // The end comes first: what is still waiting counts until then.
    let options = Options { length: Span::from_hours(4), ..Options::default() };
    let outcome = play("ours", &pool, &[session("s", &steps)], &options);
    near(outcome.blocked_hours, 4.0 - 60.0 / HOUR);
    assert_eq!((outcome.steps, outcome.blocked_steps), (1, 1));
}

#[test]
fn what_the_pool_cannot_know_is_refused_upstream_and_served_elsewhere() {
    // Two conversations fill the short window of one account together; the reading that tells comes after the third step.
    let steps = [(0.0, 60_000.0, 0.0), (5.0, 1.0, 0.0)];
    let both = [session("s1", &steps), session("s2", &steps)];
    let options = Options { delay: Span::from_secs(30), ..Options::default() };
    let outcome = play("ours", &accounts(&[(1e6, 100.0)]), &both, &options);
    assert_eq!((outcome.refused_upstream, outcome.blocked_steps), (1, 2));
    // A reading at the head of a reply leaves the reply itself out: only the provider's refusal tells of the last step.
    let options = Options { at_head: true, ..Options::default() };
    let outcome =
        play("ours", &accounts(&[(1e6, 100.0)]), &[session("s", &[(0.0, 100_000.0, 0.0), (5.0, 1.0, 0.0)])], &options);
    assert_eq!((outcome.refused_upstream, outcome.blocked_steps), (1, 1));
    let exact = play("ours", &accounts(&[(1e6, 100.0)]), &both, &Options::default());
    assert_eq!((exact.refused_upstream, exact.blocked_steps), (0, 2));
}

#[test]
fn a_revoked_account_is_out_until_somebody_signs_in() {
    let steps = [(0.0, 10.0, 0.0), (HOUR, 10.0, 0.0), (2.0 * HOUR, 10.0, 0.0)];
    let failures = vec![Failure { account: "a0".into(), after: Span::from_mins(30), lasts: Some(Span::from_hours(1)) }];
    let options = Options { failures, ..Options::default() };
    let outcome = play("ours", &accounts(&[(1e6, 9.0)]), &[session("s", &steps)], &options);
    // Ready after 1 h and 10 s, served after 1 h 30 min.
    near(outcome.blocked_hours, 0.5 - 10.0 / HOUR);
    assert_eq!((outcome.steps, outcome.refused_upstream), (3, 1));
}

#[test]
fn what_is_left_when_a_week_ends_is_wasted() {
    let steps = [(0.0, 80_000.0, 0.0)];
    let options = Options { length: Span::from_hours(200), ..Options::default() };
    let outcome = play("ours", &accounts(&[(1e6, 30.0), (3e6, 150.0)]), &[session("s", &steps)], &options);
    // Two weeks of the small one and one of the big one have ended, and 100,000 were used.
    near(outcome.wasted_pct, 100.0 * (5e6 - 100_000.0) / 5e6);
}
