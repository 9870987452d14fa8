//! Pages of our own: health, status, and the few calls that the terminal makes.

use std::sync::atomic::Ordering;

use http::{Method, Response, StatusCode, header};
use pool_core::ask::Rights;
use pool_core::eligible::eligible;
use pool_core::pool::Slot;
use pool_core::quota::Scope;
use pool_core::standing::Ineligible;
use pool_core::{AccountKind, Client, Demand, UnixMs};
use pool_providers::reply::Reply;
use pool_providers::request::Head;
use serde_json::json;

use crate::admit;
use crate::app::App;
use crate::explain::{self, ExplainPage, Missing};
use crate::pool::Topic;
use crate::pool::prober::Outcome;
use crate::relay::deliver::{self, ReplyBody};
use crate::status::{self, AccountStatus, FaultyFile, LedgerStatus, State, StatusPage, TestResult, WindowStatus};

/// Which of our pages a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// The process runs. Open to all, tells nothing.
    Health,
    /// It can take requests. Open to all.
    Ready,
    /// The status table, for `curl`.
    Root,
    Status,
    TestAccount(String),
    /// How one request was decided.
    Explain(String),
    /// How the next one would be.
    ExplainNext,
}

impl Page {
    pub fn of(head: &Head<'_>) -> Option<Self> {
        let get = *head.method == Method::GET;
        // Some monitors ask for the head only.
        let read = get || *head.method == Method::HEAD;
        match head.path {
            "/healthz" if read => Some(Self::Health),
            "/readyz" if read => Some(Self::Ready),
            "/" if get => Some(Self::Root),
            "/api/status" | "/status" if get => Some(Self::Status),
            "/api/explain" if get => Some(Self::ExplainNext),
            path if get => path.strip_prefix("/api/explain/").map(|id| Self::Explain(percent_decode(id))),
            path if *head.method == Method::POST => {
                let name = path.strip_prefix("/api/accounts/")?.strip_suffix("/test")?;
                let name = percent_decode(name);
                (!name.is_empty() && !name.contains('/')).then_some(Self::TestAccount(name))
            }
            _ => None,
        }
    }

    /// Answered without asking who it is.
    fn is_open(&self) -> bool {
        matches!(self, Self::Health | Self::Ready)
    }
}

/// Answers one of our pages.
pub async fn answer(app: &App, page: Page, peer: std::net::SocketAddr, head: &Head<'_>) -> Response<ReplyBody> {
    if !page.is_open() && !admit::is_our_host(&app.config, head.headers) {
        return problem(
            StatusCode::MISDIRECTED_REQUEST,
            "this is not one of the pool's own names: use its address, or set `public_url` to the name that you use",
        );
    }
    let caller = match admit::admit(&app.config, peer, head) {
        Ok(caller) => caller.name,
        Err(_) if page.is_open() => String::new(),
        Err(denied) => return problem(StatusCode::UNAUTHORIZED, &denied.to_string()),
    };
    match page {
        Page::Health => text(StatusCode::OK, "ok\n".into()),
        Page::Ready => ready(app),
        Page::Root => {
            let page = status_page(app);
            text(StatusCode::OK, status::render_table(&page, 80, UnixMs(page.now_ms)))
        }
        Page::Status => json_page(StatusCode::OK, &json!(status_page(app))),
        Page::TestAccount(name) => test(app, &name).await,
        Page::Explain(id) => explained(explain::answer::request(app, &id).await),
        Page::ExplainNext => explained(explain::answer::next(app, head, &caller)),
    }
}

/// `ok`, or why not. A ledger that cannot write is told but stops nobody from working.
fn ready(app: &App) -> Response<ReplyBody> {
    if app.draining.load(Ordering::Relaxed) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".into());
    }
    match app.ledger.health().degraded {
        Some(why) => text(StatusCode::OK, format!("degraded: the usage ledger cannot be written: {why}\n")),
        None => text(StatusCode::OK, "ok\n".into()),
    }
}

/// One small request to the provider on this account: does its credential work, what does it have left?
async fn test(app: &App, name: &str) -> Response<ReplyBody> {
    let ids = app.pool.read(|pool, _| {
        let fits = |slot: &&Slot| slot.account.name == name || &*slot.account.id.0 == name || slot.account.file == name;
        pool.slots().filter(fits).map(|slot| slot.account.id.clone()).collect::<Vec<_>>()
    });
    let id = match ids.as_slice() {
        [id] => id,
        [] => {
            return problem(
                StatusCode::NOT_FOUND,
                &format!("no account is called {name:?}; see `codex-pool accounts list`"),
            );
        }
        several => {
            let list = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return problem(StatusCode::CONFLICT, &format!("several accounts are called {name:?}: {list}; use the id"));
        }
    };
    let (ok, message) = match app.keeper.prober.probe_now(id).await {
        Ok(report) => match report.outcome {
            Outcome::Works => (true, "the provider takes its credential".into()),
            Outcome::NoProbe => {
                (true, "not asked: every question to its provider costs quota, the first request will tell".into())
            }
            Outcome::NeedsPerson { why } | Outcome::Trouble { why } => (false, why),
        },
        Err(failure) => (false, failure.to_string()),
    };
    json_page(StatusCode::OK, &json!(TestResult { ok, message, account: account_status(app, id) }))
}

fn explained(answer: Result<ExplainPage, Missing>) -> Response<ReplyBody> {
    let missing = match answer {
        Ok(page) => return json_page(StatusCode::OK, &json!(page)),
        Err(missing) => missing,
    };
    let status = match &missing {
        Missing::Asked(_) => StatusCode::BAD_REQUEST,
        Missing::Unknown(_) | Missing::NoneYet => StatusCode::NOT_FOUND,
        Missing::Several(_) => StatusCode::CONFLICT,
        Missing::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    problem(status, &missing.to_string())
}

fn account_status(app: &App, id: &pool_core::AccountId) -> Option<AccountStatus> {
    app.pool.read(|pool, now| pool.slot(id).map(|slot| account(app, slot, now)))
}

pub fn status_page(app: &App) -> StatusPage {
    let (mut accounts, now) =
        app.pool.read(|pool, now| (pool.slots().map(|slot| account(app, slot, now)).collect::<Vec<_>>(), now));
    accounts.sort_by(|a, b| (&a.provider, &a.name).cmp(&(&b.provider, &b.name)));
    let faults = app.keeper.faults.list().into_iter().map(|fault| FaultyFile {
        usable: matches!(fault.topic, Topic::Note | Topic::Write),
        file: fault.file,
        fault: fault.what,
    });
    let ledger = app.ledger.health();
    StatusPage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: now.0,
        accounts,
        files_with_faults: faults.collect(),
        requests_in_flight: app.in_flight.count() as u64,
        ledger: LedgerStatus {
            degraded: ledger.degraded,
            queued: ledger.queued,
            written: ledger.written,
            dropped: ledger.dropped,
        },
    }
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
            | Ineligible::Reserved { .. },
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

/// An error on one of our own pages.
pub fn problem(status: StatusCode, message: &str) -> Response<ReplyBody> {
    json_page(status, &json!({ "error": { "message": message } }))
}

fn json_page(status: StatusCode, body: &serde_json::Value) -> Response<ReplyBody> {
    guarded(deliver::reply(Reply::json(status, body)))
}

fn text(status: StatusCode, body: String) -> Response<ReplyBody> {
    let mut reply = Reply::empty(status);
    reply.headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    reply.body = body.into();
    guarded(deliver::reply(reply))
}

/// Nothing of ours may be cached, framed, sniffed or run as a script.
fn guarded(mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
