//! How Codex CLI is pointed at a pool: a provider of its own with the credential in it. `auth.json` is left alone.
//!
//! `chatgpt_base_url` is left alone, too: Codex sends the login of `auth.json` there with every side call, so that somebody's own
//! ChatGPT token would arrive at the pool (measured on Codex CLI 0.169.0). A key of the provider's own needs no side calls.

use crate::setup::{Edit, File, Format, SetUp};

pub(super) const SET_UP: SetUp = SetUp {
    client: "Codex CLI",
    folder_env: "CODEX_HOME",
    folder: ".codex",
    files: &[File {
        path: "config.toml",
        format: Format::Toml,
        edits: &[
            Edit::Set("model_provider", "\"codex-pool\""),
            Edit::Set("model_providers.codex-pool.name", "\"codex-pool\""),
            Edit::Set("model_providers.codex-pool.base_url", "\"$url/v1\""),
            Edit::Set("model_providers.codex-pool.wire_api", "\"responses\""),
            Edit::Set("model_providers.codex-pool.supports_websockets", "true"),
            Edit::Set("model_providers.codex-pool.experimental_bearer_token", "\"$key\""),
            // Both would take precedence over the credential.
            Edit::Drop("model_providers.codex-pool.requires_openai_auth"),
            Edit::Drop("model_providers.codex-pool.env_key"),
        ],
    }],
    rivals: &[],
    note: "Your own login (auth.json) was not touched.",
};
