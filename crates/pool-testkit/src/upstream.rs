//! The running fake.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::account::AccountHandle;
use crate::books::{Books, Frame, Logged};
use crate::exchange::Shared;
use crate::faults::Fault;
use crate::http;
use crate::state::{Planned, State, Target};
use crate::world::{Style, World};

/// All three providers on one loopback address, until it is dropped.
#[derive(Debug)]
pub struct FakeUpstream {
    addr: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl FakeUpstream {
    /// Listens on a free port of 127.0.0.1. Needs a running tokio runtime.
    pub async fn start(world: World) -> std::io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), world).await
    }

    /// Listens on this address.
    pub async fn start_at(addr: SocketAddr, world: World) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::new(State::new(world)), hang_up: watch::Sender::new(()) });
        let server = tokio::spawn(http::accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, server })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The settings that send a pool here: names of environment variables and their values.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        [
            ("UPSTREAM_RESPONSES_BASE", "/chatgpt/backend-api/codex"),
            ("UPSTREAM_WHAM_BASE", "/chatgpt/backend-api"),
            ("UPSTREAM_REFRESH_BASE", "/auth"),
            ("UPSTREAM_OPENAI_BASE", "/openai/v1"),
            ("UPSTREAM_CLAUDE_BASE", "/anthropic"),
            ("UPSTREAM_CLAUDE_REFRESH_BASE", "/anthropic-auth"),
            ("UPSTREAM_GEMINI_BASE", "/codeassist"),
            ("UPSTREAM_GEMINI_API_BASE", "/google"),
            ("UPSTREAM_GOOGLE_TOKEN_BASE", "/google-auth"),
        ]
        .map(|(name, path)| (name, format!("{}{path}", self.base())))
        .to_vec()
    }

    /// A handle on an account.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn account(&self, name: &str) -> AccountHandle {
        let index = self.shared.state.lock().index(name);
        AccountHandle::new(Arc::clone(&self.shared), index.unwrap_or_else(|| panic!("no fake account named {name}")))
    }

    /// Handles on all accounts, in the order of the world.
    pub fn accounts(&self) -> Vec<AccountHandle> {
        let count = self.shared.state.lock().accounts.len();
        (0..count).map(|index| AccountHandle::new(Arc::clone(&self.shared), index)).collect()
    }

    /// The next `times` requests to a model meet this fault, whichever account they are on (an account's own plan goes first).
    pub fn fault_next(&self, times: u32, fault: Fault) {
        self.plan(Target::Inference, fault, Some(times));
    }

    /// Every request to a model meets this fault, until [`FakeUpstream::clear_faults`].
    pub fn fault(&self, fault: Fault) {
        self.plan(Target::Inference, fault, None);
    }

    fn plan(&self, target: Target, fault: Fault, left: Option<u32>) {
        self.shared.state.lock().faults.push_back(Planned { target, fault, left });
    }

    /// Forgets all planned faults, those of the accounts too.
    pub fn clear_faults(&self) {
        let mut state = self.shared.state.lock();
        state.faults.clear();
        state.accounts.iter_mut().for_each(|account| account.faults.clear());
    }

    /// How long answers are and how they come, from now on.
    pub fn set_style(&self, style: Style) {
        self.shared.state.lock().style = style;
    }

    /// From now on it is a violation if this text arrives anywhere.
    pub fn forbid(&self, text: &str) {
        self.shared.state.lock().world.forbidden.push(text.to_owned());
    }

    /// Requests that carried this header, oldest first: all tries of one request, if the header marks it.
    pub fn tries_of(&self, header: &str, value: &str) -> Vec<Logged> {
        self.shared
            .state
            .lock()
            .log
            .newest()
            .take(200)
            .filter(|entry| entry.header(header) == Some(value))
            .cloned()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect()
    }

    /// Ends every open socket, properly.
    pub fn hang_up(&self) {
        self.shared.hang_up.send_replace(());
    }

    /// From now on what is said on sockets is written down.
    pub fn keep_frames(&self) {
        self.shared.state.lock().frames.get_or_insert_default();
    }

    /// What was said on sockets since it was last asked for, in order.
    pub fn take_frames(&self) -> Vec<Frame> {
        self.shared.state.lock().frames.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A copy of the books.
    pub fn books(&self) -> Books {
        let state = self.shared.state.lock();
        Books {
            accounts: state.accounts.iter().map(|account| (account.spec.name.clone(), account.books.clone())).collect(),
            violations: state.violations.clone(),
            log: state.log.all(),
        }
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}
