//! Made-up traces, and pools that fit a trace.

use std::path::Path;

use clap::Args;
use pool_core::ProviderId;
use pool_sim::{Session, generate, grid, pool_file, trace as lines};

use super::{Arguments, number, usual_provider};
use crate::cli::Output;
use crate::problem::{Failure, Problem};

/// What `--generate` and `--generate-pool` make.
#[derive(Debug, Args)]
#[command(next_help_heading = "To generate")]
pub(super) struct Recipe {
    /// People
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    users: u32,
    /// Conversations that each begins a day, on the average
    #[arg(long, value_name = "NUMBER", default_value_t = 10.0, value_parser = sessions)]
    sessions: f64,
    /// Chance that somebody begins another conversation within minutes of one
    #[arg(long, value_name = "CHANCE", default_value_t = 0.3, value_parser = super::share)]
    bursts: f64,
    /// Accounts of the pool
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    accounts: u32,
    /// The trace's cost over the pool's quota in its time
    #[arg(long, default_value_t = 0.9, value_parser = load)]
    load: f64,
    /// Accounts of sizes 1, 5 and 20 instead of equal ones
    #[arg(long)]
    unlike: bool,
}

fn sessions(text: &str) -> Result<f64, String> {
    number(text, 0.01, 500.0)
}

fn load(text: &str) -> Result<f64, String> {
    number(text, 0.01, 100.0)
}

pub(super) fn trace(arguments: &Arguments, file: &Path) -> Result<Output, Failure> {
    let Recipe { users, sessions, bursts, .. } = arguments.made;
    let recipe = generate::Recipe {
        users: users as usize,
        days: arguments.days,
        sessions_a_day: sessions,
        bursts,
        weekend: generate::Recipe::default().weekend,
        seed: arguments.seed,
    };
    let sessions = generate::trace(&recipe);
    let steps: usize = sessions.iter().map(|session| session.steps.len()).sum();
    write(file, lines::write(&sessions), &format!("{} conversations, {steps} steps", sessions.len()))
}

pub(super) fn pool(
    arguments: &Arguments,
    sessions: &[Session],
    providers: &[ProviderId],
    file: &Path,
) -> Result<Output, Failure> {
    let Recipe { accounts, load, unlike, .. } = arguments.made;
    let provider = usual_provider(sessions, providers).ok_or_else(|| Problem::new("no provider is known", "", ""))?;
    let shares = grid::shares(accounts as usize, unlike);
    let cost = grid::cost(sessions, arguments.options(pool_core::Span::ZERO).length);
    let specs = generate::pool(provider, &shares, cost, load, arguments.days, arguments.seed);
    write(file, pool_file::write(&specs), &format!("{accounts} accounts"))
}

fn write(file: &Path, text: String, what: &str) -> Result<Output, Failure> {
    if file == Path::new("-") {
        return Ok(Output::fine(text));
    }
    std::fs::write(file, text)
        .map_err(|error| Problem::new(format!("cannot write {}", file.display()), error.to_string(), ""))?;
    Ok(Output::fine(format!("wrote {what} to {}\n", file.display())))
}
