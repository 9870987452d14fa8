//! Plays every policy, on all cores, with a bar on a terminal.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pool_sim::policies::{ONE_BIG_ACCOUNT, as_one};
use pool_sim::{AccountSpec, Contestant, Options, Outcome, Scenario, Session};
use serde_json::{Value, json};

use crate::problem::{Failure, Problem};

/// Every policy's outcome.
#[derive(Debug)]
pub(super) struct Comparison {
    /// All quota in one account.
    pub(super) reference: Outcome,
    /// Ours first.
    pub(super) policies: Vec<Outcome>,
    pub(super) accounts: usize,
    pub(super) conversations: usize,
    /// In all conversations of the time.
    pub(super) steps: usize,
    pub(super) days: f64,
}

impl Comparison {
    pub(super) fn json(&self) -> Value {
        json!({ "reference": self.reference, "policies": self.policies })
    }

    pub(super) fn ours(&self) -> &Outcome {
        self.policies.first().unwrap_or(&self.reference)
    }
}

/// What the bar counts for one policy.
const WHOLE: u64 = 1000;

pub(super) fn play(
    accounts: &[AccountSpec],
    sessions: &[Session],
    options: &Options,
    policies: &[Contestant],
) -> Result<Comparison, Failure> {
    if let Some(failing) = options.failures.iter().find(|one| accounts.iter().all(|spec| spec.name != one.account)) {
        let names: Vec<&str> = accounts.iter().map(|spec| spec.name.as_str()).collect();
        let what = format!("--fail names {}, which is no account of the pool", failing.account);
        return Err(Failure::wrong_use(Problem::new(what, "", format!("There are {}", names.join(", ")))));
    }
    let one = as_one(accounts);
    let reference = Contestant::named(ONE_BIG_ACCOUNT);
    let others = policies.iter().filter(|policy| policy.name != ONE_BIG_ACCOUNT).copied();
    let contestants: Vec<Contestant> = others.chain(reference).collect();
    let bar = bar(contestants.len());
    let outcomes = in_parallel(&contestants, |contestant| {
        let is_reference = contestant.name == ONE_BIG_ACCOUNT;
        // Its credential is not one of those that are revoked.
        let scenario = Scenario { accounts: if is_reference { &one } else { accounts }, sessions, options };
        let mut told = 0;
        pool_sim::run(&scenario, contestant, &mut |share| {
            let done = (share * WHOLE as f64) as u64;
            bar.inc(done - told);
            told = done;
        })
    });
    bar.finish_and_clear();
    let mut policies: Vec<Outcome> = outcomes.into_values().collect();
    let Some(reference) = policies.pop() else {
        return Err(Problem::new("the simulation did not come to its end", "", "").into());
    };
    let in_time = |session: &&Session| session.start * 1000.0 < options.length.0 as f64;
    Ok(Comparison {
        reference,
        policies,
        accounts: accounts.len(),
        conversations: sessions.iter().filter(in_time).count(),
        steps: sessions.iter().filter(in_time).map(|session| session.steps.len()).sum(),
        days: options.length.0 as f64 / 86_400_000.0,
    })
}

fn bar(contestants: usize) -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(Some(WHOLE * contestants as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("simulating {bar:40} {percent:>3} %") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Results by the number of their job, whoever was done first.
fn in_parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> BTreeMap<usize, R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let result = work(job);
                    if let Ok(mut done) = done.lock() {
                        done.insert(index, result);
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default()
}
