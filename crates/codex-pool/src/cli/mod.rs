//! The command line: what can be asked, and one file for each answer.

pub(crate) mod accounts;
mod backup;
mod check;
mod client;
mod demo;
mod explain;
mod export;
mod serve;
mod setup;
mod simulate;
mod status;
mod terminal;
mod users;
mod vault;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;

use crate::config::{Flags, Inputs};
use crate::problem::{Exit, Failure};

/// One endpoint in front of all the AI accounts that you own: Codex, Claude and Gemini
///
/// Without a command it serves, with ./config.toml if there is one.
#[derive(Debug, Parser)]
#[command(name = "codex-pool", version, after_help = EXIT_CODES, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 a problem was found, 2 wrong use, 3 the server is not running";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pool (what no command does, too)
    Serve,
    /// Show the pool at work with simulated providers and accounts, on this machine only
    Demo {
        /// End after this many seconds
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
    },
    /// Check the settings and every credential file
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the running pool: accounts, what they have left, who needs you
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say why a request went to its account, or where the next one would go
    Explain(explain::Asked),
    /// List, add, pause and test accounts
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Let people in, limit them, take them out; the server must run
    #[command(subcommand)]
    Users(users::Command),
    /// The key of the vault that several replicas share
    #[command(subcommand)]
    Vault(vault::Command),
    /// Write the records of requests as CSV or JSON lines
    Export(export::Arguments),
    /// Copy the ledger and the pool's users into a file; the server may run
    Backup(backup::Arguments),
    /// Put a backup in the place of the ledger, which is kept; the server must not run
    Restore(backup::Arguments),
    /// Look after the ledger of usage
    #[command(subcommand)]
    Ledger(backup::Command),
    /// Point a client on this machine at the pool, and back
    Setup(setup::Arguments),
    /// Print the description of the server's API (OpenAPI 3.1)
    Openapi,
    /// Play a trace of conversations, or this pool's own past, under our routing and others
    Simulate(Box<simulate::Arguments>),
}

/// What a command has to say on standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

impl Output {
    pub(crate) fn fine(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Fine }
    }

    pub(crate) fn json(value: &impl serde::Serialize, exit: Exit) -> Self {
        let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
        Self { text, exit }
    }
}

pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(with_old_flags(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::WrongUse } else { Exit::Fine } as u8);
        }
    };
    match run(arguments) {
        Ok(output) => {
            // A reader that has gone (`| head`) is no failure.
            let _ = std::io::stdout().write_all(output.text.as_bytes());
            ExitCode::from(output.exit as u8)
        }
        Err(failure) => {
            let _ = write!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(arguments: Arguments) -> Result<Output, Failure> {
    let inputs = Inputs::of_process(arguments.flags);
    // For the files only, which no OAuth client is needed for.
    let registry = Registry::new(OauthClient::default());
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&inputs),
        Command::Demo { seconds } => demo::run(&inputs, seconds),
        Command::Check { json } => check::run(&inputs, &registry, json),
        Command::Status { json } => status::run(&inputs, json),
        Command::Explain(asked) => explain::run(&inputs, &registry, &asked),
        Command::Accounts(command) => accounts::run(&inputs, &registry, command),
        Command::Users(command) => users::run(&inputs, command),
        Command::Vault(command) => vault::run(&inputs, &command),
        Command::Export(arguments) => export::run(&inputs, &registry, &arguments),
        Command::Backup(arguments) => backup::backup(&inputs, &arguments),
        Command::Restore(arguments) => backup::restore(&inputs, &arguments),
        Command::Ledger(command) => backup::ledger(&inputs, &command),
        Command::Setup(arguments) => setup::run(&inputs, &registry, &arguments),
        Command::Openapi => Ok(Output::json(pool_server::openapi(), Exit::Fine)),
        Command::Simulate(arguments) => simulate::run(&inputs, &registry, &arguments),
    }
}

/// The Go original's flag had one dash.
fn with_old_flags(arguments: Vec<OsString>) -> Vec<OsString> {
    let modern = |argument: OsString| match argument.to_str() {
        Some("-listen") => "--listen".into(),
        Some(text) if text.starts_with("-listen=") => format!("-{text}").into(),
        _ => argument,
    };
    arguments.into_iter().map(modern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
        let parse = |text: &str| {
            let arguments = text.split(' ').map(OsString::from).collect();
            Arguments::try_parse_from(with_old_flags(arguments)).map_err(|error| error.to_string())
        };
        for listen in ["-listen 1.2.3.4:5", "-listen=1.2.3.4:5", "--listen 1.2.3.4:5", "serve --listen=1.2.3.4:5"] {
            let parsed = parse(&format!("codex-pool {listen}")).expect(listen);
            assert_eq!(parsed.flags.listen.as_deref(), Some("1.2.3.4:5"), "{listen}");
        }
        assert!(matches!(parse("codex-pool"), Ok(Arguments { command: None, .. })));
        assert!(matches!(
            parse("codex-pool status --json"),
            Ok(Arguments { command: Some(Command::Status { json: true }), .. })
        ));
        assert!(parse("codex-pool stauts").expect_err("unknown").contains("'status'"));
        let refused = parse("codex-pool accounts add --api-key sk-x-y --name a b.json").expect_err("two sources");
        assert!(!refused.contains("sk-x-y"), "{refused}");
    }
}
