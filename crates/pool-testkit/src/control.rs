//! Commands over HTTP, for scripts that run beside the fake: `/_fake/…`.
//!
//! - `POST /_fake/fault {"account"?, "fault", "times"?, "target"?}`: see [`Fault::parse`]; without an account for whichever
//!   comes next, without `times` until it is cleared.
//! - `POST /_fake/clear {"account"?}`: forgets planned faults.
//! - `POST /_fake/limit {"account", "window", "seconds"}`, `POST /_fake/used {"account", "window", "share"}`.
//! - `POST /_fake/exhaust {"account"?, "seconds"}`: fills every window of the account, or of all.
//! - `POST /_fake/expire`, `/revoke`, `/revoke-all`, `/sign-in` `{"account"}`.
//! - `POST /_fake/forbid {"text"}`: from now on a violation wherever it is seen.
//! - `GET /_fake/books`: accounts, violations and the log without bodies.
//! - `POST /_fake/reset-books`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::exchange::{Arrived, Shared};
use crate::faults::Fault;
use crate::state::{Planned, State, Target};
use crate::tokens::Refusal;

pub(crate) fn answer(shared: &Shared, command: &str, arrived: &Arrived) -> Answer {
    let order: Value = serde_json::from_slice(&arrived.body).unwrap_or(Value::Null);
    let mut state = shared.state.lock();
    match obey(&mut state, command, &order) {
        Ok(body) => Answer::json(200, &body),
        Err(what) => Answer::json(400, &json!({ "error": what })),
    }
}

fn obey(state: &mut State, command: &str, order: &Value) -> Result<Value, String> {
    let named = order["account"].as_str();
    let account = match named {
        Some(name) => Some(state.index(name).ok_or_else(|| format!("no account {name}"))?),
        None => None,
    };
    let one = || account.ok_or_else(|| "name an account".to_owned());
    let text = |field: &str| order[field].as_str().ok_or_else(|| format!("name a {field}"));
    match command {
        "fault" => {
            let name = text("fault")?;
            let fault = Fault::parse(name).ok_or_else(|| format!("no fault {name}"))?;
            let left = order["times"].as_u64().map(|times| u32::try_from(times).unwrap_or(u32::MAX));
            let target = match order["target"].as_str() {
                None | Some("inference") => Target::Inference,
                Some("probe") => Target::Probe,
                Some("handshake") => Target::Handshake,
                Some(_) => Target::Any,
            };
            let plan = match account {
                Some(index) => &mut state.accounts[index].faults,
                None => &mut state.faults,
            };
            plan.push_back(Planned { target, fault, left });
        }
        "clear" => {
            if let Some(index) = account {
                state.accounts[index].faults.clear();
            } else {
                state.faults.clear();
                state.accounts.iter_mut().for_each(|account| account.faults.clear());
            }
        }
        "limit" => {
            let seconds = order["seconds"].as_u64().unwrap_or(2400);
            state.accounts[one()?].limit(text("window")?, Duration::from_secs(seconds));
        }
        "used" => {
            let (window, share) = (text("window")?, order["share"].as_f64().unwrap_or(0.0));
            let windows = state.accounts[one()?].windows.iter_mut();
            windows.filter(|known| known.spec.name == window).for_each(|known| known.used = share);
        }
        "expire" => state.accounts[one()?].tokens.expire_access(),
        "exhaust" => {
            let lasts = Duration::from_secs(order["seconds"].as_u64().unwrap_or(2400));
            for (_, known) in
                state.accounts.iter_mut().enumerate().filter(|(at, _)| account.is_none_or(|one| one == *at))
            {
                let names: Vec<String> = known.windows.iter().map(|window| window.spec.name.clone()).collect();
                for name in &names {
                    known.limit(name, lasts);
                }
            }
        }
        "revoke-all" => {
            let tokens = &mut state.accounts[one()?].tokens;
            tokens.revoke_access();
            tokens.kill(Refusal::Invalidated);
        }
        "revoke" => state.accounts[one()?].tokens.revoke_access(),
        "sign-in" => {
            let account = &mut state.accounts[one()?];
            account.tokens.sign_in(&account.spec);
        }
        "forbid" => state.world.forbidden.push(text("text")?.to_owned()),
        "reset-books" => {
            state.accounts.iter_mut().for_each(|account| account.books = crate::books::AccountBooks::default());
            state.violations.clear();
            state.log.forget();
        }
        "books" => return Ok(books(state)),
        _ => return Err(format!("no command {command}")),
    }
    Ok(json!({ "ok": true }))
}

fn books(state: &State) -> Value {
    let accounts: Vec<Value> = state
        .accounts
        .iter()
        .map(|account| {
            let windows: Vec<Value> = account
                .windows
                .iter()
                .map(|window| json!({ "name": window.spec.name, "used": window.used, "resets_at": window.resets_at }))
                .collect();
            json!({ "name": account.spec.name, "books": account.books, "windows": windows })
        })
        .collect();
    let log: Vec<Value> = state
        .log
        .all()
        .iter()
        .map(|entry| {
            json!({
                "id": entry.id, "method": entry.method.as_str(), "path": entry.path, "account": entry.account,
                "inference": entry.inference, "model": entry.model, "conversation": entry.conversation,
                "fault": entry.fault, "status": entry.status, "tokens": entry.tokens, "ended": entry.ended,
                "body_len": entry.body_len, "body_sha256": entry.body_sha256,
            })
        })
        .collect();
    json!({ "accounts": accounts, "violations": state.violations, "log": log })
}
