//! Summing up why nobody can take a request: what its client can be told.

use crate::account::AccountId;
use crate::demand::Demand;
use crate::standing::{Ineligible, Refusal, RefusalWhy};
use crate::time::{Span, UnixMs};
use crate::verdict::Cause;

/// What a client sits out by itself.
const A_MOMENT: Span = Span::from_mins(1);

/// Sums up why nobody can take it: what a client can be told.
pub fn refusal(demand: &Demand, considered: Vec<(AccountId, Ineligible)>, now: UnixMs) -> Refusal {
    let why = refusal_why(&considered, now);
    Refusal { provider: demand.provider, model: demand.model.clone(), why, considered }
}

fn refusal_why(considered: &[(AccountId, Ineligible)], now: UnixMs) -> RefusalWhy {
    if considered.is_empty() {
        return RefusalWhy::NoAccounts;
    }
    let reasons = || considered.iter().map(|(_, why)| why);
    // The shortest wait first: somebody who waits will be served.
    if reasons().any(|why| matches!(why, Ineligible::Busy)) {
        return RefusalWhy::Busy;
    }
    let limits = reasons().filter_map(|why| match why {
        Ineligible::WindowSpent { window, span, resets_at }
        | Ineligible::Reserved { window, span, resets_at }
        | Ineligible::KeptForOthers { window, span, resets_at } => Some((*resets_at, Some(window.clone()), *span)),
        Ineligible::SpendCap { until } => Some((Some(*until), Some("day".into()), Some(Span::from_hours(24)))),
        Ineligible::Cooling { cause: Cause::QuotaSpent | Cause::OutOfCredit, until, .. } => {
            Some((Some(*until), None, None))
        }
        // A throttle that lasts is a limit to whoever waits for it.
        Ineligible::Cooling { cause: Cause::Throttled, until, .. } if *until > now + A_MOMENT => {
            Some((Some(*until), None, None))
        }
        _ => None,
    });
    // The earliest known time; unknown only if none is known.
    if let Some((resets_at, window, span)) = limits.min_by_key(|(resets_at, ..)| (resets_at.is_none(), *resets_at)) {
        return RefusalWhy::AllSpent { resets_at, window, span };
    }
    let trouble = reasons().filter_map(|why| match why {
        Ineligible::Cooling { cause, until, .. } if *cause != Cause::ModelRefused => Some((*until, *cause)),
        _ => None,
    });
    if let Some((until, cause)) = trouble.min_by_key(|(until, _)| *until) {
        return RefusalWhy::Trouble { until: Some(until), cause };
    }
    if reasons().any(|why| matches!(why, Ineligible::Tried)) {
        return RefusalWhy::Trouble { until: None, cause: Cause::UpstreamFailing };
    }
    if reasons().all(|why| matches!(why, Ineligible::Kind)) {
        return RefusalWhy::NoneOfThisKind;
    }
    RefusalWhy::NeedsPerson
}
