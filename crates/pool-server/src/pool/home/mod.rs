//! Where credential files live: in a folder of this machine, or in the vault that several replicas share. The shelf above knows no
//! difference, and neither does the refresher.

pub mod folder;
pub mod spent;
mod take_in;
pub mod vault;

use futures_util::future::BoxFuture;
use pool_core::{Credentials, ProviderId, Secret};

use super::files::{EditLock, PoolFile};

pub use folder::{Folder, Writer};
pub use vault::{Claim, VaultHome};

/// What the shelf needs of the place. But for [`Home::claim`] these may block for as long as a disk or a database does: call from a
/// blocking task, except for what only looks ([`Home::list`], [`Home::read`], [`Home::close_to_others`], [`Home::is_spent`]).
pub trait Home: Send + Sync {
    /// Every account's file. An error: nobody can say which there are.
    fn list(&self) -> std::io::Result<Vec<PoolFile>>;

    /// A file's content.
    fn read(&self, file: &PoolFile) -> Result<Vec<u8>, Unread>;

    /// Sees to it that nobody else can read the file.
    ///
    /// # Errors
    /// In words for the operator.
    fn close_to_others(&self, file: &PoolFile) -> Result<(), String>;

    /// Could the file be written now?
    ///
    /// # Errors
    /// In words for the operator.
    fn probe_write(&self, file: &PoolFile) -> Result<(), String>;

    /// Keeps others who edit files waiting, from before the file is read until it is written.
    fn lock_edits(&self) -> Option<EditLock>;

    /// Writes `new` over `old`, whole or not at all. `spent`: hashes of the refresh tokens that this uses up.
    ///
    /// # Errors
    /// In words for the operator: it may not be written.
    fn replace(&self, file: &PoolFile, old: &Secret, new: &[u8], spent: &[String]) -> Result<Replaced, String>;

    /// Replaces a file's content by what `change` makes of it. Nobody else comes between the reading and the writing.
    ///
    /// # Errors
    /// In words for the operator: the file is as it was.
    fn edit(&self, file: &str, change: Change<'_>) -> Result<(), String>;

    /// Notes refresh tokens that were used up without a write. What cannot be noted is only logged.
    fn spend(&self, spent: &[String]);

    /// Is it a login that has been renewed since, so that using it again would end it?
    fn is_spent(&self, provider: ProviderId, credentials: &Credentials) -> bool;

    /// Why only a person can help this file's login, if another replica has found that out.
    fn refused(&self, _file: &str) -> Option<String> {
        None
    }

    /// Asks for the right to renew the token in this file, waiting while another replica is at it.
    fn claim<'a>(&'a self, file: &'a str) -> BoxFuture<'a, Result<Right, NoRight>>;
}

/// What is to become of a file's content, or why it cannot be changed.
pub type Change<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>, String>;

/// Why there is no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is gone.
    Missing,
    /// In words for the operator.
    Because(String),
}

/// What has become of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    Written,
    /// Somebody has written something else since `old` was read. That stays.
    Overtaken,
}

/// Who renews.
#[derive(Debug)]
pub enum Right {
    /// We do, as long as this is held.
    Ours(Claim),
    /// Another replica has been at it: there is something new to read.
    Look,
}

/// Nobody renews now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRight {
    Gone,
    /// Not before a while: why.
    NotNow(String),
    /// Never: another replica has found out that only a person can help, for this reason.
    Refused(String),
}
