//! How Claude Code is pointed at a pool: variables in its settings, which win over those of the shell.
//!
//! Any other credential that it knows would be sent along (`x-api-key` beside `Authorization`, measured on Claude Code 2.1.330: an
//! exported `ANTHROPIC_API_KEY` as well as what an `apiKeyHelper` prints), so those are blanked: a pool must not see them.

use crate::setup::{Edit, File, Format, SetUp};

pub(super) const SET_UP: SetUp = SetUp {
    client: "Claude Code",
    folder_env: "CLAUDE_CONFIG_DIR",
    folder: ".claude",
    files: &[File {
        path: "settings.json",
        format: Format::Json,
        edits: &[
            Edit::Set("env.ANTHROPIC_BASE_URL", "\"$url\""),
            Edit::Set("env.ANTHROPIC_AUTH_TOKEN", "\"$key\""),
            Edit::Set("env.ANTHROPIC_API_KEY", "\"\""),
            Edit::Blank("apiKeyHelper"),
            Edit::Blank("env.CLAUDE_CODE_OAUTH_TOKEN"),
            Edit::Blank("env.CLAUDE_CODE_USE_BEDROCK"),
            Edit::Blank("env.CLAUDE_CODE_USE_VERTEX"),
            Edit::Blank("env.CLAUDE_CODE_USE_FOUNDRY"),
        ],
    }],
    rivals: &["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"],
    note: "Your own login was not touched; it is not used while these settings stand.",
};
