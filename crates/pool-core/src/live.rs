//! Conversations under way: how many each account carries, and what such a conversation still draws.
//!
//! A conversation counts while its cache is warm: until then its next request will come to the same account. When it has
//! gone cold it may go anywhere, so it is nobody's burden. Nothing here is searched: a queue of ends is worked off as time
//! goes on, each conversation once in a warm time.

use std::collections::{HashMap, VecDeque};

use crate::account::AccountId;
use crate::demand::SessionKey;
use crate::time::{Span, UnixMs};

/// A request under way ends within this, or its conversation counts as silent.
const LONGEST_ANSWER: Span = Span::from_mins(15);
/// A conversation that was silent for longer is not counted on, even if its cache is kept for hours.
const SILENT: Span = Span::from_mins(10);
/// How often a conversation is looked at. Always the same, so that the queue stays in the order of time.
const LOOK: Span = Span::from_mins(1);
/// Conversations followed. Beyond it new ones are not counted.
const CAPACITY: usize = 100_000;

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Live {
    runs: HashMap<SessionKey, Run>,
    /// When to look at a conversation again.
    ends: VecDeque<(UnixMs, SessionKey)>,
}

/// A conversation since it came to its account, or since it was last cold.
#[derive(Debug)]
struct Run {
    account: AccountId,
    until: UnixMs,
    drawn: f64,
}

/// A run that is over: it was on this account and drew so much.
pub(crate) type Ended = (AccountId, f64);

impl Live {
    /// A request of the conversation goes to this account. True if it begins a run there.
    pub(crate) fn lease(&mut self, session: SessionKey, account: &AccountId, now: UnixMs) -> (bool, Option<Ended>) {
        let until = now + LONGEST_ANSWER;
        if let Some(run) = self.runs.get_mut(&session)
            && run.account == *account
        {
            run.until = run.until.max(until);
            return (false, None);
        }
        let left = self.runs.remove(&session).map(|run| (run.account, run.drawn));
        if self.runs.len() >= CAPACITY {
            return (false, left);
        }
        if left.is_none() {
            self.ends.push_back((now + LOOK, session));
        }
        self.runs.insert(session, Run { account: account.clone(), until, drawn: 0.0 });
        (true, left)
    }

    pub(crate) fn drew(&mut self, session: SessionKey, account: &AccountId, units: f64, warm: Span, now: UnixMs) {
        if let Some(run) = self.runs.get_mut(&session).filter(|run| run.account == *account) {
            run.drawn += units;
            run.until = now + warm.min(SILENT);
        }
    }

    /// The next run that is over by now.
    pub(crate) fn ended(&mut self, now: UnixMs) -> Option<Ended> {
        while self.ends.front().is_some_and(|(at, _)| *at <= now) {
            let (_, session) = self.ends.pop_front()?;
            let until = self.runs.get(&session).map(|run| run.until);
            match until {
                Some(until) if until <= now => {
                    return self.runs.remove(&session).map(|run| (run.account, run.drawn));
                }
                Some(_) => self.ends.push_back((now + LOOK, session)),
                None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> SessionKey {
        SessionKey([number; 16])
    }

    fn mins(count: u64) -> UnixMs {
        UnixMs(0) + Span::from_mins(count)
    }

    #[test]
    fn a_conversation_counts_until_its_cache_is_cold() {
        let (mut live, a, b) = (Live::default(), AccountId("a".into()), AccountId("b".into()));
        assert_eq!(live.lease(key(1), &a, mins(0)), (true, None));
        assert_eq!(live.lease(key(1), &a, mins(1)), (false, None));
        live.drew(key(1), &a, 5.0, Span::from_mins(5), mins(2));
        live.drew(key(1), &b, 9.0, Span::from_mins(5), mins(2));
        assert_eq!(live.ended(mins(6)), None);
        assert_eq!(live.ended(mins(7)), Some((a.clone(), 5.0)));
        assert_eq!(live.ended(mins(99)), None);
        // A move ends the run where it was.
        assert_eq!(live.lease(key(2), &a, mins(100)), (true, None));
        assert_eq!(live.lease(key(2), &b, mins(101)), (true, Some((a, 0.0))));
        // An answer that never ends is not waited for.
        assert_eq!(live.ended(mins(115)), None);
        assert_eq!(live.ended(mins(117)), Some((b, 0.0)));
        assert!(live.ends.is_empty() && live.runs.is_empty());
    }
}
