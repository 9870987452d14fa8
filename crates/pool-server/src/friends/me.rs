//! Somebody's own page: what they have used and may use, and their machines. The operator also finds what is theirs to answer.
//!
//! Forms, without a script: a browser tells by itself that they come from our own page (`admit::comes_from_own_page`).

use http::{Response, StatusCode};
use pool_core::UnixMs;
use pool_core::people::{Credential, Role, User};
use pool_core::price::MicroUsd;
use pool_providers::Provider;
use pool_store::ReadError;
use serde::Deserialize;

use super::front::{framed, notice, set_up};
use super::html::{Markup, html};
use super::numbers::{self, PERIODS, Used, amount};
use crate::admit::Caller;
use crate::app::App;
use crate::clock;
use crate::notices;
use crate::pages::reply::{Fault, see_other};
use crate::pages::{Operator, Visit, people};
use crate::relay::deliver::ReplyBody;
use crate::roster::Invite;
use crate::setup;

type Page = Response<ReplyBody>;

/// `GET /me`.
pub async fn show(visit: Visit<Caller>) -> Page {
    let (app, now) = (&*visit.app, clock::now());
    let own = match &visit.who {
        Caller::Person { user, credential } => match person(app, user, credential, now).await {
            Ok(own) => own,
            Err(error) => {
                html!(r#"<p class="wrong" role="alert">Your usage is not known now: {}.</p>"#, error.to_string())
            }
        },
        Caller::Local | Caller::Operator => html!("<h1>This pool is yours</h1>"),
    };
    let operators = (visit.who.role() == Role::Operator).then(|| operators(app));
    let board = match numbers::leaderboard(app, now).await {
        Ok(board) => board.map(|board| leaderboard(&board)),
        Err(_) => None,
    };
    let body = html!("{}{}{}", own, operators, board);
    framed(app, StatusCode::OK, "Your page", !matches!(visit.who, Caller::Local), &body)
}

/// `POST /me/setup/{cli}`.
pub async fn line(visit: Visit<Caller>) -> Page {
    let Some(user) = visit.who.user() else { return see_other("/me") };
    match setup::new_line(&visit.app, &visit.parts.headers, user, visit.hole(0)).await {
        Ok(made) => {
            let body = html!(
                r#"<h1>One line for one machine</h1>
<p class="lead">It works once, within a day.</p>
{}<p><a href="/me">Back to your page</a></p>"#,
                set_up(&visit.app, visit.hole(0), &made.line)
            );
            framed(&visit.app, StatusCode::CREATED, "Set up", true, &body)
        }
        Err(fault) => sorry(&visit, &fault),
    }
}

/// `POST /me/revoke/{credential}`.
pub async fn revoke(visit: Visit<Caller>) -> Page {
    let Some(user) = visit.who.user() else { return see_other("/me") };
    match people::revoke(&visit.app, &visit.who, user, visit.hole(0)).await {
        Ok(()) => see_other("/me"),
        Err(fault) => sorry(&visit, &fault),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Guest {
    name: String,
}

/// `POST /me/invite`.
pub async fn invite(mut visit: Visit<Operator>) -> Page {
    let guest = match visit.sent::<Guest>().await {
        Ok(guest) => guest,
        Err(fault) => return sorry(&visit, &fault),
    };
    let name = Some(guest.name.trim().to_owned()).filter(|name| !name.is_empty());
    let form = Invite { role: Role::Friend, name, ..Invite::default() };
    let Some(url) = setup::address(&visit.app.config, &visit.parts.headers) else {
        let message = "the pool does not know its own address: set public_url";
        return sorry(&visit, &Fault::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    match people::new_invitation(&visit.app, visit.who.name(), form).await {
        Ok(made) => {
            let own = made.operator.map(|operator| {
                html!(
                    "<h2>Your own credential</h2>
<p>The pool has users now, so every request needs a credential, on this machine too. Yours, shown only now; put it into your own
clients and sign in with it:</p>
<pre>{}</pre>",
                    operator.secret
                )
            });
            let body = html!(
                r#"<h1>An invitation</h1>
<p class="lead">It lets one person in, once, within three days. Send it to them:</p>
<pre>{}{}</pre>
{}<p><a href="/me">Back to your page</a></p>"#,
                url,
                made.path,
                own
            );
            framed(&visit.app, StatusCode::CREATED, "An invitation", true, &body)
        }
        Err(fault) => sorry(&visit, &fault),
    }
}

#[derive(Deserialize)]
struct Share {
    share: String,
}

/// `POST /me/sharing`: the answer to the question whether friends may use subscriptions.
pub async fn share(mut visit: Visit<Operator>) -> Page {
    let share = match visit.sent::<Share>().await {
        Ok(Share { share }) => share == "yes",
        Err(fault) => return sorry(&visit, &fault),
    };
    if let Err(error) = visit.app.answered.set_share_subscriptions(share).await {
        return sorry(&visit, &Fault::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()));
    }
    tracing::info!(by = visit.who.name(), share, "it was said whether friends may use subscriptions");
    see_other("/me")
}

fn sorry<W>(visit: &Visit<W>, fault: &Fault) -> Page {
    notice(visit, fault.status, "That did not work", &fault.message)
}

/// What concerns one person.
async fn person(app: &App, user: &User, credential: &Credential, now: UnixMs) -> Result<Markup, ReadError> {
    let used = numbers::used(app, &user.id, now).await?;
    let days = app.ledger.days(numbers::days_back(now, 30), Some(&user.id)).await?;
    Ok(html!(
        r#"<h1>{}</h1>
<p class="lead">{}</p>
<h2>What you have used</h2>
{}{}{}
<h2>Your machines</h2>
<ul class="rows">{}</ul>
<h2>Set up another one</h2>
<p>A line that works once, for the machine that you run it on.</p>
<div class="row">{}</div>"#,
        user.name,
        stay(user, credential, now),
        usage(&used),
        limits(user, &used, now),
        by_day(&days),
        machines(app, user, credential, now),
        clients(app)
    ))
}

fn stay(user: &User, credential: &Credential, now: UnixMs) -> String {
    let role = match user.role {
        Role::Operator => "You run this pool",
        Role::User => "You are a user of this pool",
        Role::Friend => "You are a friend of this pool",
    };
    match credential.expires_at {
        Some(end) => format!("{role}. This credential works for another {}.", end.since(now)),
        None => format!("{role}."),
    }
}

fn usage(used: &Used) -> Markup {
    let row = |period| {
        let sum = used.of(period);
        html!(
            r#"<tr><th scope="row">{}</th><td class="n">{}</td><td class="n">{}</td><td class="n">{}</td></tr>"#,
            capital(numbers::this(period)),
            sum.requests,
            amount(sum.taken.tokens),
            MicroUsd(sum.taken.micro_dollars).to_string()
        )
    };
    let unknown = used.periods.iter().map(|sum| sum.unpriced).max().filter(|count| *count > 0);
    let unknown = unknown.map(|count| {
        html!(
            r#"<p class="small">{} requests are of unknown price, and count as nothing in the last column.</p>"#,
            count
        )
    });
    let cut = used.cut.then(|| html!(r#"<p class="small">Only your latest 100,000 requests are counted here.</p>"#));
    html!(
        r#"<table><thead><tr><th scope="col">UTC</th><th scope="col" class="n">requests</th><th scope="col" class="n">tokens</th>
<th scope="col" class="n">at API prices</th></tr></thead><tbody>{}</tbody></table>{}{}"#,
        PERIODS.map(row).to_vec(),
        unknown,
        cut
    )
}

fn limits(user: &User, used: &Used, now: UnixMs) -> Option<Markup> {
    let limits = &user.limits;
    let budgets = limits.budgets.iter().map(|budget| {
        let taken = used.of(budget.period).taken;
        let refills = budget.period.around(now).1.since(now).to_string();
        let bar = numbers::left(budget, &taken).map(|left| {
            html!(
                r#"<meter min="0" max="100" value="{}" aria-label="left {}"></meter>"#,
                format!("{:.0}", left * 100.0),
                numbers::this(budget.period)
            )
        });
        html!(
            r#"<div class="limit"><div>{}</div>{}<div class="small">Full again in {}</div></div>"#,
            numbers::budget(budget, &taken),
            bar,
            refills
        )
    });
    let budgets: Vec<Markup> = budgets.collect();
    let mut words = Vec::new();
    words.extend(limits.requests_per_minute.map(|count| format!("{count} requests a minute")));
    words.extend(limits.streams.map(|count| format!("{count} at one time")));
    words.extend((!limits.models.is_empty()).then(|| format!("only the models {}", limits.models.join(", "))));
    words.extend((!limits.providers.is_empty()).then(|| format!("only {}", limits.providers.join(", "))));
    let words = (!words.is_empty()).then(|| html!("<p>{}.</p>", capital(&words.join("; "))));
    (!budgets.is_empty() || words.is_some()).then(|| html!("<h2>Your limits</h2>{}{}", budgets, words))
}

fn by_day(rows: &[pool_store::ledger::DayUse]) -> Option<Markup> {
    let mut days: Vec<UnixMs> = rows.iter().map(|row| row.day).collect();
    days.dedup();
    let row = |day: &UnixMs| {
        let (requests, tokens) = numbers::total(rows.iter().filter(|row| row.day == *day));
        html!(
            r#"<tr><th scope="row">{}</th><td class="n">{}</td><td class="n">{}</td></tr>"#,
            numbers::date(*day),
            requests,
            amount(tokens.total())
        )
    };
    let lines: Vec<Markup> = days.iter().rev().map(row).collect();
    (!lines.is_empty()).then(|| {
        html!(
            r#"<details><summary>The last 30 days</summary><table><thead><tr><th scope="col">day</th>
<th scope="col" class="n">requests</th><th scope="col" class="n">tokens</th></tr></thead><tbody>{}</tbody></table></details>"#,
            lines
        )
    })
}

/// Every credential that works, with the button that ends it.
fn machines(app: &App, user: &User, own: &Credential, now: UnixMs) -> Vec<Markup> {
    let mut keys: Vec<_> = app.people.read(|people| {
        let works = |key: &&std::sync::Arc<Credential>| crate::people::ends(key, now).is_none();
        people.credentials_of(&user.id).filter(works).cloned().collect()
    });
    keys.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    let row = |key: &Credential| {
        let this = if key.id == own.id { ", which you are signed in with" } else { "" };
        let end = key.expires_at.map_or_else(String::new, |end| format!(", ends in {}", end.since(now)));
        html!(
            r#"<li><span><b>{}</b> <span class="small"><code>{}</code>{}{}</span></span>
<form method="post" action="/me/revoke/{}"><button class="quiet" aria-label="Revoke {}">Revoke</button></form></li>"#,
            key.label,
            key.hint,
            end,
            this,
            key.id.to_string(),
            key.label
        )
    };
    keys.iter().map(|key| row(key)).collect()
}

fn clients(app: &App) -> Vec<Markup> {
    let button = |provider: &dyn Provider| {
        let set_up = provider.set_up()?;
        Some(html!(
            r#"<form method="post" action="/me/setup/{}"><button class="quiet">{}</button></form>"#,
            provider.id().0,
            set_up.client
        ))
    };
    app.registry.iter().filter_map(button).collect()
}

/// What is the operator's to know and to answer.
fn operators(app: &App) -> Markup {
    // What this page asks itself, it need not tell.
    let notices = app.notices().into_iter().filter(|notice| notice.id != notices::SHARING);
    let told: Vec<Markup> = notices.map(|notice| html!(r#"<p class="note">{}</p>"#, coded(&notice.text))).collect();
    let code = if app.config.friends.code.is_some() {
        "Friends mode is on: who enters the friend code on the first page comes in."
    } else {
        "Friends mode is off (the setting friend_code turns it on); invitations work all the same."
    };
    html!(
        r#"{}<h2>Friends</h2>
<p>{}</p>
<form class="fields" method="post" action="/me/invite">
<label>Invite somebody <small>Empty: they name themselves.</small> <input name="name" autocomplete="off" maxlength="64"></label>
<div><button>Make an invitation</button></div>
</form>
{}<p class="small">Accounts, people and limits: <code>codex-pool status</code>, <code>codex-pool users list</code>.</p>"#,
        told,
        code,
        sharing(app)
    )
}

/// The question that is asked once, or what was said.
fn sharing(app: &App) -> Markup {
    if let Some(share) = app.config.share_subscriptions {
        let may = if share { "may" } else { "may not" };
        return html!("<p>Friends {} use your subscriptions: the settings say so.</p>", may);
    }
    let said = match app.answered.share_subscriptions() {
        Some(true) => "You have said that they may.",
        Some(false) => "You have said that they may not.",
        None => "You have not said yet; until you do, they may.",
    };
    html!(
        r#"<h3>May friends use your subscriptions?</h3>
<p>{} API keys are shared in any case, and an account whose file says <code>share</code> is as that says.</p>
<form class="row" method="post" action="/me/sharing"><button class="quiet" name="share" value="yes">They may</button>
<button class="quiet" name="share" value="no">API keys only</button></form>"#,
        said
    )
}

fn leaderboard(board: &[(String, u64)]) -> Markup {
    let row = |(name, tokens): &(String, u64)| {
        html!(r#"<tr><th scope="row">{}</th><td class="n">{}</td></tr>"#, name, amount(*tokens))
    };
    let rows: Vec<Markup> = board.iter().take(100).map(row).collect();
    html!(
        r#"<h2>Everybody, in 30 days</h2>
<table><thead><tr><th scope="col">name</th><th scope="col" class="n">tokens</th></tr></thead><tbody>{}</tbody></table>"#,
        rows
    )
}

/// What stands between backticks is to be read letter by letter.
fn coded(text: &str) -> Vec<Markup> {
    let part = |(at, part): (usize, &str)| if at % 2 == 1 { html!("<code>{}</code>", part) } else { html!("{}", part) };
    text.split('`').enumerate().map(part).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
