//! Pages of our own: one table of everything that can be asked of the pool itself, and who may.
//!
//! A row cannot be written without saying whom it answers, and the page's own type says it again: a page that takes a
//! `Visit<Operator>` can stand in an `Operator` row only. What no row names is looked up among the providers' rows
//! (`dispatch.rs`), and is 404 if those do not name it either. `docs/ACCESS.md` is made from both tables.

mod accounts;
mod contributions;
mod explain;
mod health;
mod people;
pub mod reply;
mod session;
mod status;
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

    GET    "/"                               Operator  status::as_text,     "the accounts and what they have left, for `curl`";
    GET    "/status"                         Operator  status::as_json,     "the same for programs";
    GET    "/api/status"                     Operator  status::as_json,     "the same for programs";
    GET    "/api/notices"                    Operator  status::notices,     "what the operator should know";
    POST   "/api/accounts/{account}/test"    Operator  accounts::test,      "one small request on an account";

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
    #[cfg_attr(not(test), expect(dead_code, reason = "docs/ACCESS.md is made of it"))]
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
            (_, Err(why)) => return denied(why),
            (Need::Open(page) | Need::Visitor(page), Ok(None)) => return page(visit).await,
            (_, Ok(None)) => return denied(Denied::NoCredential),
            (_, Ok(Some(caller))) => caller,
        };
        match self.needs {
            Need::Open(page) | Need::Visitor(page) => page(visit).await,
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
    let status = match why {
        Denied::TooMany(wait) => return too_many(wait, &why.to_string()),
        Denied::NotOurName => StatusCode::MISDIRECTED_REQUEST,
        Denied::ForeignPage | Denied::NotOurPage => StatusCode::FORBIDDEN,
        Denied::NoCredential | Denied::OnlyLocal | Denied::WrongCredential | Denied::Paused => StatusCode::UNAUTHORIZED,
    };
    problem(status, &why.to_string())
}

/// Somebody guesses.
pub fn too_many(wait: Wait, message: &str) -> Response<ReplyBody> {
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, message);
    response.headers_mut().insert(header::RETRY_AFTER, wait.0.as_secs_ceil().into());
    response
}
