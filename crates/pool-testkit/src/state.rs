//! The fake's memory: accounts as they stand now, their windows, their caches, planned faults.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde_json::Value;

use crate::books::{AccountBooks, Frame, Log, TokenCounts, Violation};
use crate::faults::{self, Fault};
use crate::objects::Objects;
use crate::tokens::{self, Access, Tokens};
use crate::weight;
use crate::world::{FakeAccount, FakeWindow, Kind, Style, Unit, World};

/// Which calls a fault is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Requests to a model.
    Inference,
    /// Usage and quota reads, `loadCodeAssist`, lists.
    Probe,
    /// The upgrade to a WebSocket. (What is said on it is [`Target::Inference`].)
    Handshake,
    Any,
}

/// A way for the token endpoint to misbehave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Answers, but late.
    Delay(Duration),
    /// 500.
    ServerError,
    /// Rotates the tokens, then closes without answering: nobody has the new ones.
    Lost,
    /// Closes before doing anything.
    Close,
    /// Refuses with this status and error code.
    Code(u16, &'static str),
    /// Renews the access token only and names no refresh token: the old one stays good.
    NoRotation,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) accounts: Vec<Account>,
    pub(crate) style: Style,
    pub(crate) world: World,
    pub(crate) log: Log,
    pub(crate) violations: Vec<Violation>,
    /// What the accounts keep.
    pub(crate) objects: Objects,
    /// Faults of whichever account comes next.
    pub(crate) faults: VecDeque<Planned>,
    /// What is said on sockets, if that is wanted.
    pub(crate) frames: Option<Vec<Frame>>,
}

#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) target: Target,
    pub(crate) fault: Fault,
    /// `None`: for good.
    pub(crate) left: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) spec: FakeAccount,
    pub(crate) tag: String,
    pub(crate) tokens: Tokens,
    pub(crate) windows: Vec<Window>,
    pub(crate) faults: VecDeque<Planned>,
    pub(crate) token_faults: VecDeque<(TokenFault, u32)>,
    pub(crate) books: AccountBooks,
    cache: PrefixCache,
}

/// A quota window as it stands. Read it through [`Account::settle`], which turns a window past its reset into a fresh one.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) spec: FakeWindow,
    pub(crate) used: f64,
    /// Seconds since 1970.
    pub(crate) resets_at: u64,
}

impl Window {
    pub(crate) fn limits(&self, model: &str) -> bool {
        self.spec.family.as_deref().is_none_or(|family| model.contains(family))
    }

    pub(crate) fn left_seconds(&self) -> u64 {
        self.resets_at.saturating_sub(tokens::now())
    }

    pub(crate) fn percent(&self) -> f64 {
        (self.used * 1000.0).round() / 10.0
    }
}

impl State {
    pub(crate) fn new(world: World) -> Self {
        let accounts = world.accounts.iter().cloned().map(Account::new).collect();
        Self {
            accounts,
            style: world.style.clone(),
            world,
            log: Log::default(),
            violations: Vec::new(),
            objects: Objects::new(),
            faults: VecDeque::new(),
            frames: None,
        }
    }

    /// Writes down what was said on a socket.
    pub(crate) fn note(&mut self, account: usize, from_pool: bool, what: impl FnOnce() -> Value) {
        if let Some(frames) = &mut self.frames {
            let account = self.accounts[account].spec.name.clone();
            frames.push(Frame { account, from_pool, what: what() });
        }
    }

    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.accounts.iter().position(|account| account.spec.name == name)
    }

    /// Whose access token or key is it, and how does it stand? Only accounts of `kinds` are asked.
    pub(crate) fn owner(&self, token: &str, kinds: &[Kind]) -> (Option<usize>, Access) {
        for (index, account) in self.accounts.iter().enumerate() {
            let access = account.tokens.access(token);
            if kinds.contains(&account.spec.kind) && access != Access::Unknown {
                return (Some(index), access);
            }
        }
        (None, Access::Unknown)
    }

    /// The fault that the next call of this sort on this account is due for.
    pub(crate) fn take_fault(&mut self, account: usize, target: Target) -> Fault {
        take(&mut self.accounts[account].faults, target)
            .or_else(|| take(&mut self.faults, target))
            .unwrap_or(Fault::Fine)
    }

    /// The account (by tag) that minted this, if one of this world did.
    pub(crate) fn minter(&self, text: &str) -> Option<usize> {
        self.accounts.iter().position(|account| text.contains(account.tag.as_str()))
    }
}

fn take(plan: &mut VecDeque<Planned>, target: Target) -> Option<Fault> {
    let at = plan.iter().position(|planned| planned.target == Target::Any || planned.target == target)?;
    let planned = &mut plan[at];
    let fault = planned.fault.clone();
    if let Some(left) = &mut planned.left {
        *left = left.saturating_sub(1);
        if *left == 0 {
            plan.remove(at);
        }
    }
    Some(fault)
}

impl Account {
    fn new(spec: FakeAccount) -> Self {
        let now = tokens::now();
        let windows = spec.windows.iter().map(|window| Window {
            used: window.used,
            resets_at: now + window.resets_in.as_secs(),
            spec: window.clone(),
        });
        Self {
            tag: tokens::tag(&spec),
            tokens: Tokens::first(&spec),
            windows: windows.collect(),
            faults: VecDeque::new(),
            token_faults: VecDeque::new(),
            books: AccountBooks::default(),
            cache: PrefixCache::default(),
            spec,
        }
    }

    /// Empties the windows whose reset has passed.
    pub(crate) fn settle(&mut self) {
        let now = tokens::now();
        for window in &mut self.windows {
            while window.resets_at <= now {
                window.used = 0.0;
                window.resets_at += window.spec.span.as_secs().max(1);
            }
        }
    }

    /// The full window that stands in the way of this model, the one that opens last.
    pub(crate) fn full(&mut self, model: &str) -> Option<Window> {
        self.settle();
        let full = self.windows.iter().filter(|window| window.used >= 1.0 && window.limits(model));
        full.max_by_key(|window| window.resets_at).cloned()
    }

    /// Fills every window... of that name, until `until` seconds from now.
    pub(crate) fn limit(&mut self, window: &str, lasts: Duration) {
        for known in self.windows.iter_mut().filter(|known| known.spec.name == window) {
            known.used = known.used.max(1.0);
            known.resets_at = tokens::now() + lasts.as_secs();
        }
    }

    /// Fills the first window that limits this model, unless one is full already.
    pub(crate) fn exhaust(&mut self, model: &str) -> Option<Window> {
        if let Some(full) = self.full(model) {
            return Some(full);
        }
        let window = self.windows.iter_mut().find(|window| window.limits(model))?;
        window.used = 1.0;
        if window.spec.span > faults::LIMIT {
            window.resets_at = tokens::now() + faults::LIMIT.as_secs();
        }
        Some(window.clone())
    }

    /// Books a completed answer.
    pub(crate) fn charge(&mut self, model: &str, tokens: TokenCounts) {
        self.settle();
        self.books.completed += 1;
        self.books.tokens += tokens;
        for window in self.windows.iter_mut().filter(|window| window.limits(model)) {
            let cost = match window.spec.unit {
                Unit::Weighted => tokens.weighted(),
                Unit::Tokens => tokens.total() as f64,
                Unit::Requests => 1.0,
            };
            window.used += cost / window.spec.capacity;
        }
    }

    /// The fault that the next refresh is due for.
    pub(crate) fn take_token_fault(&mut self) -> Option<TokenFault> {
        let (fault, left) = self.token_faults.front_mut()?;
        let fault = fault.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.token_faults.pop_front();
        }
        Some(fault)
    }

    /// How many tokens the pieces of a prompt come to, and how many of them this account has in its cache from before.
    pub(crate) fn prompt(&mut self, pieces: &[String]) -> (u64, u64) {
        self.cache.take_in(pieces)
    }
}

/// Which prompt prefixes an account has seen: like a provider's prompt cache, it warms up on one account only.
#[derive(Debug, Default)]
struct PrefixCache {
    known: HashMap<u64, u64>,
    order: VecDeque<u64>,
}

/// How many prefixes are remembered.
const CACHE: usize = 50_000;

impl PrefixCache {
    /// Total tokens and cached tokens of a prompt; from now on all of it is cached.
    fn take_in(&mut self, pieces: &[String]) -> (u64, u64) {
        let (mut chain, mut total, mut cached) = (0u64, 0u64, 0u64);
        for piece in pieces {
            let mut hasher = DefaultHasher::new();
            (chain, piece).hash(&mut hasher);
            chain = hasher.finish();
            total += weight::tokens(piece);
            if self.known.contains_key(&chain) {
                cached = total;
                continue;
            }
            self.known.insert(chain, total);
            self.order.push_back(chain);
            if self.order.len() > CACHE
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        (total, cached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_cache_warms_up_on_its_own_account_only() {
        let mut first = Account::new(FakeAccount::chatgpt("a"));
        let mut second = Account::new(FakeAccount::chatgpt("b"));
        let (total, cached) = first.prompt(&pieces(&["system", "hello"]));
        assert_eq!(cached, 0);
        let (more, warm) = first.prompt(&pieces(&["system", "hello", "world"]));
        assert_eq!(warm, total);
        assert!(more > total);
        assert_eq!(second.prompt(&pieces(&["system", "hello", "world"])).1, 0);
        assert_eq!(first.prompt(&pieces(&["other", "hello"])).1, 0);
    }

    #[test]
    fn a_window_past_its_reset_is_fresh() {
        let mut account = Account::new(FakeAccount::chatgpt("a").used("5h", 1.0));
        assert_eq!(account.full("gpt-5.5").map(|window| window.spec.name), Some("5h".into()));
        account.windows[0].resets_at = tokens::now();
        assert!(account.full("gpt-5.5").is_none());
    }

    #[test]
    fn a_plan_of_faults_is_worked_off_in_order() {
        let mut state = State::new(World::new().account(FakeAccount::chatgpt("a")));
        for (fault, left) in [(Fault::Reset, Some(2)), (Fault::Silent, None)] {
            state.accounts[0].faults.push_back(Planned { target: Target::Inference, fault, left });
        }
        let taken: Vec<_> = (0..4).map(|_| state.take_fault(0, Target::Inference)).collect();
        assert_eq!(taken, [Fault::Reset, Fault::Reset, Fault::Silent, Fault::Silent]);
        assert_eq!(state.take_fault(0, Target::Probe), Fault::Fine);
    }
}
