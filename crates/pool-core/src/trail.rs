//! The story of one request: every try, how it came to be that account, and why nobody could take it if nobody could.
//!
//! It grows as the request goes on (a reference count an attempt) and is kept with the request's record.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountId};
use crate::decision::{Considered, Decision, Finding, MOST_CONSIDERED};
use crate::pool::Grant;
use crate::standing::{Refusal, RefusalWhy};
use crate::time::UnixMs;
use crate::usage::LatencyParts;
use crate::verdict::Judgement;

/// One try upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Attempt {
    pub account: AccountId,
    /// What the account was called then.
    pub name: String,
    /// Status of the reply; `None`: there was none.
    pub status: Option<u16>,
    /// Why it failed. Empty: its answer went to the client, or the client left before there was one.
    pub reason: String,
    /// When that was known.
    pub at: UnixMs,
    /// How it came to be this account. `None`: by the decision before (with a renewed credential, say), or it is one of more
    /// than are kept.
    pub decision: Option<Arc<Decision>>,
}

/// See the module's page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Trail {
    pub attempts: Vec<Attempt>,
    /// So many attempts from the middle of a long story are not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// Why nobody could take it (any more).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Tries that failed in passing (counted against the limit).
    #[serde(skip)]
    pub transient: u32,
    /// Where the time went so far.
    #[serde(skip)]
    pub parts: LatencyParts,
}

/// Why nobody could take a request, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Refused {
    pub at: UnixMs,
    pub why: RefusalWhy,
    pub considered: Vec<Considered>,
    /// So many more were considered than `considered` tells.
    pub more: usize,
}

/// So many decisions are kept of one request: the first ones and the last.
const MOST_DECISIONS: usize = 8;
/// So many attempts are kept of one request: half of them the first ones, half the last.
const MOST_ATTEMPTS: usize = 32;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Trail {
    /// A try that failed.
    pub fn record(&mut self, grant: &Grant, status: Option<u16>, judgement: &Judgement, now: UnixMs) {
        self.transient += u32::from(judgement.is_transient());
        self.note(grant, status, judgement.reason.clone(), now);
    }

    /// The whole story, if the answer of this account goes to the client.
    #[must_use]
    pub fn delivered(&self, grant: &Grant, status: u16, now: UnixMs) -> Self {
        let mut whole = self.clone();
        whole.note(grant, Some(status), String::new(), now);
        whole
    }

    /// The whole story, if the client leaves before this account has answered.
    #[must_use]
    pub fn abandoned(mut self, grant: &Grant, now: UnixMs) -> Self {
        self.note(grant, None, String::new(), now);
        self
    }

    /// The whole story, if nobody can take the request. `None`: nobody was asked any more.
    #[must_use]
    pub fn refused(&self, refusal: Option<&Refusal>, now: UnixMs) -> Self {
        Self { refused: refusal.map(|refusal| Refused::of(refusal, now)), ..self.clone() }
    }

    fn note(&mut self, grant: &Grant, status: Option<u16>, reason: String, at: UnixMs) {
        let Account { id, name, .. } = &*grant.account;
        let told = self.attempts.iter().filter(|attempt| attempt.decision.is_some()).count();
        let latest = self.attempts.iter_mut().rev().find_map(|attempt| match &attempt.decision {
            Some(_) => Some(&mut attempt.decision),
            None => None,
        });
        let same =
            latest.as_deref().is_some_and(|latest| latest.as_ref().is_some_and(|it| Arc::ptr_eq(it, &grant.decision)));
        if let Some(latest) = latest.filter(|_| !same && told >= MOST_DECISIONS) {
            *latest = None;
        }
        let decision = (!same).then(|| grant.decision.clone());
        self.attempts.push(Attempt { account: id.clone(), name: name.clone(), status, reason, at, decision });
    }

    /// The last decision, which the request stood by.
    pub fn decision(&self) -> Option<&Decision> {
        self.attempts.iter().rev().find_map(|attempt| attempt.decision.as_deref())
    }

    /// Accounts that need not be asked again.
    pub fn tried(&self) -> impl Iterator<Item = &AccountId> {
        self.attempts.iter().map(|attempt| &attempt.account)
    }

    /// As it is kept: numbers as exact as anybody reads them, and of a long story the beginning and the end.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        let over = self.attempts.len().saturating_sub(MOST_ATTEMPTS);
        if over > 0 {
            self.attempts.drain(MOST_ATTEMPTS / 2..MOST_ATTEMPTS / 2 + over);
            self.left_out += over;
        }
        let decisions = self.attempts.iter_mut().filter_map(|attempt| attempt.decision.as_mut());
        for decision in decisions {
            for considered in &mut Arc::make_mut(decision).considered {
                if let Finding::Able(Some(score)) = &mut considered.finding {
                    score.value = short(score.value);
                    score.parts.iter_mut().for_each(|(_, number)| *number = short(*number));
                }
            }
        }
        self
    }
}

impl Refused {
    pub fn of(refusal: &Refusal, at: UnixMs) -> Self {
        let of = |(account, why): &(AccountId, _)| Considered {
            account: account.clone(),
            finding: Finding::Unable(Clone::clone(why)),
        };
        let considered: Vec<_> = refusal.considered.iter().take(MOST_CONSIDERED).map(of).collect();
        let more = refusal.considered.len() - considered.len();
        Self { at, why: refusal.why.clone(), considered, more }
    }
}

/// Four digits. What is no number could not be kept as one.
fn short(number: f64) -> f64 {
    if number.is_nan() {
        return 0.0;
    }
    let number = number.clamp(-1e300, 1e300);
    format!("{number:.3e}").parse().unwrap_or(number)
}

#[cfg(test)]
#[path = "trail_tests.rs"]
mod tests;
