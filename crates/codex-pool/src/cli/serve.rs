//! `codex-pool serve`: resolves the settings, starts the log, runs the server until it is told to stop.

use std::io;

use pool_providers::Registry;
use pool_server::{Config, Server, StartError};
use tokio::signal::unix::{SignalKind, signal};

use super::Output;
use crate::config::{self, Inputs};
use crate::logging;
use crate::problem::{Failure, Problem};

pub(super) fn run(inputs: &Inputs) -> Result<Output, Failure> {
    let settings = config::load(inputs)?;
    logging::start(&settings.log);
    for warning in &settings.warnings {
        tracing::warn!(why = %warning.why, mend = %warning.mend, "{}", warning.what);
    }
    for (key, origin, why) in &settings.without_effect {
        tracing::warn!("{key} (from {origin}) is accepted and has no effect yet: {why}");
    }
    let path = inputs.env.get("PATH").map(String::as_str);
    let registry = Registry::new(config::gemini::completed(settings.gemini_client, path));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| not_started(&error.to_string()))?;
    runtime.block_on(serve(settings.server, registry))
}

async fn serve(config: Config, registry: Registry) -> Result<Output, Failure> {
    let shown = config.clone();
    let stop = stop_signal().map_err(|error| not_started(&error.to_string()))?;
    let server = Server::start(config, registry).await.map_err(|error: StartError| not_started(&error.to_string()))?;
    let address = server.address().map_err(|error| not_started(&error.to_string()))?;
    tracing::info!("serving at http://{address}, {}", scope(&shown));
    tracing::info!("accounts are read from {}; see them with: codex-pool status", shown.pool_dir.display());
    server.run(stop).await;
    Ok(Output::fine(""))
}

/// Who can get in, in a few words.
fn scope(config: &Config) -> &'static str {
    match (config.listen.ip().is_loopback(), config.local_access && config.public_url.is_none()) {
        (true, true) => "for this machine only, without a credential",
        (true, false) => "for this machine only, with a credential",
        (false, true) => "for the network with a credential, for this machine without",
        (false, false) => "for the network, with a credential",
    }
}

/// Ends with the first SIGINT or SIGTERM: then streams may finish. The second one ends the process at once.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: running answers may finish; once more to stop at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    })
}

/// The server's own errors say what to do.
fn not_started(error: &str) -> Problem {
    Problem::new("codex-pool could not start", error, "")
}
