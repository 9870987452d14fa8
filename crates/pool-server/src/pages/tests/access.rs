//! Everybody at every door: each row of both tables, asked by each kind of caller. What must come out is written here once more,
//! by hand; the result is `docs/ACCESS.md`.

use std::fmt::Write as _;

use pool_core::Secret;
use pool_core::people::{Credential, Role, User};
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::routes::{Dialect, Kind, Route, Table, When};

use super::super::{Need, PAGES, Page};
use super::openapi::described_answer;
use super::world::{Ask, Got, Pool, TOKEN};
use http::Method;

/// Callers, with the mark and the words of their column.
const CALLERS: &[(Who, &str, &str)] = &[
    (Who::Nobody, "nobody", "from another machine, without a credential"),
    (Who::Local, "local", "on this machine, in a pool without users"),
    (Who::LocalAmongUsers, "local+", "on this machine, in a pool with users, without a credential"),
    (Who::OperatorToken, "token", "from another machine, with `operator_token`"),
    (Who::OperatorKey, "operator", "from another machine, with an operator's credential"),
    (Who::MachineKey, "key", "on this machine, with the key in `operator.key`"),
    (Who::MachineKeyFromAfar, "key far", "from another machine, with that key"),
    (Who::User, "user", "a pool user; where the path names somebody, it is them"),
    (Who::Friend, "friend", "a friend; the same"),
    (Who::Another, "other", "a pool user; where the path names somebody, it is somebody else"),
    (Who::Revoked, "revoked", "with a credential that was revoked"),
    (Who::Expired, "expired", "with a credential that has ended"),
    (Who::Paused, "paused", "a pool user who is paused"),
    (Who::Forged, "forged", "with `pool-` and a user's id, with a JWT, and with an empty key"),
    (
        Who::ForeignPage,
        "page",
        "a page of another origin, in the browser of somebody on this machine, in a pool without users",
    ),
    (Who::ForeignPageWithKey, "page+", "the same with an operator's credential"),
    (Who::ForeignSocket, "ws", "a WebSocket handshake from such a page"),
    (Who::ReboundHost, "rebound", "a name that somebody bound to this machine's address, in a pool without users"),
    (Who::ReboundHostWithKey, "rebound+", "the same with an operator's credential"),
    (Who::Session, "session", "the operator's session, from our own page"),
    (Who::SessionElsewhere, "csrf", "the operator's session, without the header that our own pages send"),
    (Who::SessionForeign, "csrf+", "the operator's session, with that header, from a page of another origin"),
    (Who::FriendsSession, "f. session", "a friend's session, from our own page"),
];

/// So many forged credentials are tried.
const FORGED: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Local,
    LocalAmongUsers,
    OperatorToken,
    OperatorKey,
    MachineKey,
    MachineKeyFromAfar,
    User,
    Friend,
    Another,
    Revoked,
    Expired,
    Paused,
    Forged,
    ForeignPage,
    ForeignPageWithKey,
    ForeignSocket,
    ReboundHost,
    ReboundHostWithKey,
    Session,
    SessionElsewhere,
    SessionForeign,
    FriendsSession,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The page, or the relay, was reached.
    In,
    /// 401: by whose leave?
    Who,
    /// 403: not by theirs.
    No,
    /// 404: there is no such thing for them.
    Nothing,
    /// 421: not by this name.
    Name,
}

/// What a row needs, as the test sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Open,
    Visitor,
    Whoever,
    Anyone,
    Oneself,
    Operator,
    /// A provider's row.
    Relay,
    /// A provider's row that is answered without asking who it is.
    Probe,
}

impl Class {
    fn of(need: Need) -> Self {
        match need {
            Need::Open(_) => Self::Open,
            Need::Visitor(_) => Self::Visitor,
            Need::Whoever(_) => Self::Whoever,
            Need::Anyone(_) => Self::Anyone,
            Need::Oneself(_) => Self::Oneself,
            Need::Operator(_) => Self::Operator,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Open | Self::Probe => "open",
            Self::Visitor => "visitor",
            Self::Whoever => "visitor; who is let in sees more",
            Self::Anyone | Self::Relay => "anyone admitted",
            Self::Oneself => "oneself",
            Self::Operator => "operator",
        }
    }

    /// What must come out. `changes`: the method is not GET.
    fn expected(self, who: Who, changes: bool) -> Fate {
        use Fate::{In, Name, No, Nothing, Who as Unknown};
        let foreign =
            matches!(who, Who::ForeignPage | Who::ForeignPageWithKey | Who::ForeignSocket | Who::SessionForeign);
        let rebound = matches!(who, Who::ReboundHost | Who::ReboundHostWithKey);
        match self {
            Self::Visitor | Self::Whoever if rebound => return Name,
            Self::Visitor if foreign && changes => return No,
            Self::Open | Self::Probe | Self::Visitor | Self::Whoever => return In,
            Self::Relay => {
                return match who {
                    _ if foreign => No,
                    // A browser's session and the terminal's key spend nothing; a Host says nothing to who has a credential.
                    Who::Session | Who::SessionElsewhere | Who::FriendsSession | Who::MachineKey | Who::ReboundHost => {
                        Unknown
                    }
                    Who::ReboundHostWithKey => In,
                    who => Self::Anyone.expected(who, changes),
                };
            }
            Self::Anyone | Self::Oneself | Self::Operator => {}
        }
        match who {
            _ if rebound => Name,
            _ if foreign => No,
            Who::SessionElsewhere if changes => No,
            Who::Nobody
            | Who::LocalAmongUsers
            | Who::MachineKeyFromAfar
            | Who::Revoked
            | Who::Expired
            | Who::Paused
            | Who::Forged => Unknown,
            Who::User | Who::Friend | Who::FriendsSession | Who::Another if self == Self::Operator => No,
            // In a pool without users there is nobody whom it could be about.
            Who::Another | Who::Local if self == Self::Oneself => Nothing,
            _ => In,
        }
    }
}

/// A row of either table.
struct Door {
    class: Class,
    method: Method,
    path: &'static str,
    about: String,
    when: Option<When>,
}

fn doors() -> Vec<Door> {
    let ours = PAGES.iter().map(|page: &Page| Door {
        class: Class::of(page.needs),
        method: page.method.clone(),
        path: page.path,
        about: page.about.to_owned(),
        when: None,
    });
    let registry = Registry::new(OauthClient::default());
    let table = Table::new(&registry);
    let mut routes: Vec<&'static Route> = table.iter().collect();
    routes.sort_by_key(|route| (route.provider.0, route.path, route.id));
    let theirs = routes.into_iter().map(|route| Door {
        class: if route.kind == Kind::OpenAnswer { Class::Probe } else { Class::Relay },
        method: route.method.clone(),
        path: route.path,
        about: route.id.to_owned(),
        when: Some(route.when),
    });
    ours.chain(theirs).collect()
}

/// The pools that are asked.
struct Worlds {
    open: Pool,
    people: Pool,
    operator: Secret,
    count: u32,
}

impl Worlds {
    async fn start() -> Self {
        let (people, operator) = Pool::with_people().await;
        Self { open: Pool::start(|_| {}).await, people, operator, count: 0 }
    }

    /// A new person for one cell.
    async fn fresh(&mut self, role: Role) -> (User, Secret) {
        self.count += 1;
        self.people.somebody(&format!("person {}", self.count), role).await
    }

    async fn knock(&mut self, door: &Door, who: Who) -> Vec<Got> {
        let open = matches!(who, Who::Local | Who::ForeignPage | Who::ForeignSocket | Who::ReboundHost);
        if open && !self.open.app.people.is_empty() {
            self.open = Pool::start(|_| {}).await;
        }
        let role = if matches!(who, Who::Friend | Who::FriendsSession) { Role::Friend } else { Role::User };
        let (owner, owners) = self.fresh(role).await;
        let mut got = Vec::new();
        for attempt in 0..if who == Who::Forged { FORGED } else { 1 } {
            let pool = if open { &self.open } else { &self.people };
            let ask = question(door, pool, &format!("{attempt} {}", owner.name), &owner.id.0, &owners).await;
            let ask = self.dressed(ask, (who, attempt), &owner, &owners).await;
            let pool = if open { &self.open } else { &self.people };
            got.push(pool.ask(ask).await);
        }
        got
    }

    /// The question as this caller asks it.
    async fn dressed(&mut self, ask: Ask, (who, attempt): (Who, usize), owner: &User, owners: &Secret) -> Ask {
        let evil = "http://evil.example";
        // Each from a network of its own: wrong credentials add up.
        let afar = format!("203.0.{}.{}:50000", self.count >> 8, self.count & 255);
        let changed = |change: fn(&mut User, &mut Credential)| (format!("gone {}", owner.id), change);
        let gone = match who {
            Who::Revoked => Some(changed(|_, key| key.revoked_at = Some(Pool::now()))),
            Who::Expired => Some(changed(|_, key| key.expires_at = Some(Pool::now()))),
            Who::Paused => Some(changed(|user, _| user.paused = true)),
            _ => None,
        };
        if let Some((name, change)) = gone {
            let (_, secret) = self.people.somebody_with(&name, Role::Operator, change).await;
            return ask.from(afar).bearer(secret.expose());
        }
        let key = std::fs::read_to_string(&self.people.key_file).expect("the key file").trim().to_owned();
        let operator = self.operator.expose().to_owned();
        match who {
            Who::Local | Who::LocalAmongUsers => ask,
            Who::Nobody => ask.from(&*afar),
            Who::OperatorToken => ask.from(&*afar).bearer(TOKEN),
            Who::OperatorKey => ask.from(&*afar).with("x-api-key", &operator),
            Who::MachineKey => ask.bearer(&key),
            Who::MachineKeyFromAfar => ask.from(&*afar).bearer(&key),
            Who::User | Who::Friend => ask.from(&*afar).bearer(owners.expose()),
            Who::Another => {
                let (_, secret) = self.fresh(Role::User).await;
                ask.from(&*afar).with("x-goog-api-key", secret.expose())
            }
            Who::Forged => {
                let forged: [&str; FORGED] =
                    [&format!("pool-{}", owner.id), "eyJhbGciOiJub25lIn0.eyJyb2xlIjoib3BlcmF0b3IifQ.", ""];
                ask.from(&*afar).bearer(forged[attempt])
            }
            Who::ForeignPage => ask.with("origin", evil),
            Who::ForeignPageWithKey => ask.with("sec-fetch-site", "cross-site").bearer(&operator),
            Who::ForeignSocket => ask
                .with("origin", evil)
                .with("connection", "upgrade")
                .with("upgrade", "websocket")
                .with("sec-websocket-version", "13"),
            Who::ReboundHost => ask.with("host", "evil.example:8989"),
            Who::ReboundHostWithKey => ask.with("host", "evil.example:8989").bearer(&operator),
            Who::Session | Who::SessionElsewhere | Who::SessionForeign => {
                let cookie = self.people.session(&format!(r#"{{"credential":"{operator}"}}"#)).await;
                let ask = ask.from(&*afar).with("cookie", &cookie);
                match who {
                    Who::SessionElsewhere => ask,
                    Who::SessionForeign => ask.with("x-pool-page", "1").with("origin", evil),
                    _ => ask.with("x-pool-page", "1"),
                }
            }
            Who::FriendsSession => {
                let cookie = self.people.session(&format!(r#"{{"credential":"{}"}}"#, owners.expose())).await;
                ask.from(&*afar).with("cookie", &cookie).with("x-pool-page", "1")
            }
            Who::Revoked | Who::Expired | Who::Paused => unreachable!("dressed above"),
        }
    }
}

/// A question that would succeed, if its caller may ask it.
async fn question(door: &Door, pool: &Pool, name: &str, user: &str, secret: &Secret) -> Ask {
    let mut path = String::new();
    for segment in door.path.split('/').skip(1) {
        path.push('/');
        let Some((before, rest)) = segment.split_once('{') else {
            path.push_str(segment);
            continue;
        };
        let (hole, after) = rest.split_once('}').expect("a hole has an end");
        let filled = match hole {
            "user" => user.to_owned(),
            "credential" => {
                let keys = pool.app.people.open(secret.expose());
                keys.map_or_else(|_| "none".to_owned(), |(_, key)| key.id.to_string())
            }
            "code" if door.path == "/join/{code}" => invitation(pool).await.1,
            "code" => pool.app.door.make_link(Pool::now()).expect("random").expose().to_owned(),
            "invitation" => invitation(pool).await.0,
            "request" => "last".to_owned(),
            _ => "x".to_owned(),
        };
        let _ = write!(path, "{before}{filled}{after}");
    }
    let body = match (&door.method, door.path) {
        (&Method::POST, "/api/people" | "/join/{code}") => format!(r#"{{"name":"new {name}"}}"#),
        (&Method::POST, "/admin/pool-users/create") => format!(r#"{{"email":"{name}@x.example"}}"#),
        (&Method::POST, "/api/session") => {
            let code = pool.app.door.make_link(Pool::now()).expect("random");
            format!(r#"{{"code":"{}"}}"#, code.expose())
        }
        (&Method::POST, "/sign-in") => format!(r#"{{"secret":"{TOKEN}"}}"#),
        (&Method::POST, "/me/sharing") => r#"{"share":"yes"}"#.to_owned(),
        (&Method::POST, path) if path.ends_with("/claim") => r#"{"friend_code":"x","name":"new"}"#.to_owned(),
        _ => "{}".to_owned(),
    };
    if door.path == "/api/explain" {
        path.push_str("?provider=gemini");
    }
    let mut ask = Ask { body, ..Ask::new(door.method.clone(), &path) };
    match door.when {
        Some(When::Dialect(Dialect::Codex)) => ask.path.push_str("?client_version=1"),
        Some(When::Dialect(Dialect::Anthropic)) => ask = ask.with("anthropic-version", "2023-06-01"),
        Some(When::Dialect(Dialect::Google)) => ask = ask.with("user-agent", "google-genai-sdk/1"),
        Some(When::Upgrade(true)) => ask = ask.with("connection", "upgrade").with("upgrade", "websocket"),
        Some(When::Always | When::Upgrade(false) | When::Dialect(Dialect::OpenAi)) | None => {}
    }
    ask
}

/// An open one: its id and its code. A pool without users has none: the first one ends that.
async fn invitation(pool: &Pool) -> (String, String) {
    if pool.app.people.is_empty() {
        return ("none".to_owned(), "none".to_owned());
    }
    let got = pool.ask(Ask::post("/api/invitations", "{}").bearer(TOKEN)).await;
    let made: crate::roster::NewInvitation = serde_json::from_str(&got.body).unwrap_or_else(|_| panic!("{got:?}"));
    (made.invitation.id, made.code)
}

/// What a page says that was reached, and looked for what is not there.
const REACHED: [&str; 8] = [
    "no account is called",
    "nobody is called",
    "there is no open invitation",
    "there is no request yet",
    "there is no set-up for that",
    "this code is unknown",
    "this pool has no friend code",
    "has no credential",
];

fn fate(door: &Door, got: &Got) -> Fate {
    let said = got.body.to_lowercase();
    let relayed = matches!(door.class, Class::Relay | Class::Probe);
    match got.status.as_u16() {
        // A renewal is judged by the token in its body, and was.
        401 if got.body.contains("refresh_token_expired") => Fate::In,
        // A sign-in was tried.
        401 if door.class == Class::Visitor && said.contains("that is not right") => Fate::In,
        401 => Fate::Who,
        // The pool has no accounts, and some dialects say so with this status.
        403 if relayed && !got.body.contains("other web pages") => Fate::In,
        403 => Fate::No,
        421 => Fate::Name,
        404 if REACHED.iter().any(|words| said.contains(words)) => Fate::In,
        404 if !relayed => Fate::Nothing,
        200..=399 => Fate::In,
        _ if relayed => Fate::In,
        status => panic!("{} {}: {status} {}", door.method, door.path, got.body),
    }
}

#[tokio::test]
async fn everybody_gets_what_the_table_says_and_nothing_else() {
    let mut worlds = Worlds::start().await;
    let (mut surprises, mut cells, mut page) = (Vec::new(), 0, opening());
    for door in doors() {
        let changes = door.method != Method::GET;
        let mut line = format!("| {} | `{}` | {} | {} |", door.method, door.path, door.about, door.class.words());
        for (who, ..) in CALLERS {
            // Upgrade requests are another row's.
            if *who == Who::ForeignSocket && door.when == Some(When::Upgrade(false)) {
                line.push_str(" |");
                continue;
            }
            let expected = door.class.expected(*who, changes);
            for got in worlds.knock(&door, *who).await {
                cells += 1;
                let came = fate(&door, &got);
                if door.when.is_none() && door.path.starts_with("/api/") {
                    surprises.extend(described_answer(&door.method, door.path, &got).err());
                }
                if came != expected {
                    let (method, path) = (&door.method, door.path);
                    surprises.push(format!(
                        "{method} {path} as {who:?}: {came:?}, not {expected:?}: {} {}",
                        got.status, got.body
                    ));
                }
            }
            let _ = write!(line, " {} |", mark(expected));
        }
        page.push_str(&line);
        page.push('\n');
    }
    assert!(
        surprises.is_empty(),
        "{} surprises of {cells}:\n{}",
        surprises.len(),
        surprises[..surprises.len().min(40)].join("\n")
    );
    let _ = write!(page, "\n{cells} questions asked, 0 surprises.\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ACCESS.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).expect("writes");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == page, "docs/ACCESS.md is not what the tables say: UPDATE=1 cargo test -p pool-server access");
}

fn mark(fate: Fate) -> &'static str {
    match fate {
        Fate::In => "**in**",
        Fate::Who => "401",
        Fate::No => "403",
        Fate::Nothing => "404",
        Fate::Name => "421",
    }
}

fn opening() -> String {
    let mut text = String::from(
        "# Who may ask what\n\n\
         Made by a test from the two tables that route every request (`UPDATE=1 cargo test -p pool-server access`): our own pages\n\
         (`crates/pool-server/src/pages/mod.rs`) and the providers' rows. Each cell was asked of a running pool. What no row names is\n\
         nobody's: 401 without a credential, 404 with one.\n\n\
         **in**: reached. 401: by whose leave? 403: not by theirs. 404: nothing there for them. 421: not by this name.\n\n",
    );
    for (_, mark, words) in CALLERS {
        let _ = writeln!(text, "- **{mark}**: {words}");
    }
    text.push_str("\n| | path | what | needs |");
    for (_, mark, _) in CALLERS {
        let _ = write!(text, " {mark} |");
    }
    let _ = writeln!(text, "\n|---|---|---|---|{}", "---|".repeat(CALLERS.len()));
    text
}
