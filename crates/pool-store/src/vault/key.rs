//! The key of the vault: 32 random bytes in a file that only its owner can read, or in the environment. It is never in the database.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pool_core::hex;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// See the module's page. Neither `Debug` nor anything else tells it.
#[derive(Clone)]
pub struct VaultKey {
    pub(super) bytes: Zeroizing<[u8; 32]>,
    id: String,
}

/// Why there is no key. The text that was given is never repeated.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{0} holds no vault key: that is 64 hexadecimal digits, as `codex-pool vault init` makes them")]
    NotAKey(String),
    #[error("the vault key in {0} is not a random one; make one with `codex-pool vault init`")]
    Weak(String),
    #[error("others can read the vault key {}; run chmod 600 on it", .0.display())]
    Open(PathBuf),
    #[error("the vault key {} cannot be read: {source}; copy it there from another replica, mode 0600", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the vault key {} cannot be written: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(String),
}

impl VaultKey {
    /// `from` says in errors where the text came from.
    pub fn of_text(text: &str, from: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let mut bytes = Zeroizing::new([0; 32]);
        let digits = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        for (at, place) in bytes.iter_mut().enumerate() {
            let byte = text.get(at * 2..at * 2 + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *place = byte.filter(|_| digits).ok_or_else(|| KeyError::NotAKey(from.to_owned()))?;
        }
        let kinds = bytes.iter().collect::<std::collections::BTreeSet<_>>().len();
        // Of 32 random bytes hardly ever fewer than 25 differ.
        if kinds < 16 {
            return Err(KeyError::Weak(from.to_owned()));
        }
        Ok(Self::of(bytes))
    }

    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(1024).read_to_string(&mut text).map_err(failed)?;
        Self::of_text(&text, &path.display().to_string())
    }

    /// A new one, from the system's random numbers.
    pub fn make() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|error| KeyError::NoRandomness(error.to_string()))?;
        Ok(Self::of(bytes))
    }

    /// Writes it to a file that must not exist yet, mode 0600.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source| KeyError::Write { path: path.to_owned(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let text = Zeroizing::new(hex(&*self.bytes));
        writeln!(file, "{}", *text).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Which key it is: half a hash of it, which may be shown.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn of(bytes: Zeroizing<[u8; 32]>) -> Self {
        let hash = Sha256::new().chain_update("codex-pool vault key\0").chain_update(*bytes).finalize();
        Self { id: hex(&hash[..8]), bytes }
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VaultKey").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_written_for_its_owner_only_and_read_back() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("vault.key");
        let key = VaultKey::make().expect("random");
        key.write_new(&path).expect("written");
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o600);
        assert_eq!(VaultKey::read(&path).expect("a key").id(), key.id());
        assert!(!format!("{key:?}").contains(&hex(&*key.bytes)));
        assert!(matches!(key.write_new(&path), Err(KeyError::Write { .. })), "never over another key");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("changed");
        assert!(matches!(VaultKey::read(&path), Err(KeyError::Open(_))));
    }

    #[test]
    fn what_is_no_key_or_can_be_guessed_is_refused_and_not_repeated() {
        let good = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
        assert!(VaultKey::of_text(&format!("{good}\n"), "x").is_ok());
        for (text, weak) in [
            (String::new(), false),
            (good[1..].to_owned(), false),
            (format!("{good}0"), false),
            (good.replace('f', "g"), false),
            ("é".repeat(32), false),
            ("+1".repeat(32), false),
            ("ab".repeat(32), true),
        ] {
            let error = VaultKey::of_text(&text, "CODEX_POOL_VAULT_KEY").expect_err(&text);
            assert_eq!(matches!(error, KeyError::Weak(_)), weak, "{text}");
            assert!(text.is_empty() || !error.to_string().contains(&text), "{error}");
        }
    }
}
