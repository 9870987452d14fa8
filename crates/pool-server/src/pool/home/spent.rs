//! Refresh tokens that were used up here. A copy of a credential file outlives the login that it was copied from: a second
//! file without an owner's name, a backup that somebody puts back. Using its token would look like theft to the provider,
//! which then ends the whole login. So what was used once is known, also after a restart.

use std::collections::{HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pool_core::{Credentials, ProviderId};
use sha2::{Digest, Sha256};

use crate::pool::files::{read_secret, write_secret};

/// Below the pool folder; one hash a line, the oldest first.
const FILE: &str = ".spent";
/// A thousand accounts with some renewals a day: two days at least, and years for a person's handful.
const MOST: usize = 10_000;

/// See the module's page. Holds hashes only.
#[derive(Debug, Default)]
pub(super) struct Spent {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Spent {
    /// What earlier processes have used up. A file that cannot be read is no reason not to start.
    pub(super) fn load(dir: &Path) -> Self {
        let mut spent = Self::default();
        let path = path(dir);
        match read_secret(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).lines().for_each(|line| spent.note(line.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!("{} cannot be read: {error}; old copies of logins may not be known", path.display());
            }
        }
        spent
    }

    /// A token of this hash was used up.
    pub(super) fn add(&mut self, dir: &Path, hash: &str) {
        if self.known.contains(hash) {
            return;
        }
        self.note(hash.to_owned());
        let kept = if self.order.len().is_multiple_of(1000) { self.rewrite(dir) } else { append(dir, hash) };
        if let Err(error) = kept {
            tracing::warn!(
                "{} cannot be written: {error}; after a restart old copies may not be known",
                path(dir).display()
            );
        }
    }

    pub(super) fn holds(&self, hash: &str) -> bool {
        self.known.contains(hash)
    }

    fn note(&mut self, hash: String) {
        if !hash.is_empty() && self.known.insert(hash.clone()) {
            self.order.push_back(hash);
        }
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Without those that were forgotten.
    fn rewrite(&self, dir: &Path) -> io::Result<()> {
        let lines: String = self.order.iter().flat_map(|hash| [hash.as_str(), "\n"]).collect();
        write_secret(&path(dir), lines.as_bytes()).map_err(|error| error.source)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

fn append(dir: &Path, hash: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path(dir))?;
    file.write_all(format!("{hash}\n").as_bytes())
}

/// The hashes of what a renewal of `old` to `new` has used up.
pub(in crate::pool) fn spent_by(provider: ProviderId, old: &[&Credentials], new: &Credentials) -> Vec<String> {
    old.iter().filter(|old| old.refresh != new.refresh).filter_map(|old| hash(provider, old)).collect()
}

/// Of the refresh token, half a SHA-256: enough to know the token again, and of no use to anybody.
pub(super) fn hash(provider: ProviderId, credentials: &Credentials) -> Option<String> {
    let refresh = credentials.refresh.as_ref()?;
    let digest = Sha256::new().chain_update(provider.0).chain_update([0]).chain_update(refresh.expose()).finalize();
    Some(pool_core::hex(&digest[..16]))
}

#[cfg(test)]
mod tests {
    use pool_core::Secret;

    use super::*;

    fn login(refresh: &str) -> Credentials {
        Credentials { refresh: Some(Secret::new(refresh)), ..Credentials::lasting(Secret::new("made-up")) }
    }

    #[test]
    fn what_was_used_once_is_known_after_a_restart_and_what_was_not_replaced_is_not() {
        let dir = tempfile::TempDir::new().expect("a folder");
        let (pear, apple) = (ProviderId("pear"), ProviderId("apple"));
        let mut spent = Spent::load(dir.path());
        let key = Credentials::lasting(Secret::new("key"));
        let replaced = |old: &Credentials, new: &str| spent_by(pear, &[old], &login(new));
        let used = [replaced(&login("r0"), "r1"), replaced(&login("stays"), "stays"), replaced(&key, "r9")].concat();
        assert_eq!(used.len(), 1);
        for hash in &used {
            spent.add(dir.path(), hash);
        }
        for spent in [spent, Spent::load(dir.path())] {
            let holds = |provider, refresh| spent.holds(&hash(provider, &login(refresh)).expect("a token"));
            assert!(holds(pear, "r0"));
            for (provider, refresh) in [(pear, "r1"), (apple, "r0"), (pear, "stays")] {
                assert!(!holds(provider, refresh), "{provider} {refresh}");
            }
        }
        let text = std::fs::read_to_string(dir.path().join(FILE)).expect("written");
        assert_eq!((text.lines().count(), text.contains("r0")), (1, false));
        assert!(crate::pool::files::check_private(&dir.path().join(FILE)).expect("there"));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut spent = Spent::default();
        (0..MOST + 5).for_each(|number| spent.note(number.to_string()));
        assert_eq!((spent.order.len(), spent.known.len()), (MOST, MOST));
        assert!(!spent.known.contains("4") && spent.known.contains("5"));
    }
}
