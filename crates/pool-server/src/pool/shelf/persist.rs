//! Renewed tokens on their way to disk. A rotated token that is lost is a lost account; an operator's newer one that is
//! overwritten is too.

use std::path::PathBuf;

use pool_core::pool::Event;
use pool_core::{Account, AccountId, Credentials, Secret};
use pool_providers::Provider;
use sha2::{Digest, Sha256};

use super::{Good, HALF_WRITTEN, Shelf, State, same_secrets};
use crate::clock;
use crate::pool::faults::Topic;
use crate::pool::files::{PoolFile, ensure_private_dir, write_new};
use crate::pool::home::spent::spent_by;
use crate::pool::home::{Replaced, Unread};

/// An account's file, opened for renewal: what it held then.
#[derive(Clone, Debug)]
pub struct Loan {
    pub account: Account,
    /// What is to be renewed.
    pub credentials: Credentials,
    /// The epoch that `credentials` have in the pool.
    pub epoch: u64,
    file: PoolFile,
    text: Secret,
    /// What the file held: older than `credentials` if a renewed token could not be written.
    on_file: Credentials,
}

/// What a look into the file before renewing has brought.
#[derive(Debug)]
pub enum Opened {
    /// The file holds a newer login that another program or the operator has put there; the pool has it now.
    Adopted,
    Ready(Box<Loan>),
    /// The file is a link: its target's owner renews it.
    Linked(Box<Loan>),
    /// There is no such account any more.
    Gone,
}

/// Where a renewed token has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persisted {
    Written,
    /// The file has got a newer login meanwhile, which stays and is in use.
    Superseded,
    /// The file was removed meanwhile; the renewed one lies there.
    Archived(PathBuf),
}

/// A renewed token that is in use and not on disk.
#[derive(Clone, Debug)]
pub struct Unsaved {
    pub loan: Loan,
    pub on_file: Credentials,
    pub new: Credentials,
}

impl Shelf {
    /// Reads the account's file again before its token is renewed. `known`: the epoch that is to be renewed.
    pub fn open(&self, id: &AccountId, known: u64) -> Opened {
        let mut state = self.state.lock();
        let Some(rel) = state.owners.get(id).cloned() else { return Opened::Gone };
        self.look_again(&mut state, &rel);
        let Some((account, credentials, epoch)) = self.live.read(|pool, _| {
            pool.slot(id).map(|slot| (Account::clone(&slot.account), Credentials::clone(&slot.credentials), slot.epoch))
        }) else {
            return Opened::Gone;
        };
        if epoch != known && !credentials.is_expired(clock::now()) {
            return Opened::Adopted;
        }
        let Some((file, good)) = state.owned(id) else { return Opened::Gone };
        let (text, on_file) = (good.text.clone(), good.credentials.clone());
        let loan = Box::new(Loan { account, credentials, epoch, file: file.clone(), text, on_file });
        if !loan.file.linked {
            return Opened::Ready(loan);
        }
        if loan.credentials.refresh.is_some() {
            let what = "it is a link, so its token is not renewed here: the program that owns the target must do it";
            self.faults.set(&rel, Topic::Note, what);
        }
        Opened::Linked(loan)
    }

    /// Could the renewed token be written?
    pub fn is_writable(&self, loan: &Loan) -> bool {
        match self.home.probe_write(&loan.file) {
            Ok(()) => true,
            Err(error) => {
                let what = format!(
                    "its token is not renewed before it must be, because the new one could not be saved: {error}"
                );
                self.faults.set(&loan.file.rel, Topic::Write, &what);
                false
            }
        }
    }

    /// Writes the renewed token and then, only then, gives it to the pool.
    ///
    /// # Errors
    /// In words for the operator: it is not on disk. With `last` unset that may be because the file is being edited just now.
    pub fn persist(&self, loan: &Loan, new: &Credentials, last: bool) -> Result<Persisted, String> {
        let mut state = self.state.lock();
        // Commands that edit the file wait for this.
        let _edit = self.home.lock_edits();
        let id = &loan.account.id;
        // The file may have been renamed since.
        let rel = state.owners.get(id).unwrap_or(&loan.file.rel).clone();
        self.look_again(&mut state, &rel);
        let provider = self.registry.get(loan.account.provider).ok_or("its provider is gone")?;
        let there = state.files.get(&rel).filter(|held| held.missing_since.is_none());
        let broken = there.is_some_and(|held| held.broken_since.is_some());
        let good = there.and_then(|held| Some((&held.file, held.good.as_ref()?)));
        let mine = good.filter(|(_, good)| good.account.id == *id);
        let (file, good) = match mine {
            Some(_) if broken && !last => return Err("its file is being changed".into()),
            None if !last => return Err("its file is being replaced".into()),
            None => {
                let kept = self.keep_aside(loan, new, provider)?;
                self.home.spend(&spent_by(loan.account.provider, &[&loan.credentials], new));
                state.unsaved.remove(id);
                return Ok(kept);
            }
            Some(mine) => mine,
        };
        if !same_secrets(&good.credentials, &loan.on_file) {
            state.unsaved.remove(id);
            return Ok(Persisted::Superseded);
        }
        if let Some(fault) = &file.fault {
            return Err(fault.clone());
        }
        let bytes = rewrite(provider, &rel, &good.text, new)?;
        if broken {
            self.keep_broken(file)?;
        }
        let file = file.clone();
        let spent = spent_by(loan.account.provider, &[&loan.credentials, &loan.on_file], new);
        if self.home.replace(&file, &good.text, &bytes, &spent)? == Replaced::Overtaken {
            self.look_again(&mut state, &rel);
            if state.owned(id).is_some_and(|(_, good)| same_secrets(&good.credentials, &loan.on_file)) {
                return Err("something else of its file was changed at the same moment".into());
            }
            state.unsaved.remove(id);
            return Ok(Persisted::Superseded);
        }
        self.written(&mut state, id, &file, &bytes);
        self.publish(id, new);
        Ok(Persisted::Written)
    }

    /// Puts a renewed token to use that could not be written. The old one is dead, so holding the new one back would save
    /// nothing: it would only take the account out as well. [`Shelf::unsaved`] lists it until it is on disk.
    pub fn use_unsaved(&self, loan: &Loan, new: &Credentials, why: &str) {
        let mut state = self.state.lock();
        let id = &loan.account.id;
        let what = format!("its renewed token is in use but not saved, and would be lost with this process: {why}");
        self.faults.set(&loan.file.rel, Topic::Write, &what);
        let unsaved = Unsaved { loan: loan.clone(), on_file: loan.on_file.clone(), new: new.clone() };
        state.unsaved.insert(id.clone(), unsaved);
        self.publish(id, new);
    }

    /// Renewed tokens that still wait for their disk.
    pub fn unsaved(&self) -> Vec<Unsaved> {
        self.state.lock().unsaved.values().cloned().collect()
    }

    fn look_again(&self, state: &mut State, rel: &str) {
        if let Some(file) = state.files.get(rel).map(|held| held.file.clone()) {
            self.look(state, file, HALF_WRITTEN);
            self.settle(state);
        }
    }

    fn publish(&self, id: &AccountId, new: &Credentials) {
        let mut new = new.clone();
        let known = self.live.read(|pool, _| {
            let Some(slot) = pool.slot(id) else { return true };
            // What a probe has told while the renewal was under way.
            for (key, value) in &slot.credentials.bound {
                new.bound.entry(key).or_insert_with(|| value.clone());
            }
            *slot.credentials == new
        });
        if !known {
            self.live.apply(Event::Renewed { id: id.clone(), credentials: Box::new(new) });
        }
    }

    /// Our own write is no edit: the next look at the folder finds nothing new.
    fn written(&self, state: &mut State, id: &AccountId, file: &PoolFile, bytes: &[u8]) {
        state.unsaved.remove(id);
        self.faults.clear(&file.rel, Topic::Write);
        let Ok((good, _)) = self.parse(file, bytes) else { return };
        state.told.insert(id.clone(), (good.account.clone(), good.credentials.clone()));
        if let Some(held) = state.files.get_mut(&file.rel) {
            held.seen = Some(Sha256::digest(bytes).into());
            held.good = Some(good);
            held.broken_since = None;
            self.faults.clear(&file.rel, Topic::Content);
        }
    }

    /// The account was removed while its token was renewed. Whoever restores it finds the token that still works.
    fn keep_aside(&self, loan: &Loan, new: &Credentials, provider: &dyn Provider) -> Result<Persisted, String> {
        let bytes = rewrite(provider, &loan.file.rel, &loan.text, new)?;
        let path = self.aside(&loan.file, "renewed", &bytes)?;
        tracing::warn!(
            account = %loan.account.id,
            path = %path.display(),
            "removed while its token was renewed; the renewed file lies in the archive"
        );
        Ok(Persisted::Archived(path))
    }

    /// Nobody's text is thrown away, not even a broken one.
    fn keep_broken(&self, file: &PoolFile) -> Result<(), String> {
        let bytes = match self.home.read(file) {
            Ok(bytes) => bytes,
            Err(Unread::Missing) => return Ok(()),
            Err(Unread::Because(why)) => return Err(format!("its broken content cannot be kept: {why}")),
        };
        if !bytes.trim_ascii().is_empty() {
            let path = self.aside(file, "broken", &bytes)?;
            tracing::warn!(file = file.rel, path = %path.display(), "its broken content lies in the archive");
        }
        Ok(())
    }

    fn aside(&self, file: &PoolFile, why: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let folder = self.dir.join(".archive");
        ensure_private_dir(&folder).map_err(|error| error.to_string())?;
        let path = folder.join(format!("{}-{why}-{}", clock::now().0, file.rel.replace('/', "-")));
        write_new(&path, bytes).map_err(|error| error.to_string())?;
        Ok(path)
    }
}

/// The file's text with the new token, checked: it must read back as what it was made of.
fn rewrite(provider: &dyn Provider, rel: &str, text: &Secret, new: &Credentials) -> Result<Vec<u8>, String> {
    let bytes = provider
        .write_back(text.expose().as_bytes(), new, clock::now())
        .map_err(|fault| format!("the new token does not fit its file: {fault}"))?;
    match provider.read_file(rel, &bytes) {
        Ok(content) if same_secrets(&content.credentials, new) => Ok(bytes),
        _ => Err("the new token does not fit its file".into()),
    }
}

impl State {
    /// The file that an account lives in, with its last good reading.
    fn owned(&self, id: &AccountId) -> Option<(&PoolFile, &Good)> {
        let held = self.files.get(self.owners.get(id)?)?;
        Some((&held.file, held.good.as_ref()?))
    }
}
