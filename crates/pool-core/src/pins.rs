//! Pins: which account a conversation stays on.

use std::collections::HashMap;

use crate::account::AccountId;
use crate::demand::SessionKey;
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
}

impl Pin {
    /// Does the account's cache still hold the conversation?
    pub fn is_warm(&self, now: UnixMs) -> bool {
        now < self.warm_until
    }
}

/// A bounded map of pins. Idle ones expire; when it is full the longest idle go.
#[derive(Debug)]
pub struct Pins {
    map: HashMap<SessionKey, Pin>,
    capacity: usize,
    idle: Span,
}

impl Default for Pins {
    fn default() -> Self {
        Self::new(100_000, Span::from_hours(24))
    }
}

impl Pins {
    pub fn new(capacity: usize, idle: Span) -> Self {
        Self { map: HashMap::new(), capacity: capacity.max(1), idle }
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
    pub fn set(&mut self, session: SessionKey, account: &AccountId, now: UnixMs) {
        if self.map.len() >= self.capacity && !self.map.contains_key(&session) {
            self.make_room(now);
        }
        let before = self.map.get(&session);
        let bare = before.is_some_and(|pin| pin.bare);
        let (prefix, warm_until) = before
            .filter(|pin| pin.account == *account)
            .map_or((0, UnixMs::default()), |pin| (pin.prefix, pin.warm_until));
        self.map.insert(session, Pin { account: account.clone(), used_at: now, bare, prefix, warm_until });
    }

    /// A request of the conversation has ended on this account. An answer that comes late, from an account that the
    /// conversation has left, changes nothing.
    pub fn drew(&mut self, session: SessionKey, account: &AccountId, drawn: &Drawn, now: UnixMs) {
        if let Some(pin) = self.map.get_mut(&session).filter(|pin| pin.account == *account) {
            pin.used_at = now;
            pin.prefix = drawn.prefix;
            pin.warm_until = now + drawn.warm;
        }
    }

    /// The conversation is not at home anywhere.
    pub fn forget(&mut self, session: SessionKey) {
        self.map.remove(&session);
    }

    /// From now on the conversation's requests go out without sealed state.
    pub fn strip(&mut self, session: SessionKey) {
        if let Some(pin) = self.map.get_mut(&session) {
            pin.bare = true;
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
        pins.set(key(1), &account("a"), UnixMs(0));
        assert!(pins.get(key(1), UnixMs(59_999)).is_some());
        assert!(pins.get(key(1), UnixMs(60_000)).is_none());
        pins.set(key(1), &account("a"), UnixMs(60_000));
        pins.forget(key(1));
        assert!(pins.is_empty());
    }

    #[test]
    fn a_stripped_conversation_stays_so_wherever_it_goes() {
        let mut pins = Pins::new(10, Span::from_mins(1));
        pins.strip(key(1));
        assert!(pins.is_empty());
        pins.set(key(1), &account("a"), UnixMs(0));
        pins.strip(key(1));
        pins.set(key(1), &account("b"), UnixMs(1));
        assert!(pins.get(key(1), UnixMs(1)).is_some_and(|pin| pin.bare));
    }

    #[test]
    fn a_full_map_lets_the_longest_idle_go() {
        let mut pins = Pins::new(20, Span::from_hours(1));
        for number in 0..40 {
            pins.set(key(number), &account("a"), UnixMs(i64::from(number)));
            assert!(pins.len() <= 20);
        }
        assert!(pins.get(key(39), UnixMs(40)).is_some());
        assert!(pins.get(key(0), UnixMs(40)).is_none());
    }

    #[test]
    fn all_of_one_age_still_leaves_room() {
        let mut pins = Pins::new(5, Span::from_hours(1));
        for number in 0..12 {
            pins.set(key(number), &account("a"), UnixMs(0));
            assert!(pins.len() <= 5);
        }
    }
}
