//! The grid on which policies are judged: loads, sizes of pools, equal and unlike accounts, exact and real readings, seeds.

use pool_core::{ProviderId, Span};

use crate::engine::{Scenario, run};
use crate::generate::{self, Recipe};
use crate::options::Options;
use crate::policies::{Contestant, as_one};
use crate::pool_file::AccountSpec;
use crate::report::Outcome;
use crate::trace::Session;

pub const LOADS: [f64; 4] = [0.7, 0.85, 1.0, 1.1];
/// Accounts, and the users that share them.
pub const POOLS: [(usize, usize); 5] = [(2, 2), (4, 5), (7, 8), (20, 14), (50, 30)];
pub const SEEDS: [u64; 3] = [1, 2, 3];
const DAYS: f64 = 14.0;

/// One cell, for all its seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    pub accounts: usize,
    pub users: usize,
    /// The cost of all steps with every warm prefix read from cache, over the pool's quota in the time of the trace.
    pub load: f64,
    pub unlike: bool,
    /// Whole percents, 30 s late, a tenth used outside the pool, sizes unknown.
    pub real: bool,
}

impl Cell {
    /// As in `4 unlike real 0.85`: what a filter is held against.
    pub fn name(&self) -> String {
        let sizes = if self.unlike { "unlike" } else { "equal" };
        let readings = if self.real { "real" } else { "exact" };
        format!("{} {sizes} {readings} {}", self.accounts, self.load)
    }

    fn options(&self, seed: u64) -> Options {
        let exact = Options { seed, ..Options::default() };
        if !self.real {
            return exact;
        }
        Options { quantise: 1.0, delay: Span::from_secs(30), outside: 0.1, sizes_known: false, ..exact }
    }
}

/// Sizes of accounts relative to each other.
pub fn shares(accounts: usize, unlike: bool) -> Vec<f64> {
    const UNLIKE: [f64; 7] = [1.0, 5.0, 1.0, 20.0, 1.0, 1.0, 5.0];
    (0..accounts).map(|index| if unlike { UNLIKE[index % UNLIKE.len()] } else { 1.0 }).collect()
}

/// All cells, the easy ones first.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (accounts, users) in POOLS {
        for (unlike, real) in [(false, false), (false, true), (true, false), (true, true)] {
            cells.extend(LOADS.map(|load| Cell { accounts, users, load, unlike, real }));
        }
    }
    cells
}

/// The trace that a pool of this size gets with a seed. Traces are the same for all loads: the pool's quota makes the load.
pub fn trace(users: usize, seed: u64) -> Vec<Session> {
    generate::trace(&Recipe { users, days: DAYS, seed, ..Recipe::default() })
}

/// How long a cell's run is.
pub const LENGTH: Span = Span::from_hours(14 * 24);

/// What the trace would cost within this time on accounts without limit.
pub fn cost(sessions: &[Session], length: Span) -> f64 {
    let endless = generate::pool(ProviderId("grid"), &[1.0], 1e14, 1.0, DAYS, 0);
    let options = Options { length, ..Options::default() };
    let scenario = Scenario { accounts: &endless, sessions, options: &options };
    Contestant::named("ours").map_or(0.0, |ours| run(&scenario, &ours, &mut |_| ()).ledger.least_cost)
}

/// Plays one cell with one policy.
pub fn play(cell: &Cell, seed: u64, sessions: &[Session], cost: f64, contestant: &Contestant) -> Outcome {
    let options = cell.options(seed);
    // What is used outside is a part of the load.
    let inside = cell.load - options.outside;
    let accounts = generate::pool(ProviderId("grid"), &shares(cell.accounts, cell.unlike), cost, inside, DAYS, seed);
    let accounts: Vec<AccountSpec> =
        if contestant.name == crate::policies::ONE_BIG_ACCOUNT { as_one(&accounts) } else { accounts };
    run(&Scenario { accounts: &accounts, sessions, options: &options }, contestant, &mut |_| ())
}
