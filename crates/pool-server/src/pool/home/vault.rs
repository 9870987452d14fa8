//! The vault as this replica sees it: a copy in memory that is read without waiting, writes that count only onto what was read, and
//! the claim that lets one replica at a time renew a token.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use pool_core::{Credentials, ProviderId, Secret};
use pool_providers::Registry;
use pool_store::vault::{Claimed, Entry, Turn};
use pool_store::{Vault, VaultError};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::take_in::Inbox;
use super::{Change, Home, NoRight, Replaced, Right, Unread};
use crate::pool::files::{EditLock, PoolFile, of_name};

/// For one question to the database.
const LIMIT: Duration = Duration::from_secs(5);
/// While another replica renews, its token is looked for so often, and no longer than this.
const LOOK: Duration = Duration::from_millis(250);
const WAIT: Duration = Duration::from_secs(45);
const MEANWHILE: &str = "it was changed in the vault at the same moment; try again";

/// See the module's page.
pub struct VaultHome {
    pub(super) vault: Vault,
    pub(super) registry: Arc<Registry>,
    copies: Mutex<BTreeMap<String, Entry>>,
    changed: Arc<Notify>,
    contact: Mutex<Contact>,
    claims: AtomicU64,
    pub(super) inbox: Mutex<Inbox>,
    runtime: Handle,
}

/// Is the database there?
#[derive(Clone, Debug)]
enum Contact {
    /// As long as anybody remembers.
    Fine,
    Lost(String),
    BackSince(Instant),
}

impl std::fmt::Debug for VaultHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultHome").field("vault", &self.vault).finish_non_exhaustive()
    }
}

impl VaultHome {
    /// Reads every file.
    pub async fn open(vault: Vault, registry: Arc<Registry>) -> Result<Self, VaultError> {
        let home = Self {
            vault,
            registry,
            copies: Mutex::default(),
            changed: Arc::default(),
            contact: Mutex::new(Contact::Fine),
            claims: AtomicU64::new(0),
            inbox: Mutex::default(),
            runtime: Handle::current(),
        };
        home.put_all(home.vault.all().await?);
        Ok(home)
    }

    /// Rings when the shelf should look again.
    pub fn changed(&self) -> &Arc<Notify> {
        &self.changed
    }

    /// Why the database cannot be reached, if so.
    pub fn trouble(&self) -> Option<String> {
        match &*self.contact.lock() {
            Contact::Lost(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Another replica has changed this file.
    pub async fn reload(&self, name: &str) -> Result<(), String> {
        match self.ask(self.vault.one(name)).await? {
            Some(entry) => drop(self.put(entry)),
            None => drop(self.copies.lock().remove(name)),
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Anything may have changed.
    pub async fn reload_all(&self) -> Result<(), String> {
        let entries = self.ask(self.vault.all()).await?;
        self.put_all(entries);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn copies(&self) -> Vec<Entry> {
        self.copies.lock().values().cloned().collect()
    }

    /// From a blocking task.
    pub(super) fn wait<T>(&self, question: impl Future<Output = Result<T, VaultError>>) -> Result<T, String> {
        self.runtime.block_on(self.ask(question))
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, VaultError>>) -> Result<T, String> {
        let answer = match tokio::time::timeout(LIMIT, question).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("the vault's database does not answer".to_owned()),
        };
        let mut contact = self.contact.lock();
        match (&answer, &*contact) {
            (Ok(_), Contact::Lost(_)) => {
                tracing::info!("the vault is there again");
                *contact = Contact::BackSince(Instant::now());
            }
            (Err(why), Contact::Fine | Contact::BackSince(_)) => {
                tracing::warn!("{why}; requests go on with the tokens that are known, and none is renewed");
                *contact = Contact::Lost(why.clone());
            }
            _ => {}
        }
        drop(contact);
        answer
    }

    fn put_all(&self, entries: Vec<Entry>) {
        let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        self.copies.lock().retain(|name, _| names.contains(name));
        for entry in entries {
            self.put(entry);
        }
    }

    /// `true`: it is a newer version than the one we had. An older one, which an answer may bring that was long on its way, is not
    /// taken.
    pub(super) fn put(&self, entry: Entry) -> bool {
        let mut copies = self.copies.lock();
        let known = copies.get(&entry.name).map(|known| known.version);
        if known.is_none_or(|known| known <= entry.version) {
            let newer = known.is_some_and(|known| known < entry.version);
            copies.insert(entry.name.clone(), entry);
            return newer;
        }
        false
    }

    /// The version of this very content.
    fn version_of(&self, name: &str, text: &Secret) -> Option<i64> {
        let copies = self.copies.lock();
        copies.get(name).filter(|entry| entry.text.as_ref() == Some(text)).map(|entry| entry.version)
    }

    async fn claim_file(&self, name: &str) -> Result<Right, NoRight> {
        // A replica that got a new token while the database was away writes it down first.
        let settle = self.vault.claim_life() / 3;
        if matches!(&*self.contact.lock(), Contact::BackSince(back) if back.elapsed() < settle) {
            return Err(NoRight::NotNow("the database was away until a moment ago".into()));
        }
        let claimant = format!("{}/{}", self.vault.replica(), self.claims.fetch_add(1, Ordering::Relaxed));
        let end = Instant::now() + WAIT;
        loop {
            let claimed = self.ask(self.vault.claim(name, &claimant)).await.map_err(NoRight::NotNow)?;
            let Some(Claimed { entry, turn }) = claimed else { return Err(NoRight::Gone) };
            if entry.text.is_none() {
                return Err(NoRight::NotNow("its row in the vault was not sealed with this replica's key".into()));
            }
            let (version, refused) = (entry.version, entry.refused.clone());
            let newer = self.put(entry);
            match turn {
                Turn::Ours => return Ok(Right::Ours(Claim::held(&self.vault, name, claimant, version))),
                Turn::Nobodys => return Err(NoRight::Refused(refused.unwrap_or_default())),
                _ if newer => return Ok(Right::Look),
                Turn::NotYet => return Err(NoRight::NotNow("a replica has tried in vain a moment ago".into())),
                Turn::Theirs if Instant::now() < end => tokio::time::sleep(LOOK).await,
                Turn::Theirs => return Err(NoRight::NotNow("another replica does not come to an end with it".into())),
            }
        }
    }
}

impl Home for VaultHome {
    fn list(&self) -> io::Result<Vec<PoolFile>> {
        Ok(self.copies.lock().keys().map(|name| of_name(name, &self.registry)).collect())
    }

    fn read(&self, file: &PoolFile) -> Result<Vec<u8>, Unread> {
        let copies = self.copies.lock();
        let entry = copies.get(&file.rel).ok_or(Unread::Missing)?;
        let text = entry.text.as_ref().ok_or_else(|| {
            Unread::Because(
                "its row in the vault was not sealed with this replica's key, or was altered; restart with the right key, \
                 or add the account again"
                    .into(),
            )
        })?;
        Ok(text.expose().as_bytes().to_vec())
    }

    fn close_to_others(&self, _file: &PoolFile) -> Result<(), String> {
        Ok(())
    }

    /// The claim has just been written there.
    fn probe_write(&self, _file: &PoolFile) -> Result<(), String> {
        Ok(())
    }

    /// The version tells whether somebody came between.
    fn lock_edits(&self) -> Option<EditLock> {
        None
    }

    fn replace(&self, file: &PoolFile, old: &Secret, new: &[u8], spent: &[String]) -> Result<Replaced, String> {
        let text = Secret::new(std::str::from_utf8(new).map_err(|_| "it is not UTF-8 text")?);
        let name = &file.rel;
        if let Some(version) = self.version_of(name, old)
            && let Some(version) = self.wait(self.vault.replace(name, version, &text, spent))?
        {
            self.put(Entry { name: name.clone(), version, text: Some(text), refused: None });
            return Ok(Replaced::Written);
        }
        match self.wait(self.vault.one(name))? {
            // A write whose answer was lost has arrived all the same.
            Some(entry) if entry.text.as_ref() == Some(&text) => {
                self.put(entry);
                Ok(Replaced::Written)
            }
            Some(entry) => {
                self.put(entry);
                Ok(Replaced::Overtaken)
            }
            None => {
                self.copies.lock().remove(name);
                Err("it was removed from the vault".into())
            }
        }
    }

    fn edit(&self, file: &str, change: Change<'_>) -> Result<(), String> {
        let place = of_name(file, &self.registry);
        let old = match self.read(&place) {
            Ok(old) => old,
            Err(Unread::Missing) => return Err("it is not in the vault any more".into()),
            Err(Unread::Because(why)) => return Err(why),
        };
        let new = change(&old)?;
        let (old, new) = [&old, &new].map(|text| Secret::new(String::from_utf8_lossy(text))).into();
        let version = self.version_of(file, &old).ok_or(MEANWHILE)?;
        let version = self.wait(self.vault.edit(file, version, &new))?.ok_or(MEANWHILE)?;
        let refused = self.refused(file);
        self.put(Entry { name: file.to_owned(), version, text: Some(new), refused });
        Ok(())
    }

    fn spend(&self, spent: &[String]) {
        for hash in spent {
            if let Err(why) = self.wait(self.vault.spend(hash)) {
                tracing::warn!("{why}; an old copy of a login may not be known as one");
            }
        }
    }

    /// What is in the vault is the truth. Only what comes in is asked this ([`super::take_in`]).
    fn is_spent(&self, _provider: ProviderId, _credentials: &Credentials) -> bool {
        false
    }

    fn refused(&self, file: &str) -> Option<String> {
        self.copies.lock().get(file)?.refused.clone()
    }

    fn claim<'a>(&'a self, file: &'a str) -> BoxFuture<'a, Result<Right, NoRight>> {
        Box::pin(self.claim_file(file))
    }
}

/// The right to renew, given back when it is dropped. In the vault it is prolonged as long as it is held.
#[derive(Debug)]
pub struct Claim(Option<Held>);

#[derive(Debug)]
struct Held {
    vault: Vault,
    name: String,
    claimant: String,
    /// The version that is to be renewed.
    version: i64,
    _beat: AbortOnDropHandle<()>,
}

impl Claim {
    /// There is nobody else.
    pub(super) fn alone() -> Self {
        Self(None)
    }

    fn held(vault: &Vault, name: &str, claimant: String, version: i64) -> Self {
        let (beating, row, who) = (vault.clone(), name.to_owned(), claimant.clone());
        let beat = tokio::spawn(async move {
            loop {
                tokio::time::sleep(beating.claim_life() / 3).await;
                // Without the database the claim runs out. What it protects then is the version.
                if let Ok(Ok(false)) = tokio::time::timeout(LIMIT, beating.prolong(&row, &who)).await {
                    return;
                }
            }
        });
        let (vault, name, beat) = (vault.clone(), name.to_owned(), AbortOnDropHandle::new(beat));
        Self(Some(Held { vault, name, claimant, version, _beat: beat }))
    }

    /// The provider has refused the token for good: nobody tries it again.
    pub(in crate::pool) async fn refuse(&self, why: &str) {
        let Some(held) = &self.0 else { return };
        held.tell(held.vault.refuse(&held.name, held.version, why)).await;
    }

    /// It came to nothing: nobody tries again at once.
    pub(in crate::pool) async fn put_off(&self) {
        let Some(held) = &self.0 else { return };
        held.tell(held.vault.put_off(&held.name, &held.claimant)).await;
    }
}

impl Held {
    async fn tell(&self, telling: impl Future<Output = Result<(), VaultError>>) {
        let told = tokio::time::timeout(LIMIT, telling).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(file = self.name, "the other replicas could not be told how its renewal ended");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (vault, name, claimant) = (self.vault.clone(), self.name.clone(), self.claimant.clone());
        if let Ok(runtime) = Handle::try_current() {
            // One that is not given back runs out.
            runtime.spawn(async move { drop(tokio::time::timeout(LIMIT, vault.release(&name, &claimant)).await) });
        }
    }
}
