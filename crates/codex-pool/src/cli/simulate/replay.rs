//! `simulate --from-ledger`: what this pool has really served, played again under other policies.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use pool_core::{ProviderId, Span, UnixMs};
use pool_sim::replay::{self, Gaps, Record};
use pool_store::{Ledger, ledger};
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
    let records = read(&settings.server.db_path, since)?;
    if records.is_empty() {
        let what = format!("the ledger has no request of the last {span}");
        return Err(Problem::new(what, settings.server.db_path.display().to_string(), "").into());
    }
    let (sessions, gaps) = replay::sessions(&records, since);
    let accounts = match &arguments.pool {
        Some(path) => read_pool(path, &sessions, providers)?,
        None => replay::least_accounts(&records, providers),
    };
    let options = arguments.options(span);
    let comparison = compare::play(&accounts, &sessions, &options, &arguments.policies())?;
    let past =
        Past { requests: records.len(), cost: replay::cost(&records), gaps, sizes_told: arguments.pool.is_some() };
    if arguments.json {
        let mut json = comparison.json();
        json["replayed"] = past.json();
        return Ok(Output::json(&json, Exit::Fine));
    }
    Ok(Output::fine(past.told(&comparison) + "\n" + &tell::told(&comparison)))
}

fn read(path: &Path, since: UnixMs) -> Result<Vec<Record>, Failure> {
    if !path.exists() {
        let mend = "Run it in the folder that the server runs in, or give --db-path FILE";
        return Err(Problem::new("there is no usage ledger", path.display().to_string(), mend).into());
    }
    let unreadable = |error: String| Problem::new("the usage ledger cannot be read", error, "");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unreadable(error.to_string()))?;
    let served = runtime.block_on(async {
        let opened = Ledger::open(path, ledger::Options::default()).await.map_err(|error| error.to_string())?;
        opened.ledger.served_since(since, MOST_RECORDS).await.map_err(|error| error.to_string())
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
    Ok(served.map_err(unreadable)?.into_iter().map(record).collect())
}

/// What really happened, and what is not known of it.
struct Past {
    requests: usize,
    /// In fresh input tokens.
    cost: f64,
    gaps: Gaps,
    sizes_told: bool,
}

impl Past {
    fn json(&self) -> serde_json::Value {
        json!({
            "requests": self.requests,
            "units": self.cost.round(),
            "without_conversation": self.gaps.alone,
            "without_tokens": self.gaps.untold,
            "sizes": if self.sizes_told { "pool file" } else { "at least what was served" },
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
        if !self.sizes_told {
            line("how big the accounts are: each counts as big as its busiest five hours and its busiest seven days prove it to \
                  be, so waiting is told too high; give --pool FILE to say better"
                .into());
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

fn millions(units: f64) -> String {
    if units < 1e6 { format!("{units:.0}") } else { format!("{:.1} million", units / 1e6) }
}
