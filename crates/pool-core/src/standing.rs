//! The pool as one account: what it has left for a caller, and why it cannot serve.

use serde::{Deserialize, Serialize};

use crate::account::{AccountId, ProviderId};
use crate::ask::Rights;
use crate::demand::Demand;
use crate::eligible::{eligible, may_serve};
use crate::limits::Over;
use crate::pool::Slot;
use crate::quota::{Fraction, QuotaWindow, Scope};
use crate::sizes::{LONG, Meter};
use crate::time::{Span, UnixMs};
use crate::verdict::Cause;

/// All accounts of a provider that may serve a demand of somebody's, told as one: what limit headers and usage answers say to
/// clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    /// Accounts that may serve this client and caller at all, whatever their state.
    pub accounts: usize,
    /// Of them: ready now.
    pub ready: usize,
    /// One entry a window name, longest span last. Windows that nobody has reported are absent.
    pub windows: Vec<StandingWindow>,
    /// The caller's own limit, where that is nearer to its end than the pool: a window that holds whatever they ask for.
    pub own: Option<StandingWindow>,
}

/// One kind of window over all accounts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StandingWindow {
    pub name: String,
    pub scope: Scope,
    pub span: Option<Span>,
    /// Used share of what the accounts hold that report this window, as far as it is for the caller; an account that cannot
    /// serve counts as spent.
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// The caller has reached a limit of their own. No account was looked at.
    OwnLimit(Over),
}

impl Refusal {
    /// What was asked for is over a limit of the caller's own.
    pub fn over(demand: &Demand, over: Over) -> Self {
        let why = RefusalWhy::OwnLimit(over);
        Self { provider: demand.provider, model: demand.model.clone(), why, considered: Vec::new() }
    }
}

/// Why one account cannot take a request now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
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

impl Standing {
    /// How these accounts stand to a demand of the caller's.
    pub(crate) fn of<'a>(
        slots: impl Iterator<Item = &'a Slot>,
        demand: &Demand,
        caller: Rights<'_>,
        now: UnixMs,
    ) -> Self {
        let of_provider = slots.filter(|slot| slot.account.provider == demand.provider);
        let able = of_provider.filter(|slot| may_serve(slot, demand, caller).is_ok() && slot.needs_login.is_none());
        let able: Vec<Share<'_>> = able.map(|slot| Share::of(slot, demand, caller, now)).collect();
        let mut windows: Vec<StandingWindow> = Vec::new();
        for window in able.iter().flat_map(|share| &share.slot.windows) {
            let known = windows.iter().any(|seen| seen.name == window.name && seen.scope == window.scope);
            let wanted = demand.families.is_empty() || window.scope.touches(&demand.families);
            if wanted && !known {
                windows.extend(StandingWindow::of(&able, window, now));
            }
        }
        windows.sort_by_key(|window| window.span);
        let ready = able.iter().filter(|share| share.ready).count();
        Self { accounts: able.len(), ready, windows, own: None }
    }

    /// With the caller's own limit, if that is nearer to its end than what the pool has for them.
    #[must_use]
    pub fn with_own(self, limit: Option<StandingWindow>) -> Self {
        let limits_more = |limit: &StandingWindow| self.windows.iter().all(|window| window.used < limit.used);
        let own = limit.filter(limits_more);
        let spent = own.as_ref().is_some_and(|own| own.used >= Fraction::ONE);
        Self { own, ready: if spent { 0 } else { self.ready }, ..self }
    }
}

/// One account's part in the standing.
struct Share<'a> {
    slot: &'a Slot,
    ready: bool,
    /// What part of it is for the caller: without what is kept for the owner.
    open: f64,
    /// It cannot serve, whatever its windows say, until then.
    out: Option<UnixMs>,
}

impl<'a> Share<'a> {
    fn of(slot: &'a Slot, demand: &Demand, caller: Rights<'_>, now: UnixMs) -> Self {
        let state = eligible(slot, demand, caller, now);
        let out = match &state {
            Err(
                Ineligible::Cooling { cause: Cause::QuotaSpent | Cause::OutOfCredit, until, scope: Scope::Account }
                | Ineligible::SpendCap { until },
            ) => Some(*until),
            _ => None,
        };
        let kept = if caller.owner { Fraction::ZERO } else { slot.account.settings.reserve };
        Self { slot, ready: state.is_ok(), open: kept.rest().get(), out }
    }

    /// How much of one of its windows is used of what is for the caller, and when that frees something.
    fn used(&self, window: &QuotaWindow, now: UnixMs) -> (Fraction, Option<UnixMs>) {
        let used = window.used(now);
        // What is left of a shorter window is worth nothing while a longer one is spent.
        let longer = self
            .slot
            .windows
            .iter()
            .filter(|other| other.scope == Scope::Account && other.span > window.span && other.is_exhausted(now));
        let blocked: Vec<Option<UnixMs>> = longer.map(|other| other.resets_at).collect();
        if self.out.is_some() || !blocked.is_empty() {
            // Of all that keeps it out the last counts; if one's end is not known, nobody knows.
            let untold = blocked.contains(&None);
            let until = blocked.into_iter().flatten().chain(self.out).max();
            return (Fraction::ONE, until.filter(|_| !untold));
        }
        let share = if self.open > 0.0 { Fraction::new(used.get() / self.open) } else { None };
        (share.unwrap_or(Fraction::ONE), window.resets_at.filter(|_| used > Fraction::ZERO))
    }

    /// What the window holds, as far as that was learned.
    fn size(&self, window: &QuotaWindow) -> Option<f64> {
        let meter = self.slot.meters.iter().find(|meter| meter.is_of(window))?;
        meter.size().map(|size| size.units).filter(|units| units.is_finite() && *units > 0.0)
    }
}

impl StandingWindow {
    /// One window name over all accounts that report it, each weighing as much as it holds for the caller.
    fn of(able: &[Share<'_>], like: &QuotaWindow, now: UnixMs) -> Option<Self> {
        let mut parts = Vec::new();
        let mut resets_at: Option<UnixMs> = None;
        for share in able {
            let mine = share.slot.windows.iter().find(|window| window.name == like.name && window.scope == like.scope);
            let Some(window) = mine.filter(|window| window.is_believable(now)) else { continue };
            let (used, frees) = share.used(window, now);
            parts.push((used.get(), share.size(window), share.open));
            resets_at = [resets_at, frees.filter(|reset| *reset > now)].into_iter().flatten().min();
        }
        let known: Vec<f64> = parts.iter().filter_map(|(_, size, _)| *size).collect();
        // An account whose size nobody knows is as big as the others.
        let usual = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        let weighed = || parts.iter().map(|(used, size, open)| (used, size.unwrap_or(usual) * open));
        let whole: f64 = weighed().map(|(_, weight)| weight).sum();
        // Nothing of it is for this caller.
        let used = if whole > 0.0 { weighed().map(|(used, weight)| used * weight).sum::<f64>() / whole } else { 1.0 };
        Some(Self {
            name: like.name.clone(),
            scope: like.scope.clone(),
            span: like.span,
            used: Fraction::new(used).filter(|_| !parts.is_empty())?,
            resets_at,
        })
    }
}

/// What the accounts that a caller may use hold in their longest windows, in units; `None`: of none of them anything was learned.
pub(crate) fn capacity<'a>(slots: impl Iterator<Item = &'a Slot>, caller: Rights<'_>) -> Option<f64> {
    let longest = |slot: &'a Slot| {
        let long = |meter: &&Meter| meter.scope == Scope::Account && meter.span.is_some_and(|span| span >= LONG);
        slot.meters.iter().filter(long).max_by_key(|meter| meter.span)?.size()
    };
    let sizes = slots.filter(|slot| caller.cover(&slot.account) && !slot.account.settings.disabled).filter_map(longest);
    let (units, learned) =
        sizes.fold((0.0, false), |(units, learned), size| (units + size.units, learned || size.confidence > 0.0));
    learned.then_some(units)
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
