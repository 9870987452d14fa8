//! The pool's files as last read: which file holds which account, and the last good reading of each. Where they live is
//! [`Home`]'s.
//!
//! Whoever reads a file in order to act on it, or writes one, does so under the shelf's one lock. So our own write never looks
//! like an operator's edit, and an old reading never overtakes a new token. It is held while the disk works: call from a
//! blocking task.

mod persist;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_core::pool::Event;
use pool_core::{Account, AccountId, Credentials, ProviderId, Secret};
use pool_providers::Registry;
use pool_providers::provider::FileContent;
use sha2::{Digest, Sha256};

use crate::pool::LivePool;
use crate::pool::faults::{Faults, Topic};
use crate::pool::files::PoolFile;
use crate::pool::home::{Home, Unread};

pub use persist::{Loan, Opened, Persisted, Unsaved};

pub(super) const OLD_COPY: &str = "it is an old copy of a login that was renewed since, and using its refresh token again would end that \
                        login; remove it, or sign in again";
/// A file that does not parse is given this long before it is reported: an editor may be in the middle of it.
pub(super) const HALF_WRITTEN: Duration = Duration::from_millis(400);
/// A file that is missing is given this long: some programs remove the old one before they put the new one in place.
const REPLACED: Duration = Duration::from_millis(100);

/// See the module's page.
pub struct Shelf {
    dir: PathBuf,
    home: Arc<dyn Home>,
    registry: Arc<Registry>,
    live: Arc<LivePool>,
    faults: Arc<Faults>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("dir", &self.dir).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// By path below the pool folder.
    files: BTreeMap<String, Held>,
    /// Which file an account lives in.
    owners: HashMap<AccountId, String>,
    /// What the pool was last told of each account.
    told: HashMap<AccountId, (Account, Credentials)>,
    /// Renewed tokens in use that could not be written yet.
    unsaved: HashMap<AccountId, Unsaved>,
}

/// One file.
struct Held {
    file: PoolFile,
    /// Hash of the content last read, whether it was good or not.
    seen: Option<[u8; 32]>,
    good: Option<Good>,
    broken_since: Option<Instant>,
    missing_since: Option<Instant>,
}

/// The last reading that made sense.
struct Good {
    text: Secret,
    account: Account,
    credentials: Credentials,
}

/// What a look at the folder has brought.
#[derive(Debug, Default)]
pub struct Rescan {
    /// New accounts, and those whose file says something new.
    pub changed: Vec<AccountId>,
    /// Something looks half done: look again after this time.
    pub again: Option<Duration>,
    /// The folder itself could not be read.
    pub lost: bool,
}

impl Shelf {
    /// `dir` is the pool folder, where what must not be lost is put aside.
    pub fn new(
        dir: PathBuf,
        home: Arc<dyn Home>,
        registry: Arc<Registry>,
        live: Arc<LivePool>,
        faults: Arc<Faults>,
    ) -> Self {
        Self { dir, home, registry, live, faults, state: Mutex::default() }
    }

    pub fn home(&self) -> &Arc<dyn Home> {
        &self.home
    }

    /// The file that the account lives in.
    pub fn file_of(&self, id: &AccountId) -> Option<String> {
        self.state.lock().owners.get(id).cloned()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first look, which has no patience: what is wrong at the start is said at the start.
    pub fn load(&self) -> io::Result<Rescan> {
        let files = self.home.list()?;
        Ok(self.take_in(&mut self.state.lock(), files, Duration::ZERO))
    }

    /// Looks at every file and tells the pool what has changed. A file that cannot be read keeps its last good reading.
    pub fn rescan(&self) -> Rescan {
        let mut state = self.state.lock();
        match self.home.list() {
            Ok(files) => {
                self.faults.clear(".", Topic::Content);
                self.take_in(&mut state, files, HALF_WRITTEN)
            }
            Err(error) => {
                let what = format!("the pool folder cannot be read: {error}; the accounts stay as they were last read");
                self.faults.set(".", Topic::Content, &what);
                Rescan { lost: true, ..Rescan::default() }
            }
        }
    }

    fn take_in(&self, state: &mut State, files: Vec<PoolFile>, patience: Duration) -> Rescan {
        let listed: HashSet<&str> = files.iter().map(|file| file.rel.as_str()).collect();
        for (rel, held) in &mut state.files {
            if !listed.contains(rel.as_str()) {
                held.missing_since.get_or_insert_with(Instant::now);
            }
        }
        for file in files {
            self.look(state, file, patience);
        }
        state.files.retain(|rel, held| {
            let stays = held.missing_since.is_none_or(|since| since.elapsed() < REPLACED.min(patience));
            if !stays {
                self.faults.forget(rel);
            }
            stays
        });
        let changed = self.settle(state);
        Rescan { changed, again: state.again(patience), lost: false }
    }

    /// Reads one file.
    fn look(&self, state: &mut State, file: PoolFile, patience: Duration) {
        let rel = file.rel.clone();
        let held = state.files.entry(rel.clone()).or_insert_with(|| Held::new(file.clone()));
        held.file = file;
        let missing_since = held.missing_since.take();
        if let Some(fault) = &held.file.fault {
            self.faults.set(&rel, Topic::Content, fault);
            return;
        }
        if let Err(what) = self.home.close_to_others(&held.file) {
            self.faults.set(&rel, Topic::Note, &what);
        }
        let bytes = match self.home.read(&held.file) {
            Ok(bytes) => bytes,
            Err(Unread::Missing) => {
                held.missing_since = missing_since.or_else(|| Some(Instant::now()));
                return;
            }
            Err(Unread::Because(what)) => {
                held.seen = None;
                return self.broken(held, &what, patience);
            }
        };
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        if held.seen == Some(hash) && held.broken_since.is_none() {
            // The same as last time; a fault of the file's name or link is over.
            self.faults.clear(&rel, Topic::Content);
            return;
        }
        held.seen = Some(hash);
        match self.parse(&held.file, &bytes) {
            Ok((good, _)) if held.good.is_some() && self.home.is_spent(good.account.provider, &good.credentials) => {
                self.broken(held, OLD_COPY, patience);
            }
            Ok((good, warning)) => {
                held.good = Some(good);
                held.broken_since = None;
                self.faults.clear(&rel, Topic::Content);
                match warning {
                    Some(warning) => self.faults.set(&rel, Topic::Note, &warning),
                    None => self.faults.clear(&rel, Topic::Note),
                }
            }
            Err(what) => self.broken(held, &what, patience),
        }
    }

    fn broken(&self, held: &mut Held, what: &str, patience: Duration) {
        let since = *held.broken_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= patience {
            let kept = if held.good.is_some() { " (its last good content stays in use)" } else { "" };
            self.faults.set(&held.file.rel, Topic::Content, &format!("{what}{kept}"));
        }
    }

    fn parse(&self, file: &PoolFile, bytes: &[u8]) -> Result<(Good, Option<String>), String> {
        let provider = file.provider.and_then(|id| self.registry.get(id)).ok_or("it has no provider")?;
        if bytes.trim_ascii().is_empty() {
            return Err("it is empty; put the credential file's content in, or remove it".into());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text; copy the credential file again")?;
        let content = provider.read_file(&file.rel, bytes).map_err(|fault| fault.to_string())?;
        let account = content.account(&file.rel, provider);
        let FileContent { credentials, warning, .. } = content;
        Ok((Good { text: Secret::new(text), account, credentials }, warning))
    }

    /// Decides which file speaks for which account, and tells the pool what is new.
    fn settle(&self, state: &mut State) -> Vec<AccountId> {
        let owners = self.owners(state);
        let mut changed = Vec::new();
        for (id, rel) in &owners {
            let Some(good) = state.files.get(rel).and_then(|held| held.good.as_ref()) else { continue };
            let now = (good.account.clone(), good.credentials.clone());
            if state.told.get(id) == Some(&now) {
                continue;
            }
            let (account, mut credentials) = now.clone();
            match state.unsaved.get(id) {
                // Other things of the file were edited; its token is still the used one.
                Some(unsaved) if same_secrets(&unsaved.on_file, &credentials) => credentials = unsaved.new.clone(),
                Some(_) => {
                    state.unsaved.remove(id);
                    self.faults.clear(rel, Topic::Write);
                }
                None => {}
            }
            self.live.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) });
            state.told.insert(id.clone(), now);
            changed.push(id.clone());
        }
        self.park_refused(state, &owners);
        state.told.retain(|id, _| {
            let stays = owners.contains_key(id);
            if !stays {
                tracing::info!(account = %id, "its file is gone");
                self.live.apply(Event::Gone { id: id.clone() });
            }
            stays
        });
        state.owners = owners;
        changed
    }

    /// What another replica was told of a login holds here too, unless this one has a newer token that is not written yet.
    fn park_refused(&self, state: &State, owners: &HashMap<AccountId, String>) {
        for (id, rel) in owners.iter().filter(|(id, _)| !state.unsaved.contains_key(*id)) {
            let Some(why) = self.home.refused(rel) else { continue };
            let epoch =
                self.live.read(|pool, _| pool.slot(id).filter(|slot| slot.needs_login.is_none()).map(|s| s.epoch));
            if let Some(epoch) = epoch {
                self.live.apply(Event::SignInNeeded { id: id.clone(), epoch, why });
            }
        }
    }

    /// One account, one file. Of two that hold the same account the one whose token lasts longer speaks: the other's refresh
    /// token is likely used up, and using it again would sign the account out. Then the first by path.
    fn owners(&self, state: &State) -> HashMap<AccountId, String> {
        let readings = state.files.iter().filter_map(|(rel, held)| Some((rel, held, held.good.as_ref()?)));
        // The file of a token that could not be saved holds the one before it, and is in use all the same.
        let is_old = |good: &Good| {
            let saved = !state.unsaved.contains_key(&good.account.id);
            saved && self.home.is_spent(good.account.provider, &good.credentials)
        };
        let (old, mut claims): (Vec<_>, Vec<_>) = readings.partition(|(_, _, good)| is_old(good));
        for (rel, ..) in old {
            self.faults.set(rel, Topic::Twice, OLD_COPY);
        }
        claims.sort_by_key(|(rel, held, good)| {
            let age = (good.credentials.expires_at, good.credentials.refreshed_at);
            (held.missing_since.is_some(), Reverse(age), rel.as_str())
        });
        let mut owners: HashMap<AccountId, String> = HashMap::new();
        let mut keys: HashMap<(ProviderId, &str), &String> = HashMap::new();
        for (rel, held, good) in claims {
            let key = (good.account.provider, good.credentials.access.expose());
            let twice = match (owners.get(&good.account.id), keys.get(&key)) {
                (Some(other), _) => {
                    Some(format!("it is the same account as {other}, which is in use; remove one of them"))
                }
                (_, Some(other)) => {
                    Some(format!("it holds the same key as {other}, which is in use; remove one of them"))
                }
                (None, None) => None,
            };
            if let Some(what) = twice {
                if held.missing_since.is_none() {
                    self.faults.set(rel, Topic::Twice, &what);
                }
                continue;
            }
            self.faults.clear(rel, Topic::Twice);
            owners.insert(good.account.id.clone(), rel.clone());
            keys.insert(key, rel);
        }
        owners
    }
}

impl State {
    /// When to look again at what may be half done.
    fn again(&self, patience: Duration) -> Option<Duration> {
        let broken = |held: &Held| held.broken_since.is_some_and(|since| since.elapsed() < patience + REPLACED);
        let unsettled = self.files.values().any(|held| held.missing_since.is_some() || broken(held));
        unsettled.then_some(REPLACED)
    }
}

impl Held {
    fn new(file: PoolFile) -> Self {
        Self { file, seen: None, good: None, broken_since: None, missing_since: None }
    }
}

/// Is it the same login? (The times and ids beside it do not matter.)
pub(super) fn same_secrets(a: &Credentials, b: &Credentials) -> bool {
    a.access == b.access && a.refresh == b.refresh
}
