//! What a reply means: deliver it, try elsewhere, refresh and try again, or stop.

use serde::{Deserialize, Serialize};

use crate::quota::{QuotaWindow, Scope};
use crate::time::{Span, UnixMs};

/// Whose trouble a failure is. Decides who pays for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The request itself: no account would take it.
    Request,
    /// This model at this provider (capacity), or this model on this account's plan.
    Model,
    /// This account: its limit, its credential, its standing.
    Account,
    /// The way out of this machine: a CDN page, a blocked address.
    Egress,
    /// The provider as a whole.
    Provider,
}

/// What to do with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Pass it to the client.
    Deliver,
    /// Try another account.
    Elsewhere,
    /// Renew the credential, try the same account once more, then elsewhere.
    RefreshThenSame,
    /// Try the same account again without the state that another account has sealed. If there was nothing to leave behind:
    /// [`Verdict::Fatal`].
    StripThenSame,
    /// Pass it to the client verbatim: no other account would answer differently.
    Fatal,
}

/// Why an account is kept out, in words that operators see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CooldownCause)]
pub enum Cause {
    /// A quota window is spent.
    QuotaSpent,
    /// Too many requests in a short time.
    Throttled,
    /// The model has no capacity.
    ModelOverloaded,
    /// The plan does not include the model.
    ModelRefused,
    /// The upstream failed or could not be reached.
    UpstreamFailing,
    /// The provider's answer looks like a CDN's or a firewall's.
    EgressBlocked,
    /// Credits or the account's own spend limit are used up.
    OutOfCredit,
}

impl Cause {
    /// How long to keep away when nobody said.
    pub(crate) fn back_off(self, strikes: u32) -> Span {
        let doubled = |first: Span, most: Span| Span((first.0 << strikes.clamp(1, 16).saturating_sub(1)).min(most.0));
        match self {
            Self::Throttled | Self::ModelOverloaded | Self::UpstreamFailing => {
                doubled(Span::from_secs(2), Span::from_mins(5))
            }
            Self::EgressBlocked => doubled(Span::from_secs(10), Span::from_mins(10)),
            Self::QuotaSpent => doubled(Span::from_mins(5), Span::from_hours(1)),
            Self::OutOfCredit => doubled(Span::from_mins(30), Span::from_hours(6)),
            Self::ModelRefused => doubled(Span::from_hours(1), Span::from_hours(24)),
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::QuotaSpent => "its quota is spent",
            Self::Throttled => "too many requests in a short time",
            Self::ModelOverloaded => "the model is overloaded",
            Self::ModelRefused => "its plan does not include the model",
            Self::UpstreamFailing => "the provider is failing or cannot be reached",
            Self::EgressBlocked => "something between here and the provider blocks requests",
            Self::OutOfCredit => "its credit or spend limit is used up",
        })
    }
}

/// When a cooldown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The provider named the time.
    At(UnixMs),
    /// The provider named the wait.
    For(Span),
    /// Nobody said: short, growing with each repetition.
    BackOff,
}

/// Keep an account, or one of its model families, out for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Penalty {
    pub scope: Scope,
    pub cause: Cause,
    pub until: Until,
}

/// The reading of one reply (or of an error event inside a stream).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    pub verdict: Verdict,
    pub fault: Fault,
    pub penalty: Option<Penalty>,
    /// The account is of no use until a person does something: the reason, and what mends it.
    pub park: Option<String>,
    /// Quota readings found in the body.
    pub windows: Vec<QuotaWindow>,
    /// One line for logs and the trail: the provider's own code and message, shortened, without secrets.
    pub reason: String,
}

impl Judgement {
    pub fn deliver() -> Self {
        Self {
            verdict: Verdict::Deliver,
            fault: Fault::Request,
            penalty: None,
            park: None,
            windows: Vec::new(),
            reason: String::new(),
        }
    }

    /// The request is at fault: the client gets the reply as it is.
    pub fn fatal(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fatal, reason: reason.into(), ..Self::deliver() }
    }

    pub fn elsewhere(fault: Fault, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Elsewhere, fault, reason: reason.into(), ..Self::deliver() }
    }

    /// The credential was refused.
    pub fn refresh(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::RefreshThenSame, fault: Fault::Account, reason: reason.into(), ..Self::deliver() }
    }

    /// The request carries what another account has sealed.
    pub fn strip(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::StripThenSame, reason: reason.into(), ..Self::deliver() }
    }

    #[must_use]
    pub fn cooling(mut self, scope: Scope, cause: Cause, until: Until) -> Self {
        self.penalty = Some(Penalty { scope, cause, until });
        self
    }

    #[must_use]
    pub fn parked(mut self, why: impl Into<String>) -> Self {
        self.park = Some(why.into());
        self
    }

    #[must_use]
    pub fn with_windows(mut self, windows: Vec<QuotaWindow>) -> Self {
        self.windows = windows;
        self
    }

    /// Does this failure count against the number of tries and the retry budget? An account's own refusal (of this model, too)
    /// does not: it costs the provider nothing and says nothing of the next account.
    pub fn is_transient(&self) -> bool {
        let own = matches!(
            &self.penalty,
            Some(Penalty { cause: Cause::QuotaSpent | Cause::OutOfCredit | Cause::ModelRefused, .. })
        );
        self.verdict == Verdict::Elsewhere && self.fault != Fault::Account && self.park.is_none() && !own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_own_refusal_is_not_a_failure_in_passing() {
        let of = |fault| Judgement::elsewhere(fault, "made up");
        let cooling = |fault, cause| of(fault).cooling(Scope::Account, cause, Until::BackOff);
        for (judgement, transient) in [
            (of(Fault::Provider), true),
            (cooling(Fault::Model, Cause::ModelOverloaded), true),
            (cooling(Fault::Model, Cause::QuotaSpent), false),
            (cooling(Fault::Model, Cause::ModelRefused), false),
            (cooling(Fault::Account, Cause::Throttled), false),
            (of(Fault::Egress).parked("made up"), false),
            (Judgement::refresh("made up"), false),
            (Judgement::fatal("made up"), false),
        ] {
            assert_eq!(judgement.is_transient(), transient, "{judgement:?}");
        }
    }
}
