//! The key of the vault, which several replicas share.

use std::path::Path;

use pool_store::VaultKey;

use super::values::Values;

/// `None` if none is set, or it is of no use: then that is among the problems.
pub(super) fn resolve(values: &mut Values, folder: &Path, has_server: bool) -> Option<VaultKey> {
    const FILE: &str = "vault_key_file";
    let (key, read) = match (values.optional(FILE), values.secret("vault_key")) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            values.wrong(FILE, "is set beside vault_key", "Set one of them");
            return None;
        }
        (Some(path), None) => (FILE, VaultKey::read(&folder.join(path))),
        (None, Some(text)) => ("vault_key", VaultKey::of_text(text.expose(), "vault_key")),
    };
    if !has_server {
        values.wrong(
            key,
            "has no effect without database_url: only a PostgreSQL server can be shared",
            "Set database_url too",
        );
        return None;
    }
    // The text is never shown.
    read.map_err(|error| values.wrong(key, format_args!("cannot be used: {error}"), "See docs/REPLICAS.md")).ok()
}
