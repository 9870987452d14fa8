//! Usage for programs, at the addresses of the Go original. There whoever knew the friend code saw everybody; here people see
//! themselves, the operator everybody. The code names nobody, so it alone shows nothing.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use pool_core::people::{Role, User, UserId};
use pool_core::{TokenCounts, UnixMs};
use pool_store::ReadError;
use pool_store::ledger::DayUse;
use serde_json::{Value, json};

use super::numbers::{date, days_back, leaderboard, total};
use crate::admit::Caller;
use crate::clock;
use crate::pages::reply::{Fault, json_page, problem};
use crate::pages::status::status_page;
use crate::pages::{Oneself, Visit};
use crate::relay::deliver::ReplyBody;
use crate::status::State;

type Page = Response<ReplyBody>;

/// The days that are looked at if nothing is said.
const DAYS: u32 = 30;
const MOST_DAYS: u32 = 90;

/// `GET /api/pool/whoami`.
pub async fn whoami(visit: Visit<Caller>) -> Page {
    match visit.who.user() {
        Some(user) => json_page(StatusCode::OK, &self::user(user)),
        None => json_page(StatusCode::OK, &json!({ "id": null, "name": null, "role": visit.who.role() })),
    }
}

/// `GET /api/pool/stats`.
pub async fn stats(visit: Visit<Caller>) -> Page {
    answer(counted(&visit).await)
}

/// `GET /api/pool/users`.
pub async fn users(visit: Visit<Caller>) -> Page {
    answer(listed(&visit).await)
}

/// `GET /api/pool/users/{user}/daily?days=`.
pub async fn daily(visit: Visit<Oneself>) -> Page {
    let days = match wanted(&visit) {
        Ok(days) => days,
        Err(fault) => return fault.into(),
    };
    let rows = visit.app.ledger.days(days_back(clock::now(), days), Some(&visit.who.user.id)).await;
    answer(rows.map(|rows| json!({ "user_id": &*visit.who.user.id.0, "days": by_day(&rows) })))
}

/// `GET /api/pool/daily-breakdown?days=`.
pub async fn breakdown(visit: Visit<Caller>) -> Page {
    let days = match wanted(&visit) {
        Ok(days) => days,
        Err(fault) => return fault.into(),
    };
    let rows = visit.app.ledger.days(days_back(clock::now(), days), of(&visit.who)).await;
    answer(rows.map(|rows| json!({ "days": by_model(&rows) })))
}

/// Somebody, as the Go original told of them, without any secret.
pub fn user(user: &User) -> Value {
    json!({
        "id": &*user.id.0, "name": user.name, "email": user.email, "role": user.role,
        "created_at": stamp(user.created_at), "disabled": user.paused,
    })
}

fn answer(found: Result<Value, ReadError>) -> Page {
    match found {
        Ok(value) => json_page(StatusCode::OK, &value),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// Whose usage somebody may see. `None`: everybody's.
fn of(caller: &Caller) -> Option<&UserId> {
    caller.user().filter(|_| caller.role() != Role::Operator).map(|user| &user.id)
}

/// How many days somebody asks for.
fn wanted<W>(visit: &Visit<W>) -> Result<u32, Fault> {
    let head = visit.head();
    let Some(text) = head.query_value("days") else { return Ok(DAYS) };
    let days = text.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days));
    days.ok_or_else(|| Fault::new(StatusCode::BAD_REQUEST, "days is a number from 1 to 90"))
}

async fn counted(visit: &Visit<Caller>) -> Result<Value, ReadError> {
    let (app, now) = (&visit.app, clock::now());
    let rows = app.ledger.days(days_back(now, DAYS), of(&visit.who)).await?;
    let mut page = json!({
        "friend_name": app.config.friends.name, "friend_tagline": app.config.friends.tagline,
        "total": told(total(rows.iter())), "days": by_day(&rows),
    });
    if visit.who.role() == Role::Operator {
        let accounts = status_page(app).await.accounts;
        let active = accounts.iter().filter(|account| account.state == State::Ready).count();
        page["total_accounts"] = accounts.len().into();
        page["active_accounts"] = active.into();
        page["users"] = app.people.read(|people| people.users().count()).into();
        page["accounts"] = json!(accounts);
    }
    if let Some(board) = leaderboard(app, now).await? {
        let rank = |(name, tokens): (String, u64)| json!({ "name": name, "tokens": tokens });
        page["leaderboard"] = board.into_iter().map(rank).collect();
    }
    Ok(page)
}

async fn listed(visit: &Visit<Caller>) -> Result<Value, ReadError> {
    let app = &visit.app;
    let rows = app.ledger.days(days_back(clock::now(), DAYS), of(&visit.who)).await?;
    let people = match visit.who.user().filter(|_| visit.who.role() != Role::Operator) {
        Some(own) => vec![own.clone()],
        None => app.people.read(|people| people.users().cloned().collect()),
    };
    let row = |one: &User| {
        let mut row = user(one);
        row["usage"] = told(total(rows.iter().filter(|row| row.user.as_ref() == Some(&one.id))));
        row
    };
    Ok(people.iter().map(|one| row(one)).collect())
}

fn by_day(rows: &[DayUse]) -> Vec<Value> {
    let mut days = BTreeMap::<UnixMs, Vec<&DayUse>>::new();
    for row in rows {
        days.entry(row.day).or_default().push(row);
    }
    let day = |(day, rows): (UnixMs, Vec<&DayUse>)| {
        let mut told = told(total(rows.into_iter()));
        told["date"] = date(day).into();
        told
    };
    days.into_iter().map(day).collect()
}

fn by_model(rows: &[DayUse]) -> Vec<Value> {
    let mut days = BTreeMap::<(UnixMs, &str, Option<&str>), Vec<&DayUse>>::new();
    for row in rows {
        days.entry((row.day, &row.provider, row.model.as_deref())).or_default().push(row);
    }
    let day = |((day, provider, model), rows): ((UnixMs, &str, Option<&str>), Vec<&DayUse>)| {
        let mut told = told(total(rows.into_iter()));
        (told["date"], told["account_type"], told["model"]) = (date(day).into(), provider.into(), model.into());
        told
    };
    days.into_iter().map(day).collect()
}

/// Tokens by the Go original's names: its input holds what was read from a cache too, its output the reasoning.
fn told((requests, tokens): (u64, TokenCounts)) -> Value {
    let TokenCounts { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } = tokens;
    let fresh = input.saturating_add(cache_write_5m).saturating_add(cache_write_1h);
    let written = output.saturating_add(reasoning);
    json!({
        "requests": requests,
        "input_tokens": fresh.saturating_add(cache_read),
        "cached_input_tokens": cache_read,
        "output_tokens": written,
        "reasoning_tokens": reasoning,
        "billable_tokens": fresh.saturating_add(written),
    })
}

fn stamp(time: UnixMs) -> Option<String> {
    jiff::Timestamp::from_millisecond(time.0).ok().map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_classes_overlap_and_ours_do_not() {
        let tokens = TokenCounts {
            input: 1,
            cache_read: 10,
            cache_write_5m: 100,
            cache_write_1h: 1000,
            output: 2,
            reasoning: 3,
        };
        let told = told((7, tokens));
        assert_eq!(
            told,
            json!({
                "requests": 7, "input_tokens": 1111, "cached_input_tokens": 10, "output_tokens": 5,
                "reasoning_tokens": 3, "billable_tokens": 1106,
            })
        );
        assert_eq!(stamp(UnixMs(0)).as_deref(), Some("1970-01-01T00:00:00Z"));
    }
}
