//! Who asks for an account, and for what.

use crate::account::AccountId;
use crate::demand::{Demand, SessionKey};

/// A request that needs an account.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub demand: &'a Demand,
    pub session: Option<SessionKey>,
    /// The conversation that this one is a part of (a sub-agent's parent).
    pub parent: Option<SessionKey>,
    /// Accounts that this request has already failed on.
    pub tried: &'a [AccountId],
    /// It names what lives on this account ([`crate::owners`]): no other can serve it.
    pub only: Option<&'a AccountId>,
    pub caller: Rights<'a>,
}

/// What the caller may use.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    /// The operator: what accounts keep in reserve is theirs.
    pub owner: bool,
    /// `None`: every account.
    pub accounts: Option<&'a [AccountId]>,
}

impl Rights<'static> {
    pub const OWNER: Self = Self { owner: true, accounts: None };
}

impl<'a> Ask<'a> {
    /// The owner's first try.
    pub fn new(demand: &'a Demand, session: Option<SessionKey>) -> Self {
        Self { demand, session, parent: None, tried: &[], only: None, caller: Rights::OWNER }
    }

    /// After failures on these.
    #[must_use]
    pub fn after(self, tried: &'a [AccountId]) -> Self {
        Self { tried, ..self }
    }

    /// On this account or nowhere.
    #[must_use]
    pub fn only(self, account: Option<&'a AccountId>) -> Self {
        Self { only: account, ..self }
    }
}
