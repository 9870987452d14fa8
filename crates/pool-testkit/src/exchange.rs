//! One request from its arrival to the last byte of its answer: read, logged, routed, answered, spoilt if so planned.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::answer::{Answer, Body, Credit};
use crate::books::{Ended, Logged, TokenCounts, Violation, payload_sha256};
use crate::deliver::{self, Delivery};
use crate::faults::Fault;
use crate::state::{State, Target};
use crate::tokens::hex;
use crate::{anthropic, auth, chatgpt, checks, control, google, openai, socket};

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Every change of it ends all open sockets.
    pub(crate) hang_up: watch::Sender<()>,
}

/// A request as the server read it.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) port: u16,
}

/// A request as the simulated providers see it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) method: Method,
    /// Below the provider's base.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// Decoded.
    pub(crate) body: Bytes,
    /// `null` if the body is no JSON.
    pub(crate) json: Value,
    /// It came as a message on a socket.
    pub(crate) socket: bool,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    pub(crate) fn post(&self, path: &str) -> bool {
        self.method == Method::POST && self.path == path
    }

    pub(crate) fn wants_stream(&self) -> bool {
        self.json["stream"] == true
    }

    pub(crate) fn model(&self) -> &str {
        self.json["model"].as_str().unwrap_or_default()
    }
}

/// What a simulated provider makes of a call.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) answer: Answer,
    pub(crate) fault: Fault,
    pub(crate) account: Option<usize>,
    pub(crate) inference: bool,
    pub(crate) model: Option<String>,
    pub(crate) conversation: Option<String>,
}

impl Verdict {
    /// An answer without an account, or before one is known.
    pub(crate) fn plain(answer: Answer) -> Self {
        Self { answer, fault: Fault::Fine, account: None, inference: false, model: None, conversation: None }
    }

    pub(crate) fn on(mut self, account: usize) -> Self {
        self.account = Some(account);
        self
    }
}

/// Which provider's base a path stands below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    ChatGpt,
    OpenAi,
    OpenAiAuth,
    Anthropic,
    AnthropicAuth,
    CodeAssist,
    Google,
    GoogleAuth,
}

const PREFIXES: [(&str, Site); 8] = [
    ("/chatgpt", Site::ChatGpt),
    ("/openai", Site::OpenAi),
    ("/anthropic-auth", Site::AnthropicAuth),
    ("/anthropic", Site::Anthropic),
    ("/auth", Site::OpenAiAuth),
    ("/codeassist", Site::CodeAssist),
    ("/google-auth", Site::GoogleAuth),
    ("/google", Site::Google),
];

/// Is this a path below one of [`crate::FakeUpstream::settings`]' bases, which only a pool is given?
pub(crate) fn below_a_base(path: &str) -> bool {
    PREFIXES.iter().any(|(prefix, _)| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')))
}

/// The site and the path below it. A path without prefix is that of a client pointed straight at the fake: its site is read
/// from the path and, where providers share it, from the headers.
fn site(arrived: &Arrived, state: &State) -> Option<(Site, String)> {
    let path = arrived.uri.path();
    for (prefix, site) in PREFIXES {
        if let Some(rest) = path.strip_prefix(prefix)
            && rest.starts_with('/')
        {
            return Some((site, rest.to_owned()));
        }
    }
    let chatgpt = || {
        let token = arrived.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or_default();
        state.owner(token, &[crate::Kind::ChatGpt]).0.is_some() || arrived.headers.contains_key("chatgpt-account-id")
    };
    let has = |name: &str| arrived.headers.contains_key(name);
    let site = match path {
        "/oauth/token" => Site::OpenAiAuth,
        "/token" => Site::GoogleAuth,
        "/v1/oauth/token" => Site::AnthropicAuth,
        _ if path.starts_with("/v1internal") => Site::CodeAssist,
        _ if path.starts_with("/v1beta/") || (path.starts_with("/v1/models") && has("x-goog-api-key")) => Site::Google,
        _ if path.starts_with("/v1/messages") || path.starts_with("/api/") => Site::Anthropic,
        _ if path.starts_with("/v1/models") && has("anthropic-version") => Site::Anthropic,
        _ if path.starts_with("/backend-api/") => Site::ChatGpt,
        _ if path.starts_with("/v1/") && chatgpt() => {
            return Some((Site::ChatGpt, path.replacen("/v1/", "/backend-api/codex/", 1)));
        }
        _ if path.starts_with("/v1/") => Site::OpenAi,
        _ => return None,
    };
    Some((site, path.to_owned()))
}

impl Shared {
    pub(crate) async fn handle(self: &Arc<Self>, arrived: Arrived) -> (Delivery, Guard) {
        let started = Instant::now();
        let path = arrived.uri.path().to_owned();
        if let Some(command) = path.strip_prefix("/_fake/") {
            let answer = control::answer(self, command, &arrived);
            return (deliver::deliver(answer, &Fault::Fine, None), Guard::idle(self));
        }
        let (id, found, owner) = {
            let mut state = self.state.lock();
            let id = state.log.push(entry(&arrived));
            for what in checks::violations(&arrived, &state.world.forbidden) {
                state.violations.push(Violation { request: id, what });
            }
            (id, site(&arrived, &state), state.bearer_of(&arrived.headers))
        };
        let upgrade = socket::wants_upgrade(&arrived.headers);
        let mut guard = Guard::new(self, id, started);
        let Some((site, below)) = found else {
            let nowhere = Verdict::plain(openai::not_found(&arrived.method, &path));
            return (self.conclude(nowhere, &mut guard), guard);
        };
        let call = match checks::decoded(site, &arrived) {
            Ok(body) => {
                if body != arrived.body {
                    self.look_inside(id, &body);
                }
                Call {
                    id,
                    method: arrived.method,
                    path: below,
                    query: arrived.uri.query().unwrap_or_default().to_owned(),
                    json: serde_json::from_slice(&body).unwrap_or(Value::Null),
                    headers: arrived.headers,
                    body,
                    socket: false,
                }
            }
            Err(refusal) => return (self.conclude(Verdict::plain(refusal), &mut guard), guard),
        };
        let verdict = match site {
            Site::ChatGpt => chatgpt::answer(self, &call),
            Site::OpenAi => openai::answer(self, &call),
            Site::Anthropic => anthropic::answer(self, &call),
            Site::CodeAssist => google::code_assist(self, &call),
            Site::Google => google::public(self, &call),
            Site::OpenAiAuth | Site::AnthropicAuth | Site::GoogleAuth => {
                let Some(verdict) = auth::answer(self, site, &call).await else {
                    // The reply is lost on its way.
                    guard.whole = false;
                    return (Delivery::Raw(Vec::new()), guard);
                };
                verdict
            }
        };
        // Also refused for its credential, a request is its owner's.
        let account = verdict.account.or(owner);
        if let Some(account) = account.filter(|_| upgrade) {
            let mut state = self.state.lock();
            state.note(account, true, || "upgrade".into());
            let quiet = !verdict.fault.keeps_answer_whole() && verdict.answer.status == 101;
            let answer = || if quiet { verdict.fault.name().into() } else { verdict.answer.status.to_string().into() };
            state.note(account, false, answer);
        }
        (self.conclude(Verdict { account, ..verdict }, &mut guard), guard)
    }

    /// What must never arrive may be hidden in a compressed body.
    fn look_inside(&self, id: u64, body: &[u8]) {
        let mut state = self.state.lock();
        if state.world.forbidden.iter().any(|text| checks::contains(body, text.as_bytes())) {
            state.violations.push(Violation { request: id, what: "forbidden text in the body".to_owned() });
        }
    }

    /// Enters the verdict into the log and lets its fault loose.
    fn conclude(&self, verdict: Verdict, guard: &mut Guard) -> Delivery {
        let Verdict { answer, mut fault, account, inference, model, conversation } = verdict;
        if matches!(answer.body, Body::Plain(_)) && fault.is_for_streams() {
            fault = Fault::Fine;
        }
        let credit = answer.credit;
        let (status, whole) = (answer.status, fault.keeps_answer_whole());
        let dressed = fault != Fault::Fine && fault.keeps_payload();
        let plain_payload = dressed.then(|| payload_sha256(&answer.frames(crate::sse::Dress::Plain).concat()));
        let mut state = self.state.lock();
        let pace = state.style.pace.filter(|_| inference);
        let delivery = deliver::deliver(answer, &fault, pace);
        let payload = match &delivery {
            Delivery::Proper { frames, .. } => Some(payload_sha256(&frames.concat())),
            Delivery::Raw(_) | Delivery::Socket { .. } => plain_payload,
        };
        let name = account.map(|index| state.accounts[index].spec.name.clone());
        if let Some(index) = account.filter(|_| inference) {
            state.accounts[index].books.requests += 1;
        }
        guard.model = model.clone().unwrap_or_default();
        guard.credit = credit.filter(|_| whole);
        guard.whole = whole || !matches!(delivery, Delivery::Raw(_));
        if let Some(entry) = state.log.get(guard.id) {
            entry.account = name;
            entry.inference = inference;
            entry.model = model;
            entry.conversation = conversation;
            entry.status = Some(status);
            entry.fault = (fault != Fault::Fine).then(|| fault.name());
            entry.tokens = guard.credit.map(|credit| credit.tokens);
            entry.payload_sha256 = payload;
        }
        delivery
    }
}

impl State {
    /// Whose credential these headers carry, however it stands.
    fn bearer_of(&self, headers: &HeaderMap) -> Option<usize> {
        ["authorization", "x-api-key", "x-goog-api-key"].iter().find_map(|name| {
            let value = headers.get(*name)?.to_str().ok()?;
            self.owner(value.strip_prefix("Bearer ").unwrap_or(value), &crate::Kind::ALL).0
        })
    }

    /// What the account does with the next call of this sort, and the refusal if it is one.
    pub(crate) fn fault_for(&mut self, account: usize, target: Target) -> Fault {
        if target == Target::Probe {
            self.accounts[account].books.probes += 1;
        }
        self.take_fault(account, target)
    }
}

pub(crate) fn entry(arrived: &Arrived) -> Logged {
    Logged {
        id: 0,
        at: SystemTime::now(),
        connection: arrived.port,
        method: arrived.method.clone(),
        path: arrived.uri.path().to_owned(),
        query: arrived.uri.query().map(str::to_owned),
        headers: arrived.headers.clone(),
        body: arrived.body.clone(),
        body_len: arrived.body.len(),
        body_sha256: hex(&Sha256::digest(&arrived.body)),
        account: None,
        inference: false,
        model: None,
        conversation: None,
        fault: None,
        status: None,
        tokens: None,
        payload_sha256: None,
        ended: Ended::Open,
        took: None,
    }
}

/// Closes a log entry, once: by [`Guard::played`], or, if the peer goes away first, when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
    id: u64,
    started: Instant,
    pub(crate) credit: Option<Credit>,
    pub(crate) model: String,
    pub(crate) whole: bool,
    open: bool,
}

impl Guard {
    pub(crate) fn new(shared: &Arc<Shared>, id: u64, started: Instant) -> Self {
        let model = String::new();
        Self { shared: Arc::clone(shared), id, started, credit: None, model, whole: true, open: true }
    }

    fn idle(shared: &Arc<Shared>) -> Self {
        let mut guard = Self::new(shared, 0, Instant::now());
        guard.open = false;
        guard
    }

    /// All that was to be sent has been sent.
    pub(crate) fn played(mut self) {
        let ended = if self.whole { Ended::Whole } else { Ended::Broken };
        self.close(ended);
    }

    fn close(&mut self, ended: Ended) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let took = self.started.elapsed();
        let mut state = self.shared.state.lock();
        if let Some(entry) = state.log.get(self.id) {
            entry.ended = ended;
            entry.took = Some(took);
        }
        if let Some(Credit { account, tokens }) = self.credit.filter(|_| ended == Ended::Whole) {
            state.accounts[account].charge(&self.model, tokens);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close(Ended::PeerLeft);
    }
}

/// The identity that requests of one conversation share: the first of these that is there.
pub(crate) fn first_text(values: &[Option<&str>]) -> Option<String> {
    values.iter().flatten().find(|value| !value.is_empty()).map(|value| (*value).to_owned())
}

/// Placeholder token counts beyond all reason, for [`Fault::AbsurdUsage`].
pub(crate) const ABSURD: TokenCounts = TokenCounts {
    input: 9_007_199_254_740_993,
    cache_read: 4_611_686_018_427_387_904,
    cache_write_5m: 1_000_000_000_000,
    cache_write_1h: 0,
    output: 4_611_686_018_427_387_000,
    reasoning: 2_000_000_000_000,
};
