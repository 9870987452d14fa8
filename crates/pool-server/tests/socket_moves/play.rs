//! A conversation as Codex CLI leads it, through the pool, with everything that is said between the three of them written down.

use std::fmt::Write as _;
use std::path::PathBuf;

use pool_testkit::request::Request;
use pool_testkit::socket_client::{Came, SocketClient, create, response_id};
use serde_json::{Value, json};

use crate::support::Rig;

const CONVERSATION: &str = "c1";

/// Pieces of an item: counted, not told.
const PIECES: [&str; 3] = ["response.output_item.added", "response.content_part", "response.output_text"];

/// See the module's page.
pub struct Play {
    pub rig: Rig,
    socket: Option<SocketClient>,
    /// It was told to use HTTP.
    http: bool,
    /// What the user has said, and the last answer on this socket.
    said: Vec<&'static str>,
    previous: Option<String>,
    lines: String,
    /// Ids in the order in which they came up: `r1`, `r2`, …
    ids: Vec<String>,
    /// Pieces since the last line.
    pieces: usize,
}

impl Play {
    pub fn new(rig: Rig) -> Self {
        rig.fake.keep_frames();
        let lines = String::new();
        Self { rig, socket: None, http: false, said: Vec::new(), previous: None, lines, ids: Vec::new(), pieces: 0 }
    }

    /// Something happens off stage.
    pub fn note(&mut self, what: &str) {
        let _ = writeln!(self.lines, "\n# {what}");
    }

    /// The user says something, and is answered. What Codex does not show may happen on the way: it connects anew, or goes
    /// over to HTTP, and sends everything again.
    pub async fn says(&mut self, says: &'static str) {
        self.note(&format!("the user: {says}"));
        self.said.push(says);
        for _ in 0..4 {
            if self.http {
                return self.post().await;
            }
            if self.socket.is_none() {
                self.connect().await;
                continue;
            }
            let mut message = create(CONVERSATION, self.previous.as_deref(), says);
            if self.previous.is_none() {
                message["input"] = input(&self.said);
            }
            self.line("client", "pool", &message);
            let came = match &mut self.socket {
                Some(socket) => socket.turn(message).await,
                None => return,
            };
            let sent = self.upstream();
            self.came(&came);
            self.previous = response_id(&came);
            if self.previous.is_some() {
                let came: Vec<&Value> = came.iter().filter_map(answer).collect();
                assert!(sent.iter().collect::<Vec<_>>().ends_with(&came), "not as upstream said it:\n{}", self.lines);
                return;
            }
            self.hidden(&came);
            self.socket = None;
        }
        panic!("no answer:\n{}", self.lines);
    }

    /// The pool, or upstream through it, ends the socket while nothing is asked.
    pub async fn is_closed(&mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        let came = socket.next().await;
        assert!(matches!(came, Came::Closed(Some(1001))), "{came:?}");
        self.upstream();
        self.came(&[came]);
        self.previous = None;
    }

    /// The client connects, with nothing to say yet.
    pub async fn connects(&mut self) {
        self.note("the client connects");
        self.connect().await;
    }

    async fn connect(&mut self) {
        self.line("client", "pool", &"upgrade".into());
        let answer = SocketClient::codex(self.rig.addr, CONVERSATION).await;
        self.upstream();
        let status = match answer {
            Ok(socket) => {
                self.socket = Some(socket);
                101
            }
            Err(refused) => refused.status,
        };
        assert!(status == 101 || status == 426, "{status} is seen by the user:\n{}", self.lines);
        self.line("pool", "client", &status.to_string().into());
        self.http = status == 426;
    }

    async fn post(&mut self) {
        let mut request = Request::codex(CONVERSATION);
        let mut body: Value = serde_json::from_slice(&request.body).expect("JSON");
        body["input"] = input(&self.said);
        request.body = body.to_string().into_bytes();
        self.line("client", "pool", &format!("POST {}", self.said.join(", ")).into());
        let seen = self.rig.send(&request).await;
        let books = self.rig.fake.books();
        let account = books.inference().last().and_then(|one| one.account.clone()).expect("served");
        self.line("pool", &account, &"POST".into());
        self.line("pool", "client", &seen.status.unwrap_or(0).to_string().into());
        assert!(seen.text().contains("response.completed"), "{}", self.lines);
    }

    /// Nothing that came may be more than what Codex keeps to itself: an order to start over, or the end of the connection.
    fn hidden(&self, came: &[Came]) {
        let meaningful =
            came.iter().any(|one| matches!(one, Came::Event(event) if event["type"] == "response.output_item.added"));
        let quiet = match came.last() {
            Some(Came::Event(event)) => event["error"]["code"] == "previous_response_not_found",
            Some(Came::Closed(_)) => true,
            _ => false,
        };
        assert!(quiet && !meaningful, "the user sees this:\n{}", self.lines);
    }

    /// What was said upstream meanwhile. Returns the parts of answers.
    fn upstream(&mut self) -> Vec<Value> {
        let frames = self.rig.fake.take_frames();
        for frame in &frames {
            let (from, to) = if frame.from_pool { ("pool", &*frame.account) } else { (&*frame.account, "pool") };
            self.line(from, to, &frame.what);
        }
        frames.into_iter().filter_map(|frame| answer(&Came::Event(frame.what)).cloned()).collect()
    }

    fn came(&mut self, came: &[Came]) {
        for one in came {
            let what = match one {
                Came::Event(event) => event.clone(),
                Came::Closed(code) => format!("close {}", code.unwrap_or(0)).into(),
                other => panic!("{other:?}:\n{}", self.lines),
            };
            self.line("pool", "client", &what);
        }
    }

    fn line(&mut self, from: &str, to: &str, what: &Value) {
        if what["type"].as_str().is_some_and(|kind| PIECES.iter().any(|piece| kind.starts_with(piece))) {
            self.pieces += 1;
            return;
        }
        let told = what.as_str().map_or_else(|| self.message(what), str::to_owned);
        let pieces = match std::mem::take(&mut self.pieces) {
            0 => String::new(),
            pieces => format!(" (+{pieces} pieces)"),
        };
        let _ = writeln!(self.lines, "{from:>6} > {to:<6}  {told}{pieces}");
    }

    /// What matters of a message, in a line.
    fn message(&mut self, message: &Value) -> String {
        let mut line = message["type"].as_str().unwrap_or("?").to_owned();
        let mut add = |name: &str, value: &Value| {
            if let Some(text) = value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|n| n.to_string())) {
                let _ = write!(line, " {name}{text}");
            }
        };
        let texts = message["input"].as_array().into_iter().flatten();
        texts.for_each(|item| add("+ ", &item["content"][0]["text"]));
        add("", &message["status"]);
        add("", &message["error"]["type"]);
        add("", &message["error"]["code"]);
        add("", &message["response"]["error"]["code"]);
        add("", &message["item"]["type"]);
        add("tokens ", &message["response"]["usage"]["total_tokens"]);
        if let Some(used) = message["rate_limits"]["primary"]["used_percent"].as_f64() {
            let _ = write!(line, " {used:.0} % used");
        }
        for (name, id) in [("", &message["response"]["id"]), ("after ", &message["previous_response_id"])] {
            if let Some(id) = id.as_str() {
                let _ = write!(line, " {name}{}", self.known(id));
            }
        }
        line
    }

    fn known(&mut self, id: &str) -> String {
        let at = self.ids.iter().position(|known| known == id).unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        });
        format!("r{}", at + 1)
    }

    /// Compares what was said with what is on record; `UPDATE=1` records it anew.
    pub fn compare(self, name: &str, about: &str) {
        assert_eq!(self.rig.fake.books().violations, [], "{name}");
        let told = format!("{about}\n{}", folded(&self.lines));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/socket_moves/transcripts")
            .join(name)
            .with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &told).expect("written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == told, "{name} is not as recorded (UPDATE=1 records it anew):\n{told}");
    }
}

/// A part of an answer. Limits are not: they come from upstream for the account and to the client for the pool.
fn answer(came: &Came) -> Option<&Value> {
    match came {
        Came::Event(event) if event["type"] != "codex.rate_limits" => Some(event),
        _ => None,
    }
}

fn input(said: &[&str]) -> Value {
    let item =
        |text: &&str| json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] });
    said.iter().map(item).collect()
}

/// Lines that repeat are told once.
fn folded(lines: &str) -> String {
    let mut out: Vec<(&str, usize)> = Vec::new();
    for line in lines.lines() {
        match out.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => out.push((line, 1)),
        }
    }
    let told =
        out.iter().map(|(line, times)| if *times > 1 { format!("{line} (x{times})\n") } else { format!("{line}\n") });
    told.collect()
}
