//! Guessing is slowed down: who has guessed wrong too often waits before the next try counts.
//!
//! One [`Guard`] keeps the failures of one kind of secret, by the network that they came from. What is guarded is what can be
//! guessed: passwords and one-time codes. A random credential of 256 bits cannot be, so nobody's is shut out for what a
//! neighbour does.

use core::net::IpAddr;
use std::collections::HashMap;

use crate::time::{Span, UnixMs};

/// Wrong guesses that cost nothing: people mistype.
pub const FREE: u32 = 10;
/// The wait after the next one. It doubles with each further one.
const FIRST_WAIT: Span = Span::from_secs(10);
/// The longest wait.
const LONGEST_WAIT: Span = Span::from_mins(15);
/// After so long without a wrong guess all is forgotten.
const FORGOTTEN: Span = Span::from_hours(1);
/// Networks that are told apart. With more than that at one time, the newcomers wait together.
const MOST: usize = 10_000;

/// Where guesses come from: an IPv4 address, or the /64 of an IPv6 address, which is what one machine can have for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network([u8; 8]);

impl Network {
    pub fn of(address: IpAddr) -> Self {
        let mut start = [0; 8];
        match address.to_canonical() {
            // In the place of 64 bits that no IPv6 network has.
            IpAddr::V4(address) => start[4..].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => start.copy_from_slice(&address.octets()[..8]),
        }
        Self(start)
    }
}

/// Too many wrong guesses: the next one counts after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong tries from your network: the next one counts in {0}")]
pub struct Wait(pub Span);

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    networks: HashMap<Network, Tally>,
    /// Of those that found no place.
    rest: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    failures: u32,
    last: UnixMs,
}

impl Guard {
    /// A guess that was `right` or not. While its network has to wait, neither counts, and nobody is told which it was.
    pub fn judge(&mut self, network: Network, right: bool, now: UnixMs) -> Result<bool, Wait> {
        self.ask(network, now)?;
        if !right {
            self.failed(network, now);
        }
        Ok(right)
    }

    /// May somebody of this network guess?
    pub fn ask(&self, network: Network, now: UnixMs) -> Result<(), Wait> {
        let full = self.networks.len() >= MOST;
        let tally = self.networks.get(&network).or_else(|| full.then_some(&self.rest));
        match tally.map(|tally| tally.wait(now)) {
            None | Some(Span::ZERO) => Ok(()),
            Some(wait) => Err(Wait(wait)),
        }
    }

    /// A guess was wrong.
    pub fn failed(&mut self, network: Network, now: UnixMs) {
        if self.networks.len() >= MOST && !self.networks.contains_key(&network) {
            self.networks.retain(|_, tally| !tally.is_forgotten(now));
        }
        let full = self.networks.len() >= MOST && !self.networks.contains_key(&network);
        let tally = if full { &mut self.rest } else { self.networks.entry(network).or_default() };
        tally.add(now);
    }
}

impl Tally {
    fn add(&mut self, now: UnixMs) {
        if self.is_forgotten(now) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = now;
    }

    fn wait(&self, now: UnixMs) -> Span {
        let Some(over) = self.failures.checked_sub(FREE).filter(|_| !self.is_forgotten(now)) else { return Span::ZERO };
        let wait = FIRST_WAIT.0.saturating_mul(1 << over.min(20)).min(LONGEST_WAIT.0);
        // A clock that was set back makes nobody wait longer than this.
        Span(wait.saturating_sub(now.since(self.last).0))
    }

    fn is_forgotten(&self, now: UnixMs) -> bool {
        now.since(self.last) >= FORGOTTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn network(address: &str) -> Network {
        Network::of(address.parse().expect("an address"))
    }

    #[test]
    fn one_machine_is_one_network() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            assert_eq!(network(one) == network(other), same, "{one} {other}");
        }
    }

    #[test]
    fn ten_wrong_guesses_are_free_and_each_further_one_costs_twice_as_much() {
        let (mut guard, me) = (Guard::default(), network("192.0.2.1"));
        let mut now = NOW;
        for _ in 0..FREE {
            assert_eq!(guard.judge(me, false, now), Ok(false));
        }
        for wait in [10, 20, 40, 80, 160, 320, 640, 900, 900] {
            // The right one is not told either.
            assert_eq!(guard.judge(me, true, now), Err(Wait(Span::from_secs(wait))));
            now = now + Span::from_secs(wait);
            assert_eq!(guard.judge(me, false, now), Ok(false));
        }
        assert_eq!(guard.judge(network("192.0.2.2"), true, now), Ok(true));
        now = now + FORGOTTEN;
        assert_eq!(guard.judge(me, false, now), Ok(false));
        assert_eq!(guard.judge(me, true, now), Ok(true));
    }

    #[test]
    fn a_day_of_guessing_is_a_hundred_guesses() {
        let (mut guard, me) = (Guard::default(), network("192.0.2.1"));
        let tries = (0..24 * 60 * 60).filter(|second| guard.judge(me, false, NOW + Span::from_secs(*second)).is_ok());
        let tries = tries.count();
        assert!((90..130).contains(&tries), "{tries}");
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out_for_longer() {
        let (mut guard, me) = (Guard::default(), network("192.0.2.1"));
        (0..FREE).for_each(|_| guard.failed(me, NOW));
        assert_eq!(guard.ask(me, UnixMs(0)), Err(Wait(FIRST_WAIT)));
    }

    #[test]
    fn however_many_networks_guess_the_memory_stays_and_so_does_the_limit() {
        let mut guard = Guard::default();
        let machine = |number: u32| Network::of(core::net::Ipv4Addr::from_bits(number).into());
        let tries = (0..50_000).filter(|number| guard.judge(machine(*number), false, NOW).is_ok()).count();
        assert_eq!((guard.networks.len(), tries), (MOST, MOST + FREE as usize));
        // Those that have a place keep their own count.
        assert_eq!(guard.judge(machine(0), true, NOW), Ok(true));
        guard.failed(machine(60_000), NOW + FORGOTTEN);
        assert_eq!(guard.networks.len(), 1);
    }
}
