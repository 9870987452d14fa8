//! Can I keep working? The pool in one answer.

use http::{Response, StatusCode};
use pool_core::people::Role;
use pool_core::wishes::DayBook;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reply::json_page;
use super::status::ledger_status;
use super::usage::{self, Figures};
use super::{Visit, accounts};
use crate::admit::Caller;
use crate::clock;
use crate::events::{Eyes, view};
use crate::forecast;
use crate::notices;
use crate::relay::deliver::ReplyBody;
use crate::roster::Notice;
use crate::status::{AccountView, LedgerStatus, ProviderView, State};

/// Answer of `GET /api/overview`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    pub version: String,
    /// The server's clock.
    pub now_ms: i64,
    /// The caller's.
    pub role: Role,
    /// When the pool runs dry for the caller, in a sentence; null: nothing can be said yet. Times are in the server's zone.
    pub sentence: Option<String>,
    /// What each provider has left for the caller.
    pub providers: Vec<ProviderView>,
    /// Null: not for this caller to know.
    pub accounts: Option<AccountCounts>,
    /// Requests under way that the caller may see.
    pub flights: u64,
    /// Used since midnight UTC, by the caller, or for the operator by all. Null: the database cannot be asked.
    pub today: Option<Figures>,
    /// For the operator only, as what follows.
    pub ledger: Option<LedgerStatus>,
    pub notices: Vec<Notice>,
}

/// How many accounts are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountCounts {
    pub total: u64,
    pub ready: u64,
    pub cooling: u64,
    pub needs_login: u64,
    pub paused: u64,
    pub checking: u64,
}

pub async fn show(visit: Visit<Caller>) -> Response<ReplyBody> {
    let (app, eyes, now) = (&visit.app, Eyes::of(&visit.who), clock::now());
    let (accounts, _) = accounts::views(app, &eyes);
    let operator = eyes == Eyes::Operator;
    let overview = Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: now.0,
        role: visit.who.role(),
        sentence: forecast::of(app, visit.who.rights(app.sharing())).await.sentence,
        providers: accounts::providers(app, &visit.who),
        accounts: eyes.see_accounts().then(|| AccountCounts::of(&accounts)),
        flights: view::flights(&app.events, &eyes).len() as u64,
        today: usage::figures_since(&visit, DayBook::begin(now)).await,
        ledger: operator.then(|| ledger_status(app)),
        notices: if operator { notices::now(app) } else { Vec::new() },
    };
    json_page(StatusCode::OK, &overview)
}

impl AccountCounts {
    fn of(accounts: &[AccountView]) -> Self {
        let count = |state| accounts.iter().filter(|account| account.state == state).count() as u64;
        Self {
            total: accounts.len() as u64,
            ready: count(State::Ready),
            cooling: count(State::Cooling),
            needs_login: count(State::NeedsLogin),
            paused: count(State::Paused),
            checking: count(State::Checking),
        }
    }
}
