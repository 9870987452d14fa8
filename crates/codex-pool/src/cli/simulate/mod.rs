//! `codex-pool simulate`: how our routing and others would fare with a pool of accounts, on a virtual clock.
//!
//! `compare` plays a trace or the pool's own past, `make` writes traces and pools, `replay` reads the ledger, `tell` prints.

mod compare;
mod make;
mod replay;
mod tell;

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use pool_core::{ProviderId, Span};
use pool_providers::Registry;
use pool_sim::policies::ALL;
use pool_sim::{AccountSpec, Contestant, Failure as AccountFailure, Options, Session, pool_file, trace};

use super::Output;
use crate::config::Inputs;
use crate::problem::{Exit, Failure, Problem};

#[derive(Debug, Args)]
#[command(after_help = AFTER, group(clap::ArgGroup::new("source").required(true)))]
pub(super) struct Arguments {
    /// What people do: a file with one conversation a line, as JSON
    #[arg(long, value_name = "FILE", group = "source")]
    trace: Option<PathBuf>,
    /// Which accounts there are: a JSON file
    #[arg(long, value_name = "FILE", required_unless_present_any = ["from_ledger", "generate", "generate_pool"])]
    pool: Option<PathBuf>,
    /// Take what this pool has really served for so long, as 7d, instead of a trace
    #[arg(long, value_name = "SPAN", group = "source", value_parser = span)]
    from_ledger: Option<Span>,
    /// Write a made-up trace with published distributions to FILE, or to standard output
    #[arg(long, value_name = "FILE", group = "source", num_args = 0..=1, default_missing_value = "-")]
    generate: Option<PathBuf>,
    /// Write a pool file whose quota fits the trace's load to FILE, or to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", requires = "trace")]
    #[arg(conflicts_with = "pool")]
    generate_pool: Option<PathBuf>,
    /// Compare ours with these [default: all]
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(ALL.map(|policy| policy.name)))]
    policy: Vec<String>,
    /// Readings come rounded to so many percent (0: exact)
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    quantise: f64,
    /// Readings come so long after the reply
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = span)]
    delay: Span,
    /// Share of each account's quota that is used outside the pool
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    outside: f64,
    /// Does the pool know how big its accounts are from the week before, or has it to learn?
    #[arg(long, default_value = "known", value_parser = ["known", "unknown"])]
    sizes: String,
    /// An account's credential is revoked HOURS after the start, for so many hours or for good
    #[arg(long, value_name = "ACCOUNT@HOURS[+HOURS]", num_args = 1.., value_parser = failure)]
    fail: Vec<AccountFailure>,
    /// Length of the simulation, or of the trace that is made
    #[arg(long, default_value_t = 14.0, value_parser = days)]
    days: f64,
    /// The same seed gives the same result
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    made: make::Recipe,
}

const AFTER: &str = "\
Try it: codex-pool simulate --generate week.jsonl --users 5
        codex-pool simulate --trace week.jsonl --generate-pool pool.json --accounts 4
        codex-pool simulate --trace week.jsonl --pool pool.json";

pub(super) fn run(inputs: &Inputs, registry: &Registry, arguments: &Arguments) -> Result<Output, Failure> {
    let providers: Vec<ProviderId> = registry.iter().map(pool_providers::Provider::id).collect();
    if let Some(file) = &arguments.generate {
        return make::trace(arguments, file);
    }
    if let Some(span) = arguments.from_ledger {
        return replay::run(inputs, arguments, &providers, span);
    }
    let sessions = arguments.trace.as_deref().map(read_trace).transpose()?.unwrap_or_default();
    if let Some(file) = &arguments.generate_pool {
        return make::pool(arguments, &sessions, &providers, file);
    }
    let accounts = arguments.pool.as_deref().map(|path| read_pool(path, &sessions, &providers)).transpose()?;
    let options = arguments.options(Span::ZERO);
    let comparison = compare::play(&accounts.unwrap_or_default(), &sessions, &options, &arguments.policies())?;
    Ok(if arguments.json {
        Output::json(&comparison.json(), Exit::Fine)
    } else {
        Output::fine(tell::told(&comparison))
    })
}

impl Arguments {
    /// Ours first, whoever is asked for.
    fn policies(&self) -> Vec<Contestant> {
        let wanted = |policy: &Contestant| {
            policy.name == "ours" || self.policy.is_empty() || self.policy.iter().any(|name| name == policy.name)
        };
        ALL.into_iter().filter(wanted).collect()
    }

    /// `length` zero: as the flag says.
    fn options(&self, length: Span) -> Options {
        let told = Span((self.days * 86_400_000.0) as u64);
        Options {
            quantise: self.quantise,
            delay: self.delay,
            at_head: false,
            outside: self.outside,
            sizes_known: self.sizes == "known",
            failures: self.fail.clone(),
            length: if length == Span::ZERO { told } else { length },
            seed: self.seed,
        }
    }
}

fn read(path: &Path, what: &str) -> Result<String, Problem> {
    std::fs::read_to_string(path)
        .map_err(|error| Problem::new(format!("cannot read the {what} {}", path.display()), error.to_string(), ""))
}

fn read_trace(path: &Path) -> Result<Vec<Session>, Problem> {
    trace::parse(&read(path, "trace")?).map_err(|error| {
        let mend = "A line is {\"session\":\"s1\",\"user\":\"u0\",\"start\":0,\"steps\":[{\"gap\":0,\"new\":14000,\"out\":210,\"secs\":6.1}]}";
        Problem::new(format!("{} is no trace", path.display()), error.to_string(), mend)
    })
}

/// Accounts that name no provider are of the trace's first.
fn read_pool(path: &Path, sessions: &[Session], providers: &[ProviderId]) -> Result<Vec<AccountSpec>, Problem> {
    let fault = |why: String, mend: &str| Problem::new(format!("{} is no pool file", path.display()), why, mend);
    let usual = usual_provider(sessions, providers).ok_or_else(|| Problem::new("no provider is known", "", ""))?;
    let accounts = pool_file::parse(&read(path, "pool file")?, providers, usual).map_err(|error| {
        let mend =
            "It is {\"accounts\":[{\"name\":\"a1\",\"weekly_units\":1.5e8,\"short_ratio\":8,\"phase_hours\":31}]}";
        fault(error.to_string(), mend)
    })?;
    if let Some((session, provider)) = trace::unknown_provider(sessions, &accounts) {
        let what = format!("session {} needs an account of {provider}, and the pool has none", session.session);
        return Err(Problem::new(what, "", "Add one to the pool file, or leave \"provider\" out of the trace"));
    }
    Ok(accounts)
}

fn usual_provider(sessions: &[Session], providers: &[ProviderId]) -> Option<ProviderId> {
    let named = sessions.iter().find_map(|session| session.provider.as_deref());
    named.and_then(|name| providers.iter().find(|id| id.0 == name)).or(providers.first()).copied()
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value = text.parse::<f64>().map_err(|_| "it is no number".to_owned())?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(format!("it must be from {least} to {most}")) }
}

fn percent(text: &str) -> Result<f64, String> {
    number(text, 0.0, 50.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn days(text: &str) -> Result<f64, String> {
    number(text, 0.01, 366.0)
}

/// As `30s`, `5m`, `7d`; a bare number is seconds.
pub(super) fn span(text: &str) -> Result<Span, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1.0,
        "" | "s" => 1000.0,
        "m" | "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        other => return Err(format!("{other} is no unit of time; use s, m, h or d")),
    };
    let value = number(digits, 0.0, 1e9)?;
    if value * unit > 366.0 * 86_400_000.0 {
        return Err("it must be a year at most".into());
    }
    Ok(Span((value * unit) as u64))
}

fn failure(text: &str) -> Result<AccountFailure, String> {
    let hours =
        |text: &str| number(text.trim_end_matches('h'), 0.0, 10_000.0).map(|hours| Span((hours * 3_600_000.0) as u64));
    let (account, times) = text.rsplit_once('@').ok_or("write ACCOUNT@HOURS, as a1@31 or a1@31+6")?;
    let (after, lasts) = match times.split_once('+') {
        Some((after, lasts)) => (after, Some(hours(lasts)?)),
        None => (times, None),
    };
    Ok(AccountFailure { account: account.to_owned(), after: hours(after)?, lasts })
}

#[cfg(test)]
mod tests;
