//! Pages of our own: one table of everything that can be asked of the pool itself, and who may.
//!
//! A row cannot be written without saying whom it answers, and the page's own type says it again: a page that takes a
//! `Visit<Operator>` can stand in an `Operator` row only. What no row names is looked up among the providers' rows
//! (`dispatch.rs`), and is 404 if those do not name it either. `docs/ACCESS.md` is made from both tables.

pub mod accounts;
mod admin;
mod contributions;
mod explain;
mod filter;
mod forecast;
mod health;
mod live;
mod metrics;
pub mod openapi;
mod overview;
pub mod people;
pub mod reply;
mod requests;
pub mod session;
pub mod settings;
pub mod status;
mod usage;
mod visit;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{Method, Response, StatusCode, header};
use hyper::body::Incoming;
use pool_core::guard::Wait;
use pool_core::people::Role;

use crate::admit::{self, Caller, Denied};
use crate::app::App;
use crate::friends::{self, front, images, me, stats};
use crate::relay::deliver::ReplyBody;
use crate::relay::path::head;
use crate::setup;

use reply::problem;
pub use visit::{Oneself, Operator, Visit};

/// One row a line: method, path, whom it answers (a [`Need`]), the page, what it is for. `{name}` in a path stands for one segment.
macro_rules! table {
    ($($method:ident $path:literal $need:ident $page:path, $about:literal;)*) => {
        /// Everything that can be asked of the pool itself.
        pub static PAGES: &[Page] = &[$(Page {
            method: Method::$method,
            path: $path,
            needs: Need::$need(|visit| Box::pin($page(visit))),
            about: $about,
        }),*];
    };
}

table! {
    GET    "/healthz"                        Open      health::alive,       "the process runs";
    GET    "/readyz"                         Open      health::ready,       "it can take requests";

    GET    "/setup/{cli}"                    Visitor   setup::without_code, "a script that sets a client up, where no credential is asked";
    GET    "/setup/{cli}/{code}"             Visitor   setup::with_code,    "the same for who has a one-time code; uses nothing up";
    POST   "/setup/{cli}/{code}"             Visitor   setup::redeem,       "that script asks for its credential; uses the code up";
    GET    "/config/{cli}/{code}"            Visitor   setup::config,       "the client's file that holds a credential; uses the code up";
    POST   "/oauth/token"                    Visitor   setup::renew,        "a client renews the login that it shows";
    POST   "/api/people/{user}/setup/{cli}"  Oneself   setup::make_line,    "a set-up line with a one-time code";

    GET    "/"                               Whoever   front::front,        "the accounts for the operator's `curl`, the way in for a browser";
    GET    "/status"                         Operator  status::as_json,     "the accounts and what they have left";
    GET    "/api/status"                     Operator  status::as_json,     "the same for programs";
    GET    "/api/notices"                    Operator  status::notices,     "what the operator should know";
    GET    "/api/forecast"                   Anyone    forecast::show,      "when the pool runs dry; accounts for the operator only";
    GET    "/api/openapi.json"               Anyone    openapi::show,       "this API, described";
    GET    "/api/accounts"                   Anyone    accounts::list,      "accounts and what they have left, as far as the caller may know";
    GET    "/api/accounts/{account}"         Operator  accounts::show,      "everything that is known of one";
    GET    "/api/flights"                    Anyone    live::flights,       "requests under way; other people's for the operator only";
    GET    "/api/events"                     Anyone    live::events,        "what happens, as it happens";
    POST   "/api/accounts/{account}/test"    Operator  accounts::test,      "one small request on an account";

    GET    "/api/overview"                   Anyone    overview::show,      "what the pool has left, in one answer";
    GET    "/api/requests"                   Anyone    requests::list,      "requests that were, page by page; other people's for the operator only";
    GET    "/api/requests/{request}"         Operator  explain::request,    "one of them, and why it went where it went";
    GET    "/api/usage"                      Anyone    usage::series,       "what was used, by hour or day; others' use for the operator only";
    GET    "/api/usage/totals"               Anyone    usage::totals,       "the same, summed up";
    GET    "/api/settings"                   Operator  settings::settings,  "every setting, and where its value comes from";
    GET    "/api/health"                     Operator  settings::health,    "what is well and what is not, and what mends it";

    GET    "/friend"                         Visitor   front::friend,       "friends come in";
    GET    "/friend/style.css"               Visitor   front::style,        "how our pages look";
    POST   "/friend/claim"                   Visitor   friends::claim,      "somebody comes in by the friend code; the form";
    POST   "/api/friend/claim"               Visitor   friends::claim,      "the same for programs";
    GET    "/join/{code}"                    Visitor   friends::invitation, "an invitation; uses nothing up";
    POST   "/join/{code}"                    Visitor   friends::join,       "somebody comes in by it; uses it up";
    GET    "/sign-in"                        Visitor   front::sign_in,      "sign in";
    POST   "/sign-in"                        Visitor   front::signed_in,    "the form of that";
    POST   "/sign-out"                       Anyone    front::sign_out,     "sign out, by a form";

    GET    "/me"                             Anyone    me::show,            "one's own page: usage, limits, machines";
    POST   "/me/setup/{cli}"                 Anyone    me::line,            "a set-up line of one's own; a form";
    POST   "/me/revoke/{credential}"         Anyone    me::revoke,          "revoke a credential of one's own; a form";
    POST   "/me/invite"                      Operator  me::invite,          "an invitation; a form";
    POST   "/me/sharing"                     Operator  me::share,           "may friends use subscriptions? a form";

    GET    "/og-image.png"                   Visitor   images::preview,     "the picture that a chat program shows beside a link";
    GET    "/hero.png"                       Visitor   images::hero,        "the picture of the first page";

    GET    "/api/pool/whoami"                Anyone    stats::whoami,       "who one is";
    GET    "/api/pool/stats"                 Anyone    stats::stats,        "what was used in 30 days; for the operator of everybody";
    GET    "/api/pool/users"                 Anyone    stats::users,        "oneself with what one has used; for the operator everybody";
    GET    "/api/pool/users/{user}/daily"    Oneself   stats::daily,        "the same by day";
    GET    "/api/pool/daily-breakdown"       Anyone    stats::breakdown,    "by day, provider and model; for the operator of everybody";

    GET    "/metrics"                        Operator  metrics::show,       "numbers for Prometheus";
    POST   "/admin/reload"                   Operator  admin::reload,       "look into the pool folder now";
    GET    "/admin/accounts"                 Operator  admin::accounts,     "the accounts";
    GET    "/admin/tokens"                   Operator  admin::tokens,       "until when their tokens are good; no token";
    POST   "/admin/accounts/{account}/enable"  Operator admin::enable,      "let an account serve again";
    POST   "/admin/accounts/{account}/disable" Operator admin::disable,     "pause an account";
    POST   "/admin/accounts/{account}/refresh" Operator admin::refresh,     "renew an account's token now";
    GET    "/admin/pool-users"               Operator  admin::users,        "everybody";
    POST   "/admin/pool-users/create"        Operator  admin::create,       "add somebody by e-mail address";
    POST   "/admin/pool-users/{user}/disable"  Operator admin::pause,       "pause somebody";

    GET    "/api/explain"                    Operator  explain::next,       "where the next request would go";
    GET    "/api/explain/{request}"          Operator  explain::request,    "why one went where it went";

    POST   "/api/session"                    Visitor   session::begin,      "sign in with password, credential or code";
    GET    "/api/session"                    Anyone    session::show,       "who one is";
    DELETE "/api/session"                    Anyone    session::end,        "sign out";
    GET    "/sign-in/{code}"                 Visitor   session::by_link,    "sign the operator in by the terminal's link";
    POST   "/api/sign-in"                    Operator  session::make_link,  "make such a link";

    GET    "/api/people"                     Operator  people::list,        "everybody, and open invitations";
    GET    "/api/people/contributions"       Anyone    contributions::show, "what accounts they brought gave, and what they used; everybody's for the operator";
    POST   "/api/people"                     Operator  people::add,         "add somebody, with a first credential";
    GET    "/api/people/{user}"              Oneself   people::show,        "one person and their credentials";
    PATCH  "/api/people/{user}"              Operator  people::change,      "limits, accounts, role, name, pause";
    DELETE "/api/people/{user}"              Operator  people::remove,      "remove somebody; their usage stays on record";
    POST   "/api/people/{user}/credentials"  Oneself   people::add_key,     "a credential for another machine";
    DELETE "/api/people/{user}/credentials/{credential}" Oneself people::revoke_key, "revoke a credential";
    POST   "/api/invitations"                Operator  people::invite,      "a code that lets somebody in, once";
    DELETE "/api/invitations/{invitation}"   Operator  people::withdraw,    "withdraw it";
}

/// One of our pages.
#[derive(Debug)]
pub struct Page {
    pub method: Method,
    pub path: &'static str,
    pub needs: Need,
    /// What it is for, in a few words.
    pub about: &'static str,
}

type Answer = Pin<Box<dyn Future<Output = Response<ReplyBody>> + Send>>;

/// Whom a page answers, and how.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Everybody, by whatever name they call us: for machines that watch over us. Such a page tells nothing.
    Open(fn(Visit<()>) -> Answer),
    /// Everybody who asks by a name of ours; what changes something must not come from another web page.
    Visitor(fn(Visit<()>) -> Answer),
    /// The same, and who is let in sees more.
    Whoever(fn(Visit<Result<Caller, Denied>>) -> Answer),
    /// Everybody who is let in.
    Anyone(fn(Visit<Caller>) -> Answer),
    /// The person whom the path's `{user}` names (`me`: whoever asks), and the operator.
    Oneself(fn(Visit<Oneself>) -> Answer),
    /// The operator.
    Operator(fn(Visit<Operator>) -> Answer),
}

impl Page {
    /// Which page a request asks for, and what stands in its path's holes. Watchers may ask for the head only.
    pub fn find(method: &Method, path: &str) -> Option<(&'static Self, Vec<String>)> {
        PAGES.iter().find_map(|page| {
            let fits = page.method == *method || (*method == Method::HEAD && matches!(page.needs, Need::Open(_)));
            Some((page, fits.then(|| visit::holes(page.path, path))??))
        })
    }

    /// Answers, if it may be asked so.
    pub async fn answer(
        &self,
        holes: Vec<String>,
        app: Arc<App>,
        peer: SocketAddr,
        parts: http::request::Parts,
        body: Incoming,
    ) -> Response<ReplyBody> {
        let admitted = self.admit(&app, peer, &parts);
        let visit = Visit { app, peer, who: (), parts, body, holes };
        let caller = match (self.needs, admitted) {
            (Need::Whoever(_), Err(why @ Denied::NotOurName)) => return denied(why),
            (Need::Whoever(page), Err(why)) => return page(visit.of(Err(why))).await,
            (_, Err(why)) if reply::wants_html(&visit.parts.headers) => {
                return front::barred(&visit.app, why);
            }
            (_, Err(why)) => return denied(why),
            (Need::Open(page) | Need::Visitor(page), Ok(None)) => return page(visit).await,
            (_, Ok(None)) => return denied(Denied::NoCredential),
            (_, Ok(Some(caller))) => caller,
        };
        match self.needs {
            Need::Open(page) | Need::Visitor(page) => page(visit).await,
            Need::Whoever(page) => page(visit.of(Ok(caller))).await,
            Need::Anyone(page) => page(visit.of(caller)).await,
            Need::Oneself(page) => match visit::oneself(&visit.app, caller, self.path, &visit.holes) {
                Some(who) => page(visit.of(who)).await,
                None => problem(StatusCode::NOT_FOUND, "nobody has this id, or it is not yours to ask about"),
            },
            Need::Operator(page) if caller.role() == Role::Operator => page(visit.of(Operator(caller))).await,
            Need::Operator(_) => problem(StatusCode::FORBIDDEN, "only the operator of this pool may ask this"),
        }
    }

    /// Who asks? Nobody in particular where the page does not want to know.
    fn admit(&self, app: &App, peer: SocketAddr, parts: &http::request::Parts) -> Result<Option<Caller>, Denied> {
        if matches!(self.needs, Need::Open(_)) {
            return Ok(None);
        }
        if !admit::is_our_host(&app.config, &parts.headers) {
            return Err(Denied::NotOurName);
        }
        if matches!(self.needs, Need::Visitor(_)) {
            let foreign = self.method != Method::GET && admit::comes_from_foreign_page(&parts.headers);
            return if foreign { Err(Denied::ForeignPage) } else { Ok(None) };
        }
        app.admit_visitor(peer, &head(parts)).map(Some)
    }
}

/// Why a page was not answered.
pub fn denied(why: Denied) -> Response<ReplyBody> {
    match why {
        Denied::TooMany(wait) => too_many(wait, &why.to_string()),
        why => problem(status_of(why), &why.to_string()),
    }
}

/// As a status.
pub fn status_of(why: Denied) -> StatusCode {
    match why {
        Denied::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        Denied::NotOurName => StatusCode::MISDIRECTED_REQUEST,
        Denied::ForeignPage | Denied::NotOurPage => StatusCode::FORBIDDEN,
        Denied::NoCredential | Denied::OnlyLocal | Denied::WrongCredential | Denied::Paused => StatusCode::UNAUTHORIZED,
    }
}

/// Somebody guesses.
pub fn too_many(wait: Wait, message: &str) -> Response<ReplyBody> {
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, message);
    response.headers_mut().insert(header::RETRY_AFTER, wait.0.as_secs_ceil().into());
    response
}
