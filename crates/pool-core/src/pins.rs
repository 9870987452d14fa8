//! Pins: which account a conversation stays on.

use std::collections::{HashMap, HashSet};

use crate::account::AccountId;
use crate::binding::Binding;
use crate::capacity::Moves;
use crate::demand::SessionKey;
use crate::pool::CLOCK_SLACK;
use crate::time::{Span, UnixMs};
use crate::usage::Drawn;

/// A conversation's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub account: AccountId,
    pub used_at: UnixMs,
    /// The conversation holds what several accounts have sealed: its requests go out without.
    pub bare: bool,
    /// Tokens of the conversation that the account's cache holds, until `warm_until`.
    pub prefix: u64,
    pub warm_until: UnixMs,
    /// What ties it to the account, as its last request told.
    pub binding: Binding,
}

impl Pin {
    /// Does the account's cache still hold the conversation?
    pub fn is_warm(&self, now: UnixMs) -> bool {
        now < self.warm_until
    }
}

/// No provider keeps a prompt in its cache for longer.
const LONGEST_WARM: Span = Span::from_hours(24);

/// A bounded map of pins. Idle ones expire; when it is full the longest idle go.
#[derive(Debug)]
pub struct Pins {
    map: HashMap<SessionKey, Pin>,
    capacity: usize,
    idle: Span,
    /// Those that changed since they were last put away. `None`: nobody puts them away.
    changed: Option<HashSet<SessionKey>>,
    moves: Moves,
}

impl Default for Pins {
    fn default() -> Self {
        Self::new(100_000, Span::from_hours(24))
    }
}

impl Pins {
    pub fn new(capacity: usize, idle: Span) -> Self {
        Self { map: HashMap::new(), capacity: capacity.max(1), idle, changed: None, moves: Moves::default() }
    }

    /// The most that are held.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// A pin that was not used for so long is forgotten.
    pub fn idle(&self) -> Span {
        self.idle
    }

    /// Conversations that have changed their account.
    pub fn moves(&self) -> Moves {
        self.moves
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn get(&self, session: SessionKey, now: UnixMs) -> Option<&Pin> {
        self.map.get(&session).filter(|pin| now.since(pin.used_at) < self.idle)
    }

    /// Pins the conversation, or keeps the pin alive.
    pub fn set(&mut self, session: SessionKey, account: &AccountId, binding: Binding, now: UnixMs) {
        if self.map.len() >= self.capacity && !self.map.contains_key(&session) {
            self.make_room(now);
        }
        let before = self.map.get(&session);
        match before.filter(|pin| pin.account != *account) {
            Some(left) if left.is_warm(now) => {
                self.moves.warm += 1;
                self.moves.tokens = self.moves.tokens.saturating_add(left.prefix);
            }
            Some(_) => self.moves.cold += 1,
            None => {}
        }
        let bare = before.is_some_and(|pin| pin.bare);
        let (prefix, warm_until) = before
            .filter(|pin| pin.account == *account)
            .map_or((0, UnixMs::default()), |pin| (pin.prefix, pin.warm_until));
        self.map.insert(session, Pin { account: account.clone(), used_at: now, bare, prefix, warm_until, binding });
        self.note(session);
    }

    /// A request of the conversation has ended on this account. An answer that comes late, from an account that the
    /// conversation has left, changes nothing.
    pub fn drew(&mut self, session: SessionKey, account: &AccountId, drawn: &Drawn, now: UnixMs) {
        if let Some(pin) = self.map.get_mut(&session).filter(|pin| pin.account == *account) {
            pin.used_at = now;
            pin.prefix = drawn.prefix;
            pin.warm_until = now + drawn.warm;
            self.note(session);
        }
    }

    /// The conversation is not at home anywhere.
    pub fn forget(&mut self, session: SessionKey) {
        if self.map.remove(&session).is_some() {
            self.note(session);
        }
    }

    /// From now on the conversation's requests go out without sealed state.
    pub fn strip(&mut self, session: SessionKey) {
        if let Some(pin) = self.map.get_mut(&session) {
            pin.bare = true;
            self.note(session);
        }
    }

    /// From now on changes are noted, for [`Pins::take_changed`].
    pub fn track(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Pins that changed since they were last taken, at most so many; `None` for one that is gone. The rest comes with the
    /// next call.
    pub fn take_changed(&mut self, most: usize) -> Vec<(SessionKey, Option<Pin>)> {
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let taken: Vec<SessionKey> = changed.iter().take(most).copied().collect();
        if taken.len() == changed.len() {
            changed.clear();
        } else {
            for session in &taken {
                changed.remove(session);
            }
        }
        taken.into_iter().map(|session| (session, self.map.get(&session).cloned())).collect()
    }

    /// Takes in what another replica tells: the later use of a conversation counts. It is not noted as a change of ours.
    pub fn hear(&mut self, told: impl IntoIterator<Item = (SessionKey, Option<Pin>)>, now: UnixMs) {
        for (session, pin) in told {
            let Some(pin) = pin else {
                self.map.remove(&session);
                continue;
            };
            let Some(pin) = self.believable(pin, now) else { continue };
            let known = self.map.get(&session);
            if known.is_some_and(|known| known.used_at > pin.used_at) {
                continue;
            }
            if known.is_none() && self.map.len() >= self.capacity {
                self.make_room(now);
            }
            self.map.insert(session, pin);
        }
    }

    /// Takes in what was put away before a restart, the last used first. What is idle by now is left; so is the warmth of
    /// what lies in the future, where the clock has been set back.
    pub fn restore(&mut self, pins: impl IntoIterator<Item = (SessionKey, Pin)>, now: UnixMs) {
        for (session, pin) in pins {
            if self.map.len() >= self.capacity {
                return;
            }
            if let Some(pin) = self.believable(pin, now) {
                self.map.entry(session).or_insert(pin);
            }
        }
    }

    fn believable(&self, pin: Pin, now: UnixMs) -> Option<Pin> {
        let believable = pin.used_at <= now + CLOCK_SLACK;
        let warm_until = if believable { pin.warm_until.min(now + LONGEST_WARM) } else { UnixMs::default() };
        let pin = Pin { used_at: pin.used_at.min(now), warm_until, ..pin };
        (now.since(pin.used_at) < self.idle).then_some(pin)
    }

    /// No more are noted than can be held: if nobody takes them for long, some of the longest idle may be put away late.
    fn note(&mut self, session: SessionKey) {
        let capacity = self.capacity;
        if let Some(changed) = self.changed.as_mut().filter(|changed| changed.len() < capacity) {
            changed.insert(session);
        }
    }

    /// Drops what is idle; if that is not enough, the longest idle tenth.
    fn make_room(&mut self, now: UnixMs) {
        let idle = self.idle;
        self.map.retain(|_, pin| now.since(pin.used_at) < idle);
        if self.map.len() < self.capacity {
            return;
        }
        let mut ages: Vec<UnixMs> = self.map.values().map(|pin| pin.used_at).collect();
        let tenth = (self.capacity / 10).min(ages.len() - 1);
        let (_, cut, _) = ages.select_nth_unstable(tenth);
        let cut = *cut;
        self.map.retain(|_, pin| pin.used_at > cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> SessionKey {
        SessionKey([number; 16])
    }

    fn account(name: &str) -> AccountId {
        AccountId(name.into())
    }

    #[test]
    fn an_idle_pin_is_forgotten() {
        let mut pins = Pins::new(10, Span::from_mins(1));
        pins.set(key(1), &account("a"), Binding::Cache, UnixMs(0));
        assert!(pins.get(key(1), UnixMs(59_999)).is_some());
        assert!(pins.get(key(1), UnixMs(60_000)).is_none());
        pins.set(key(1), &account("a"), Binding::Cache, UnixMs(60_000));
        pins.forget(key(1));
        assert!(pins.is_empty());
    }

    #[test]
    fn a_stripped_conversation_stays_so_wherever_it_goes() {
        let mut pins = Pins::new(10, Span::from_mins(1));
        pins.strip(key(1));
        assert!(pins.is_empty());
        pins.set(key(1), &account("a"), Binding::Cache, UnixMs(0));
        pins.strip(key(1));
        pins.set(key(1), &account("b"), Binding::Cache, UnixMs(1));
        assert!(pins.get(key(1), UnixMs(1)).is_some_and(|pin| pin.bare));
    }

    #[test]
    fn a_full_map_lets_the_longest_idle_go() {
        let mut pins = Pins::new(20, Span::from_hours(1));
        for number in 0..40 {
            pins.set(key(number), &account("a"), Binding::Cache, UnixMs(i64::from(number)));
            assert!(pins.len() <= 20);
        }
        assert!(pins.get(key(39), UnixMs(40)).is_some());
        assert!(pins.get(key(0), UnixMs(40)).is_none());
    }

    #[test]
    fn all_of_one_age_still_leaves_room() {
        let mut pins = Pins::new(5, Span::from_hours(1));
        for number in 0..12 {
            pins.set(key(number), &account("a"), Binding::Cache, UnixMs(0));
            assert!(pins.len() <= 5);
        }
    }

    #[test]
    fn only_what_changed_is_put_away_and_only_once() {
        let mut pins = Pins::new(10, Span::from_hours(1));
        pins.set(key(0), &account("a"), Binding::Cache, UnixMs(0));
        assert!(pins.take_changed(9).is_empty(), "nobody had asked");
        pins.track();
        for number in 1..=5 {
            pins.set(key(number), &account("a"), Binding::File, UnixMs(1));
        }
        let (first, rest) = (pins.take_changed(2), pins.take_changed(9));
        let mut taken: Vec<u8> = first.iter().chain(&rest).map(|(session, _)| session.0[0]).collect();
        taken.sort_unstable();
        assert_eq!((first.len(), taken), (2, vec![1, 2, 3, 4, 5]));
        assert!(pins.take_changed(9).is_empty());
        let drawn = Drawn { units: 1.0, prefix: 7, warm: Span::from_mins(5) };
        pins.drew(key(3), &account("b"), &drawn, UnixMs(2));
        assert!(pins.take_changed(9).is_empty(), "an account that it is not on");
        pins.drew(key(3), &account("a"), &drawn, UnixMs(2));
        pins.strip(key(4));
        pins.forget(key(5));
        let mut taken = pins.take_changed(9);
        taken.sort_unstable_by_key(|(session, _)| *session);
        let gone: Vec<_> = taken.iter().map(|(session, pin)| (session.0[0], pin.is_none())).collect();
        assert_eq!(gone, [(3, false), (4, false), (5, true)]);
    }

    #[test]
    fn of_two_replicas_the_later_use_counts_and_hearing_is_not_telling() {
        let (hour, now) = (Span::from_hours(1), UnixMs(100_000_000));
        let pin = |name: &str, used_at: UnixMs| Pin {
            account: account(name),
            used_at,
            bare: false,
            prefix: 9,
            warm_until: now + Span::from_mins(5),
            binding: Binding::Cache,
        };
        let mut pins = Pins::new(3, hour);
        pins.track();
        pins.set(key(1), &account("a"), Binding::Cache, now);
        pins.set(key(2), &account("a"), Binding::Cache, now);
        pins.take_changed(9);
        let second = Span::from_secs(1);
        let told = [
            (key(1), Some(pin("late", now - second))),
            (key(2), Some(pin("moved", now + second))),
            (key(3), Some(pin("new", now))),
            (key(4), Some(pin("idle", now - hour))),
        ];
        pins.hear(told, now + second);
        let on = |pins: &Pins, number| pins.get(key(number), now + second).map(|pin| pin.account.to_string());
        let all: Vec<_> = (1..=4).map(|number| on(&pins, number)).collect();
        assert_eq!(all, [Some("a".into()), Some("moved".into()), Some("new".into()), None]);
        pins.hear([(key(3), None)], now);
        assert_eq!(on(&pins, 3), None);
        assert!(pins.take_changed(9).is_empty());
        pins.hear((10..30).map(|number| (key(number), Some(pin("many", now)))), now);
        assert!(pins.len() <= 3);
    }

    #[test]
    fn what_was_put_away_comes_back_as_far_as_the_clock_allows() {
        let (hour, now) = (Span::from_hours(1), UnixMs(100_000_000));
        let pin = |used_at: UnixMs, warm_until: UnixMs| Pin {
            account: account("a"),
            used_at,
            bare: true,
            prefix: 9,
            warm_until,
            binding: Binding::SealedReasoning,
        };
        let soon = now + Span::from_mins(3);
        for (name, kept, expected) in [
            ("as it was", pin(now - Span::from_mins(2), soon), Some((now - Span::from_mins(2), soon))),
            ("idle", pin(now - hour, soon), None),
            ("the clock was set back", pin(now + hour, now + hour + hour), Some((now, UnixMs(0)))),
            ("no cache is warm for years", pin(now, UnixMs(i64::MAX)), Some((now, now + LONGEST_WARM))),
        ] {
            let mut pins = Pins::new(10, hour);
            pins.restore([(key(1), kept.clone())], now);
            let found = pins.get(key(1), now);
            assert_eq!(found.map(|pin| (pin.used_at, pin.warm_until)), expected, "{name}");
            assert!(found.is_none_or(|pin| pin.bare && pin.prefix == 9 && pin.binding == kept.binding), "{name}");
        }
        let mut full = Pins::new(3, hour);
        full.set(key(1), &account("b"), Binding::Cache, now);
        full.restore((0..9).map(|number| (key(number), pin(now, soon))), now);
        assert_eq!(full.len(), 3);
        assert_eq!(
            full.get(key(1), now).map(|pin| pin.account.clone()),
            Some(account("b")),
            "what is known by now counts"
        );
    }
}
