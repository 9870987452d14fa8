//! What is asked of the set-up: scripts, credentials for codes, and the renewal of a login of ours.

use http::{HeaderMap, Response, StatusCode, header};
use pool_core::people::{Change, Directory, Grants, Role, SecretHash, User};
use pool_core::{Secret, Span, UnixMs};
use pool_providers::Provider;
use pool_providers::setup::{self, SetUp};
use serde::{Deserialize, Serialize};

use super::script::{self, Access, Shell};
use crate::admit::{self, Caller};
use crate::app::App;
use crate::clock;
use crate::config::Config;
use crate::pages::reply::{Fault, guarded, json_page, problem, text};
use crate::pages::{Oneself, Visit, too_many};
use crate::people::{ChangeError, FRIENDS_KEY, MOST_KEYS, issue};
use crate::relay::deliver::{self, ReplyBody};

/// How long a set-up line works.
pub const LINE: Span = Span::from_hours(24);

/// Lines that one person may have open.
const MOST_LINES: usize = 20;

/// What somebody types to set a client up.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = SetUpLine)]
pub struct Line {
    pub sh: String,
    pub powershell: String,
}

/// Answer of `POST /api/people/{user}/setup/{cli}`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MadeLine {
    /// Works once.
    pub code: String,
    pub expires_at_ms: i64,
    pub line: Line,
}

/// The line that runs such a script, with or without a code. `url` is the pool's address.
pub fn line(url: &str, cli: &str, code: Option<&str>) -> Line {
    let path = code.map_or_else(|| format!("{url}/setup/{cli}"), |code| format!("{url}/setup/{cli}/{code}"));
    // Between brackets curl would look for a range, as in http://[::1].
    let curl = if url.contains('[') { "curl -gfsSL" } else { "curl -fsSL" };
    Line { sh: format!("{curl} {path} | sh"), powershell: format!("irm {path} | iex") }
}

/// `POST /api/people/{user}/setup/{cli}`: a line with a one-time code, for a machine of this person's.
pub async fn make_line(visit: Visit<Oneself>) -> Response<ReplyBody> {
    match new_line(&visit.app, &visit.parts.headers, &visit.who.user, visit.hole(1)).await {
        Ok(made) => json_page(StatusCode::CREATED, &made),
        Err(fault) => fault.into(),
    }
}

/// Makes such a line.
pub async fn new_line(app: &App, headers: &HeaderMap, user: &User, cli: &str) -> Result<MadeLine, Fault> {
    let (provider, _) = client(app, cli).ok_or_else(|| unknown(app))?;
    let url = address(&app.config, headers).ok_or_else(no_address)?;
    let now = clock::now();
    let theirs = |grants: &Grants| matches!(grants, Grants::SetUp { user: one } if *one == user.id);
    let (lines, keys) = app.people.read(|people| {
        let lines = people.codes(now).filter(|code| theirs(&code.grants)).count();
        (lines, people.credentials_of(&user.id).filter(|key| crate::people::ends(key, now).is_none()).count())
    });
    if lines >= MOST_LINES || lines + keys >= MOST_KEYS {
        let message = format!(
            "{} has {lines} set-up lines open and {keys} credentials that work: use a line, or revoke a credential",
            user.name
        );
        return Err(Fault::new(StatusCode::CONFLICT, message));
    }
    let made = app.people.make_code(Grants::SetUp { user: user.id.clone() }, LINE).await;
    let (secret, code, _) = made.map_err(|error| not_brought(&error))?;
    let line = line(&url, provider.id().0, Some(secret.expose()));
    Ok(MadeLine { code: secret.expose().to_owned(), expires_at_ms: code.expires_at.0, line })
}

/// `GET /setup/{cli}`: for a pool that asks this visitor for no credential.
pub async fn without_code(visit: Visit<()>) -> Response<ReplyBody> {
    match visit.app.admit(visit.peer, &visit.head()) {
        Ok(Caller::Local) => answer(&visit, Access::Key("pool")),
        _ => refused(
            &visit,
            "this pool asks for a credential, so a set-up line of it holds a one-time code: ask its operator for yours",
        ),
    }
}

/// `GET /setup/{cli}/{code}`: uses nothing up.
pub async fn with_code(visit: Visit<()>) -> Response<ReplyBody> {
    answer(&visit, Access::Code(visit.hole(1)))
}

/// `POST /setup/{cli}/{code}?machine=NAME`: the credential, once.
pub async fn redeem(visit: Visit<()>) -> Response<ReplyBody> {
    let Some((provider, _)) = client(&visit.app, visit.hole(0)) else { return unknown(&visit.app).into() };
    match bring(&visit, provider).await {
        Ok((key, _)) => text(StatusCode::OK, key.expose().to_owned()),
        Err(refusal) => refusal,
    }
}

/// `GET /config/{cli}/{code}`: the file that holds the credential, as the Go original handed it out. It uses the code up.
pub async fn config(visit: Visit<()>) -> Response<ReplyBody> {
    let Some((provider, set_up)) = client(&visit.app, visit.hole(0)) else { return unknown(&visit.app).into() };
    let Some(url) = address(&visit.app.config, &visit.parts.headers) else { return no_address().into() };
    let (key, user) = match bring(&visit, provider).await {
        Ok(brought) => brought,
        Err(refusal) => return refusal,
    };
    if let Some(login) = provider.pool_login(&key, &user, clock::now()) {
        return text(StatusCode::OK, login.file);
    }
    let file = set_up.files.last().map(|file| setup::edit(file, "", &url, key.expose()));
    match file {
        Some(Ok(file)) => text(StatusCode::OK, file),
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "this client's file cannot be written"),
    }
}

/// `POST /oauth/token`: a client has its login renewed. It gets what it showed, if that still counts; nothing is made.
pub async fn renew(mut visit: Visit<()>) -> Response<ReplyBody> {
    let body = match visit.bytes().await {
        Ok(body) => body,
        Err(fault) => return fault.into(),
    };
    let app = &visit.app;
    let shown = app.registry.iter().find_map(|provider| Some((provider, provider.shown_for_renewal(&body)?)));
    let renewed = shown.as_ref().and_then(|(provider, key)| {
        let (user, _) = app.people.open(key.expose()).ok()?;
        provider.pool_login(key, &user.id.0, clock::now())
    });
    if let Some(login) = renewed {
        return guarded(deliver::reply(login.renewed));
    }
    // Who shows a token of another house's is no guesser.
    if let Some(wait) = shown.and_then(|_| app.door.stray(visit.origin(), clock::now()).err()) {
        return too_many(wait, &wait.to_string());
    }
    match app.registry.iter().find_map(Provider::not_renewed) {
        Some(reply) => guarded(deliver::reply(reply)),
        None => problem(StatusCode::UNAUTHORIZED, "no client of this pool renews a login here"),
    }
}

/// A credential for the machine that shows a code, and whose it is.
async fn bring(visit: &Visit<()>, provider: &dyn Provider) -> Result<(Secret, String), Response<ReplyBody>> {
    let (app, head, now) = (&visit.app, visit.head(), clock::now());
    let machine = head.query_value("machine").filter(|name| !name.is_empty());
    let label = format!("{} on {}", provider.title(), machine.as_deref().unwrap_or("a machine"));
    let redeemed = app.people.redeem(visit.hole(1), |grants, directory| {
        // Another kind of code is none of ours, and is not used up.
        let Grants::SetUp { user } = grants else { return Err(ChangeError::NoSuchCode) };
        let user = directory.user(user).filter(|user| !user.paused).ok_or(ChangeError::NoSuchCode)?;
        let made = directory.code(SecretHash::of(visit.hole(1)), now).map(|code| code.created_at);
        if was_shut_out(directory, user, made.unwrap_or(now), now) {
            return Err(ChangeError::NoSuchCode);
        }
        let issued = issue(&user.id, &label, stay(directory, user, now))?;
        Ok((vec![Change::Credential(issued.credential.clone())], (issued, user.id.0.to_string())))
    });
    match redeemed.await {
        Ok((issued, user)) => {
            let (credential, label) = (&issued.credential.id, &issued.credential.label);
            tracing::info!(user, %credential, label, from = %visit.origin(), "a client was set up");
            Ok((issued.secret, user))
        }
        Err(ChangeError::NoSuchCode) => match app.door.stray(visit.origin(), now) {
            Ok(()) => Err(not_brought(&ChangeError::NoSuchCode).into()),
            Err(wait) => Err(too_many(wait, &wait.to_string())),
        },
        Err(error) => Err(not_brought(&error).into()),
    }
}

/// How long a credential of this person's works: nobody lengthens their stay with one more machine.
fn stay(directory: &Directory, user: &User, now: UnixMs) -> Option<Span> {
    let working = directory.credentials_of(&user.id).filter(|key| crate::people::ends(key, now).is_none());
    let ends: Vec<Option<UnixMs>> = working.map(|key| key.expires_at).collect();
    if ends.is_empty() {
        return (user.role == Role::Friend).then_some(FRIENDS_KEY);
    }
    let ends: Option<Vec<UnixMs>> = ends.into_iter().collect();
    ends?.into_iter().max().map(|end| end.since(now))
}

/// Has nothing of this person's worked since something was revoked after that moment? Then an older line brings nothing back.
fn was_shut_out(directory: &Directory, user: &User, moment: UnixMs, now: UnixMs) -> bool {
    let mut keys = directory.credentials_of(&user.id);
    let works = directory.credentials_of(&user.id).any(|key| crate::people::ends(key, now).is_none());
    !works && keys.any(|key| key.revoked_at.is_some_and(|at| at >= moment))
}

fn answer(visit: &Visit<()>, access: Access<'_>) -> Response<ReplyBody> {
    let shell = shell(visit);
    let Some((provider, set_up)) = client(&visit.app, visit.hole(0)) else {
        return refused(visit, &format!("there is no set-up for that; {}", clients(&visit.app)));
    };
    let Some(url) = address(&visit.app.config, &visit.parts.headers) else {
        return refused(visit, "the pool does not know its own address: its operator has to set public_url");
    };
    match script::render(shell, provider.id().0, &set_up, &url, access) {
        Some(script) => text(StatusCode::OK, script),
        None => refused(visit, "this is no code of this pool"),
    }
}

/// With status 200, so that `curl -f … | sh` runs it and its reader learns why.
fn refused(visit: &Visit<()>, why: &str) -> Response<ReplyBody> {
    text(StatusCode::OK, script::refusal(shell(visit), why))
}

fn not_brought(error: &ChangeError) -> Fault {
    let status = match error {
        ChangeError::NoSuchCode | ChangeError::Nobody(_) => StatusCode::NOT_FOUND,
        _ => {
            tracing::error!(%error, "the directory of people could not be changed");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Fault::new(status, error.to_string())
}

fn no_address() -> Fault {
    Fault::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the pool does not know its own address: its operator has to set public_url",
    )
}

fn unknown(app: &App) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, format!("there is no set-up for that; {}", clients(app)))
}

fn client<'a>(app: &'a App, name: &str) -> Option<(&'a dyn Provider, SetUp)> {
    let provider = app.registry.named(name)?;
    Some((provider, provider.set_up()?))
}

fn clients(app: &App) -> String {
    let names: Vec<&str> = app.registry.iter().filter(|one| one.set_up().is_some()).map(|one| one.id().0).collect();
    format!("there are {}", names.join(", "))
}

fn shell(visit: &Visit<()>) -> Shell {
    let head = visit.head();
    let asked = head.query_value("shell");
    let power_shell = match asked.as_deref() {
        Some(name) => matches!(name, "powershell" | "pwsh" | "ps1"),
        None => head.header("user-agent").is_some_and(|agent| agent.contains("PowerShell")),
    };
    if power_shell { Shell::PowerShell } else { Shell::Sh }
}

/// Where clients reach this pool: `public_url`, or the Host that the request names, if it is one of our own names. `None`: it
/// cannot stand in a script.
pub fn address(config: &Config, headers: &HeaderMap) -> Option<String> {
    let url = match &config.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if admit::is_our_host(config, headers) => format!("http://{}", headers.get(header::HOST)?.to_str().ok()?),
        None => return None,
    };
    setup::is_plain_url(&url).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_ours_or_there_is_none() {
        let public = |url: &str| Config { public_url: Some(url.into()), ..Config::default() };
        for (config, host, expected) in [
            (Config::default(), "127.0.0.1:8989", Some("http://127.0.0.1:8989")),
            (Config::default(), "[::1]:8989", Some("http://[::1]:8989")),
            (Config::default(), "localhost", Some("http://localhost")),
            (Config::default(), "evil.example", None),
            (Config::default(), "x@localhost", None),
            (Config::default(), "localhost'$(id)", None),
            (public("https://pool.example/"), "evil.example", Some("https://pool.example")),
            (public("https://pool.example/a b"), "localhost", None),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().expect("a header"))]);
            assert_eq!(address(&config, &headers).as_deref(), expected, "{host}");
        }
    }
}
