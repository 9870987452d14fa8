//! Where sockets can be had: what earlier handshakes upstream have told, so that clients do not wait to find it out again.
//!
//! Two things are told apart. A refusal (404, 426, …) or a handshake that breaks off is an account's answer and comes at once:
//! that account is left out for a while. Silence is a matter of the way there (a firewall or a proxy that swallows upgrades),
//! and costs whoever waits for it seconds: it is remembered by base, and one client at a time waits for it. Success clears
//! both. Only sockets are concerned; over HTTP an account stays what it was.
//!
//! Kept here and not in the core, since nothing there knows of sockets: the shell leaves accounts out when it asks for a lease.

use std::collections::HashMap;
use std::time::Duration;

use pool_core::AccountId;
use tokio::time::Instant;

/// Accounts and bases that are remembered, each.
const CAPACITY: usize = 4096;

/// What an account's handshake came to, if not to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no sockets.
    NoSockets,
    /// It failed in a way that may pass.
    Broken,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Reach {
    accounts: HashMap<AccountId, Shut>,
    bases: HashMap<String, Way>,
}

/// No sockets until a time. Kept beyond it, so that the next time is longer.
#[derive(Clone, Copy, Debug)]
struct Shut {
    until: Instant,
    strikes: u32,
}

/// A base, by its silence.
#[derive(Debug, Default)]
struct Way {
    shut: Option<Shut>,
    /// Since when a handshake is waited for, and nothing has come since.
    asking: Option<Instant>,
    /// When it last answered a handshake, if it was not silent after that.
    heard: Option<Instant>,
}

impl Shut {
    fn is_running(self, now: Instant) -> bool {
        now < self.until
    }

    /// One failure more. Those that were under way together count once.
    fn again(before: Option<Self>, first: Duration, most: Duration, now: Instant) -> Self {
        match before {
            Some(shut) if shut.is_running(now) => shut,
            _ => {
                let strikes = before.map_or(1, |shut| shut.strikes.saturating_add(1));
                let span = first.saturating_mul(1 << (strikes - 1).min(16)).min(most);
                Self { until: now + span, strikes }
            }
        }
    }
}

impl Reach {
    /// The accounts that are not to be asked for a socket now.
    pub fn shut(&self, now: Instant) -> Vec<AccountId> {
        self.accounts.iter().filter(|(_, shut)| shut.is_running(now)).map(|(id, _)| id.clone()).collect()
    }

    /// May a handshake be sent to this base, and how long may it be waited for, if the usual time is `limit`? Tell
    /// [`Self::answered`], [`Self::silent`] or [`Self::left`] what became of it.
    pub fn ask(&mut self, base: &str, limit: Duration, now: Instant) -> Option<Duration> {
        make_room(&mut self.bases, base, |way| way.shut.map(|shut| shut.until));
        let way = self.bases.entry(base.to_owned()).or_default();
        // A handshake takes less than this, wherever there are sockets at all.
        let brief = limit / 3;
        let silent_before = way.shut.is_some();
        let barred = way.shut.is_some_and(|shut| shut.is_running(now));
        let somebody_waits = way.asking.is_some_and(|since| silent_before || now >= since + brief);
        if barred || somebody_waits {
            return None;
        }
        let alone = way.asking.is_none();
        way.asking.get_or_insert(now);
        Some(if !silent_before && (alone || way.heard.is_some()) { limit } else { brief })
    }

    /// It said something: there is a way. How long it was silent before does not count any more.
    pub fn answered(&mut self, base: &str, now: Instant) {
        if let Some(way) = self.bases.get_mut(base) {
            *way = Way { heard: Some(now), ..Way::default() };
        }
    }

    /// It said nothing in time to the handshake that began at `since`. Returns when it may be asked again; `None`: at any time,
    /// since it has answered others meanwhile.
    pub fn silent(&mut self, base: &str, since: Instant, now: Instant) -> Option<Instant> {
        let way = self.bases.get_mut(base)?;
        if way.heard.is_some_and(|heard| heard > since) {
            return None;
        }
        let shut = Shut::again(way.shut, Duration::from_mins(1), Duration::from_hours(1), now);
        *way = Way { shut: Some(shut), ..Way::default() };
        Some(shut.until)
    }

    /// The client left while the handshake that began at `since` was waited for: nobody knows.
    pub fn left(&mut self, base: &str, since: Instant) {
        if let Some(way) = self.bases.get_mut(base)
            && way.asking == Some(since)
        {
            way.asking = None;
        }
    }

    /// A socket was opened.
    pub fn granted(&mut self, account: &AccountId) {
        self.accounts.remove(account);
    }

    /// The account's handshake failed. Returns until when it is left out.
    pub fn refused(&mut self, account: &AccountId, refusal: Refusal, now: Instant) -> Instant {
        let (first, most) = match refusal {
            Refusal::NoSockets => (Duration::from_mins(10), Duration::from_hours(4)),
            Refusal::Broken => (Duration::from_mins(1), Duration::from_hours(1)),
        };
        make_room(&mut self.accounts, account, |shut| Some(shut.until));
        let shut = Shut::again(self.accounts.get(account).copied(), first, most, now);
        self.accounts.insert(account.clone(), shut);
        shut.until
    }
}

/// Of a full map, what ends first goes.
fn make_room<K, Q, V>(map: &mut HashMap<K, V>, key: &Q, end: impl Fn(&V) -> Option<Instant>)
where
    K: std::hash::Hash + Eq + Clone + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if map.len() < CAPACITY || map.contains_key(key) {
        return;
    }
    let first = map.iter().min_by_key(|(_, value)| end(value)).map(|(key, _)| key.clone());
    if let Some(first) = first {
        map.remove::<K>(&first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://upstream.invalid";
    const LIMIT: Duration = Duration::from_secs(6);
    const BRIEF: Duration = Duration::from_secs(2);
    const MIN: Duration = Duration::from_mins(1);

    fn id(name: &str) -> AccountId {
        AccountId(name.into())
    }

    #[test]
    fn a_refusal_lasts_longer_each_time_and_success_ends_it() {
        for (refusal, minutes) in
            [(Refusal::NoSockets, [10, 20, 40, 80, 160, 240, 240]), (Refusal::Broken, [1, 2, 4, 8, 16, 32, 60])]
        {
            let (mut reach, mut now) = (Reach::default(), Instant::now());
            for minutes in minutes {
                let until = reach.refused(&id("a"), refusal, now);
                assert_eq!(until - now, MIN * minutes, "{refusal:?}");
                assert_eq!(reach.refused(&id("a"), refusal, now + MIN / 2), until, "what failed together counts once");
                assert_eq!(reach.shut(until - BRIEF), [id("a")]);
                assert_eq!(reach.shut(until), [], "one may ask again");
                now = until;
            }
            reach.granted(&id("a"));
            assert_eq!(reach.refused(&id("a"), refusal, now) - now, MIN * minutes[0]);
        }
    }

    #[test]
    fn one_client_waits_for_a_silent_base_and_later_ones_are_told_at_once() {
        let (mut reach, start) = (Reach::default(), Instant::now());
        assert_eq!(reach.ask(BASE, LIMIT, start), Some(LIMIT), "nothing is known");
        assert_eq!(reach.ask(BASE, LIMIT, start + BRIEF / 2), Some(BRIEF), "it may yet answer");
        assert_eq!(reach.ask(BASE, LIMIT, start + BRIEF), None, "somebody waits already");
        assert_eq!(reach.ask("https://other.invalid", LIMIT, start + BRIEF), Some(LIMIT));
        let mut until = reach.silent(BASE, start, start + LIMIT).expect("shut");
        assert_eq!(until, start + LIMIT + MIN);
        for minutes in [2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(reach.ask(BASE, LIMIT, until - BRIEF), None, "it is known to be silent");
            assert_eq!(reach.ask(BASE, LIMIT, until), Some(BRIEF), "one tries, and does not try long");
            assert_eq!(reach.ask(BASE, LIMIT, until), None, "only one");
            let next = reach.silent(BASE, until, until + BRIEF).expect("shut");
            assert_eq!(next - (until + BRIEF), MIN * minutes);
            until = next;
        }
        assert_eq!(reach.ask(BASE, LIMIT, until), Some(BRIEF));
        reach.answered(BASE, until + BRIEF);
        for _ in 0..3 {
            assert_eq!(reach.ask(BASE, LIMIT, until + BRIEF), Some(LIMIT), "it works: everybody may");
        }
    }

    #[test]
    fn one_handshake_that_is_lost_among_others_shuts_nobody_out() {
        let (mut reach, start) = (Reach::default(), Instant::now());
        assert_eq!(reach.ask(BASE, LIMIT, start), Some(LIMIT));
        reach.answered(BASE, start);
        for _ in 0..3 {
            assert_eq!(reach.ask(BASE, LIMIT, start + BRIEF), Some(LIMIT));
        }
        reach.answered(BASE, start + BRIEF * 2);
        assert_eq!(reach.silent(BASE, start + BRIEF, start + BRIEF + LIMIT), None);
        assert_eq!(reach.ask(BASE, LIMIT, start + BRIEF + LIMIT), Some(LIMIT));
        assert!(reach.silent(BASE, start + BRIEF + LIMIT, start + LIMIT * 3).is_some(), "now nobody is answered");
    }

    #[test]
    fn a_client_that_leaves_stands_in_nobodys_way() {
        let (mut reach, start) = (Reach::default(), Instant::now());
        assert!(reach.ask(BASE, LIMIT, start).is_some());
        reach.left(BASE, start);
        assert_eq!(reach.ask(BASE, LIMIT, start + BRIEF), Some(LIMIT));
        // One that was not the first leaves the first's place alone.
        reach.left(BASE, start + BRIEF * 2);
        assert_eq!(reach.ask(BASE, LIMIT, start + BRIEF * 2), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        for number in 0..2 * CAPACITY {
            reach.refused(&id(&number.to_string()), Refusal::NoSockets, now);
            assert!(reach.ask(&number.to_string(), LIMIT, now).is_some());
        }
        assert_eq!((reach.accounts.len(), reach.bases.len()), (CAPACITY, CAPACITY));
        assert!(reach.accounts.contains_key(&id(&(2 * CAPACITY - 1).to_string())));
    }
}
