//! A handle on one account of a running fake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::books::AccountBooks;
use crate::exchange::Shared;
use crate::faults::Fault;
use crate::state::{Account, Planned, Target, TokenFault};
use crate::tokens::{self, Refusal};

/// Changes an account while the fake runs. Cheap to clone.
#[derive(Clone)]
pub struct AccountHandle {
    shared: Arc<Shared>,
    index: usize,
}

impl fmt::Debug for AccountHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountHandle({})", self.name())
    }
}

impl AccountHandle {
    pub(crate) fn new(shared: Arc<Shared>, index: usize) -> Self {
        Self { shared, index }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Account) -> T) -> T {
        act(&mut self.shared.state.lock().accounts[self.index])
    }

    pub fn name(&self) -> String {
        self.with(|account| account.spec.name.clone())
    }

    pub fn kind(&self) -> crate::Kind {
        self.with(|account| account.spec.kind)
    }

    /// Its credential file as of now: path below `pool/` and text.
    pub fn credential_file(&self) -> (String, String) {
        self.with(|account| tokens::credential_file(&account.spec, &account.tokens))
    }

    /// The access token or key that is good now.
    pub fn access_token(&self) -> String {
        self.with(|account| account.tokens.current_access.clone())
    }

    pub fn refresh_token(&self) -> Option<String> {
        self.with(|account| account.tokens.current_refresh.clone())
    }

    /// ChatGPT account id, organisation or project.
    pub fn workspace(&self) -> String {
        self.with(|account| account.spec.workspace.clone())
    }

    pub fn books(&self) -> AccountBooks {
        self.with(|account| account.books.clone())
    }

    /// How much of a window is used; `None` if it has no window of that name.
    pub fn used(&self, window: &str) -> Option<f64> {
        self.with(|account| {
            account.settle();
            account.windows.iter().find(|known| known.spec.name == window).map(|known| known.used)
        })
    }

    /// When a window resets, in seconds since 1970.
    pub fn resets_at(&self, window: &str) -> Option<u64> {
        self.with(|account| account.windows.iter().find(|known| known.spec.name == window).map(|known| known.resets_at))
    }

    /// Plans a fault: for the next `times` calls of this sort, or for good. Faults are worked off in the order of planning.
    pub fn plan(&self, target: Target, times: Option<u32>, fault: Fault) {
        self.with(|account| account.faults.push_back(Planned { target, fault, left: times }));
    }

    /// The next `times` requests to a model meet this fault.
    pub fn fault_next(&self, times: u32, fault: Fault) {
        self.plan(Target::Inference, Some(times), fault);
    }

    /// Every request to a model meets this fault, until [`AccountHandle::clear_faults`].
    pub fn fault(&self, fault: Fault) {
        self.plan(Target::Inference, None, fault);
    }

    /// One fault for each of the next requests to a model.
    pub fn fault_sequence(&self, faults: impl IntoIterator<Item = Fault>) {
        faults.into_iter().for_each(|fault| self.fault_next(1, fault));
    }

    pub fn clear_faults(&self) {
        self.with(|account| account.faults.clear());
    }

    /// The next `times` calls of the token endpoint meet this fault.
    pub fn token_fault(&self, times: u32, fault: TokenFault) {
        self.with(|account| account.token_faults.push_back((fault, times)));
    }

    /// Fills a window, which then resets after `lasts`.
    pub fn limit(&self, window: &str, lasts: Duration) {
        self.with(|account| account.limit(window, lasts));
    }

    /// Sets a window's used share and leaves its reset as it is.
    pub fn set_used(&self, window: &str, share: f64) {
        self.with(|account| {
            account.windows.iter_mut().filter(|known| known.spec.name == window).for_each(|known| known.used = share);
        });
    }

    /// Its access tokens have ended; they can be refreshed.
    pub fn expire_access(&self) {
        self.with(|account| account.tokens.expire_access());
    }

    /// Its access tokens are revoked; a refresh gives a new one.
    pub fn revoke_access(&self) {
        self.with(|account| account.tokens.revoke_access());
    }

    /// Access tokens are revoked and every refresh is refused: only a new sign-in helps.
    pub fn revoke_all(&self, why: Refusal) {
        self.with(|account| {
            account.tokens.revoke_access();
            account.tokens.kill(why);
        });
    }

    /// A new sign-in: fresh tokens, which [`AccountHandle::credential_file`] then holds.
    pub fn sign_in(&self) {
        self.with(|account| account.tokens.sign_in(&account.spec));
    }
}
