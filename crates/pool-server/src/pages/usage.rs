//! What was used: a series by hour or day, or totals, from the ledger's sums.

use http::{Response, StatusCode};
use pool_core::people::UserId;
use pool_core::{AccountId, Prices, Span, TokenCounts, UnixMs};
use pool_store::ledger::{Asked as SumsAsked, Dimension, Step, UsageSums, Used};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Visit;
use super::filter::{Words, only};
use super::reply::{Fault, tagged_page};
use super::requests::Names;
use crate::admit::Caller;
use crate::clock;
use crate::events::Eyes;
use crate::relay::deliver::ReplyBody;

const HOUR: Span = Span::from_hours(1);
const DAY: Span = Span::from_hours(24);
/// Of either width.
const MOST_BUCKETS: u64 = 800;
const MOST_ROWS: usize = 20_000;

/// The width of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    Hour,
    #[default]
    Day,
}

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Provider,
    Account,
    Person,
    Model,
    Client,
}

/// Query of `GET /api/usage` (its sums are by whole hours or days of UTC) and, without `bucket`, of `GET /api/usage/totals`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// From this time on: `24h` or `7d` ago, `2026-11-22T10:00:00Z`, or milliseconds since the epoch. A series without it tells
    /// of 30 days, or of 24 hours; totals tell of everything.
    since: Option<String>,
    /// Before this time.
    until: Option<String>,
    by: Option<Split>,
    /// Days if nothing is said.
    bucket: Option<Bucket>,
    /// A person's id or name; `nobody`: of nobody in the directory. Only the operator may ask about others.
    person: Option<String>,
    /// An account's id, name or file; `nobody`: what none has answered.
    account: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    client: Option<String>,
}

/// Answer of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsageReport)]
pub struct Report {
    /// Null: from the beginning.
    pub since_ms: Option<i64>,
    /// Null: until now.
    pub until_ms: Option<i64>,
    /// Null: totals.
    pub bucket: Option<Bucket>,
    pub by: Option<Split>,
    /// In the order of time and keys. Buckets in which nothing was used are absent.
    pub rows: Vec<Row>,
    /// Where the prices come from, and of which day they are.
    pub prices_source: String,
    pub prices_date: String,
}

/// One bucket of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsageRow)]
pub struct Row {
    /// Null: the whole time.
    pub start_ms: Option<i64>,
    /// What it is of, by what was told apart: an id or a name. Null: unknown, or nobody, or nothing was told apart.
    pub key: Option<String>,
    /// What that person or account is called now.
    pub name: Option<String>,
    #[serde(flatten)]
    pub figures: Figures,
}

/// What some requests add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsageFigures)]
pub struct Figures {
    pub requests: u64,
    /// Of them by ending; the rest is complete.
    pub failed: u64,
    pub incomplete: u64,
    pub aborted: u64,
    /// Of them: those whose answer did not tell its tokens.
    pub untold: u64,
    pub attempts: u64,
    pub tokens: TokenCounts,
    /// Money for API keys; for subscriptions what the same would have cost by the provider's price list. In millionths of a dollar.
    pub cost_micro_usd: u64,
    /// Requests whose model has no known price: they are not in it.
    pub unpriced: u64,
    /// To the first byte of an answer: half of the answers were sooner, or nineteen of twenty. Null: not known.
    pub first_byte_median_ms: Option<u64>,
    pub first_byte_p95_ms: Option<u64>,
}

/// `GET /api/usage`.
pub async fn series(visit: Visit<Caller>) -> Response<ReplyBody> {
    let asked = visit.query::<Asked>().map(|asked| Asked { bucket: asked.bucket.or(Some(Bucket::Day)), ..asked });
    answer(visit, asked).await
}

/// `GET /api/usage/totals`.
pub async fn totals(visit: Visit<Caller>) -> Response<ReplyBody> {
    let asked = visit.query::<Asked>().and_then(|asked| match asked.bucket {
        None => Ok(asked),
        Some(_) => Err(Fault::new(StatusCode::BAD_REQUEST, "totals have no buckets: ask /api/usage for a series")),
    });
    answer(visit, asked).await
}

async fn answer(visit: Visit<Caller>, asked: Result<Asked, Fault>) -> Response<ReplyBody> {
    let report = match asked {
        Ok(asked) => report(&visit, &asked).await,
        Err(fault) => Err(fault),
    };
    match report {
        Ok(report) => tagged_page(&visit.parts.headers, &report),
        Err(fault) => fault.into(),
    }
}

async fn report(visit: &Visit<Caller>, asked: &Asked) -> Result<Report, Fault> {
    let (app, eyes, now) = (&visit.app, Eyes::of(&visit.who), clock::now());
    if asked.by == Some(Split::Account) && !eyes.see_accounts() {
        return Err(Fault::new(StatusCode::FORBIDDEN, "accounts are not for you to tell apart"));
    }
    let filter = asked.words().resolve(app, &eyes)?;
    let (step, width, usual) = match asked.bucket {
        None => (Step::Whole, None, None),
        Some(Bucket::Hour) => (Step::Hour, Some(HOUR), Some(DAY)),
        Some(Bucket::Day) => (Step::Day, Some(DAY), Some(Span(30 * DAY.0))),
    };
    let since = filter.since.or_else(|| Some(filter.until.unwrap_or(now) - usual?));
    if let (Some(width), Some(since)) = (width, since) {
        let buckets = filter.until.unwrap_or(now).since(since).0 / width.0;
        if buckets > MOST_BUCKETS {
            let message =
                format!("that would be {buckets} buckets, more than {MOST_BUCKETS}: ask for less, or for days");
            return Err(Fault::new(StatusCode::BAD_REQUEST, message));
        }
    }
    let by = asked.by.map(Split::dimension).into_iter().collect();
    let sums = SumsAsked { since, until: filter.until, step, by, only: only(&filter) };
    let prices: &Prices = &app.config.prices;
    let used = app.ledger.sums(&sums, prices).await;
    let used = used.map_err(|error| Fault::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    if used.len() > MOST_ROWS {
        let message =
            format!("that would be {} rows, more than {MOST_ROWS}: ask for less time, or fewer at once", used.len());
        return Err(Fault::new(StatusCode::BAD_REQUEST, message));
    }
    let names = Names::of(app);
    Ok(Report {
        since_ms: since.map(|time| time.0),
        until_ms: filter.until.map(|time| time.0),
        bucket: asked.bucket,
        by: asked.by,
        rows: used.into_iter().map(|used| Row::of(used, asked.by, &names)).collect(),
        prices_source: prices.source.clone(),
        prices_date: prices.date.clone(),
    })
}

/// What these eyes have seen used since a time.
pub async fn figures_since(visit: &Visit<Caller>, since: UnixMs) -> Option<Figures> {
    let own = Eyes::of(&visit.who).own().map(|user| (Dimension::User, user.to_string()));
    let asked = SumsAsked { since: Some(since), only: own.into_iter().collect(), ..SumsAsked::default() };
    let used = visit.app.ledger.sums(&asked, &visit.app.config.prices).await.ok()?;
    Some(used.into_iter().next().map(|used| Figures::of(&used.sums)).unwrap_or_default())
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
            status: None,
            ending: None,
        }
    }
}

impl Split {
    fn dimension(self) -> Dimension {
        match self {
            Self::Provider => Dimension::Provider,
            Self::Account => Dimension::Account,
            Self::Person => Dimension::User,
            Self::Model => Dimension::Model,
            Self::Client => Dimension::Client,
        }
    }
}

impl Row {
    fn of(used: Used, by: Option<Split>, names: &Names) -> Self {
        let key = used.names.into_iter().next().filter(|key| !key.is_empty());
        let name = key.as_deref().and_then(|key| match by? {
            Split::Person => names.person(&UserId(key.into())),
            Split::Account => names.account(&AccountId(key.into())),
            Split::Provider | Split::Model | Split::Client => None,
        });
        Self { start_ms: used.start.map(|start| start.0), key, name, figures: Figures::of(&used.sums) }
    }
}

impl Figures {
    fn of(sums: &UsageSums) -> Self {
        Self {
            requests: sums.requests,
            failed: sums.failed,
            incomplete: sums.incomplete,
            aborted: sums.aborted,
            untold: sums.untold,
            attempts: sums.attempts,
            tokens: sums.tokens,
            cost_micro_usd: sums.cost.0,
            unpriced: sums.unpriced,
            first_byte_median_ms: sums.first_byte_within(0.5),
            first_byte_p95_ms: sums.first_byte_within(0.95),
        }
    }
}
