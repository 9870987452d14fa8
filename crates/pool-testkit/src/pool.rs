//! A temporary pool folder with the credential files of a fake's accounts.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::account::AccountHandle;
use crate::upstream::FakeUpstream;

/// A folder that looks like a user's: `pool/` filled, room for a database and a configuration beside it. Removed on drop.
#[derive(Debug)]
pub struct TestPool {
    root: TempDir,
}

impl TestPool {
    /// An empty pool.
    pub fn empty() -> io::Result<Self> {
        let root = tempfile::Builder::new().prefix("codex-pool-test-").tempdir()?;
        fs::DirBuilder::new().mode(0o700).create(root.path().join("pool"))?;
        Ok(Self { root })
    }

    /// With a file for every account of the fake.
    pub fn of(fake: &FakeUpstream) -> io::Result<Self> {
        let pool = Self::empty()?;
        for account in fake.accounts() {
            pool.add(&account)?;
        }
        Ok(pool)
    }

    /// Everything below is gone when this is dropped.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The folder with the credential files.
    pub fn pool(&self) -> PathBuf {
        self.root.path().join("pool")
    }

    /// Writes the account's credential file as of now, and tells where.
    pub fn add(&self, account: &AccountHandle) -> io::Result<PathBuf> {
        let (name, text) = account.credential_file();
        self.write(&name, &text)
    }

    /// Writes any file below `pool/`, mode 0600, over what was there.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        write_private(&self.pool().join(name), text)
    }

    pub fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.pool().join(name))
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.pool().join(name))
    }
}

/// Writes a credential file for every account of the fake below `folder`.
pub(crate) fn write_files(fake: &FakeUpstream, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files = fake.accounts().into_iter().map(|account| account.credential_file());
    files.map(|(name, text)| write_private(&folder.join(name), &text)).collect()
}

fn write_private(path: &Path, text: &str) -> io::Result<PathBuf> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(path.to_owned())
}

impl FakeUpstream {
    /// Writes the credential files of all accounts below `folder` (mode 0600), in the layout `<provider>/<name>.json`.
    pub fn write_credentials(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        write_files(self, folder)
    }
}
