//! `cargo xtask routing`: plays the grid of `pool_sim::grid` with every policy and holds ours against the goal.
//!
//! Without a filter it writes docs/ROUTING.md and its picture. With one (`cargo xtask routing "7 unlike" --policy ours
//! earliest-reset`) it plays those cells only and prints them.

mod page;
mod picture;
mod play;
mod tell;

use std::path::Path;
use std::process::ExitCode;

pub(crate) use play::in_parallel;
use pool_sim::Contestant;
use pool_sim::policies::ALL;

/// What was asked for.
#[derive(Debug)]
struct Wanted {
    /// Cells whose name contains every word of this.
    filter: String,
    policies: Vec<Contestant>,
    seeds: Vec<u64>,
}

impl Wanted {
    fn of(arguments: &[String]) -> Result<Self, String> {
        let mut wanted = Self { filter: String::new(), policies: Vec::new(), seeds: pool_sim::grid::SEEDS.to_vec() };
        let mut list = None;
        for argument in arguments {
            match argument.as_str() {
                "--policy" | "--seed" => {
                    if argument == "--seed" {
                        wanted.seeds.clear();
                    }
                    list = Some(argument.as_str());
                }
                name if list == Some("--policy") => {
                    wanted.policies.push(Contestant::named(name).ok_or_else(|| format!("there is no policy {name}"))?);
                }
                seed if list == Some("--seed") => {
                    wanted.seeds.push(seed.parse().map_err(|_| format!("{seed} is no seed"))?);
                }
                word => {
                    wanted.filter.push(' ');
                    wanted.filter.push_str(word);
                }
            }
        }
        if wanted.policies.is_empty() {
            wanted.policies = ALL.to_vec();
        }
        Ok(wanted)
    }
}

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let wanted = match Wanted::of(arguments) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("error: {why}\nusage: cargo xtask routing [WORDS OF CELLS] [--policy NAME …] [--seed N …]");
            return ExitCode::from(2);
        }
    };
    let results = play::all(&wanted);
    print!("{}", tell::cells(&results));
    if !arguments.is_empty() {
        return ExitCode::SUCCESS;
    }
    match write(&results) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn write(results: &[play::Played]) -> Result<(), String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let path = docs.join("ROUTING.md");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let old = std::fs::read_to_string(&path).map_err(failed)?;
    let page = page::renewed(&old, results)
        .ok_or_else(|| format!("{} has no lines {} and {}", path.display(), page::BEGIN, page::END))?;
    std::fs::write(&path, page).map_err(failed)?;
    std::fs::write(docs.join("routing.svg"), picture::draw(results)).map_err(failed)
}
