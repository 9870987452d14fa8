//! The accounts, what they have left, and what is wrong.

use http::{Response, StatusCode};
use pool_core::ask::Rights;
use pool_core::eligible::eligible;
use pool_core::pool::Slot;
use pool_core::quota::Scope;
use pool_core::standing::Ineligible;
use pool_core::{AccountKind, Client, Demand, UnixMs};

use pool_store::Health;

use super::reply::{json_page, text};
use super::{Operator, Visit};
use crate::app::App;
use crate::forecast::{self, ForecastPage};
use crate::notices;
use crate::pool::Topic;
use crate::relay::deliver::ReplyBody;
use crate::status::{self, AccountStatus, FaultyFile, LedgerStatus, State, StatusPage, WindowStatus};

/// The accounts for a terminal.
pub async fn table(app: &App) -> Response<ReplyBody> {
    let page = status_page(app).await;
    text(StatusCode::OK, status::render_table(&page, 80, UnixMs(page.now_ms)))
}

pub async fn as_json(visit: Visit<Operator>) -> Response<ReplyBody> {
    json_page(StatusCode::OK, &status_page(&visit.app).await)
}

pub async fn notices(visit: Visit<Operator>) -> Response<ReplyBody> {
    json_page(StatusCode::OK, &notices::now(&visit.app))
}

pub fn account_status(app: &App, id: &pool_core::AccountId) -> Option<AccountStatus> {
    dated_status(app, id).map(|(status, _)| status)
}

/// With the moment that its ages are counted to.
pub fn dated_status(app: &App, id: &pool_core::AccountId) -> Option<(AccountStatus, UnixMs)> {
    app.pool.read(|pool, now| pool.slot(id).map(|slot| (account(app, slot, now), now)))
}

/// Every account, by provider and name, and the moment that their ages are counted to.
pub fn statuses(app: &App) -> (Vec<AccountStatus>, UnixMs) {
    let (mut accounts, now) =
        app.pool.read(|pool, now| (pool.slots().map(|slot| account(app, slot, now)).collect::<Vec<_>>(), now));
    accounts.sort_by(|a, b| (&a.provider, &a.name).cmp(&(&b.provider, &b.name)));
    (accounts, now)
}

pub async fn status_page(app: &App) -> StatusPage {
    // The table does not speak of capacity.
    let forecast = ForecastPage { capacity: None, ..forecast::of(app, Rights::OWNER).await };
    let (accounts, now) = statuses(app);
    StatusPage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: now.0,
        forecast,
        accounts,
        files_with_faults: faulty_files(app),
        requests_in_flight: app.in_flight.count() as u64,
        ledger: ledger_status(app),
    }
}

pub fn faulty_files(app: &App) -> Vec<FaultyFile> {
    let faults = app.keeper.faults.list().into_iter().map(|fault| FaultyFile {
        usable: matches!(fault.topic, Topic::Note | Topic::Write),
        file: fault.file,
        fault: fault.what,
    });
    faults.collect()
}

pub fn ledger_status(app: &App) -> LedgerStatus {
    let Health { degraded, queued, written, dropped } = app.ledger.health();
    LedgerStatus { degraded, queued, written, dropped }
}

fn account(app: &App, slot: &Slot, now: UnixMs) -> AccountStatus {
    let (state, reason, until) = state(app, slot, now);
    let windows = slot.windows.iter().filter(|window| window.is_believable(now)).map(|window| WindowStatus {
        name: window.name.clone(),
        family: match &window.scope {
            Scope::Account => None,
            Scope::Family(family) => Some(family.clone()),
        },
        left: window.used(now).rest(),
        resets_at_ms: window.resets_at.filter(|reset| *reset > now).map(|reset| reset.0),
        age_ms: now.since(window.seen_at).0,
        source: window.source,
    });
    let account = &slot.account;
    AccountStatus {
        id: account.id.to_string(),
        name: account.name.clone(),
        provider: account.provider.to_string(),
        kind: account.kind,
        plan: account.plan.clone(),
        email: account.email.clone(),
        file: account.file.clone(),
        state,
        reason,
        until_ms: until.map(|until| until.0),
        in_flight: u64::from(slot.in_flight),
        windows: windows.collect(),
    }
}

/// What keeps the account from serving its own client with no particular model.
fn state(app: &App, slot: &Slot, now: UnixMs) -> (State, Option<String>, Option<UnixMs>) {
    let demand = Demand::any(slot.account.provider, Client::OwnCli);
    match eligible(slot, &demand, Rights::OWNER, now) {
        Err(Ineligible::Paused) => (State::Paused, Some("paused by hand".into()), None),
        Err(Ineligible::NeedsLogin { why }) => (State::NeedsLogin, Some(why), None),
        Err(Ineligible::Cooling { cause, until, .. }) => (State::Cooling, Some(cause.to_string()), Some(until)),
        Err(Ineligible::WindowSpent { window, resets_at, .. }) => {
            (State::Cooling, Some(format!("its {window} window is spent")), resets_at)
        }
        Err(Ineligible::SpendCap { until }) => {
            let reason = format!("it has cost {} today, as much as it may", slot.book.spent(now));
            (State::Cooling, Some(reason), Some(until))
        }
        Err(Ineligible::Busy) => (State::Ready, Some("it has as many requests under way as it may".into()), None),
        // Of this caller and this demand none of these is true.
        Err(
            Ineligible::Kind
            | Ineligible::Tried
            | Ineligible::BoundElsewhere
            | Ineligible::NotForCaller
            | Ineligible::ModelNotAllowed
            | Ineligible::Reserved { .. }
            | Ineligible::KeptForOthers { .. },
        ) => (State::Ready, None, None),
        Ok(()) if app.keeper.prober.is_checking(&slot.account.id) => (State::Checking, None, None),
        Ok(()) => {
            let family =
                slot.cooldowns.iter().filter(|cooldown| cooldown.is_running(now)).max_by_key(|cooldown| cooldown.until);
            let cooling = family.map(|cooldown| match &cooldown.scope {
                Scope::Account => cooldown.cause.to_string(),
                Scope::Family(family) => format!("{}: {}", status::family_word(family), cooldown.cause),
            });
            let reason = cooling.or_else(|| uncounted(slot, now));
            (State::Ready, reason, family.map(|cooldown| cooldown.until))
        }
    }
}

/// What a cap on spending does not see.
fn uncounted(slot: &Slot, now: UnixMs) -> Option<String> {
    let count = slot.book.unpriced(now);
    let capped = slot.account.kind == AccountKind::ApiKey && slot.account.settings.daily_spend.is_some();
    (capped && count > 0)
        .then(|| format!("{count} of today's requests are of unknown cost and count as nothing towards its daily cap"))
}
