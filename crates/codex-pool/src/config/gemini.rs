//! The OAuth client behind Gemini accounts with a Google login.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use pool_providers::gemini::OauthClient;

use super::values::Values;

pub(super) fn resolve(values: &mut Values) -> OauthClient {
    let fallback = OauthClient::default();
    OauthClient {
        id: values.optional("gemini_oauth_client_id").unwrap_or(fallback.id),
        secret: values.secret("gemini_oauth_client_secret"),
    }
}

/// The client as configured; its secret, if none is, from the Gemini CLI that is installed here: an installed application's
/// "secret" is public and stands in its program text.
pub(crate) fn completed(configured: OauthClient, path: Option<&str>) -> OauthClient {
    if configured.secret.is_some() {
        return configured;
    }
    match path.and_then(installed) {
        Some(found) if found.id == configured.id => found,
        _ => configured,
    }
}

/// Looks at the program text of the first `gemini` in `path`, a `PATH`.
fn installed(path: &str) -> Option<OauthClient> {
    let program = std::env::split_paths(path).map(|folder| folder.join("gemini")).find(|file| file.is_file())?;
    // What stands in PATH is a link into the package.
    let program = fs::canonicalize(program).ok()?;
    let folder = program.parent()?;
    texts(folder).iter().find_map(|file| OauthClient::find_in(&text(file)?))
}

/// Where the text may be: the bundle that the program is part of, or the library that it uses.
fn texts(folder: &Path) -> Vec<PathBuf> {
    const MOST_FILES: usize = 200;
    let library = "gemini-cli-core/dist/src/code_assist/oauth2.js";
    let beside = folder
        .ancestors()
        .take(4)
        .flat_map(|above| [above.join("node_modules/@google").join(library), above.join(library)]);
    let in_folder = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let scripts = in_folder.filter(|file| file.extension() == Some(OsStr::new("js")));
    beside.chain(scripts).filter(|file| file.is_file()).take(MOST_FILES).collect()
}

fn text(file: &Path) -> Option<String> {
    const MOST_BYTES: u64 = 64 << 20;
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use pool_core::Secret;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_installed_programs_public_pair_is_found() {
        let id = OauthClient::default().id;
        let source = format!("const OAUTH_CLIENT_ID = '{id}';\nconst OAUTH_CLIENT_SECRET = 'made-up-secret';\n");
        for (program, place) in [
            ("lib/gemini-cli/bundle/gemini.js", "lib/gemini-cli/bundle/chunk-1.js"),
            ("lib/@google/gemini-cli/dist/index.js", "lib/@google/gemini-cli-core/dist/src/code_assist/oauth2.js"),
        ] {
            let folder = TempDir::new().expect("a folder");
            for (file, text) in [(program, "import x"), (place, source.as_str()), ("bin/x", "")] {
                let file = folder.path().join(file);
                fs::create_dir_all(file.parent().expect("a folder")).expect("makes folders");
                fs::write(file, text).expect("writes");
            }
            let bin = folder.path().join("bin");
            std::os::unix::fs::symlink(folder.path().join(program), bin.join("gemini")).expect("links");
            let path = format!("/nowhere:{}", bin.display());
            let found = completed(OauthClient::default(), Some(&path));
            assert_eq!(found.secret, Some(Secret::new("made-up-secret")), "{place}");
            let other = OauthClient { id: "another client".into(), secret: None };
            assert_eq!(completed(other.clone(), Some(&path)), other, "another client has another secret");
        }
        assert_eq!(completed(OauthClient::default(), Some("/nowhere")).secret, None);
    }
}
