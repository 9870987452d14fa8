//! `codex-pool backup`, `restore` and `ledger check`: the ledger as a thing that can be lost, and be wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{Timestamp, Zoned};
use pool_server::pool::files::{LockError, PoolLock};
use pool_store::backup::{self, BackupError};
use pool_store::ledger::{Checked, Ledger};
use serde_json::json;

use super::{Output, serve};
use crate::config::{self, Inputs, shown};
use crate::problem::{Exit, Failure, Problem};

/// A file to write or to read.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Compare the sums by hour and day with the records that are still there
    Check {
        /// Make what is wrong anew; the server may run
        #[arg(long)]
        mend: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn backup(inputs: &Inputs, arguments: &Arguments) -> Result<Output, Failure> {
    let database = config::load_for_client(inputs)?.server.database();
    let file = &arguments.file;
    let made = serve::runtime()?.block_on(async {
        let from = backup::file_of(&database)?;
        let copying = backup::backup(&database, file);
        tokio::pin!(copying);
        let bar = bar(std::fs::metadata(from).map_or(0, |metadata| metadata.len()));
        loop {
            tokio::select! {
                copied = &mut copying => {
                    bar.finish_and_clear();
                    return copied;
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    bar.set_position(std::fs::metadata(backup::part_of(file)).map_or(0, |metadata| metadata.len()));
                }
            }
        }
    });
    let made = made.map_err(|error| failed("no backup was made", &error))?;
    if arguments.json {
        return Ok(Output::json(&json!({"file": file, "made": made}), Exit::Fine));
    }
    let text = format!(
        "{} holds {} records and the pool's users ({} bytes). Accounts' credentials are not in it: they are in the pool folder.\n",
        shown(file),
        made.records,
        made.bytes
    );
    Ok(Output::fine(text))
}

fn bar(bytes: u64) -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("copying {bar:40} {bytes} of {total_bytes}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

pub(super) fn restore(inputs: &Inputs, arguments: &Arguments) -> Result<Output, Failure> {
    let server = config::load_for_client(inputs)?.server;
    // No server may begin while this goes on.
    let _alone = alone(&server.pool_dir)?;
    let stamp = Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let restored = serve::runtime()?.block_on(backup::restore(&server.database(), &arguments.file, &stamp));
    let restored = restored.map_err(|error| failed("nothing was restored", &error))?;
    if arguments.json {
        return Ok(Output::json(&restored, Exit::Fine));
    }
    let kept = restored.kept.as_ref().map_or_else(String::new, |kept| {
        format!(" What was there before is kept as {}; delete it when you do not need it.", shown(kept))
    });
    let text = format!(
        "{} holds {} records again, and users, credentials and invitations as they were then: revoke again what was revoked since \
         (codex-pool users list).{kept}\n",
        shown(&restored.database),
        restored.records
    );
    Ok(Output::fine(text))
}

fn alone(pool_dir: &Path) -> Result<Option<PoolLock>, Failure> {
    match PoolLock::acquire(pool_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ LockError::Taken { .. }) => {
            let mend = "Stop the server first, restore, then start it again";
            Err(Problem::new("nothing was restored: a server runs", error.to_string(), mend).into())
        }
        // No pool folder, no server on it.
        Err(LockError::Io { .. }) => Ok(None),
    }
}

fn failed(what: &str, error: &BackupError) -> Failure {
    let mend = match error {
        BackupError::OnServer { .. } => "For example: pg_dump --format=custom --file=codex-pool.dump DATABASE",
        BackupError::InUse(_) => "Stop the server first, restore, then start it again",
        _ => "",
    };
    Problem::new(what, error.to_string(), mend).into()
}

pub(super) fn ledger(inputs: &Inputs, command: &Command) -> Result<Output, Failure> {
    let Command::Check { mend, json } = command;
    let server = config::load_for_client(inputs)?.server;
    let unreadable = |error: String| Problem::new("the ledger cannot be checked", error, "");
    if server.database_url.is_none() {
        backup::file_of(&server.database()).map_err(|error| unreadable(error.to_string()))?;
    }
    let found = serve::runtime()?.block_on(async {
        let opened = Ledger::open(server.database(), pool_store::Options::default()).await;
        let ledger = opened.map_err(|error| error.to_string())?.ledger;
        let checked = if *mend { ledger.rebuild_sums().await } else { ledger.check_sums().await };
        checked.map_err(|error| error.to_string())
    });
    let found = found.map_err(unreadable)?;
    let exit = if found.agrees() || *mend { Exit::Fine } else { Exit::Problem };
    if *json {
        let since = found.since.and_then(|since| Timestamp::from_millisecond(since.0).ok());
        let page = json!({"agree": found.agrees(), "since": since.map(|since| since.to_string()), "hours": found.hours, "days": found.days, "mended": mend});
        return Ok(Output::json(&page, exit));
    }
    Ok(Output { text: told(found, *mend), exit })
}

fn told(found: Checked, mended: bool) -> String {
    let since = found.since.and_then(|since| Timestamp::from_millisecond(since.0).ok());
    let reach =
        since.map_or_else(String::new, |since| format!(" since {since}, which is as far back as records are kept"));
    if found.agrees() {
        return format!("The sums by hour and day are what the records say{reach}.\n");
    }
    let wrong = format!("{} sums by hour and {} by day were not what the records say{reach}", found.hours, found.days);
    if mended {
        format!("{wrong}. They were made anew.\n")
    } else {
        format!("{wrong}.\n  Make them anew: codex-pool ledger check --mend\n")
    }
}
