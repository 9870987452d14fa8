//! Signing in and out of our pages, and who one is.

use http::{HeaderValue, Response, StatusCode, header};
use pool_core::people::{Closed, SecretHash};
use pool_core::{Secret, UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reply::{Fault, guarded, json_page, problem};
use super::{Operator, Visit, too_many};
use crate::admit::{Caller, Denied, same};
use crate::app::App;
use crate::clock;
use crate::door;
use crate::people::ChangeError;
use crate::relay::deliver::ReplyBody;
use crate::roster::Whoami;
use crate::sessions::{LIFE, Signed};

/// What somebody signs in with: one of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignIn)]
pub(super) enum With {
    /// The operator's, of the settings.
    #[serde(rename = "password")]
    Password(String),
    /// The operator's token, or anybody's pool credential.
    #[serde(rename = "credential")]
    Credential(String),
    /// Of a sign-in link.
    #[serde(rename = "code")]
    Code(String),
}

/// Answer of `POST /api/sign-in`.
#[derive(Serialize, ToSchema)]
pub(super) struct SignInLink {
    /// Where to open it, below the pool's address. Works once.
    path: String,
}

/// One text for whatever is wrong: nobody learns who exists, or which ways in there are.
const WRONG: &str = "that is not right: check the password, credential or code";

pub async fn begin(mut visit: Visit<()>) -> Response<ReplyBody> {
    let with = match visit.json::<With>().await {
        Ok(with) => with,
        Err(fault) => return fault.into(),
    };
    match with {
        With::Password(password) => guessed(&visit, is_password(&visit.app, &password)),
        With::Code(code) => linked(&visit, &code, StatusCode::OK),
        With::Credential(credential) => opened(&visit, &credential),
    }
}

/// `GET /sign-in/{code}`: the operator's link, which the terminal shows. The code works once, so it may stand in an address.
pub async fn by_link(visit: Visit<()>) -> Response<ReplyBody> {
    linked(&visit, visit.hole(0), StatusCode::SEE_OTHER)
}

/// Makes such a link.
pub async fn make_link(visit: Visit<Operator>) -> Response<ReplyBody> {
    match visit.app.door.make_link(clock::now()) {
        Ok(code) => json_page(StatusCode::OK, &SignInLink { path: format!("/sign-in/{}", code.expose()) }),
        Err(error) => failed(&error),
    }
}

pub async fn show(visit: Visit<Caller>) -> Response<ReplyBody> {
    let app = &visit.app;
    let cookie = door::cookie(&visit.parts.headers, app.config.is_secure());
    let session = cookie.and_then(|cookie| app.door.find(cookie, clock::now()));
    json_page(StatusCode::OK, &whoami(&visit.who, session.map(|(_, end)| end)))
}

pub async fn end(visit: Visit<Caller>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Full(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    over(&visit, guarded(response))
}

/// The same page, and the session is over.
pub fn over(visit: &Visit<Caller>, mut page: Response<ReplyBody>) -> Response<ReplyBody> {
    let secure = visit.app.config.is_secure();
    if let Some(cookie) = door::cookie(&visit.parts.headers, secure) {
        visit.app.door.end(cookie);
    }
    set_cookie(&mut page, "", 0, secure);
    page
}

fn guessed(visit: &Visit<()>, right: bool) -> Response<ReplyBody> {
    match visit.app.door.guess(visit.origin(), right, clock::now()) {
        Ok(true) => signed_in(visit, Signed::Operator, &Caller::Operator, StatusCode::OK),
        Ok(false) => problem(StatusCode::UNAUTHORIZED, WRONG),
        Err(wait) => too_many(wait, &wait.to_string()),
    }
}

fn linked(visit: &Visit<()>, code: &str, status: StatusCode) -> Response<ReplyBody> {
    match visit.app.door.take_link(visit.origin(), code, clock::now()) {
        Ok(true) => signed_in(visit, Signed::Operator, &Caller::Operator, status),
        Ok(false) => problem(StatusCode::UNAUTHORIZED, WRONG),
        Err(wait) => too_many(wait, &wait.to_string()),
    }
}

/// Without a password in the settings none is right, and it takes as long.
fn is_password(app: &App, password: &str) -> bool {
    let expected = app.config.admin_password.as_ref();
    same(password, expected.unwrap_or(&Secret::new(""))) && expected.is_some()
}

/// What somebody typed into the one field of the sign-in page: their credential, or the operator's password or token.
pub fn by_secret(visit: &Visit<()>, secret: &str) -> Result<Signed, Fault> {
    let (app, now) = (&visit.app, clock::now());
    if app.config.operator_token.as_ref().is_some_and(|token| same(secret, token)) {
        return Ok(Signed::Operator);
    }
    match app.people.open(secret) {
        Ok((user, _)) => return Ok(Signed::Person { user: user.id.clone(), credential: SecretHash::of(secret) }),
        Err(Closed::Paused) => return Err(Fault::new(StatusCode::UNAUTHORIZED, Denied::Paused.to_string())),
        Err(_) => {}
    }
    match app.door.guess(visit.origin(), is_password(app, secret), now) {
        Ok(true) => Ok(Signed::Operator),
        Ok(false) => Err(Fault::new(StatusCode::UNAUTHORIZED, WRONG)),
        Err(wait) => Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, wait.to_string())),
    }
}

/// A credential is 256 random bits: whose it is may be told to who has it, and nobody is slowed down.
fn opened(visit: &Visit<()>, credential: &str) -> Response<ReplyBody> {
    let (app, now) = (&visit.app, clock::now());
    if app.config.operator_token.as_ref().is_some_and(|token| same(credential, token)) {
        return signed_in(visit, Signed::Operator, &Caller::Operator, StatusCode::OK);
    }
    match app.people.open(credential) {
        Ok((user, found)) => {
            let signed = Signed::Person { user: user.id.clone(), credential: SecretHash::of(credential) };
            signed_in(visit, signed, &Caller::Person { user, credential: found }, StatusCode::OK)
        }
        Err(Closed::Paused) => super::denied(Denied::Paused),
        Err(_) => match app.door.stray(visit.origin(), now) {
            Ok(()) => problem(StatusCode::UNAUTHORIZED, WRONG),
            Err(wait) => too_many(wait, &wait.to_string()),
        },
    }
}

fn signed_in(visit: &Visit<()>, signed: Signed, caller: &Caller, status: StatusCode) -> Response<ReplyBody> {
    let (app, now) = (&visit.app, clock::now());
    let cookie = match app.door.begin(signed, now) {
        Ok(cookie) => cookie,
        Err(error) => return failed(&error),
    };
    let ends = app.door.find(cookie.expose(), now).map(|(_, end)| end);
    let mut response = json_page(status, &whoami(caller, ends));
    if status.is_redirection() {
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
    }
    set_cookie(&mut response, cookie.expose(), LIFE.0 / 1000, app.config.is_secure());
    tracing::info!(from = %visit.origin(), who = caller.scope(), "somebody signed in");
    response
}

/// The same page with a session's cookie: whoever sees it has just shown who they are.
pub fn with_cookie(visit: &Visit<()>, signed: Signed, mut page: Response<ReplyBody>) -> Response<ReplyBody> {
    let app = &visit.app;
    match app.door.begin(signed, clock::now()) {
        Ok(cookie) => set_cookie(&mut page, cookie.expose(), LIFE.0 / 1000, app.config.is_secure()),
        Err(error) => tracing::error!(%error, "nobody can sign in"),
    }
    page
}

fn set_cookie(response: &mut Response<ReplyBody>, value: &str, secs: u64, secure: bool) {
    let name = door::cookie_name(secure);
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

fn whoami(caller: &Caller, ends_at: Option<UnixMs>) -> Whoami {
    let user = caller.user();
    Whoami {
        role: caller.role(),
        user: user.map(|user| user.id.to_string()),
        name: user.map(|user| user.name.clone()),
        ends_at_ms: ends_at.map(|end| end.0),
    }
}

fn failed(error: &ChangeError) -> Response<ReplyBody> {
    tracing::error!(%error, "nobody can sign in");
    problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
