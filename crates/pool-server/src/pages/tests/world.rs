//! A pool to knock at: asked over a connection in memory, so that a visitor can come from anywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pool_core::account::Settings;
use pool_core::people::{Change, Credential, Role, User};
use pool_core::pool::Event;
use pool_core::{Account, AccountId, AccountKind, Credentials, ProviderId, Secret, Span};
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::request::Bases;
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

use crate::app::App;
use crate::people::{issue, new_user};
use crate::{Config, Server, clock, dispatch};

pub const TOKEN: &str = "made-up-operator-token-of-32-chars";
pub const PASSWORD: &str = "made-up-password";
pub const LOCAL: &str = "127.0.0.1:50000";
pub const AFAR: &str = "203.0.113.7:50000";

pub struct Pool {
    pub app: Arc<App>,
    pub key_file: std::path::PathBuf,
    _server: Server,
    _folder: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

/// A stream of events.
pub struct Listening {
    body: Incoming,
    text: String,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// One event.
#[derive(Debug)]
pub struct Heard {
    pub id: String,
    pub name: String,
    pub data: String,
}

impl Listening {
    /// The next event that is more than a sign of life; `None`: the stream has ended.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            while let Some((one, rest)) =
                self.text.split_once("\n\n").map(|(one, rest)| (one.to_owned(), rest.to_owned()))
            {
                self.text = rest;
                let field = |name: &str| one.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(name) = field("event: ") {
                    return Some(Heard { id: field("id: ")?, name, data: field("data: ")? });
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.expect("in time")?;
            let data = frame.ok()?.into_data().expect("no trailers");
            self.text.push_str(std::str::from_utf8(&data).expect("text"));
        }
    }
}

/// One question.
#[derive(Clone, Debug)]
pub struct Ask {
    pub peer: String,
    pub method: Method,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Ask {
    pub fn new(method: Method, path: &str) -> Self {
        let headers =
            vec![("host".into(), "127.0.0.1:8989".into()), ("content-type".into(), "application/json".into())];
        Self { peer: LOCAL.into(), method, path: path.into(), headers, body: "{}".into() }
    }

    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn post(path: &str, body: &str) -> Self {
        Self { body: body.into(), ..Self::new(Method::POST, path) }
    }

    pub fn from(self, peer: impl Into<String>) -> Self {
        Self { peer: peer.into(), ..self }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }
}

impl Pool {
    /// Without accounts; nothing upstream answers.
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let nowhere = || "http://127.0.0.1:9".to_owned();
        let bases = Bases {
            responses: nowhere(),
            wham: nowhere(),
            refresh: nowhere(),
            openai: nowhere(),
            claude: nowhere(),
            claude_refresh: nowhere(),
            gemini: nowhere(),
            gemini_api: nowhere(),
            google_token: nowhere(),
        };
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            pool_dir: folder.path().join("pool"),
            db_path: folder.path().join("data/proxy.db"),
            bases,
            ..Config::default()
        };
        change(&mut config);
        let key_file = crate::door::key_file(&config.db_path);
        let server = Server::start(config, Registry::new(OauthClient::default())).await.expect("starts");
        Self { app: server.app().clone(), key_file, _server: server, _folder: folder }
    }

    /// With an operator among its people.
    pub async fn with_people() -> (Self, Secret) {
        let pool = Self::start(|config| {
            config.operator_token = Some(Secret::new(TOKEN));
            config.admin_password = Some(Secret::new(PASSWORD));
        })
        .await;
        let (_, secret) = pool.somebody("the operator", Role::Operator).await;
        (pool, secret)
    }

    /// Somebody new, with a credential.
    pub async fn somebody(&self, name: &str, role: Role) -> (User, Secret) {
        self.somebody_with(name, role, |_, _| {}).await
    }

    pub async fn somebody_with(
        &self,
        name: &str,
        role: Role,
        change: impl FnOnce(&mut User, &mut Credential),
    ) -> (User, Secret) {
        let mut user = new_user(name, role).expect("random");
        let mut issued = issue(&user.id, "laptop", Some(Span::from_hours(1))).expect("random");
        change(&mut user, &mut issued.credential);
        let changes = vec![Change::User(user.clone()), Change::Credential(issued.credential)];
        self.app.people.change(changes).await.expect("written");
        (user, issued.secret)
    }

    /// A new account with an API key.
    pub fn account(&self, id: &str, name: &str) -> Account {
        let account = Account {
            id: AccountId(id.into()),
            provider: ProviderId("claude"),
            kind: AccountKind::ApiKey,
            name: name.into(),
            file: format!("claude/{name}.json"),
            plan: None,
            email: Some("m…@example.com".into()),
            settings: Settings::default(),
        };
        let credentials = Box::new(Credentials::lasting(Secret::new("made-up")));
        self.app.pool.apply(Event::Seen { account: Box::new(account.clone()), credentials });
        account
    }

    /// Somebody's session, as a cookie header's value.
    pub async fn session(&self, body: &str) -> String {
        let got = self.ask(Ask::post("/api/session", body)).await;
        let cookie = got.headers.get("set-cookie").unwrap_or_else(|| panic!("no session: {got:?}"));
        cookie.to_str().expect("text").split(';').next().unwrap_or_default().to_owned()
    }

    pub async fn ask(&self, ask: Ask) -> Got {
        let (answer, _tasks) = self.send(ask).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = answer.into_body();
        let endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if endless {
            body.frame().await.and_then(|frame| frame.ok()?.into_data().ok()).unwrap_or_default()
        } else {
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
        };
        Got { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// Asks for events.
    pub async fn listen(&self, ask: Ask) -> Listening {
        let (answer, tasks) = self.send(ask).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Listening { body: answer.into_body(), text: String::new(), _tasks: tasks }
    }

    async fn send(&self, ask: Ask) -> (Response<Incoming>, [AbortOnDropHandle<()>; 2]) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let peer: SocketAddr = ask.peer.parse().expect("an address");
        let app = self.app.clone();
        let service = service_fn(move |request| {
            let app = app.clone();
            async move { Ok::<_, std::convert::Infallible>(dispatch::handle(app, peer, request).await) }
        });
        let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(ours), service);
        let server = tokio::spawn(async move { drop(server.with_upgrades().await) });
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(theirs)).await.expect("memory");
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(ask.method.clone()).uri(&ask.path);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(ask.body.clone()))).expect("a request");
        let answer = client.send_request(request).await.unwrap_or_else(|error| panic!("{ask:?}: {error}"));
        (answer, [AbortOnDropHandle::new(server), AbortOnDropHandle::new(connection)])
    }

    pub fn now() -> pool_core::UnixMs {
        clock::now()
    }
}
