//! Who asks for an account, and for what.

use crate::account::{Account, AccountId, AccountKind};
use crate::demand::{Demand, SessionKey};
use crate::people::UserId;

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
    /// Who it is, where the pool knows its people.
    pub user: Option<&'a UserId>,
    /// `None`: every account.
    pub accounts: Option<&'a [AccountId]>,
    /// A friend: what is not shared is not for them.
    pub friend: Option<Sharing>,
}

/// What friends may use of the accounts that do not say so themselves (`share`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Subscriptions. API keys are shared unless they say otherwise.
    pub subscriptions: bool,
}

impl Sharing {
    /// Is this account for friends too?
    pub fn covers(self, account: &Account) -> bool {
        account.settings.share.unwrap_or(self.subscriptions || account.kind == AccountKind::ApiKey)
    }
}

impl Rights<'_> {
    /// Is this account for them?
    pub fn cover(&self, account: &Account) -> bool {
        let own = self.accounts.is_none_or(|own| own.contains(&account.id));
        own && self.friend.is_none_or(|sharing| sharing.covers(account))
    }
}

impl Rights<'static> {
    pub const OWNER: Self = Self { owner: true, user: None, accounts: None, friend: None };
}

/// An [`Ask`] that can be kept, to be asked again later.
#[derive(Clone, Debug)]
pub struct Waiting {
    demand: Demand,
    session: Option<SessionKey>,
    parent: Option<SessionKey>,
    tried: Vec<AccountId>,
    only: Option<AccountId>,
    owner: bool,
    user: Option<UserId>,
    accounts: Option<Vec<AccountId>>,
    friend: Option<Sharing>,
}

impl Waiting {
    pub fn ask(&self) -> Ask<'_> {
        let Self { demand, session, parent, tried, only, owner, user, accounts, friend } = self;
        let caller = Rights { owner: *owner, user: user.as_ref(), accounts: accounts.as_deref(), friend: *friend };
        Ask { demand, session: *session, parent: *parent, tried, only: only.as_ref(), caller }
    }
}

impl<'a> Ask<'a> {
    /// The owner's first try.
    pub fn new(demand: &'a Demand, session: Option<SessionKey>) -> Self {
        Self { demand, session, parent: None, tried: &[], only: None, caller: Rights::OWNER }
    }

    /// As a part of another conversation.
    #[must_use]
    pub fn within(self, parent: Option<SessionKey>) -> Self {
        Self { parent, ..self }
    }

    /// The same, to be kept.
    pub fn waiting(&self) -> Waiting {
        let Self { demand, session, parent, tried, only, caller } = *self;
        Waiting {
            demand: demand.clone(),
            session,
            parent,
            tried: tried.to_vec(),
            only: only.cloned(),
            owner: caller.owner,
            user: caller.user.cloned(),
            accounts: caller.accounts.map(<[AccountId]>::to_vec),
            friend: caller.friend,
        }
    }

    /// For somebody else than the owner.
    #[must_use]
    pub fn by(self, caller: Rights<'a>) -> Self {
        Self { caller, ..self }
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
