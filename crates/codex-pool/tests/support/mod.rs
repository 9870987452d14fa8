//! The program itself, as an operator runs it, in front of a [`FakeUpstream`] in the test's process.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use pool_testkit::{FakeUpstream, TestPool, World};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_codex-pool");

/// As systemd hands its socket over: descriptor 3, and two variables. It comes here as standard input.
const HAND_OVER: &str = r#"exec 3<&0 </dev/null; export LISTEN_FDS="${FDS:-1}" LISTEN_PID=$$; exec "$0" "$@""#;

/// What outlives the program.
pub struct Rig {
    pub fake: FakeUpstream,
    pub folder: TestPool,
    pub settings: Vec<(&'static str, String)>,
}

/// The program, running or ended.
pub struct Pool {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Rig {
    pub async fn new(world: World) -> Self {
        let fake = FakeUpstream::start(world).await.expect("the fake starts");
        let folder = TestPool::of(&fake).expect("a temporary pool");
        Self { fake, folder, settings: Vec::new() }
    }

    pub fn set(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.push((variable, value.to_owned()));
        self
    }

    /// On a port of its own.
    pub fn start(&self) -> Pool {
        let mut program = Command::new(PROGRAM);
        program.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        self.launch(program)
    }

    /// With a listener that somebody else keeps.
    pub fn start_on(&self, listener: &TcpListener) -> Pool {
        let listener = OwnedFd::from(listener.try_clone().expect("a descriptor"));
        let mut program = Command::new("/bin/sh");
        program.args(["-c", HAND_OVER, PROGRAM]).stdin(listener);
        self.launch(program)
    }

    fn launch(&self, mut program: Command) -> Pool {
        program.env_clear().envs(self.fake.settings()).env("POOL_LOG_FORMAT", "text");
        program.envs(self.settings.iter().map(|(name, value)| (name, value)));
        program.arg("--pool-dir").arg(self.folder.pool()).arg("--db-path").arg(self.ledger());
        program.current_dir(self.folder.root()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = program.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                *kept.lock().expect("not poisoned") += &(line + "\n");
            }
        });
        Pool { child, log }
    }

    pub fn ledger(&self) -> std::path::PathBuf {
        Path::new(self.folder.root()).join("proxy.db")
    }
}

impl Pool {
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// Waits until it listens, and tells where.
    pub async fn listens(&self) -> SocketAddr {
        const BEFORE: &str = "listens on http://";
        self.says(BEFORE).await;
        let log = self.log();
        let address = &log[log.find(BEFORE).expect("said") + BEFORE.len()..];
        let address = address.split([' ', ',']).next().unwrap_or_default();
        address.parse().expect("an address")
    }

    /// Waits until the log has these words.
    pub async fn says(&self, words: &str) {
        let waits = Instant::now();
        while !self.log().contains(words) {
            assert!(waits.elapsed() < Duration::from_secs(30), "never said {words:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        kill_process(Pid::from_raw(id.cast_signed()).expect("a process"), signal).expect("it can be told");
    }

    /// Waits for its end and tells its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(Duration::from_mins(1), self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log())).expect("waited for").code()
    }
}

pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waits = Instant::now();
    while !is() {
        assert!(waits.elapsed() < Duration::from_secs(30), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A client's request for [`Connection`].
pub fn plain(request: pool_testkit::request::Request) -> Request<Full<Bytes>> {
    let mut plain = Request::builder().method(request.method).uri(request.path).header("host", "localhost");
    for (name, value) in request.headers {
        plain = plain.header(name, value);
    }
    plain.body(Full::from(request.body)).expect("a request")
}

/// One connection that can carry several requests, as a client's connection pool keeps it.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn open(addr: SocketAddr) -> Result<Self, String> {
        let stream = tokio::net::TcpStream::connect(addr).await.map_err(|error| format!("connect: {error}"))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Has the server not closed it? Asked before each use, as every client's pool does.
    pub async fn is_open(&mut self) -> bool {
        self.0.ready().await.is_ok()
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn begin(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        self.0.send_request(request).await.map_err(|error| format!("{error:?}"))
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        let answer = self.begin(request).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
        Ok((head.status, head.headers, body.to_bytes()))
    }

    pub async fn get(&mut self, path: &str) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        let request = Request::get(path).header("host", "localhost").body(Full::default());
        self.send(request.map_err(|error| error.to_string())?).await
    }
}
