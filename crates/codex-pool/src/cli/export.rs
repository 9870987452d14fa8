//! `codex-pool export`: the records as CSV or JSON lines, one after the other, however many.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pool_core::people::{Change, UserId};
use pool_core::{Prices, UnixMs, UsageRecord};
use pool_providers::Registry;
use pool_store::backup;
use pool_store::ledger::{Filter, LONGEST_PAGE, Order};
use pool_store::{DirectoryStore, Ledger};
use serde_json::Value;

use super::accounts::folder;
use super::{Output, serve, simulate};
use crate::config::{self, Inputs, shown};
use crate::problem::{Failure, Problem};

/// Which records, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  codex-pool export --since 7d -o week.csv\n  \
    codex-pool export --format jsonl --user Mira | jq .output\n\nColumns: docs/LEDGER.md")]
pub(super) struct Arguments {
    #[arg(long, default_value = "csv", value_parser = ["csv", "jsonl"])]
    format: String,
    /// From then on: so long ago (7d, 12h), a day (2026-11-01), or a time (2026-11-01T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then, in the same ways
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Into this file, which must not be there yet [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The columns, in this order. New ones come at the end.
const COLUMNS: [&str; 26] = [
    "request_id",
    "time",
    "user_id",
    "user",
    "provider",
    "account_id",
    "account",
    "model",
    "client",
    "session",
    "status",
    "ending",
    "attempts",
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "cost_usd",
    "choose_us",
    "wait_ms",
    "connect_ms",
    "upstream_ms",
    "first_byte_ms",
    "total_ms",
];

pub(super) fn run(inputs: &Inputs, registry: &Registry, arguments: &Arguments) -> Result<Output, Failure> {
    let server = config::load_for_client(inputs)?.server;
    let now = Timestamp::now();
    let time =
        |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose().map_err(Failure::wrong_use);
    let (since, until) = (time(&arguments.since)?, time(&arguments.until)?);
    let unreadable = |error: String| Failure::from(Problem::new("the ledger cannot be read", error, ""));
    if server.database_url.is_none() {
        backup::file_of(&server.database()).map_err(|error| unreadable(error.to_string()))?;
    }
    let entries = folder::read(&server.pool_dir, registry).unwrap_or_default();
    let accounts = entries.iter().filter_map(|entry| entry.account.as_ref().ok());
    let accounts = accounts.map(|found| (found.account.id.0.to_string(), found.account.name.clone())).collect();
    serve::runtime()?.block_on(async {
        let ledger = Ledger::read_only(server.database()).map_err(|error| unreadable(error.to_string()))?;
        let changes = DirectoryStore::beside(&ledger).load().await.map_err(|error| unreadable(error.to_string()))?;
        let users = changes.into_iter().filter_map(|change| match change {
            Change::User(user) => Some((user.id, user.name)),
            _ => None,
        });
        let names = Names { users: users.collect(), accounts };
        let user = arguments.user.as_deref().map(|name| names.user(name)).transpose()?;
        let filter = Filter { since, until, user, ..Filter::default() };
        let mut out = Out::open(arguments.output.as_deref())?;
        let written = copy(
            &ledger,
            &filter,
            &mut out,
            Lines { csv: arguments.format == "csv", names: &names, prices: &server.prices },
        );
        match written.await {
            Ok(count) => Ok(out.finish(count)),
            // A reader that has gone (`| head`) is no failure.
            Err(Stopped::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Output::fine("")),
            Err(Stopped::Write(error)) => Err(Problem::new("the export ends early", error.to_string(), "").into()),
            Err(Stopped::Read(error)) => Err(unreadable(error)),
        }
    })
}

/// Why an export ended before its end.
enum Stopped {
    Read(String),
    Write(io::Error),
}

async fn copy(ledger: &Ledger, filter: &Filter, out: &mut Out, lines: Lines<'_>) -> Result<u64, Stopped> {
    let (mut after, mut count) = (None, 0);
    out.to.write_all(lines.head().as_bytes()).map_err(Stopped::Write)?;
    loop {
        let page = ledger.records(filter, Order::OldestFirst, after.as_ref(), LONGEST_PAGE / 2).await;
        let page = page.map_err(|error| Stopped::Read(error.to_string()))?;
        for record in &page.records {
            out.to.write_all(lines.line(record).as_bytes()).map_err(Stopped::Write)?;
        }
        count += page.records.len() as u64;
        out.bar.set_position(count);
        after = page.next;
        if after.is_none() {
            out.to.flush().map_err(Stopped::Write)?;
            return Ok(count);
        }
    }
}

/// Where the records go.
struct Out {
    to: Box<dyn Write>,
    file: Option<PathBuf>,
    bar: ProgressBar,
}

impl Out {
    fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else {
            return Ok(Self { to: Box::new(BufWriter::new(io::stdout())), file: None, bar: ProgressBar::hidden() });
        };
        // Who used what is nobody else's business.
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let opened = opened.map_err(|error| {
            Problem::new(format!("cannot write {}", shown(path)), error.to_string(), "Give another name")
        })?;
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} records") {
            bar.set_style(style);
        }
        Ok(Self { to: Box::new(BufWriter::new(opened)), file: Some(path.to_owned()), bar })
    }

    fn finish(self, count: u64) -> Output {
        self.bar.finish_and_clear();
        Output::fine(self.file.map_or_else(String::new, |file| format!("{count} records are in {}.\n", shown(&file))))
    }
}

/// Names behind ids.
struct Names {
    users: HashMap<UserId, String>,
    accounts: HashMap<String, String>,
}

impl Names {
    /// The id of a user who is called so, or has this id.
    fn user(&self, asked: &str) -> Result<String, Failure> {
        let fits = |(id, name): &(&UserId, &String)| name.to_lowercase() == asked.to_lowercase() || *id.0 == *asked;
        match self.users.iter().find(fits) {
            Some((id, _)) => Ok(id.0.to_string()),
            None => Err(Failure::wrong_use(Problem::new(
                format!("nobody is called {asked:?}"),
                "",
                "See who there is: codex-pool users list",
            ))),
        }
    }
}

/// Records as lines of text.
struct Lines<'a> {
    csv: bool,
    names: &'a Names,
    prices: &'a Prices,
}

impl Lines<'_> {
    fn head(&self) -> String {
        if self.csv { COLUMNS.join(",") + "\n" } else { String::new() }
    }

    fn line(&self, record: &UsageRecord) -> String {
        let values = self.values(record);
        if self.csv {
            return values.iter().map(field).collect::<Vec<_>>().join(",") + "\n";
        }
        let object: serde_json::Map<String, Value> = COLUMNS.map(str::to_owned).into_iter().zip(values).collect();
        Value::Object(object).to_string() + "\n"
    }

    fn values(&self, record: &UsageRecord) -> [Value; COLUMNS.len()] {
        let time = Timestamp::from_millisecond(record.at.0).map(|time| format!("{time:.3}")).ok();
        let tokens = |class: fn(&pool_core::TokenCounts) -> u64| record.tokens.as_ref().map(class).into();
        let part = |part: fn(&pool_core::LatencyParts) -> u64| record.parts.as_ref().map(part).into();
        let cost = self.prices.cost(record.model.as_deref(), record.tokens.as_ref());
        let user = record.user.as_ref();
        let account = Some(&*record.account.0).filter(|id| !id.is_empty());
        [
            record.request_id.clone().into(),
            time.into(),
            user.map(|user| user.0.to_string()).into(),
            user.and_then(|user| self.names.users.get(user)).cloned().into(),
            record.provider.clone().into(),
            account.into(),
            account.and_then(|id| self.names.accounts.get(id)).cloned().into(),
            record.model.clone().into(),
            record.client.clone().into(),
            record.session.clone().into(),
            record.status.into(),
            serde_json::to_value(record.ending).unwrap_or_default(),
            record.attempts.into(),
            tokens(|tokens| tokens.input),
            tokens(|tokens| tokens.cache_read),
            tokens(|tokens| tokens.cache_write_5m),
            tokens(|tokens| tokens.cache_write_1h),
            tokens(|tokens| tokens.output),
            tokens(|tokens| tokens.reasoning),
            cost.map(pool_core::MicroUsd::dollars).into(),
            part(|parts| parts.choose_us),
            part(|parts| parts.wait_ms),
            part(|parts| parts.connect_ms),
            part(|parts| parts.upstream_ms),
            record.first_byte_ms.into(),
            record.total_ms.into(),
        ]
    }
}

/// A value as CSV has it (RFC 4180). A text that a spreadsheet would carry out as a formula gets a `'` before it: models and clients
/// are named by whoever sends the request.
fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            let text =
                if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.clone() };
            if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
        }
        other => other.to_string(),
    }
}

/// So long ago, the beginning of a day here, or a time.
fn moment(text: &str, now: Timestamp) -> Result<UnixMs, Problem> {
    let ago = || {
        let span = simulate::span(text).ok()?;
        now.checked_sub(SignedDuration::from_millis(i64::try_from(span.0).ok()?)).ok()
    };
    let day = || Some(text.parse::<Date>().ok()?.to_zoned(TimeZone::system()).ok()?.timestamp());
    let time = text.parse::<Timestamp>().ok().or_else(|| if text.contains('T') { None } else { day() }).or_else(ago);
    time.map(|time| UnixMs(time.as_millisecond())).ok_or_else(|| {
        let mend = "Write how long ago (7d, 12h), a day (2026-11-01) or a time (2026-11-01T12:00:00Z)";
        Problem::new(format!("{text:?} is no time"), "", mend)
    })
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
