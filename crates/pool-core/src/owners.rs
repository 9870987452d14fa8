//! Owners: which account holds what a request has created upstream, and who asked for it.
//!
//! A stored response, an uploaded file, a batch, a cached content lives in one account and is its creator's alone. A later
//! call that names it goes to that account, and only for the caller that it was created for.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::account::{AccountId, ProviderId};
use crate::pool::Pool;
use crate::time::{Span, UnixMs};

/// Something that lives upstream: its provider and id, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectKey(pub [u8; 16]);

/// A caller, hashed from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Creator(pub [u8; 16]);

impl ObjectKey {
    /// `id`: as the provider tells it; it must tell apart all that a provider keeps, of whatever kind.
    pub fn new(provider: ProviderId, id: &str) -> Self {
        Self(short_hash(&[b"object", provider.0.as_bytes(), id.as_bytes()]))
    }

    /// Where a second creator's object of the same id is kept: some providers let clients choose ids, and two people may
    /// choose the same one in two accounts.
    fn of(self, creator: Creator) -> Self {
        Self(short_hash(&[b"namesake", &self.0, &creator.0]))
    }
}

impl Creator {
    /// `caller` is who asks (the pool user; empty on an open loopback pool).
    pub fn new(caller: &str) -> Self {
        Self(short_hash(&[b"creator", caller.as_bytes()]))
    }
}

fn short_hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

/// Where an object lives, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    pub account: AccountId,
    pub creator: Creator,
    pub used_at: UnixMs,
}

/// What a caller is told of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// The caller's, on this account.
    Own(&'a AccountId),
    /// Somebody else's: to the caller it is not there.
    Foreign,
    /// Nobody knows it.
    Unknown,
}

/// A bounded map. What is not used for a while is forgotten; when it is full, the longest idle go.
#[derive(Debug)]
pub struct Owners {
    map: HashMap<ObjectKey, Owned>,
    capacity: usize,
    idle: Span,
    /// Those that changed since they were last put away. `None`: nobody puts them away.
    changed: Option<HashSet<ObjectKey>>,
}

/// What is not used for so long is forgotten. Responses are stored for 30 days (OpenAI), files for as long as anybody wants them.
pub const IDLE: Span = Span::from_hours(30 * 24);

impl Default for Owners {
    fn default() -> Self {
        Self::new(200_000, IDLE)
    }
}

impl Owners {
    pub fn new(capacity: usize, idle: Span) -> Self {
        Self { map: HashMap::new(), capacity: capacity.max(1), idle, changed: None }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn whose(&self, object: ObjectKey, creator: Creator, now: UnixMs) -> Whose<'_> {
        let known = |key: ObjectKey| self.map.get(&key).filter(|owned| now.since(owned.used_at) < self.idle);
        match (known(object), known(object.of(creator))) {
            (Some(first), _) if first.creator == creator => Whose::Own(&first.account),
            (_, Some(namesake)) => Whose::Own(&namesake.account),
            (Some(_), None) => Whose::Foreign,
            (None, None) => Whose::Unknown,
        }
    }

    /// The account has created them for the caller, or served a call that names them.
    pub(crate) fn created(&mut self, account: &AccountId, creator: Creator, objects: &[ObjectKey], now: UnixMs) {
        for object in objects {
            self.keep(*object, Owned { account: account.clone(), creator, used_at: now });
        }
    }

    fn keep(&mut self, object: ObjectKey, owned: Owned) {
        let now = owned.used_at;
        let taken = self
            .map
            .get(&object)
            .is_some_and(|first| first.creator != owned.creator && now.since(first.used_at) < self.idle);
        self.put(if taken { object.of(owned.creator) } else { object }, owned, now);
    }

    /// Everything that is known.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKey, &Owned)> {
        self.map.iter().map(|(key, owned)| (*key, owned))
    }

    /// From now on changes are noted, for [`Owners::take_changed`].
    pub fn track(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// What changed since it was last taken, at most so many; `None` for what is forgotten. The rest comes with the next call.
    pub fn take_changed(&mut self, most: usize) -> Vec<(ObjectKey, Option<Owned>)> {
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let taken: Vec<ObjectKey> = changed.iter().take(most).copied().collect();
        for key in &taken {
            changed.remove(key);
        }
        taken.into_iter().map(|key| (key, self.map.get(&key).cloned())).collect()
    }

    /// Takes up what was put away, the last used first. What has been learned since counts more; what lies in the future of a
    /// clock that was set back counts from now. What is idle or too much is to be forgotten where it was put away, too.
    pub(crate) fn restore(&mut self, mut entries: Vec<(ObjectKey, Owned)>, now: UnixMs) {
        entries.sort_unstable_by_key(|(_, owned)| std::cmp::Reverse(owned.used_at));
        for (key, owned) in entries {
            if self.map.contains_key(&key) {
                continue;
            }
            if now.since(owned.used_at) < self.idle && self.map.len() < self.capacity {
                let used_at = owned.used_at.min(now);
                self.map.insert(key, Owned { used_at, ..owned });
            } else {
                self.note(key);
            }
        }
    }

    fn put(&mut self, key: ObjectKey, owned: Owned, now: UnixMs) {
        if self.map.len() >= self.capacity && !self.map.contains_key(&key) {
            self.make_room(now);
        }
        self.map.insert(key, owned);
        self.note(key);
    }

    /// Notes are bounded as well: if nobody takes them for long, some of the forgotten are put away for longer.
    fn note(&mut self, key: ObjectKey) {
        let most = self.capacity * 2;
        if let Some(changed) = self.changed.as_mut().filter(|changed| changed.len() < most) {
            changed.insert(key);
        }
    }

    /// Drops what is idle; if that is not enough, the longest idle tenth.
    fn make_room(&mut self, now: UnixMs) {
        let idle = self.idle;
        self.retain(|owned| now.since(owned.used_at) < idle);
        if self.map.len() < self.capacity {
            return;
        }
        let mut ages: Vec<UnixMs> = self.map.values().map(|owned| owned.used_at).collect();
        let tenth = (self.capacity / 10).min(ages.len() - 1);
        let (_, cut, _) = ages.select_nth_unstable(tenth);
        let cut = *cut;
        self.retain(|owned| owned.used_at > cut);
    }

    fn retain(&mut self, stays: impl Fn(&Owned) -> bool) {
        let gone: Vec<ObjectKey> = self.map.iter().filter(|(_, owned)| !stays(owned)).map(|(key, _)| *key).collect();
        for key in gone {
            self.map.remove(&key);
            self.note(key);
        }
    }
}

impl Pool {
    /// Whose is it, and can it be reached? What lives on an account that is gone is unknown until that comes back.
    pub fn whose(&self, object: ObjectKey, creator: Creator, now: UnixMs) -> Whose<'_> {
        match self.owners.whose(object, creator, now) {
            Whose::Own(account) if self.slot(account).is_none() => Whose::Unknown,
            whose => whose,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVIDER: ProviderId = ProviderId("codex");

    fn object(id: &str) -> ObjectKey {
        ObjectKey::new(PROVIDER, id)
    }

    fn owned(account: &str, caller: &str, at: i64) -> Owned {
        Owned { account: AccountId(account.into()), creator: Creator::new(caller), used_at: UnixMs(at) }
    }

    fn whose(owners: &Owners, id: &str, caller: &str, at: i64) -> String {
        match owners.whose(object(id), Creator::new(caller), UnixMs(at)) {
            Whose::Own(account) => account.to_string(),
            Whose::Foreign => "foreign".into(),
            Whose::Unknown => "unknown".into(),
        }
    }

    #[test]
    fn an_object_is_its_creators_on_its_account() {
        let mut owners = Owners::new(10, Span::from_mins(1));
        owners.keep(object("file-1"), owned("a", "ann", 0));
        assert_eq!(whose(&owners, "file-1", "ann", 0), "a");
        assert_eq!(whose(&owners, "file-1", "bob", 0), "foreign");
        assert_eq!(whose(&owners, "file-2", "ann", 0), "unknown");
        assert_ne!(object("file-1"), ObjectKey::new(ProviderId("gemini"), "file-1"));
    }

    #[test]
    fn two_people_may_choose_the_same_id() {
        let mut owners = Owners::new(10, Span::from_mins(1));
        owners.keep(object("files/report"), owned("a", "ann", 0));
        owners.keep(object("files/report"), owned("b", "bob", 0));
        assert_eq!(whose(&owners, "files/report", "ann", 1), "a", "nobody takes it from its creator");
        assert_eq!(whose(&owners, "files/report", "bob", 1), "b");
        assert_eq!(whose(&owners, "files/report", "cat", 1), "foreign");
        // Created anew on another account.
        owners.keep(object("files/report"), owned("c", "ann", 2));
        owners.keep(object("files/report"), owned("d", "bob", 2));
        assert_eq!(whose(&owners, "files/report", "ann", 3), "c");
        assert_eq!(whose(&owners, "files/report", "bob", 3), "d");
    }

    #[test]
    fn what_is_used_stays_and_what_is_idle_goes() {
        let mut owners = Owners::new(10, Span::from_mins(1));
        owners.keep(object("one"), owned("a", "ann", 0));
        owners.keep(object("one"), owned("a", "ann", 59_999));
        assert_eq!(whose(&owners, "one", "ann", 60_000), "a");
        assert_eq!(whose(&owners, "one", "ann", 119_999), "unknown");
        assert_eq!(whose(&owners, "one", "bob", 119_999), "unknown", "not even that there was one");
        // Its place is free for another.
        owners.keep(object("one"), owned("b", "bob", 120_000));
        assert_eq!(whose(&owners, "one", "ann", 120_000), "foreign");
    }

    #[test]
    fn a_full_map_lets_the_longest_idle_go() {
        for step in [0, 1] {
            let mut owners = Owners::new(20, Span::from_hours(1));
            for number in 0..40 {
                owners.keep(object(&number.to_string()), owned("a", "ann", number * step));
                assert!(owners.len() <= 20);
            }
            assert_eq!(whose(&owners, "39", "ann", 40), "a");
            assert_eq!(whose(&owners, "0", "ann", 40), "unknown");
        }
    }

    #[test]
    fn what_was_kept_comes_back_as_it_was() {
        let mut owners = Owners::new(10, Span::from_mins(1));
        owners.keep(object("file-1"), owned("a", "ann", 0));
        owners.keep(object("file-1"), owned("b", "bob", 30_000));
        let entries: Vec<(ObjectKey, Owned)> = owners.iter().map(|(key, owned)| (key, owned.clone())).collect();

        let mut later = Owners::new(10, Span::from_mins(1));
        later.restore(entries.clone(), UnixMs(70_000));
        assert_eq!(whose(&later, "file-1", "bob", 70_000), "b");
        assert_eq!(whose(&later, "file-1", "ann", 70_000), "unknown", "idle for too long");

        let mut before = Owners::new(10, Span::from_mins(1));
        before.keep(object("file-1"), owned("c", "ann", -10));
        before.restore(entries, UnixMs(-5));
        assert_eq!(whose(&before, "file-1", "ann", 0), "c", "what is known by now counts more");
        assert_eq!(whose(&before, "file-1", "bob", 59_995), "unknown", "counted from the clock that was set back");
    }

    /// What is written down, as a store would have it that writes what it is told.
    fn put_away(owners: &mut Owners, kept: &mut HashMap<ObjectKey, Owned>) {
        loop {
            let changed = owners.take_changed(3);
            if changed.is_empty() {
                return;
            }
            assert!(changed.len() <= 3);
            for (key, owned) in changed {
                match owned {
                    Some(owned) => drop(kept.insert(key, owned)),
                    None => drop(kept.remove(&key)),
                }
            }
        }
    }

    #[test]
    fn what_is_put_away_is_what_is_known() {
        let (mut owners, mut kept) = (Owners::new(10, Span::from_mins(1)), HashMap::new());
        owners.keep(object("before"), owned("a", "ann", 0));
        assert_eq!(owners.take_changed(9), [], "nobody has asked for it");
        let mut owners = Owners::new(10, Span::from_mins(1));
        owners.track();
        for number in 0..45 {
            owners.keep(object(&number.to_string()), owned("a", "ann", number));
            if number % 4 == 0 {
                put_away(&mut owners, &mut kept);
                assert_eq!(kept, owners.map, "after {number}");
            }
        }
        owners.keep(object("late"), owned("b", "bob", 70_000));
        put_away(&mut owners, &mut kept);
        assert_eq!(kept, owners.map, "what was used again, and what was idle");
        assert_eq!(owners.take_changed(9), [], "once is enough");
        // Nobody takes them.
        for number in 0..1000 {
            owners.keep(object(&format!("b{number}")), owned("a", "ann", 70_000 + number));
        }
        assert!(owners.changed.as_ref().is_some_and(|changed| changed.len() <= 20));
    }

    #[test]
    fn what_is_not_taken_up_is_deleted() {
        let mut kept: HashMap<ObjectKey, Owned> =
            (0..30).map(|number| (object(&number.to_string()), owned("a", "ann", number * 1000))).collect();
        for (capacity, now, left) in [(100, 29_000, 30), (100, 70_000, 19), (10, 70_000, 10)] {
            let mut owners = Owners::new(capacity, Span::from_mins(1));
            owners.track();
            owners.restore(kept.clone().into_iter().collect(), UnixMs(now));
            put_away(&mut owners, &mut kept);
            assert_eq!((kept.len(), owners.len()), (left, left), "{capacity} at {now}");
            assert_eq!(whose(&owners, "29", "ann", now), "a", "the last used stay");
        }
    }
}
