//! `simulate --from-ledger`: what this pool has really served, played again under other policies.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use pool_core::sizes::Snapshot;
use pool_core::{ProviderId, Span, UnixMs};
use pool_server::memory::sizes;
use pool_sim::replay::{self, Gaps, Record};
use pool_store::{Ledger, Location, ledger};
use serde_json::json;

use super::compare::{self, Comparison};
use super::{Arguments, read_pool, tell};
use crate::cli::Output;
use crate::config::{self, Inputs};
use crate::problem::{Exit, Failure, Problem};

/// More would not fit into a laptop's memory; the latest count.
const MOST_RECORDS: u32 = 2_000_000;

pub(super) fn run(
    inputs: &Inputs,
    arguments: &Arguments,
    providers: &[ProviderId],
    span: Span,
) -> Result<Output, Failure> {
    let settings = config::load_for_client(inputs)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let since = UnixMs(i64::try_from(now).unwrap_or(i64::MAX)) - span;
    let (records, sizes) = read(&settings.server.database(), since)?;
    if records.is_empty() {
        let what = format!("the ledger has no request of the last {span}");
        return Err(Problem::new(what, settings.server.database().to_string(), "").into());
    }
    let (sessions, gaps) = replay::sessions(&records, since);
    let (accounts, sizes) = if let Some(path) = &arguments.pool {
        (read_pool(path, &sessions, providers)?, Sizes::Told)
    } else {
        let cast = replay::accounts(&records, providers, &sizes);
        let sizes = Sizes::Learned { of: cast.learned, all: cast.accounts.len() };
        (cast.accounts, sizes)
    };
    let options = arguments.options(span);
    let comparison = compare::play(&accounts, &sessions, &options, &arguments.policies())?;
    let past = Past { requests: records.len(), cost: replay::cost(&records), gaps, sizes };
    if arguments.json {
        let mut json = comparison.json();
        json["replayed"] = past.json();
        return Ok(Output::json(&json, Exit::Fine));
    }
    Ok(Output::fine(past.told(&comparison) + "\n" + &tell::told(&comparison)))
}

fn read(place: &Location, since: UnixMs) -> Result<(Vec<Record>, Snapshot), Failure> {
    if matches!(place, Location::File(path) if !path.exists()) {
        let mend = "Run it in the folder that the server runs in, or give --db-path FILE";
        return Err(Problem::new("there is no usage ledger", place.to_string(), mend).into());
    }
    let unreadable = |error: String| Problem::new("the usage ledger cannot be read", error, "");
    let runtime = crate::cli::serve::runtime()?;
    let read = runtime.block_on(async {
        let opened = Ledger::open(place, ledger::Options::default()).await.map_err(|error| error.to_string())?;
        let served = opened.ledger.served_since(since, MOST_RECORDS).await.map_err(|error| error.to_string())?;
        // What cannot be read was not learned, and the report says so.
        Ok((served, sizes::put_away(&opened.ledger).await.unwrap_or_default()))
    });
    let record = |served: pool_store::ledger::Use| Record {
        at: served.at,
        provider: served.provider,
        account: served.account.0.to_string(),
        model: served.model,
        session: served.session,
        tokens: served.tokens,
        total_ms: served.total_ms,
    };
    let (served, sizes) = read.map_err(unreadable)?;
    Ok((served.into_iter().map(record).collect(), sizes))
}

/// What really happened, and what is not known of it.
struct Past {
    requests: usize,
    /// In fresh input tokens.
    cost: f64,
    gaps: Gaps,
    sizes: Sizes,
}

/// Where the accounts' sizes are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    /// A pool file.
    Told,
    /// Learned by the pool, `of` so many; else what the account has served.
    Learned { of: usize, all: usize },
}

impl Past {
    fn json(&self) -> serde_json::Value {
        json!({
            "requests": self.requests,
            "units": self.cost.round(),
            "without_conversation": self.gaps.alone,
            "without_tokens": self.gaps.untold,
            "sizes": match self.sizes {
                Sizes::Told => "pool file",
                Sizes::Learned { of: 0, .. } => "at least what was served",
                Sizes::Learned { of, all } if of == all => "learned",
                Sizes::Learned { .. } => "learned, else at least what was served",
            },
            "sizes_learned": match self.sizes {
                Sizes::Told => None,
                Sizes::Learned { of, .. } => Some(of),
            },
        })
    }

    fn told(&self, comparison: &Comparison) -> String {
        let served = format!(
            "Replayed: {} requests that cost {} units (a unit is a fresh input token). Played again under our policy they \
             cost {}.",
            self.requests,
            millions(self.cost),
            millions(comparison.ours().ledger.cost),
        );
        let mut out = tell::wrapped(&served);
        out.push_str("What the ledger does not know, and what is assumed:\n");
        let mut line = |text: String| {
            let _ = write!(out, "{}", tell::wrapped(&format!("- {text}")));
        };
        if let Some(text) = self.sizes.told() {
            line(text);
        }
        line("what was used outside the pool, and requests that were refused: none".into());
        line("how long a cache stayed warm: five minutes".into());
        if self.gaps.alone > 0 {
            line(format!("the conversation of requests that named none ({}): one of its own each", self.gaps.alone));
        }
        if self.gaps.untold > 0 {
            line(format!("the tokens of answers that did not tell them ({}): none", self.gaps.untold));
        }
        out
    }
}

impl Sizes {
    fn told(self) -> Option<String> {
        let Self::Learned { of, all } = self else { return None };
        let least =
            "as big as its busiest five hours and its busiest seven days prove it to be, so waiting is told too high";
        let learned = format!("as big as its readings have taught this pool ({of} of {all})");
        let who = match of {
            0 => format!("each counts {least}"),
            _ if of == all => format!("each counts {learned}"),
            _ => format!("an account counts {learned}, else {least}"),
        };
        Some(format!("how big the accounts are: {who}; give --pool FILE to say better"))
    }
}

fn millions(units: f64) -> String {
    if units < 1e6 { format!("{units:.0}") } else { format!("{:.1} million", units / 1e6) }
}
