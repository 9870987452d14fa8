//! Sessions of people who signed in on our pages: random cookies, known here by their hashes only, in memory only.
//!
//! A session holds no rights of its own. It stands for what was shown at sign-in, and whether that still opens anything is asked
//! anew each time.

use std::collections::HashMap;

use pool_core::people::{SecretHash, UserId};
use pool_core::{Span, UnixMs};

/// Without a request for so long, a session is over.
pub const IDLE: Span = Span::from_hours(12);
/// However busy, it is over after this.
pub const LIFE: Span = Span::from_hours(7 * 24);
/// At one time, for one person; one more ends the oldest.
const EACH: usize = 16;
/// At one time, all together.
const MOST: usize = 4096;

/// What a session stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// By the operator's password, token or sign-in link.
    Operator,
    /// By a credential of the directory.
    Person { user: UserId, credential: SecretHash },
}

#[derive(Clone, Debug)]
struct Session {
    signed: Signed,
    began: UnixMs,
    seen: UnixMs,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Sessions {
    open: HashMap<SecretHash, Session>,
}

impl Sessions {
    /// Begins a session that the cookie with this hash stands for.
    pub fn begin(&mut self, cookie: SecretHash, signed: Signed, now: UnixMs) {
        self.open.retain(|_, session| session.ends(now) > now);
        let theirs = |session: &Session| session.signed.is_of(&signed);
        if self.open.values().filter(|session| theirs(session)).count() >= EACH {
            self.end_oldest(theirs);
        }
        if self.open.len() >= MOST {
            self.end_oldest(|_| true);
        }
        self.open.insert(cookie, Session { signed, began: now, seen: now });
    }

    /// What a cookie stands for, and when that ends unless it is used again.
    pub fn find(&mut self, cookie: SecretHash, now: UnixMs) -> Option<(Signed, UnixMs)> {
        let session = self.open.get_mut(&cookie)?;
        if session.ends(now) <= now {
            self.open.remove(&cookie);
            return None;
        }
        session.seen = now;
        Some((session.signed.clone(), session.ends(now)))
    }

    /// Is there such a session? It ages all the same.
    pub fn is_open(&self, cookie: SecretHash, now: UnixMs) -> bool {
        self.open.get(&cookie).is_some_and(|session| now < session.ends(now))
    }

    pub fn end(&mut self, cookie: SecretHash) {
        self.open.remove(&cookie);
    }

    fn end_oldest(&mut self, fits: impl Fn(&Session) -> bool) {
        let oldest = self.open.iter().filter(|(_, session)| fits(session)).min_by_key(|(_, session)| session.seen);
        if let Some(cookie) = oldest.map(|(cookie, _)| *cookie) {
            self.open.remove(&cookie);
        }
    }
}

impl Session {
    /// What lies in the future of a clock that was set back is not believed: it ends now.
    fn ends(&self, now: UnixMs) -> UnixMs {
        if self.began > now + IDLE { now } else { (self.began + LIFE).min(self.seen + IDLE) }
    }
}

impl Signed {
    fn is_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Operator, Self::Operator) => true,
            (Self::Person { user, .. }, Self::Person { user: other, .. }) => user == other,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn cookie(number: usize) -> SecretHash {
        SecretHash::of(&number.to_string())
    }

    fn mira(number: usize) -> Signed {
        Signed::Person { user: UserId("u-1".into()), credential: cookie(number) }
    }

    #[test]
    fn a_session_ends_idle_or_old_or_when_told() {
        let mut sessions = Sessions::default();
        sessions.begin(cookie(1), Signed::Operator, NOW);
        assert_eq!(sessions.find(cookie(1), NOW), Some((Signed::Operator, NOW + IDLE)));
        assert_eq!(sessions.find(cookie(2), NOW), None);
        assert_eq!(sessions.find(cookie(1), NOW + IDLE), None);

        sessions.begin(cookie(1), Signed::Operator, NOW);
        let mut now = NOW;
        while sessions.find(cookie(1), now).is_some() {
            now = now + Span::from_hours(11);
        }
        assert!((LIFE..LIFE.max(Span::from_hours(7 * 24 + 11))).contains(&now.since(NOW)), "{}", now.since(NOW));

        sessions.begin(cookie(1), Signed::Operator, NOW);
        assert!(sessions.is_open(cookie(1), NOW) && !sessions.is_open(cookie(1), NOW + IDLE));
        sessions.end(cookie(1));
        assert!(!sessions.is_open(cookie(1), NOW));
        assert_eq!(sessions.find(cookie(1), NOW), None);
    }

    #[test]
    fn one_person_cannot_end_anothers_sessions_by_signing_in_often() {
        let mut sessions = Sessions::default();
        sessions.begin(cookie(0), Signed::Operator, NOW);
        for number in 1..=100 {
            sessions.begin(cookie(number), mira(number), NOW + Span::from_secs(number as u64));
        }
        let now = NOW + Span::from_hours(1);
        let left: Vec<usize> = (0..=100).filter(|number| sessions.find(cookie(*number), now).is_some()).collect();
        assert_eq!(left, [0].into_iter().chain(85..=100).collect::<Vec<_>>());
    }

    #[test]
    fn there_are_never_too_many() {
        let mut sessions = Sessions::default();
        for number in 0..MOST + 10 {
            let user = UserId(format!("u-{number}").into());
            sessions.begin(cookie(number), Signed::Person { user, credential: cookie(number) }, NOW);
        }
        assert_eq!(sessions.open.len(), MOST);
    }
}
