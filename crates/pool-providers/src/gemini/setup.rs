//! How Gemini CLI is pointed at a pool: with an API key, which goes to the base address of the same file.
//!
//! Without `selectedType` it stops with "Invalid auth method selected." (measured on Gemini CLI 0.61.0). The file is read in folders
//! that its user trusts, and only if no `.env` lies nearer (`findEnvFile` in packages/cli/src/config/settings.ts). What
//! the shell exports wins, so somebody's own exported key would be sent to the pool.

use crate::setup::{Edit, File, Format, SetUp};

pub(super) const SET_UP: SetUp = SetUp {
    client: "Gemini CLI",
    folder_env: "",
    folder: ".gemini",
    files: &[
        File {
            path: "settings.json",
            format: Format::Json,
            edits: &[Edit::Set("security.auth.selectedType", "\"gemini-api-key\"")],
        },
        File {
            path: ".env",
            format: Format::Env,
            edits: &[Edit::Set("GOOGLE_GEMINI_BASE_URL", "$url"), Edit::Set("GEMINI_API_KEY", "$key")],
        },
    ],
    rivals: &["GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_USE_GCA", "GOOGLE_GENAI_USE_VERTEXAI"],
    note: "Gemini CLI reads this .env in folders that you trust; a project's own .env hides it.",
};
