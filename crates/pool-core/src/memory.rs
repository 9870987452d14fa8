//! What the pool knows of its accounts and would be slow to learn again: put away while it runs, recalled after a restart.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::pool::{CLOCK_SLACK, Cooldown, Event, LONGEST, MAX_COOLDOWNS, MEMORY, Pool, Slot};
use crate::quota::{self, Fraction, QuotaWindow};
use crate::sizes::Snapshot;
use crate::time::UnixMs;

/// What is known of an account's limits. Every reading keeps the time when it was made, so ages stay honest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountMemory {
    pub windows: Vec<QuotaWindow>,
    pub cooldowns: Vec<Cooldown>,
}

/// Which accounts have changed since they were last put away: never more than there are accounts.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    accounts: BTreeSet<AccountId>,
    /// A window of theirs has been measured.
    sized: BTreeSet<AccountId>,
}

impl Memory {
    pub(crate) fn sized(&mut self, id: AccountId) {
        self.sized.insert(id);
    }

    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Read { id, .. } | Event::Penalised { id, .. } | Event::Served { id, .. } | Event::Cleared { id } => {
                self.accounts.insert(id.clone());
            }
            Event::Gone { id } => {
                self.accounts.remove(id);
                self.sized.remove(id);
            }
            _ => {}
        }
    }
}

impl Pool {
    /// The accounts whose limits were told anew since this was last asked.
    pub fn take_changed_accounts(&mut self) -> Vec<(AccountId, AccountMemory)> {
        let changed = std::mem::take(&mut self.memory.accounts);
        let remember = |slot: &Slot| AccountMemory { windows: slot.windows.clone(), cooldowns: slot.cooldowns.clone() };
        changed.into_iter().filter_map(|id| self.slot(&id).map(remember).map(|memory| (id, memory))).collect()
    }

    /// What the windows have taught of accounts of which it has changed since this was last asked.
    pub fn take_changed_sizes(&mut self) -> Snapshot {
        let changed = std::mem::take(&mut self.memory.sized);
        let meters = |id: AccountId| self.slot(&id).map(|slot| slot.meters.clone()).map(|meters| (id, meters));
        Snapshot { accounts: changed.into_iter().filter_map(meters).collect() }
    }
}

impl Slot {
    /// Takes up what was known before a restart and is not known better by now. What lies in the future of a clock that was
    /// set back is not believed, and nothing keeps an account out for longer than any limit lasts.
    pub(crate) fn recall(&mut self, memory: AccountMemory, now: UnixMs) {
        for window in memory.windows {
            let known = self.windows.iter().any(|known| known.name == window.name && known.scope == window.scope);
            if let Some(used) = Fraction::new(window.used.get()).filter(|_| !known && window.is_believable(now)) {
                quota::merge(&mut self.windows, [QuotaWindow { used, ..window }]);
            }
        }
        for cooldown in memory.cooldowns {
            let known =
                self.cooldowns.iter().any(|known| known.scope == cooldown.scope && known.cause == cooldown.cause);
            let counts = cooldown.since <= now + CLOCK_SLACK && now < cooldown.until + MEMORY;
            if counts && !known && self.cooldowns.len() < MAX_COOLDOWNS {
                self.cooldowns.push(Cooldown { until: cooldown.until.min(now + LONGEST), ..cooldown });
            }
        }
    }
}

impl Slot {
    /// Takes up what another replica knows: of each window the later reading counts, of each cooldown the later one. Trouble in
    /// passing is not taken up, since every replica finds out by itself when that is over.
    pub(crate) fn hear(&mut self, memory: AccountMemory, now: UnixMs) {
        for cooldown in memory.cooldowns.into_iter().filter(|cooldown| cooldown.is_hard() && cooldown.is_running(now)) {
            let cooldown = Cooldown { until: cooldown.until.min(now + LONGEST), ..cooldown };
            let same = |known: &Cooldown| known.scope == cooldown.scope && known.cause == cooldown.cause;
            match self.cooldowns.iter().position(same) {
                Some(index) if self.cooldowns[index].since < cooldown.since => self.cooldowns[index] = cooldown,
                None if self.cooldowns.len() < MAX_COOLDOWNS => self.cooldowns.push(cooldown),
                _ => {}
            }
        }
        let believable = memory.windows.into_iter().filter(|window| window.is_believable(now));
        let windows =
            believable.filter_map(|window| Some(QuotaWindow { used: Fraction::new(window.used.get())?, ..window }));
        quota::merge(&mut self.windows, windows.collect::<Vec<_>>());
        // What we had read ourselves may speak against a cooldown that the other did not know to be over.
        let windows = self.windows.clone();
        self.read(&windows, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::account::{Account, AccountKind, Credentials, ProviderId, Settings};
    use crate::quota::{Scope, Source};
    use crate::secret::Secret;
    use crate::time::Span;
    use crate::verdict::{Cause, Penalty, Until};

    const NOW: UnixMs = UnixMs(1_786_147_200_000);

    fn id() -> AccountId {
        AccountId("acme-1".into())
    }

    fn pool() -> Pool {
        let account = Account {
            id: id(),
            provider: ProviderId("acme"),
            kind: AccountKind::Subscription,
            name: "a".into(),
            file: "a.json".into(),
            plan: None,
            email: None,
            settings: Settings::default(),
        };
        let mut pool = Pool::default();
        let credentials = Box::new(Credentials::lasting(Secret::new("made-up")));
        pool.apply(Event::Seen { account: Box::new(account), credentials }, NOW);
        pool
    }

    fn window(name: &str, used: f64, seen_at: UnixMs) -> QuotaWindow {
        QuotaWindow {
            name: name.into(),
            scope: Scope::Account,
            used: Fraction::new(used).expect("a number"),
            resets_at: Some(NOW + Span::from_hours(50)),
            span: None,
            source: Source::Headers,
            seen_at,
        }
    }

    #[test]
    fn what_was_put_away_is_known_after_a_restart() {
        let mut pool_before = pool();
        assert!(pool_before.take_changed_accounts().is_empty());
        pool_before.apply(Event::Read { id: id(), windows: vec![window("week", 1.0, NOW)] }, NOW);
        let penalty =
            Penalty { scope: Scope::Account, cause: Cause::QuotaSpent, until: Until::For(Span::from_hours(9)) };
        pool_before.apply(Event::Penalised { id: id(), penalty }, NOW);
        let taken = pool_before.take_changed_accounts();
        assert!(pool_before.take_changed_accounts().is_empty(), "once is enough");
        let text = serde_json::to_string(&taken[0].1).expect("JSON");

        let later = NOW + Span::from_hours(1);
        let mut pool = pool();
        let memory: AccountMemory = serde_json::from_str(&text).expect("what was written");
        pool.apply(Event::Recalled { id: id(), memory }, later);
        let slot = pool.slot(&id()).expect("seen");
        assert_eq!(slot.windows[0].seen_at, NOW, "its age is told as it is");
        assert!(slot.windows[0].is_exhausted(later));
        assert!(slot.cooldowns[0].is_running(later) && slot.cooldowns[0].is_hard());
    }

    #[test]
    fn of_two_replicas_the_later_reading_counts_and_hearing_is_not_telling() {
        let (second, hour) = (Span::from_secs(1), Span::from_hours(1));
        let cooldown = |cause, since: UnixMs, told| Cooldown {
            scope: Scope::Account,
            cause,
            since,
            until: since + hour,
            told,
            strikes: 1,
        };
        let heard = |windows: Vec<QuotaWindow>, cooldowns: Vec<Cooldown>| {
            let mut pool = pool();
            pool.apply(Event::Read { id: id(), windows: vec![window("week", 0.5, NOW)] }, NOW);
            pool.take_changed_accounts();
            let now = NOW + Span::from_mins(10);
            pool.apply(Event::Heard { id: id(), memory: AccountMemory { windows, cooldowns } }, now);
            assert!(pool.take_changed_accounts().is_empty());
            let slot = pool.slot(&id()).expect("seen").clone();
            (slot.windows[0].used.get(), slot.cooldowns.iter().map(|cooldown| cooldown.cause).collect::<Vec<_>>())
        };
        assert_eq!(heard(vec![window("week", 0.9, NOW + second)], vec![]), (0.9, vec![]));
        assert_eq!(heard(vec![window("week", 0.1, NOW - second)], vec![]), (0.5, vec![]));
        assert_eq!(heard(vec![window("week", 0.9, NOW + hour + hour)], vec![]), (0.5, vec![]), "of a clock ahead");
        let minute = Span::from_mins(1);
        let later = NOW + minute;
        assert_eq!(heard(vec![], vec![cooldown(Cause::QuotaSpent, later, false)]).1, [Cause::QuotaSpent]);
        assert_eq!(heard(vec![], vec![cooldown(Cause::Throttled, later, true)]).1, [Cause::Throttled]);
        assert_eq!(heard(vec![], vec![cooldown(Cause::Throttled, later, false)]).1, [], "in passing");
        let refuted = cooldown(Cause::QuotaSpent, NOW - Span::from_mins(30), true);
        assert_eq!(heard(vec![], vec![refuted]).1, [], "a reading since shows room");
    }

    #[test]
    fn what_is_known_better_or_cannot_be_stays_out() {
        let cooldown = |since: UnixMs, until: UnixMs| Cooldown {
            scope: Scope::Account,
            cause: Cause::Throttled,
            since,
            until,
            told: true,
            strikes: 1,
        };
        let hour = Span::from_hours(1);
        let future = NOW + hour;
        for (name, known, memory, windows, cooldowns) in [
            ("read anew since", vec![window("week", 0.2, NOW)], vec![window("week", 1.0, NOW - hour)], vec![0.2], None),
            (
                "another window",
                vec![window("5h", 0.2, NOW)],
                vec![window("week", 1.0, NOW - hour)],
                vec![0.2, 1.0],
                None,
            ),
            (
                "from the future",
                vec![],
                vec![window("week", 1.0, future)],
                vec![],
                Some(cooldown(future, future + hour)),
            ),
            ("over", vec![], vec![], vec![], Some(cooldown(NOW - hour - hour, NOW - hour))),
        ] {
            let mut pool = pool();
            pool.apply(Event::Read { id: id(), windows: known }, NOW);
            let memory = AccountMemory { windows: memory, cooldowns: cooldowns.into_iter().collect() };
            pool.apply(Event::Recalled { id: id(), memory }, NOW);
            let slot = pool.slot(&id()).expect("seen");
            let used: Vec<f64> = slot.windows.iter().map(|window| window.used.get()).collect();
            assert_eq!((used, slot.cooldowns.len()), (windows, 0), "{name}");
        }
        let mut pool = pool();
        let memory = AccountMemory { cooldowns: vec![cooldown(NOW, UnixMs(i64::MAX))], ..AccountMemory::default() };
        pool.apply(Event::Recalled { id: id(), memory }, NOW);
        assert_eq!(pool.slot(&id()).map(|slot| slot.cooldowns[0].until), Some(NOW + LONGEST));
        let unknown = AccountId(Arc::from("acme-9"));
        pool.apply(Event::Recalled { id: unknown, memory: AccountMemory::default() }, NOW);
        assert_eq!(pool.slots().count(), 1);
    }
}
