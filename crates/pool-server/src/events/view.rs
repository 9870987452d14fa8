//! What a listener is sent: a snapshot first, then what happens, as far as its eyes may see it.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::flight::Flight;
use super::{Events, Eyes, Happening};
use crate::app::App;
use crate::notices;
use crate::pages::accounts;
use crate::roster::Notice;
use crate::status::{AccountView, ProviderView};
use pool_core::people::Role;

/// All that is watched, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    pub version: String,
    /// The server's clock, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Whose eyes it is for.
    pub role: Role,
    /// Those that the caller may know of.
    pub accounts: Vec<AccountView>,
    /// What each provider has left for the caller.
    pub providers: Vec<ProviderView>,
    /// Requests under way that the caller may see.
    pub flights: Vec<Flight>,
    /// For the operator only.
    pub notices: Vec<Notice>,
}

/// An account is no longer in the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccountGone)]
pub struct Gone {
    pub id: String,
}

/// What the operator should know now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NoticeList)]
pub struct Notices {
    pub notices: Vec<Notice>,
}

/// Everything, for the caller.
pub fn snapshot(app: &App, caller: &crate::admit::Caller) -> Snapshot {
    let eyes = Eyes::of(caller);
    let (accounts, now) = accounts::views(app, &eyes);
    Snapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: now.0,
        role: caller.role(),
        accounts,
        providers: accounts::providers(app, caller),
        flights: flights(&app.events, &eyes),
        notices: if eyes == Eyes::Operator { notices::now(app) } else { Vec::new() },
    }
}

/// Requests under way that these eyes may see, the oldest first.
pub fn flights(events: &Events, eyes: &Eyes) -> Vec<Flight> {
    events.flights().into_iter().filter_map(|flight| flight.seen_by(eyes)).collect()
}

/// The event's name and its data. `None`: not for these eyes.
pub fn told(happening: &Happening, eyes: &Eyes) -> Option<(&'static str, String)> {
    let (name, data) = match happening {
        Happening::Flight(flight) => ("flight", json!(flight.clone().seen_by(eyes)?)),
        Happening::Landed(landed) => {
            let flight = landed.flight.clone().seen_by(eyes)?;
            ("ended", json!(super::Landed { flight, ..(**landed).clone() }))
        }
        Happening::Account(account) => ("account", json!((**account).clone().seen_by(eyes)?)),
        Happening::AccountGone(id) => {
            ("account_gone", json!(eyes.sees_account(id).then(|| Gone { id: id.to_string() })?))
        }
        Happening::Notices(notices) if *eyes == Eyes::Operator => {
            ("notices", json!(Notices { notices: notices.clone() }))
        }
        Happening::Tick(user, tick) if eyes.sees_person(user.as_ref()) => ("usage", json!(tick)),
        Happening::Notices(_) | Happening::Tick(..) => return None,
    };
    Some((name, data.to_string()))
}
