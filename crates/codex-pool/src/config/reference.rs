//! `docs/SETTINGS.md`, generated from the table of settings.

use std::fmt::Write as _;

use super::table::{Effect, Kind, SETTINGS};

/// The whole document.
#[cfg_attr(not(test), allow(dead_code))]
pub(super) fn markdown() -> String {
    let mut out = String::from(
        "# Settings\n\n\
         Generated from `crates/codex-pool/src/config/table.rs`; `UPDATE=1 cargo test -p codex-pool settings` writes it anew.\n\n\
         A flag goes before an environment variable, that before `config.toml` (`--config FILE`, `CONFIG_PATH`, or\n\
         `./config.toml` if there is one), that before the default. An empty variable counts as not set. `codex-pool check`\n\
         tells everything that is wrong at once. Upstream bases are `https`, or `http` to a loopback address, without user,\n\
         query or fragment. Numbers out of bounds that the Go original took (0 for *off*) are warned of and replaced by the\n\
         nearest that we take (0 by the default).\n\n\
         | key | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = match (setting.kind, setting.default) {
            (Kind::Section, _) | (_, "") => "not set".to_owned(),
            (_, default) => format!("`{default}`"),
        };
        let env = if setting.env.is_empty() { String::new() } else { format!("`{}`", setting.env) };
        let _ = write!(out, "| `{}` | {env} | {default} | {}", setting.key, setting.help);
        if !setting.flag.is_empty() {
            let _ = write!(out, " Flag: `--{}`.", setting.flag);
        }
        if let Effect::None(why) = setting.effect {
            let _ = write!(out, " **Accepted, no effect**: {why}.");
        }
        out.push_str(" |\n");
    }
    out
}
