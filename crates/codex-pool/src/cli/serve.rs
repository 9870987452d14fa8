//! `codex-pool serve`, which is also what no command does.

use std::net::TcpListener;
use std::path::Path;

use pool_providers::Registry;
use pool_server::pool::files;
use pool_server::{Server, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::Output;
use crate::config::{self, Inputs, Settings};
use crate::logging;
use crate::problem::{Failure, Problem};
use crate::systemd;

pub(super) fn run(inputs: &Inputs) -> Result<Output, Failure> {
    let inherited = systemd::inherited()?;
    let address = inherited.as_ref().and_then(|listener| listener.local_addr().ok());
    let settings = config::load(&Inputs { inherited: address, ..inputs.clone() })?;
    logging::start(&settings.log);
    keep_memory_private();
    tell_about(&settings);
    let registry = registry(inputs, &settings);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(settings, registry, inherited));
    // Names that are still being looked up, say, have nothing to tell any more.
    runtime.shutdown_background();
    served
}

async fn serve(settings: Settings, registry: Registry, inherited: Option<TcpListener>) -> Result<Output, Failure> {
    // Before a token could be renewed: from here on nothing ends us in the middle of that.
    let (stop, at_once) = stop_signals()?;
    let pool_dir = settings.server.pool_dir.clone();
    let handed_over = if inherited.is_some() { ", a listener that was handed over," } else { "" };
    let started = match inherited {
        Some(listener) => Server::start_on(listener, settings.server, registry).await,
        None => Server::start(settings.server, registry).await,
    };
    let server = started.map_err(|error| not_started(&error))?;
    let address = server.address().map_err(|error| Problem::new("cannot tell the address", error.to_string(), ""))?;
    let accounts = server.app().pool.read(|pool, _| pool.slots().count());
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!("codex-pool {version} listens on http://{address}{handed_over} with {accounts} accounts");
    if accounts == 0 {
        tracing::info!("{}", first_steps(&pool_dir));
    }
    systemd::tell_ready();
    let stop = async {
        stop.await;
        systemd::tell_stopping();
    };
    server.run(stop, at_once).await;
    Ok(Output::fine(""))
}

/// The runtime of everything that serves. The TLS library is chosen here, once.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // An error means that it was chosen before: that is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Problem::new("cannot start", error.to_string(), "Free some memory or raise `ulimit -u`").into()
    })
}

/// Tokens are in this process's memory: no core dump of it, and no other program of the same user may look into it.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!("other programs of this user may read this one's memory: {error}");
    }
}

pub(super) fn not_started(error: &StartError) -> Failure {
    Problem::new("cannot start the server", error.to_string(), "").into()
}

/// The first resolves at the first SIGTERM or SIGINT, the second at the next.
pub(super) fn stop_signals()
-> Result<(impl Future<Output = ()> + Send + 'static, impl Future<Output = ()> + Send + 'static), Failure> {
    let broken =
        |error: std::io::Error| Failure::from(Problem::new("cannot listen for signals", error.to_string(), ""));
    let mut term = signal(SignalKind::terminate()).map_err(broken)?;
    let mut int = signal(SignalKind::interrupt()).map_err(broken)?;
    let (first, told) = oneshot::channel();
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        // It fails if nobody waits for a second one.
        let _ = first.send((term, int));
    };
    let at_once = async move {
        let Ok((mut term, mut int)) = told.await else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::warn!("second signal: ending at once");
    };
    Ok((stop, at_once))
}

/// What was found odd in the settings, in the log.
fn tell_about(settings: &Settings) {
    if let Some(file) = &settings.file {
        tracing::info!("settings from {}", file.display());
    }
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    for (key, origin, why) in &settings.without_effect {
        tracing::warn!("{key} ({origin}) has no effect: {why}");
    }
}

/// What to do with an empty pool.
fn first_steps(pool_dir: &Path) -> String {
    format!(
        "the pool is empty. Three steps:\n  1. add an account:   codex-pool accounts add ~/.codex/auth.json   (or drop credential \
         files into {}/, or: codex-pool accounts login PROVIDER)\n  2. point a client here (README, \"Your clients\")\n  \
         3. watch:            codex-pool status\n  Just looking?        codex-pool demo",
        pool_dir.display()
    )
}

/// The providers, with the OAuth client of Gemini's logins completed from the Gemini CLI that is installed here. That is looked
/// for only if the pool has files that may need it.
fn registry(inputs: &Inputs, settings: &Settings) -> Registry {
    let plain = Registry::new(settings.gemini_client.clone());
    let owned = files::scan(&settings.server.pool_dir, &plain).unwrap_or_default();
    if !owned.iter().any(|file| file.provider == Some(pool_providers::gemini::ID)) {
        return plain;
    }
    let path = inputs.env.get("PATH").map(String::as_str);
    Registry::new(config::gemini::completed(settings.gemini_client.clone(), path))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn nobody_looks_into_the_servers_memory() {
        super::keep_memory_private();
        let now = rustix::process::dumpable_behavior().expect("Linux tells");
        assert_eq!(now, rustix::process::DumpableBehavior::NotDumpable);
    }
}
