//! `codex-pool serve`: resolves the settings, starts the log, runs the server.

use pool_providers::Registry;

use super::Output;
use crate::config::{self, Inputs};
use crate::logging;
use crate::problem::{Failure, Problem};

pub(super) fn run(inputs: &Inputs, registry: Registry) -> Result<Output, Failure> {
    let settings = config::load(inputs)?;
    logging::start(&settings.log);
    for warning in &settings.warnings {
        tracing::warn!(why = %warning.why, mend = %warning.mend, "{}", warning.what);
    }
    for (key, origin, why) in &settings.without_effect {
        tracing::warn!("{key} (from {origin}) is accepted and has no effect yet: {why}");
    }
    serve(settings.server, registry)
}

fn serve(config: pool_server::Config, _registry: Registry) -> Result<Output, Failure> {
    let what = format!("cannot listen on {}", config.listen);
    Err(Problem::new(what, "this build has no server in it yet", "Use a newer build").into())
}
