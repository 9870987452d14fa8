//! The operator's endpoints of the Go original, which asked nobody who they were. Ours do, and tell no secret.

use http::{Response, StatusCode};
use pool_core::UnixMs;
use pool_core::people::{Change, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::people::{has_other_way_in, known, new_key, told};
use super::reply::{Fault, json_page};
use super::status::status_page;
use super::{Operator, Visit};
use crate::clock;
use crate::friends::{Newcomer, friend, stats};
use crate::people::FIRST_USER;
use crate::pool::Why;
use crate::pool::files::keys;
use crate::relay::deliver::ReplyBody;

type Page = Response<ReplyBody>;

/// `POST /admin/reload`.
pub async fn reload(visit: Visit<Operator>) -> Page {
    visit.app.keeper.reload().await;
    let page = status_page(&visit.app).await;
    json_page(
        StatusCode::OK,
        &json!({ "status": "ok", "accounts": page.accounts.len(), "faults": page.files_with_faults }),
    )
}

/// `GET /admin/accounts`.
pub async fn accounts(visit: Visit<Operator>) -> Page {
    json_page(StatusCode::OK, &status_page(&visit.app).await.accounts)
}

/// `GET /admin/tokens`: how long they are good for.
pub async fn tokens(visit: Visit<Operator>) -> Page {
    let rows: Vec<Value> = visit.app.pool.read(|pool, now| {
        let row = |slot: &pool_core::pool::Slot| {
            let (account, credentials) = (&slot.account, &slot.credentials);
            json!({
                "id": account.id, "name": account.name, "type": account.provider,
                "expires_at_ms": credentials.expires_at.map(|end| end.0),
                "expired": credentials.expires_at.map(|end| end <= now),
                "can_be_renewed": credentials.refresh.is_some(),
                "last_renewed_ms": credentials.refreshed_at.map(|time| time.0),
                "needs_login": slot.needs_login,
            })
        };
        pool.slots().map(row).collect()
    });
    json_page(StatusCode::OK, &rows)
}

/// `POST /admin/accounts/{account}/enable`.
pub async fn enable(visit: Visit<Operator>) -> Page {
    answer(StatusCode::OK, set_disabled(&visit, false).await)
}

/// `POST /admin/accounts/{account}/disable`.
pub async fn disable(visit: Visit<Operator>) -> Page {
    answer(StatusCode::OK, set_disabled(&visit, true).await)
}

/// `POST /admin/accounts/{account}/refresh`.
pub async fn refresh(visit: Visit<Operator>) -> Page {
    answer(StatusCode::OK, refreshed(&visit).await)
}

/// `GET /admin/pool-users`.
pub async fn users(visit: Visit<Operator>) -> Page {
    let rows: Vec<Value> = visit.app.people.read(|people| people.users().map(|user| stats::user(user)).collect());
    json_page(StatusCode::OK, &rows)
}

/// `POST /admin/pool-users/create`.
pub async fn create(mut visit: Visit<Operator>) -> Page {
    let result = created(&mut visit).await;
    answer(StatusCode::CREATED, result)
}

/// `POST /admin/pool-users/{user}/disable`.
pub async fn pause(visit: Visit<Operator>) -> Page {
    answer(StatusCode::OK, paused(&visit).await)
}

fn answer(good: StatusCode, result: Result<Value, Fault>) -> Page {
    result.map_or_else(Page::from, |value| json_page(good, &value))
}

/// Writes `disabled` into the account's file, as `codex-pool accounts pause` does, and has the file read.
async fn set_disabled(visit: &Visit<Operator>, disabled: bool) -> Result<Value, Fault> {
    let app = &visit.app;
    let id = find(app, visit.hole(0))?;
    let file = app.pool.read(|pool, _| pool.slot(&id).map(|slot| slot.account.file.clone()));
    let file = file.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, "the account is gone"))?;
    let change =
        move |text: &[u8]| keys::with_disabled(text, disabled).ok_or_else(|| "it is no JSON object".to_owned());
    if let Err(trouble) = app.keeper.edit(&file, change).await {
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, format!("{file} could not be changed: {trouble}")));
    }
    tracing::info!(by = visit.who.name(), account = %id, disabled, "an account was paused or resumed");
    app.keeper.reload().await;
    Ok(json!({ "id": id, "disabled": disabled }))
}

async fn refreshed(visit: &Visit<Operator>) -> Result<Value, Fault> {
    let app = &visit.app;
    let id = find(app, visit.hole(0))?;
    let epoch = app.pool.read(|pool, _| pool.slot(&id).map(|slot| slot.epoch)).unwrap_or_default();
    let renewed = app.keeper.refresher.ensure_fresh(&id, epoch, Why::Rejected).await;
    renewed.map_err(|failure| Fault::new(StatusCode::CONFLICT, failure.to_string()))?;
    let expires_at = app.pool.read(|pool, _| pool.slot(&id).and_then(|slot| slot.credentials.expires_at));
    Ok(json!({ "id": id, "expires_at_ms": expires_at.map(|UnixMs(end)| end) }))
}

/// Body of `POST /admin/pool-users/create`. The Go original's `plan_type` is passed over: a plan is an account's.
#[derive(Deserialize)]
struct Create {
    email: String,
    #[serde(default)]
    name: Option<String>,
}

async fn created(visit: &mut Visit<Operator>) -> Result<Value, Fault> {
    let form: Create = visit.json().await?;
    let app = &visit.app;
    let asked = friend(form.name.as_deref(), Some(&form.email)).map_err(|error| told(&error))?;
    let newcomer = Newcomer { role: Role::User, ..asked };
    let entered = app.people.decide(|people| {
        let first = people.is_empty();
        let (changes, welcome) = newcomer.enter(people, &app.registry)?;
        // From now on the operator needs a credential too.
        let operator = changes.iter().find_map(|change| match change {
            Change::User(user) if first && user.role == Role::Operator => Some(user.id.clone()),
            _ => None,
        });
        Ok((changes, (welcome, operator)))
    });
    let (welcome, operator) = entered.await.map_err(|error| told(&error))?;
    let own = match operator {
        Some(id) => Some(app.people.issue(&id, FIRST_USER, None).await.map_err(|error| told(&error))?),
        None => None,
    };
    tracing::info!(by = visit.who.name(), user = %welcome.user.id, name = welcome.user.name, "somebody was added");
    let shown = welcome.shown(app, &visit.parts.headers, clock::now());
    let shown = shown.ok_or_else(|| {
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the pool does not know its own address: set public_url")
    })?;
    let mut answer = json!(shown);
    answer["operator"] = json!(own.as_ref().map(new_key));
    Ok(answer)
}

async fn paused(visit: &Visit<Operator>) -> Result<Value, Fault> {
    let app = &visit.app;
    let user = known(visit)?;
    let user = app
        .people
        .edit(&user.id, has_other_way_in(app), |user| user.paused = true)
        .await
        .map_err(|error| told(&error))?;
    tracing::info!(by = visit.who.name(), user = %user.id, name = user.name, "somebody was paused");
    Ok(stats::user(&user))
}
