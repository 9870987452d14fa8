//! What can be done with an account.

use http::{Response, StatusCode};
use pool_core::AccountId;
use pool_core::pool::Slot;

use super::reply::{Fault, json_page};
use super::status::account_status;
use super::{Operator, Visit};
use crate::app::App;
use crate::pool::prober::Outcome;
use crate::relay::deliver::ReplyBody;
use crate::status::TestResult;

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
