//! The pool as one account: what it has left for a caller, and why it cannot serve.

use serde::{Deserialize, Serialize};

use crate::account::{AccountId, ProviderId};
use crate::pool::Slot;
use crate::quota::{Fraction, QuotaWindow, Scope};
use crate::time::{Span, UnixMs};
use crate::verdict::Cause;

/// All accounts of a provider that may serve a demand, told as one: what limit headers and usage answers say to clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    /// Accounts that may serve this client at all, whatever their state.
    pub accounts: usize,
    /// Of them: ready now.
    pub ready: usize,
    /// One entry a window name, longest span last. Windows that nobody has reported are absent.
    pub windows: Vec<StandingWindow>,
}

/// One kind of window over all accounts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StandingWindow {
    pub name: String,
    pub scope: Scope,
    pub span: Option<Span>,
    /// Mean used share of the accounts that report this window; an account that cannot serve counts as spent.
    pub used: Fraction,
    /// The first reset that frees capacity.
    pub resets_at: Option<UnixMs>,
}

/// Why no account takes a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    pub provider: ProviderId,
    pub model: Option<String>,
    pub why: RefusalWhy,
    /// Every account that was considered, with its reason.
    pub considered: Vec<(AccountId, Ineligible)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalWhy {
    /// There is no account of this provider.
    NoAccounts,
    /// There are accounts, but none of a kind that may serve this client on this route.
    NoneOfThisKind,
    /// All that may serve are waiting for a person (sign in again, paused, a plan or an operator that does not allow this model,
    /// accounts that this caller may not use).
    NeedsPerson,
    /// All that may serve are at their limit.
    AllSpent {
        /// The first moment when one can serve again; `None`: the provider did not say.
        resets_at: Option<UnixMs>,
        /// The window that frees first: `5h`, `week`, …
        window: Option<String>,
        /// Its length.
        span: Option<Span>,
    },
    /// One that may serve has as many requests under way as it may: try again in a moment.
    Busy,
    /// Those that may serve are cooling down after trouble (overload, failures): try again soon.
    Trouble { until: Option<UnixMs>, cause: Cause },
}

/// Why one account cannot take a request now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ineligible {
    /// A subscription serves only its provider's own client; some routes take API keys only.
    Kind,
    Paused,
    NeedsLogin {
        why: String,
    },
    Cooling {
        cause: Cause,
        scope: Scope,
        until: UnixMs,
    },
    WindowSpent {
        window: String,
        span: Option<Span>,
        resets_at: Option<UnixMs>,
    },
    /// Already tried for this request.
    Tried,
    /// The conversation leans on state that another account holds.
    BoundElsewhere,
    /// This caller may use other accounts only.
    NotForCaller,
    /// The operator lets it serve other models only.
    ModelNotAllowed,
    /// What is left of a window is kept for the owner.
    Reserved {
        window: String,
        span: Option<Span>,
        resets_at: Option<UnixMs>,
    },
    /// What is left of a window is kept for people who have used less than this caller.
    KeptForOthers {
        window: String,
        span: Option<Span>,
        /// When it begins anew, or when none of them is about any more, whichever comes first.
        resets_at: Option<UnixMs>,
    },
    /// It has cost as much today as it may.
    SpendCap {
        until: UnixMs,
    },
    /// It serves as many requests as it may at one time.
    Busy,
}

impl StandingWindow {
    /// One window name over all accounts that report it.
    pub(crate) fn of(able: &[&Slot], like: &QuotaWindow, now: UnixMs) -> Option<Self> {
        let mut used = Vec::new();
        let mut resets_at: Option<UnixMs> = None;
        for slot in able {
            let mine = slot.windows.iter().find(|window| window.name == like.name && window.scope == like.scope);
            let Some(window) = mine.filter(|window| window.is_believable(now)) else { continue };
            // A spent longer window makes what is left of a shorter one worthless.
            let blocked = slot
                .windows
                .iter()
                .any(|other| other.scope == Scope::Account && other.span > window.span && other.is_exhausted(now));
            let share = if blocked { Fraction::ONE } else { window.used(now) };
            used.push(share.get());
            if share > Fraction::ZERO {
                let reset = window.resets_at.filter(|reset| *reset > now && !blocked);
                resets_at = [resets_at, reset].into_iter().flatten().min();
            }
        }
        let mean = used.iter().sum::<f64>() / used.len() as f64;
        Some(Self {
            name: like.name.clone(),
            scope: like.scope.clone(),
            span: like.span,
            used: Fraction::new(mean)?,
            resets_at,
        })
    }
}
