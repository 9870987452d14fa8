//! A small provider of our own, so that these tests hang on no real one's formats, and its server, strict as a real one: a
//! refresh token serves once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use pool_core::pool::Slot;
use pool_core::quota::QuotaWindow;
use pool_core::standing::Standing;
use pool_core::{
    Account, AccountId, AccountKind, Client, Credentials, Demand, Fraction, Judgement, ProviderId, Scope, Secret,
    Settings, Source, Span, TokenCounts, UnixMs,
};
use pool_providers::provider::{FileContent, FileFault, Login, Probed, Refreshed};
use pool_providers::reply::{Failure, Reader, Reply};
use pool_providers::request::{Bases, Body, Call, Head, Outbound, Serving};
use pool_providers::routes::Route;
use pool_providers::{Provider, Registry};
use pool_server::config::Config;
use pool_server::pool::{Keeper, LivePool, StartError, Topic, Writer, files};
use pool_server::upstream::Upstream;
use serde_json::{Value, json};

/// Files are `{"user", "access", "refresh", "expires_at", "project"}` and whatever else.
pub(crate) struct Fake(pub(crate) &'static str);

pub(crate) fn registry() -> Registry {
    Registry::of(vec![Box::new(Fake("apple")), Box::new(Fake("pear"))])
}

fn fault(what: &str) -> FileFault {
    FileFault { what: what.into(), mend: "write it again".into() }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

fn call(method: Method, url: String, bearer: &Secret, body: String) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", bearer.expose()).parse().unwrap());
    Call { method, url, headers, body: Bytes::from(body) }
}

impl Provider for Fake {
    fn id(&self) -> ProviderId {
        ProviderId(self.0)
    }
    fn title(&self) -> &'static str {
        self.0
    }
    fn routes(&self) -> &'static [Route] {
        &[]
    }
    fn login(&self) -> Login {
        Login { program: "fruit", args: &["login"], home_env: "FRUIT_HOME", writes: "auth.json" }
    }

    fn read_file(&self, _file: &str, bytes: &[u8]) -> Result<FileContent, FileFault> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| fault("not JSON"))?;
        let access = text(&value, "access").ok_or_else(|| fault("no access token"))?;
        let refresh = text(&value, "refresh");
        Ok(FileContent {
            kind: if refresh.is_some() { AccountKind::Subscription } else { AccountKind::ApiKey },
            identity: text(&value, "user").map(|user| (user, String::new())),
            plan: None,
            email: None,
            settings: Settings { disabled: value["disabled"] == true, ..Settings::default() },
            credentials: Credentials {
                access: Secret::new(access),
                refresh: refresh.map(Secret::new),
                expires_at: value["expires_at"].as_i64().map(UnixMs),
                refreshed_at: None,
                bound: text(&value, "project").map(|project| ("project", project)).into_iter().collect(),
            },
            warning: text(&value, "warning"),
        })
    }

    fn write_back(&self, bytes: &[u8], new: &Credentials, _now: UnixMs) -> Result<Vec<u8>, FileFault> {
        let mut value: Value = serde_json::from_slice(bytes).map_err(|_| fault("not JSON"))?;
        value["access"] = new.access.expose().into();
        value["refresh"] = new.refresh.as_ref().map(Secret::expose).into();
        value["expires_at"] = new.expires_at.map(|end| end.0).into();
        Ok(value.to_string().into_bytes())
    }

    fn api_key_file(&self, key: &Secret) -> Result<Vec<u8>, FileFault> {
        Ok(json!({ "access": key.expose() }).to_string().into_bytes())
    }

    fn refresh_call(&self, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        let refresh = credentials.refresh.as_ref()?;
        Some(call(Method::POST, format!("{}/token", bases.refresh), refresh, String::new()))
    }

    fn read_refresh(
        &self,
        old: &Credentials,
        status: StatusCode,
        _headers: &HeaderMap,
        body: &[u8],
        _now: UnixMs,
    ) -> Refreshed {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        match (status, text(&value, "access")) {
            (StatusCode::OK, Some(access)) => Refreshed::Renewed(Credentials {
                access: Secret::new(access),
                refresh: text(&value, "refresh").map(Secret::new).or_else(|| old.refresh.clone()),
                expires_at: value["expires_at"].as_i64().map(UnixMs),
                ..old.clone()
            }),
            (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, _) => {
                Refreshed::Dead { why: "the refresh token was used before".into() }
            }
            (status, _) => Refreshed::Later { why: format!("the token endpoint says {status}") },
        }
    }

    fn probe_call(&self, _account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call> {
        Some(call(Method::GET, format!("{}/probe", bases.wham), &credentials.access, String::new()))
    }

    fn read_probe(
        &self,
        _account: &Account,
        status: StatusCode,
        _headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Probed {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let judgement = match status {
            StatusCode::OK => None,
            StatusCode::UNAUTHORIZED => Some(Judgement::refresh("401")),
            StatusCode::PAYMENT_REQUIRED => {
                Some(Judgement::elsewhere(pool_core::verdict::Fault::Account, "402").parked("pay"))
            }
            status => Some(Judgement::elsewhere(pool_core::verdict::Fault::Provider, status.as_str().to_owned())),
        };
        Probed {
            windows: value["used"]
                .as_f64()
                .and_then(Fraction::new)
                .map(|used| QuotaWindow {
                    name: "5h".into(),
                    scope: Scope::Account,
                    used,
                    resets_at: None,
                    span: None,
                    source: Source::Probe,
                    seen_at: now,
                })
                .into_iter()
                .collect(),
            plan: text(&value, "plan"),
            bound: text(&value, "project").map(|project| ("project", project)).into_iter().collect(),
            judgement,
        }
    }

    fn needs_probe(&self, _account: &Account, _credentials: &Credentials) -> bool {
        false
    }

    // These tests relay no requests.

    fn client(&self, _head: &Head<'_>) -> Client {
        unreachable!()
    }
    fn demand(&self, _route: &Route, _head: &Head<'_>, _body: &Body) -> Demand {
        unreachable!()
    }
    fn outbound(
        &self,
        _route: &Route,
        _head: &Head<'_>,
        _body: &Body,
        _account: &Serving<'_>,
    ) -> Result<Outbound, Failure> {
        unreachable!()
    }
    fn header_windows(&self, _: &Account, _: &Demand, _: &HeaderMap, _: UnixMs) -> Vec<QuotaWindow> {
        unreachable!()
    }
    fn judge(&self, _: &Account, _: &Demand, _: StatusCode, _: &HeaderMap, _: &[u8], _: UnixMs) -> Judgement {
        unreachable!()
    }
    fn reader(&self, _route: &Route, _demand: &Demand, _stream: bool, _now: UnixMs) -> Box<dyn Reader> {
        unreachable!()
    }
    fn cache_life(&self, _demand: &Demand, _tokens: &TokenCounts) -> Span {
        Span::ZERO
    }

    fn speak_of_pool(&self, _headers: &mut HeaderMap, _served: &Account, _standing: &Standing, _now: UnixMs) {
        unreachable!()
    }
    fn failure(&self, _: Option<&Route>, _: &Head<'_>, _: &Failure, _: UnixMs) -> Reply {
        unreachable!()
    }
    fn failure_event(&self, _route: &Route, _failure: &Failure, _now: UnixMs) -> Option<Bytes> {
        unreachable!()
    }
    fn answer(&self, _: &Route, _: &Head<'_>, _: &[u8], _: &Standing, _: UnixMs) -> Reply {
        unreachable!()
    }
}

pub(crate) fn now_ms() -> i64 {
    pool_server::clock::now().0
}

pub(crate) const HOUR: i64 = 3_600_000;

/// A file of user `user` with tokens of generation `generation`, ending `ends_in` milliseconds from now.
pub(crate) fn login(user: &str, generation: u32, ends_in: i64) -> Value {
    json!({
        "note": "kept",
        "user": user,
        "access": format!("{user}-a{generation}"),
        "refresh": format!("{user}-r{generation}"),
        "expires_at": now_ms() + ends_in,
    })
}

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Good,
    /// This status, to everything.
    Status(u16),
    /// Does what it is asked and breaks the connection before the answer.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) mood: Mood,
    pub(crate) delay: Duration,
    /// Milliseconds from now that new tokens last.
    pub(crate) ttl: i64,
    /// Newest generation of each user.
    pub(crate) generation: HashMap<String, u32>,
    pub(crate) refreshes: u32,
    pub(crate) reused: u32,
    /// Answers every probe, while refreshes go well.
    pub(crate) probe_status: Option<u16>,
    pub(crate) probes: Vec<String>,
    pub(crate) probing: u32,
    pub(crate) most_probing: u32,
}

/// The provider's server on loopback.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) books: Arc<Mutex<Books>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let books = Arc::new(Mutex::new(Books {
            mood: Mood::Good,
            delay: Duration::ZERO,
            ttl: HOUR,
            generation: HashMap::new(),
            refreshes: 0,
            reused: 0,
            probe_status: None,
            probes: Vec::new(),
            probing: 0,
            most_probing: 0,
        }));
        let server = Self { base, books };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                let service = service_fn(move |request| serving.clone().answer(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let bearer = request.headers()["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
        let (user, token) = bearer.rsplit_once('-').unwrap();
        let (status, body) =
            if request.uri().path() == "/token" { self.refresh(user, token) } else { self.probe(user, token) };
        let (delay, mood) = {
            let books = self.books.lock();
            (books.delay, books.mood)
        };
        tokio::time::sleep(delay).await;
        self.books.lock().probing -= u32::from(request.uri().path() != "/token");
        match mood {
            Mood::Lost => Err(std::io::Error::other("cut")),
            _ => Ok(Response::builder().status(status).body(Full::from(body.to_string())).unwrap()),
        }
    }

    fn refresh(&self, user: &str, token: &str) -> (u16, Value) {
        let mut books = self.books.lock();
        books.refreshes += 1;
        if let Mood::Status(status) = books.mood {
            return (status, json!({}));
        }
        let ends = now_ms() + books.ttl;
        let generation = books.generation.entry(user.to_owned()).or_default();
        if token != format!("r{generation}") {
            books.reused += 1;
            return (400, json!({ "error": "reused" }));
        }
        *generation += 1;
        let (access, refresh) = (format!("{user}-a{generation}"), format!("{user}-r{generation}"));
        (200, json!({ "access": access, "refresh": refresh, "expires_at": ends }))
    }

    fn probe(&self, user: &str, token: &str) -> (u16, Value) {
        let mut books = self.books.lock();
        books.probes.push(user.to_owned());
        books.probing += 1;
        books.most_probing = books.most_probing.max(books.probing);
        let generation = books.generation.get(user).copied().unwrap_or(0);
        match books.mood {
            _ if books.probe_status.is_some() => (books.probe_status.unwrap_or_default(), json!({})),
            Mood::Status(status) => (status, json!({ "used": 1.0 })),
            _ if token != format!("a{generation}") => (401, json!({})),
            _ => (200, json!({ "used": 0.25, "plan": "gold", "project": format!("{user}'s") })),
        }
    }
}

/// A pool with its keeper.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) live: Arc<LivePool>,
    pub(crate) keeper: Keeper,
    pub(crate) server: Server,
}

pub(crate) struct Plan {
    pub(crate) server: Server,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) write: Writer,
}

impl Plan {
    pub(crate) async fn new(files: &[(&str, Value)]) -> Self {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { pool_dir: dir.path().to_owned(), ..Config::default() };
        config.bases.refresh.clone_from(&server.base);
        config.bases.wham.clone_from(&server.base);
        let plan = Self { server, dir, config, write: Box::new(files::write_secret) };
        for (file, content) in files {
            plan.put(file, content);
        }
        plan
    }

    pub(crate) fn put(&self, file: &str, content: &Value) {
        put(self.dir.path(), file, content.to_string().as_bytes());
        if let (Some(user), Some(refresh)) = (text(content, "user"), text(content, "refresh")) {
            let generation = refresh.rsplit_once("-r").unwrap().1.parse().unwrap();
            self.server.books.lock().generation.insert(user, generation);
        }
    }

    pub(crate) fn start(self) -> Rig {
        self.try_start().unwrap()
    }

    pub(crate) fn try_start(self) -> Result<Rig, StartError> {
        let live = Arc::new(LivePool::default());
        let upstream = Arc::new(Upstream::new(&self.config));
        let keeper = Keeper::start_with(&self.config, Arc::new(registry()), live.clone(), upstream, self.write)?;
        Ok(Rig { dir: self.dir, live, keeper, server: self.server })
    }
}

/// As a careful program writes: beside it, then renamed.
pub(crate) fn put(dir: &Path, file: &str, bytes: &[u8]) {
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    files::write_secret(&path, bytes).unwrap();
}

impl Rig {
    pub(crate) async fn start(files: &[(&str, Value)]) -> Self {
        Plan::new(files).await.start()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn put(&self, file: &str, content: &Value) {
        put(self.dir.path(), file, content.to_string().as_bytes());
    }

    pub(crate) fn read(&self, file: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(file)).unwrap()).unwrap()
    }

    /// The account that a file is, or was.
    pub(crate) fn slot(&self, file: &str) -> Option<Slot> {
        self.live.read(|pool, _| pool.slots().find(|slot| slot.account.file == file).cloned())
    }

    pub(crate) fn id(&self, file: &str) -> AccountId {
        self.slot(file).unwrap().account.id.clone()
    }

    pub(crate) fn access(&self, file: &str) -> String {
        self.slot(file).map(|slot| slot.credentials.access.expose().to_owned()).unwrap_or_default()
    }

    pub(crate) fn faults(&self, topic: Topic) -> Vec<(String, String)> {
        let faults = self.keeper.faults.list();
        faults.into_iter().filter(|fault| fault.topic == topic).map(|fault| (fault.file, fault.what)).collect()
    }

    pub(crate) fn refreshes(&self) -> (u32, u32) {
        let books = self.server.books.lock();
        (books.refreshes, books.reused)
    }

    pub(crate) fn archived(&self) -> Vec<String> {
        let folder = self.path(".archive");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    }
}

/// Waits until it is so, `limit` at most.
pub(crate) async fn within(limit: Duration, what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
