//! The letter box: files that are put into the pool folder of any replica go into the vault and then lie in the folder's `.archive`.
//! A login that the vault holds a newer one of stays outside, and that is told.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use pool_core::{AccountId, Credentials, Secret};
use pool_providers::provider::FileContent;
use pool_store::vault::Entry;
use sha2::{Digest, Sha256};

use super::spent;
use super::vault::VaultHome;
use crate::clock;
use crate::pool::faults::{Faults, Topic};
use crate::pool::files::{PoolFile, archive, keys, of_name, read_secret, scan};
use crate::pool::shelf::{HALF_WRITTEN, OLD_COPY, same_secrets};

/// What was looked at and stays outside is looked at again after this time, or when it has changed.
const AGAIN: Duration = Duration::from_mins(1);

/// Files that stay outside: hash of the content, when it was last judged, when it was first seen.
pub(super) type Inbox = HashMap<String, Waiting>;

#[derive(Debug)]
pub(super) struct Waiting {
    hash: [u8; 32],
    since: Instant,
    judged: Option<Instant>,
}

/// Why a file stays outside.
enum Outside {
    /// It may be half written.
    Unreadable(String),
    Because(String),
}

/// What the vault holds of a file's account, or under its name.
struct Known {
    entry: Entry,
    id: AccountId,
    credentials: Credentials,
}

impl VaultHome {
    /// Takes in what is new in `dir`. When to look again, if something looks half written. From a blocking task.
    pub fn take_in(&self, dir: &Path, faults: &Faults) -> Option<Duration> {
        let files = match scan(dir, &self.registry) {
            Ok(files) => files,
            Err(error) => {
                faults.set(".", Topic::Content, &format!("the pool folder cannot be read: {error}"));
                return None;
            }
        };
        faults.clear(".", Topic::Content);
        let mut inbox = self.inbox.lock();
        inbox.retain(|rel, _| {
            let stays = files.iter().any(|file| file.rel == *rel);
            if !stays {
                faults.forget(&shown(rel));
            }
            stays
        });
        let mut again = None;
        for file in files {
            let Ok(bytes) = read_secret(&file.path) else { continue };
            let hash: [u8; 32] = Sha256::digest(&bytes).into();
            let now = Instant::now();
            let waiting = inbox.entry(file.rel.clone()).or_insert(Waiting { hash, since: now, judged: None });
            if waiting.hash != hash {
                *waiting = Waiting { hash, since: now, judged: None };
            }
            if waiting.judged.is_some_and(|judged| judged.elapsed() < AGAIN) {
                continue;
            }
            let what = match self.take(dir, &file, &bytes) {
                Ok(()) => {
                    faults.forget(&shown(&file.rel));
                    inbox.remove(&file.rel);
                    continue;
                }
                Err(Outside::Unreadable(_)) if waiting.since.elapsed() < HALF_WRITTEN => {
                    again = Some(HALF_WRITTEN);
                    continue;
                }
                Err(Outside::Unreadable(what) | Outside::Because(what)) => what,
            };
            waiting.judged = Some(now);
            faults.set(&shown(&file.rel), Topic::Content, &format!("it was not taken into the vault: {what}"));
        }
        again
    }

    fn take(&self, dir: &Path, file: &PoolFile, bytes: &[u8]) -> Result<(), Outside> {
        if let Some(fault) = &file.fault {
            return Err(Outside::Because(fault.clone()));
        }
        if file.linked {
            let what = "it is a link, and one login must not have two owners; copy the file here instead";
            return Err(Outside::Because(what.into()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Outside::Unreadable("it is not UTF-8 text".into()))?;
        let (id, new) = self.content(file, bytes).map_err(Outside::Unreadable)?;
        self.put_in(file, &Secret::new(text), &id, &new).map_err(Outside::Because)?;
        let moved = archive(dir, &file.rel, clock::now());
        moved.map_err(|error| {
            Outside::Because(format!("no: it is in the vault now, but could not be moved away ({error}); remove it"))
        })?;
        tracing::info!(file = file.rel, account = %id, "taken into the vault");
        Ok(())
    }

    /// Into the vault, unless that holds something newer.
    fn put_in(&self, file: &PoolFile, text: &Secret, id: &AccountId, new: &Credentials) -> Result<(), String> {
        let provider = file.provider.ok_or("it has no provider")?;
        if let Some(hash) = spent::hash(provider, new)
            && self.wait(self.vault.is_spent(&hash))?
        {
            return Err(OLD_COPY.into());
        }
        // Twice at most: another replica may take in the same file at this moment.
        for _ in 0..3 {
            let known = self.copies().into_iter().filter_map(|entry| self.known(entry));
            let known = known.into_iter().find(|known| known.id == *id || known.entry.name == file.rel);
            let Some(Known { entry, id: owner, credentials }) = known else {
                if self.wait(self.vault.insert(&file.rel, text))? {
                    return self.look(&file.rel);
                }
                self.look(&file.rel)?;
                continue;
            };
            if owner != *id {
                return Err("the vault has another account of this name; rename the file".into());
            }
            // Every replica may bring a copy of the same file.
            if same_secrets(new, &credentials) {
                return Ok(());
            }
            let age = |credentials: &Credentials| (credentials.expires_at, credentials.refreshed_at);
            let is_newer = new.refresh.is_none() || age(new) > age(&credentials);
            if !is_newer && entry.refused.is_none() {
                return Err("the vault holds a newer login of this account; remove it, or sign in again".into());
            }
            // The operator's wishes for the account stay.
            let old = entry.text.as_ref().map(Secret::expose).unwrap_or_default();
            let merged = keys::carried_over(old.as_bytes(), text.expose().as_bytes().to_vec());
            let merged = Secret::new(String::from_utf8_lossy(&merged));
            let written = self.wait(self.vault.replace(&entry.name, entry.version, &merged, &[]))?;
            self.look(&entry.name)?;
            if written.is_some() {
                return Ok(());
            }
        }
        Err("the vault does not take it; see whether this replica has the vault's key (`codex-pool vault status`)"
            .into())
    }

    fn look(&self, name: &str) -> Result<(), String> {
        if let Some(entry) = self.wait(self.vault.one(name))? {
            self.put(entry);
        }
        Ok(())
    }

    fn known(&self, entry: Entry) -> Option<Known> {
        let text = entry.text.clone()?;
        let (id, credentials) = self.content(&of_name(&entry.name, &self.registry), text.expose().as_bytes()).ok()?;
        Some(Known { entry, id, credentials })
    }

    fn content(&self, file: &PoolFile, bytes: &[u8]) -> Result<(AccountId, Credentials), String> {
        let provider = file.provider.and_then(|id| self.registry.get(id)).ok_or("it has no provider")?;
        let content: FileContent = provider.read_file(&file.rel, bytes).map_err(|fault| fault.to_string())?;
        let id = content.account(&file.rel, provider).id;
        Ok((id, content.credentials))
    }
}

/// Faults of files in the folder, beside those of the vault's that may have the same name.
fn shown(rel: &str) -> String {
    format!("./{rel}")
}
