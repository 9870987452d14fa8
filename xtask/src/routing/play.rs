//! Plays cells on all cores.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_sim::grid::{self, Cell};
use pool_sim::{Contestant, Outcome, Session};

use super::Wanted;

/// A cell's outcomes, one a policy and seed.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) cell: Cell,
    /// In the order of the policies.
    pub(super) policies: Vec<(Contestant, Vec<Outcome>)>,
}

/// A trace and what it costs on accounts without limit.
type Traces = BTreeMap<(usize, u64), (Vec<Session>, f64)>;

/// Every wanted cell, in the order of the grid.
pub(super) fn all(wanted: &Wanted) -> Vec<Played> {
    let fits = |cell: &Cell| {
        let name = cell.name();
        wanted.filter.split(' ').filter(|word| !word.is_empty()).all(|word| name.split(' ').any(|part| part == word))
    };
    let cells: Vec<Cell> = grid::cells().into_iter().filter(fits).collect();
    let traces = traces(&cells, &wanted.seeds);
    let jobs: Vec<(usize, Contestant, u64)> = (0..cells.len())
        .flat_map(|cell| wanted.policies.iter().map(move |policy| (cell, *policy)))
        .flat_map(|(cell, policy)| wanted.seeds.iter().map(move |seed| (cell, policy, *seed)))
        .collect();
    let mut outcomes = in_parallel(&jobs, |(cell, policy, seed)| {
        let cell = &cells[*cell];
        let (sessions, cost) = &traces[&(cell.users, *seed)];
        grid::play(cell, *seed, sessions, *cost, policy)
    })
    .into_iter();
    let mut played = Vec::new();
    for cell in cells {
        let mut of = |policy: &Contestant| (*policy, outcomes.by_ref().take(wanted.seeds.len()).collect());
        let policies = wanted.policies.iter().map(&mut of).collect();
        played.push(Played { cell, policies });
    }
    played
}

fn traces(cells: &[Cell], seeds: &[u64]) -> Traces {
    let mut wanted: Vec<(usize, u64)> =
        cells.iter().flat_map(|cell| seeds.iter().map(|seed| (cell.users, *seed))).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let made = in_parallel(&wanted, |(users, seed)| {
        let sessions = grid::trace(*users, *seed);
        let cost = grid::cost(&sessions, grid::LENGTH);
        (sessions, cost)
    });
    wanted.into_iter().zip(made).collect()
}

/// The results stand in the order of the jobs, whoever was done first.
pub(crate) fn in_parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let shown = std::io::stderr().is_terminal();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let result = work(job);
                    if let Ok(mut done) = done.lock() {
                        done.push((index, result));
                        if shown {
                            eprint!("\r{} of {} ", done.len(), jobs.len());
                        }
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
