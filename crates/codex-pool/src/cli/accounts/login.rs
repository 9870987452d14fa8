//! `accounts login`: the provider's own sign-in, in a home of the pool's own, so that no other program has that login.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use pool_providers::Registry;
use pool_providers::provider::{Login, Provider};
use pool_server::pool::files;
use tempfile::TempDir;

use super::add::{self, Place};
use super::now;
use crate::cli::Output;
use crate::problem::{Failure, Problem};

const HOME_PREFIX: &str = ".login-";

/// Who is to sign in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) provider: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) replace: bool,
}

pub(super) fn run(dir: &Path, registry: &Registry, wanted: &Wanted<'_>) -> Result<Output, Failure> {
    let provider = add::named(registry, wanted.provider)?;
    let login = provider.login();
    sign_in(dir, registry, wanted, provider, &login)
}

/// The same with the program given, so that tests need not have the provider's.
pub(super) fn sign_in(
    dir: &Path,
    registry: &Registry,
    wanted: &Wanted<'_>,
    provider: &dyn Provider,
    login: &Login,
) -> Result<Output, Failure> {
    let home = private_home(dir)?;
    eprintln!("Signing in with {} {} in a home of the pool's own.", login.program, login.args.join(" "));
    let status = Command::new(login.program).args(login.args).env(login.home_env, home.path()).status();
    let status = status.map_err(|error| cannot_run(login, provider, &error))?;
    let bytes = match files::read_secret(&home.path().join(login.writes)) {
        Ok(bytes) => bytes,
        Err(error) => return Err(wrote_nothing(login, provider, status, &error).into()),
    };
    let place = Place { dir, name: wanted.name, replace: wanted.replace, again: true };
    match add::import(&place, registry, provider, bytes.clone(), "main") {
        Ok(added) => Ok(Output::fine(added.told(registry))),
        // A login that somebody went through is not thrown away.
        Err(failure) => Err(kept(dir, provider, &bytes, failure)),
    }
}

/// A folder that only this user can look into, gone at the end. What killed logins left behind goes, too.
fn private_home(dir: &Path) -> Result<TempDir, Problem> {
    let failed = |error: std::io::Error| {
        let what = format!("cannot make a private home in {}", dir.display());
        Problem::new(what, error.to_string(), "Make the pool folder writable, or name another: --pool-dir FOLDER")
    };
    // Programs are started with other working folders; their home is named in full.
    let dir = std::path::absolute(dir).map_err(failed)?;
    files::ensure_private_dir(&dir).map_err(failed)?;
    for entry in std::fs::read_dir(&dir).map_err(failed)?.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(HOME_PREFIX);
        let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
        if ours && age.is_some_and(|age| age > Duration::from_hours(24)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(HOME_PREFIX).permissions(private).tempdir_in(&dir).map_err(failed)
}

fn cannot_run(login: &Login, provider: &dyn Provider, error: &std::io::Error) -> Problem {
    let what = format!("cannot start {}", login.program);
    if error.kind() == std::io::ErrorKind::NotFound {
        let why = format!("the program of {} is not installed here, or not in PATH", provider.title());
        let mend = format!(
            "Install it, or sign in on another machine and add the file that it writes ({}): codex-pool accounts add FILE",
            login.writes
        );
        return Problem::new(what, why, mend);
    }
    Problem::new(what, error.to_string(), "See that it can be run by this user")
}

fn wrote_nothing(login: &Login, provider: &dyn Provider, status: ExitStatus, error: &std::io::Error) -> Problem {
    let why = match (status.success(), error.kind()) {
        (false, _) => format!("{} ended with {status}", login.program),
        (true, std::io::ErrorKind::NotFound) => {
            format!(
                "{} ended well but did not write {} (some systems keep logins in a keychain)",
                login.program, login.writes
            )
        }
        (true, _) => format!("{} cannot be read: {error}", login.writes),
    };
    Problem::new(
        format!("nobody signed in to {}", provider.title()),
        why,
        format!("Try again: codex-pool accounts login {}", provider.id()),
    )
}

fn kept(dir: &Path, provider: &dyn Provider, bytes: &[u8], mut failure: Failure) -> Failure {
    let archive = dir.join(".archive");
    let path = archive.join(format!("{}-login-{}.json", now().0, provider.id()));
    let written = files::ensure_private_dir(&archive).is_ok() && files::write_new(&path, bytes).is_ok();
    if let (true, Some(problem)) = (written, failure.problems.last_mut()) {
        let add = format!("codex-pool accounts add {} --provider {} --name NAME", path.display(), provider.id());
        let advice = std::mem::take(&mut problem.mend);
        problem.mend = format!("{advice}\nThe login is kept; add it with: {add}");
    }
    failure
}
