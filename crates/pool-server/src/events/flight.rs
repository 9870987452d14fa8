//! A request under way, as whoever watches sees it.

use std::sync::Arc;

use pool_core::people::{User, UserId};
use pool_core::usage::{Ending, UsageRecord};
use pool_core::{Account, AccountId, Demand, TokenCounts, UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Events, Eyes};
use crate::admit::Caller;
use crate::clock;

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FlightPhase)]
pub enum Phase {
    /// It looks for an account.
    Choosing,
    /// All that could serve it are busy: it waits in line.
    Waiting,
    /// It was sent, and nothing has come back that could go to the client.
    Thinking,
    /// The answer flows.
    Streaming,
}

/// One request under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flight {
    /// As in the reply header `x-pool-request`.
    pub id: String,
    pub began_at_ms: i64,
    pub phase: Phase,
    /// When the phase began.
    pub phase_at_ms: i64,
    /// Whose it is; null: nobody's of the directory.
    #[schema(value_type = Option<String>)]
    pub person: Option<UserId>,
    /// What they are called.
    pub person_name: Option<String>,
    pub provider: String,
    pub model: Option<String>,
    /// User agent's first word and version.
    pub client: Option<String>,
    /// Short hash of the conversation.
    pub session: Option<String>,
    /// Where it is now; null: nowhere yet, or not for this caller to know.
    #[schema(value_type = Option<String>)]
    pub account: Option<AccountId>,
    pub account_name: Option<String>,
    /// How many accounts it was given to so far.
    pub attempts: u32,
}

/// A request that was under way and is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlightEnd)]
pub struct Landed {
    #[serde(flatten)]
    pub flight: Flight,
    pub ended_at_ms: i64,
    /// What the client was told; null: no record was kept of it.
    pub status: Option<u16>,
    pub ending: Option<Ending>,
    /// Null: the answer did not tell.
    pub tokens: Option<TokenCounts>,
    pub first_byte_ms: Option<u64>,
    pub total_ms: Option<u64>,
}

impl Flight {
    /// A request that has just been understood.
    pub fn new(id: String, caller: &Caller, demand: &Demand, client: Option<String>, session: Option<String>) -> Self {
        let (user, now) = (caller.user(), clock::now().0);
        Self {
            id,
            began_at_ms: now,
            phase: Phase::Choosing,
            phase_at_ms: now,
            person: user.map(|user| user.id.clone()),
            person_name: user.map(|user: &Arc<User>| user.name.clone()),
            provider: demand.provider.0.to_owned(),
            model: demand.model.clone(),
            client,
            session,
            account: None,
            account_name: None,
            attempts: 0,
        }
    }

    /// What these eyes may see of it.
    #[must_use]
    pub fn seen_by(mut self, eyes: &Eyes) -> Option<Self> {
        if !eyes.sees_person(self.person.as_ref()) {
            return None;
        }
        if !eyes.see_accounts() {
            self.account = None;
            self.account_name = None;
        }
        Some(self)
    }
}

impl Landed {
    pub(super) fn of(flight: Flight, record: &UsageRecord) -> Self {
        Self {
            flight: Flight { model: record.model.clone(), ..flight },
            ended_at_ms: record.at.0.saturating_add_unsigned(record.total_ms),
            status: Some(record.status),
            ending: Some(record.ending),
            tokens: record.tokens,
            first_byte_ms: Some(record.first_byte_ms),
            total_ms: Some(record.total_ms),
        }
    }

    pub(super) fn untold(flight: Flight, now: UnixMs) -> Self {
        Self {
            flight,
            ended_at_ms: now.0,
            status: None,
            ending: None,
            tokens: None,
            first_byte_ms: None,
            total_ms: None,
        }
    }
}

/// A request's own handle: tells what it does, and when dropped that it is over.
#[derive(Debug)]
pub struct Underway {
    events: Arc<Events>,
    id: String,
}

impl Underway {
    pub fn begin(events: Arc<Events>, flight: Flight) -> Self {
        let id = flight.id.clone();
        events.depart(flight);
        Self { events, id }
    }

    pub fn enter(&self, phase: Phase) {
        self.events.change(&self.id, |flight| (flight.phase, flight.phase_at_ms) = (phase, clock::now().0));
    }

    /// It goes to this account.
    pub fn give_to(&self, account: &Account) {
        self.events.change(&self.id, |flight| {
            (flight.phase, flight.phase_at_ms) = (Phase::Thinking, clock::now().0);
            flight.account = Some(account.id.clone());
            flight.account_name = Some(account.name.clone());
            flight.attempts += 1;
        });
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.events.land(&self.id);
    }
}
