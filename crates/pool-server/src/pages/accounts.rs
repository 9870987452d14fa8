//! The accounts: who they are and what they have left, to each caller what is theirs to know; and what can be done with one.

use http::{Response, StatusCode};
use pool_core::pool::{Cooldown, Slot};
use pool_core::quota::Scope;
use pool_core::sizes::Meter;
use pool_core::wishes::ModelList;
use pool_core::{AccountId, Client, Demand, Fraction, UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reply::{Fault, json_page};
use super::status::{account_status, dated_status, statuses};
use super::{Operator, Visit};
use crate::admit::Caller;
use crate::app::App;
use crate::events::{Eyes, Mishap};
use crate::pool::prober::Outcome;
use crate::relay::deliver::ReplyBody;
use crate::status::{AccountView, ProviderView, ProviderWindow, TestResult};

/// Answer of `GET /api/accounts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Accounts)]
pub struct List {
    /// The server's clock: ages and countdowns are meant from here.
    pub now_ms: i64,
    /// Those that the caller may know of; friends know of none.
    pub accounts: Vec<AccountView>,
    pub providers: Vec<ProviderView>,
}

/// Answer of `GET /api/accounts/{account}`: everything that is known of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccountDetail)]
pub struct Detail {
    #[serde(flatten)]
    pub account: AccountView,
    pub now_ms: i64,
    pub wishes: Wishes,
    /// Conversations whose cache is warm on it.
    pub conversations: u32,
    /// What its windows hold, as far as that was learned.
    pub sizes: Vec<LearnedSize>,
    pub cooldowns: Vec<CooldownView>,
    /// Its last failure since the server's start.
    pub last_failure: Option<Mishap>,
    pub last_used_ms: Option<i64>,
    /// When its token ends; null: it does not say.
    pub token_ends_ms: Option<i64>,
    /// Can its token be renewed without a person?
    pub renewable: bool,
    /// Today, midnight to midnight UTC, in millionths of a dollar: what it has cost, or would have by the provider's price list.
    pub spent_today_micro_usd: u64,
    /// Requests of today whose cost nobody knows; they are not in it.
    pub unpriced_today: u64,
    /// What is wrong with its file.
    pub faults: Vec<String>,
}

/// What the operator wants of an account: the pool keys of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccountWishes)]
pub struct Wishes {
    pub priority: i32,
    pub weight: f64,
    /// The share of every window that is kept for the owner.
    pub reserve: Fraction,
    /// May friends use it? Null: the pool's default.
    pub share: Option<bool>,
    pub max_in_flight: Option<u32>,
    /// Patterns with `*`; null: every model.
    pub models: Option<Vec<String>>,
    pub daily_spend_micro_usd: Option<u64>,
}

/// What a window holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LearnedSize {
    pub window: String,
    /// The model family that it limits; null: every request.
    pub family: Option<String>,
    /// Fresh input tokens that the whole window is worth.
    pub units: f64,
    /// How much of this was learned from this very account: 0 (guessed) to 1.
    pub confidence: f64,
}

/// Why and until when it is kept out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccountCooldown)]
pub struct CooldownView {
    pub cause: String,
    /// The model family; null: the whole account.
    pub family: Option<String>,
    pub since_ms: i64,
    pub until_ms: i64,
    /// The provider named the time.
    pub told: bool,
}

/// `GET /api/accounts`.
pub async fn list(visit: Visit<Caller>) -> Response<ReplyBody> {
    let eyes = Eyes::of(&visit.who);
    let (accounts, now) = views(&visit.app, &eyes);
    json_page(StatusCode::OK, &List { now_ms: now.0, accounts, providers: providers(&visit.app, &visit.who) })
}

/// `GET /api/accounts/{account}`, by id, name or file.
pub async fn show(visit: Visit<Operator>) -> Response<ReplyBody> {
    match find(&visit.app, visit.hole(0)).and_then(|id| detail(&visit.app, &id)) {
        Ok(detail) => json_page(StatusCode::OK, &detail),
        Err(fault) => fault.into(),
    }
}

/// Every account that these eyes may see, by provider and name.
pub fn views(app: &App, eyes: &Eyes) -> (Vec<AccountView>, UnixMs) {
    let (accounts, now) = statuses(app);
    let views = accounts.into_iter().map(AccountView::from).filter_map(|view| view.seen_by(eyes));
    (views.collect(), now)
}

/// One account, and the moment that its ages are counted to.
pub fn view(app: &App, id: &AccountId) -> Option<(AccountView, UnixMs)> {
    dated_status(app, id).map(|(status, now)| (status.into(), now))
}

/// What each provider has left. Providers without accounts are left out.
pub fn providers(app: &App, caller: &Caller) -> Vec<ProviderView> {
    let rights = caller.rights(app.sharing());
    let standings = app
        .registry
        .iter()
        .map(|provider| (provider.id(), app.pool.standing(&Demand::any(provider.id(), Client::OwnCli), rights)));
    let told = standings.filter(|(_, standing)| standing.accounts > 0).map(|(id, standing)| ProviderView {
        provider: id.to_string(),
        accounts: standing.accounts as u64,
        ready: standing.ready as u64,
        windows: standing
            .windows
            .into_iter()
            .map(|window| ProviderWindow {
                family: family(&window.scope),
                name: window.name,
                left: window.used.rest(),
                resets_at_ms: window.resets_at.map(|reset| reset.0),
            })
            .collect(),
    });
    told.collect()
}

/// The one account of this name, id or file.
pub fn find(app: &App, name: &str) -> Result<AccountId, Fault> {
    let ids = app.pool.read(|pool, _| {
        let fits = |slot: &&Slot| slot.account.name == name || &*slot.account.id.0 == name || slot.account.file == name;
        pool.slots().filter(fits).map(|slot| slot.account.id.clone()).collect::<Vec<_>>()
    });
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        [] => {
            let message = format!("no account is called {name:?}; see `codex-pool accounts list`");
            Err(Fault::new(StatusCode::NOT_FOUND, message))
        }
        several => {
            let list = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("several accounts are called {name:?}: {list}; use the id");
            Err(Fault::new(StatusCode::CONFLICT, message))
        }
    }
}

fn detail(app: &App, id: &AccountId) -> Result<Detail, Fault> {
    let gone = || Fault::new(StatusCode::NOT_FOUND, format!("no account is called {id:?} any more"));
    let (account, _) = view(app, id).ok_or_else(gone)?;
    let faults = app.keeper.faults.list().into_iter().filter(|fault| Some(&fault.file) == account.file.as_ref());
    let faults = faults.map(|fault| fault.what).collect();
    let last_failure = app.events.mishaps.last(id);
    let told = app.pool.read(|pool, now| {
        let slot = pool.slot(id)?;
        let settings = &slot.account.settings;
        Some(Detail {
            account,
            now_ms: now.0,
            wishes: Wishes {
                priority: settings.priority,
                weight: settings.weight.get(),
                reserve: settings.reserve,
                share: settings.share,
                max_in_flight: settings.max_in_flight,
                models: settings.models.as_ref().map(ModelList::patterns).map(<[String]>::to_vec),
                daily_spend_micro_usd: settings.daily_spend.map(|most| most.0),
            },
            conversations: slot.live,
            sizes: slot.meters.iter().filter_map(size).collect(),
            cooldowns: slot.cooldowns.iter().filter(|one| one.is_running(now)).map(cooldown).collect(),
            last_failure,
            last_used_ms: slot.last_used.map(|at| at.0),
            token_ends_ms: slot.credentials.expires_at.map(|end| end.0),
            renewable: slot.credentials.refresh.is_some(),
            spent_today_micro_usd: slot.book.spent(now).0,
            unpriced_today: slot.book.unpriced(now),
            faults,
        })
    });
    told.ok_or_else(gone)
}

fn size(meter: &Meter) -> Option<LearnedSize> {
    let size = meter.size()?;
    let window = meter.window.clone();
    Some(LearnedSize { window, family: family(&meter.scope), units: size.units, confidence: size.confidence })
}

fn cooldown(cooldown: &Cooldown) -> CooldownView {
    CooldownView {
        cause: cooldown.cause.to_string(),
        family: family(&cooldown.scope),
        since_ms: cooldown.since.0,
        until_ms: cooldown.until.0,
        told: cooldown.told,
    }
}

fn family(scope: &Scope) -> Option<String> {
    match scope {
        Scope::Account => None,
        Scope::Family(family) => Some(family.clone()),
    }
}

/// One small request to the provider on this account: does its credential work, what does it have left?
pub async fn test(visit: Visit<Operator>) -> Response<ReplyBody> {
    let app = &*visit.app;
    let id = match find(app, visit.hole(0)) {
        Ok(id) => id,
        Err(fault) => return fault.into(),
    };
    let (ok, message) = match app.keeper.prober.probe_now(&id).await {
        Ok(report) => match report.outcome {
            Outcome::Works => (true, "the provider takes its credential".into()),
            Outcome::NoProbe => {
                (true, "not asked: every question to its provider costs quota, the first request will tell".into())
            }
            Outcome::NeedsPerson { why } | Outcome::Trouble { why } => (false, why),
        },
        Err(failure) => (false, failure.to_string()),
    };
    json_page(StatusCode::OK, &TestResult { ok, message, account: account_status(app, &id) })
}
