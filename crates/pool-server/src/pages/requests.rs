//! The requests that were, page by page, the newest first.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use pool_core::people::UserId;
use pool_core::usage::{Ending, LatencyParts};
use pool_core::{AccountId, TokenCounts, UnixMs, UsageRecord};
use pool_store::ledger::{Cursor, Order};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Visit;
use super::filter::Words;
use super::reply::{Fault, tagged_page};
use crate::admit::Caller;
use crate::app::App;
use crate::events::Eyes;
use crate::relay::deliver::ReplyBody;

const USUAL_PAGE: u32 = 100;
const LONGEST_PAGE: u32 = 500;

/// Query of `GET /api/requests`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// From this time on: `90m`, `24h` or `7d` ago, `2026-11-22T10:00:00Z`, or milliseconds since the epoch.
    since: Option<String>,
    /// Before this time.
    until: Option<String>,
    /// A person's id or name; `nobody`: of nobody in the directory. Only the operator may ask about others.
    person: Option<String>,
    /// An account's id, name or file; `nobody`: what none has answered.
    account: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    client: Option<String>,
    /// `429`, `4xx`, `400-499`, `ok` or `failed`.
    status: Option<String>,
    ending: Option<Ending>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Requests on a page: 100 if nothing is said, 500 at most.
    limit: Option<String>,
}

/// Answer of `GET /api/requests`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RequestPage)]
pub struct Page {
    pub requests: Vec<Row>,
    /// The `cursor` of the next page; null: that was all.
    pub next: Option<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RequestRow)]
pub struct Row {
    /// As in the reply header `x-pool-request`.
    pub id: String,
    pub at_ms: i64,
    /// Whose it was; null: nobody's of the directory.
    pub person: Option<String>,
    /// What they are called now; null: they were removed.
    pub person_name: Option<String>,
    pub provider: String,
    /// Null: none has answered, or it is not for this caller to know.
    pub account: Option<String>,
    /// What it is called now; null: it is gone.
    pub account_name: Option<String>,
    pub model: Option<String>,
    /// User agent's first word and version.
    pub client: Option<String>,
    /// Short hash of the conversation.
    pub session: Option<String>,
    pub status: u16,
    pub ending: Ending,
    /// Null: the answer did not tell.
    pub tokens: Option<TokenCounts>,
    /// What it cost, or would have by the provider's price list, in millionths of a dollar; null: nobody knows.
    pub cost_micro_usd: Option<u64>,
    pub attempts: u32,
    /// From its arrival to the first byte of the answer, and to the last.
    pub first_byte_ms: u64,
    pub total_ms: u64,
    /// Where the time before the answer went; null: not measured.
    pub parts: Option<LatencyParts>,
}

/// `GET /api/requests`.
pub async fn list(visit: Visit<Caller>) -> Response<ReplyBody> {
    match page(&visit).await {
        Ok(page) => tagged_page(&visit.parts.headers, &page),
        Err(fault) => fault.into(),
    }
}

async fn page(visit: &Visit<Caller>) -> Result<Page, Fault> {
    let asked: Asked = visit.query()?;
    let (app, eyes) = (&visit.app, Eyes::of(&visit.who));
    let filter = asked.words().resolve(app, &eyes)?;
    let cursor = asked.cursor.as_deref().map(cursor).transpose()?;
    let limit = limit(asked.limit.as_deref())?;
    let page = app.ledger.records(&filter, Order::NewestFirst, cursor.as_ref(), limit).await;
    let page = page.map_err(|error| Fault::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    let names = Names::of(app);
    let requests = page.records.into_iter().map(|record| Row::of(app, &names, &eyes, record)).collect();
    Ok(Page { requests, next: page.next.map(|next| format!("{}-{}", next.at.0, next.request_id)) })
}

/// What people and accounts are called now.
pub struct Names {
    people: BTreeMap<UserId, String>,
    accounts: BTreeMap<AccountId, String>,
}

impl Names {
    pub fn of(app: &App) -> Self {
        let people =
            app.people.read(|people| people.users().map(|user| (user.id.clone(), user.name.clone())).collect());
        let named = |pool: &pool_core::Pool, _| {
            pool.slots().map(|slot| (slot.account.id.clone(), slot.account.name.clone())).collect()
        };
        Self { people, accounts: app.pool.read(named) }
    }

    pub fn person(&self, id: &UserId) -> Option<String> {
        self.people.get(id).cloned()
    }

    pub fn account(&self, id: &AccountId) -> Option<String> {
        self.accounts.get(id).cloned()
    }
}

impl Asked {
    fn words(&self) -> Words<'_> {
        Words {
            since: self.since.as_deref(),
            until: self.until.as_deref(),
            person: self.person.as_deref(),
            account: self.account.as_deref(),
            provider: self.provider.as_deref(),
            model: self.model.as_deref(),
            client: self.client.as_deref(),
            status: self.status.as_deref(),
            ending: self.ending,
        }
    }
}

impl Row {
    fn of(app: &App, names: &Names, eyes: &Eyes, record: UsageRecord) -> Self {
        let cost = app.config.prices.cost(record.model.as_deref(), record.tokens.as_ref());
        let account = Some(record.account).filter(|id| !id.is_nobody() && eyes.see_accounts());
        Self {
            id: record.request_id,
            at_ms: record.at.0,
            person_name: record.user.as_ref().and_then(|id| names.person(id)),
            person: record.user.map(|id| id.to_string()),
            provider: record.provider,
            account_name: account.as_ref().and_then(|id| names.account(id)),
            account: account.map(|id| id.to_string()),
            model: record.model,
            client: record.client,
            session: record.session,
            status: record.status,
            ending: record.ending,
            tokens: record.tokens,
            cost_micro_usd: cost.map(|cost| cost.0),
            attempts: record.attempts,
            first_byte_ms: record.first_byte_ms,
            total_ms: record.total_ms,
            parts: record.parts,
        }
    }
}

fn cursor(text: &str) -> Result<Cursor, Fault> {
    let read = text.split_once('-').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    let (at, request_id) =
        read.ok_or_else(|| Fault::new(StatusCode::BAD_REQUEST, "a cursor is the `next` of the page before"))?;
    Ok(Cursor { at: UnixMs(at), request_id })
}

fn limit(text: Option<&str>) -> Result<u32, Fault> {
    let Some(text) = text else { return Ok(USUAL_PAGE) };
    let limit = text.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit));
    limit.ok_or_else(|| {
        Fault::new(StatusCode::BAD_REQUEST, format!("a page has 1 to {LONGEST_PAGE} requests, not {text:?}"))
    })
}
