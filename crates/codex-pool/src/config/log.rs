//! What is logged and how it looks.

use tracing_subscriber::EnvFilter;

use super::values::Values;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: Format,
    /// Directives of `tracing_subscriber::EnvFilter`, known to be valid.
    pub(crate) filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Auto,
    Text,
    Json,
}

pub(super) fn resolve(values: &mut Values) -> Log {
    let format = match values.text("log.format").as_str() {
        "auto" => Format::Auto,
        "text" => Format::Text,
        "json" => Format::Json,
        _ => {
            values.wrong("log.format", "is none of auto, text and json", "Write one of them, as in: format = \"json\"");
            Format::Auto
        }
    };
    let mut filter = values.text("log.filter");
    if EnvFilter::builder().parse(&filter).is_err() {
        values.wrong("log.filter", "is no log filter", "Write a level, as in: filter = \"debug\"");
    }
    let debug = values.flag("debug");
    if debug && !values.is_said("log.filter") {
        // Our own words at debug; the libraries' would drown them.
        filter = "info,codex_pool=debug,pool_core=debug,pool_providers=debug,pool_server=debug,pool_store=debug".into();
    }
    Log { format, filter }
}
