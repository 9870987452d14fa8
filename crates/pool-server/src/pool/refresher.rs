//! Renews tokens: early, one call an account however many ask, and on disk before in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_core::pool::Event;
use pool_core::refresh::{BackOff, Freshness, freshness};
use pool_core::{AccountId, Credentials, UnixMs};
use pool_providers::Provider;
use pool_providers::provider::Refreshed;
use tokio::sync::Semaphore;

use super::Shared;
use super::flights::Flights;
use super::home::{Claim, NoRight, Right};
use super::shelf::{Loan, Opened, Persisted};
use crate::clock;
use crate::upstream::UpstreamError;

/// For the whole of one refresh call.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// How often the background looks for what is due. It compares with the wall clock each time, so that a jump of it or a wake
/// from sleep needs no special care.
const TICK: Duration = Duration::from_secs(2);
/// Renewals in the background at one time: a thousand accounts must not burst.
const AT_ONCE: usize = 4;
/// A token that is refused this soon after it was renewed is not helped by renewing it again.
const JUST_RENEWED: Duration = Duration::from_mins(1);
/// A new token that has already ended by our clock is used as it is for this long: the clock is wrong, not the token.
const DISTRUST: Duration = Duration::from_hours(1);
/// Waits between tries to write a renewed token before it is put to use unsaved.
const WRITE_AGAIN: [Duration; 3] = [Duration::from_millis(150), Duration::from_millis(300), Duration::from_millis(500)];
/// Waits for another program to write down the token that it was faster to renew.
const OTHER_OWNER: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)];

/// Why a token is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It ends soon, or has ended.
    Proactive,
    /// The provider refused it (401).
    Rejected,
}

/// Why there is no new token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshFailure {
    #[error("the account is gone")]
    Gone,
    #[error("there is nothing to renew it with")]
    NothingToRenew,
    #[error("renewing is switched off (disable_refresh); the program that owns the file must do it")]
    Disabled,
    #[error("its file is a link, which is only read; the program that owns the target must renew it")]
    Linked,
    #[error("the provider refuses the token that it issued a moment ago")]
    StillRejected,
    /// Only a person can help. The account is parked with the same words.
    #[error("{why}")]
    Dead { why: String },
    #[error("not renewed yet: {why}")]
    Later { why: String },
}

/// See the module's page. Clones share everything.
#[derive(Clone)]
pub struct Refresher(Arc<Inner>);

struct Inner {
    shared: Shared,
    flights: Arc<Flights<Result<(), RefreshFailure>>>,
    history: Mutex<HashMap<AccountId, History>>,
}

/// What renewing an account has been like. But for `write` it speaks of one epoch only: a new login starts afresh.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    epoch: u64,
    back_off: BackOff,
    /// When these credentials came out of a renewal.
    renewed: Option<Instant>,
    /// The expiry that it brought makes no sense by our clock: do not believe it before then.
    distrust_until: Option<Instant>,
    /// Writing a renewed token to disk failed.
    write: BackOff,
}

impl std::fmt::Debug for Refresher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refresher").finish_non_exhaustive()
    }
}

impl Refresher {
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(Inner { shared, flights: Arc::default(), history: Mutex::default() }))
    }

    /// Sees to it that the account has a token worth using. `epoch_seen` is that of the credentials that the caller holds: if
    /// the pool has others by now, they are the answer.
    ///
    /// Any number of callers share one call, and one that goes away cancels nothing. A token that is only due still serves
    /// when this fails; one that has ended or was refused does not. Of the failures only [`RefreshFailure::Dead`] has parked
    /// the account; a refused credential with [`RefreshFailure::NothingToRenew`] or [`RefreshFailure::StillRejected`] is the
    /// caller's to judge.
    pub async fn ensure_fresh(&self, id: &AccountId, epoch_seen: u64, why: Why) -> Result<(), RefreshFailure> {
        let inner = &self.0;
        let start = || {
            inner.is_worth_it(id, epoch_seen, why)?;
            let (inner, id) = (inner.clone(), id.clone());
            Ok(async move { inner.renew(&id, epoch_seen, why).await })
        };
        let answer = inner.flights.join(id, &inner.shared.tasks, start).await;
        answer.unwrap_or_else(|| Err(RefreshFailure::Later { why: "the renewal broke off".into() }))
    }

    /// Renews what is due until told to stop.
    pub(super) async fn run(self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut progress = Progress::start();
        loop {
            tokio::select! {
                () = self.0.shared.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            progress.note_jump();
            self.0.forget_gone();
            self.0.save_unsaved(false).await;
            for (id, epoch) in self.0.due() {
                let slot = tokio::select! {
                    () = self.0.shared.stop.cancelled() => return,
                    slot = slots.clone().acquire_owned() => slot,
                };
                let refresher = self.clone();
                // A failure is on record where it belongs: in the account's history, state or log.
                self.0.shared.tasks.spawn(async move {
                    let _ = refresher.ensure_fresh(&id, epoch, Why::Proactive).await;
                    drop(slot);
                });
            }
        }
    }

    /// The last chance to get renewed tokens to disk.
    pub(super) async fn save_all(&self) {
        self.0.save_unsaved(true).await;
    }
}

impl Inner {
    /// `Err` is the answer without any work.
    fn is_worth_it(&self, id: &AccountId, epoch_seen: u64, why: Why) -> Result<(), Result<(), RefreshFailure>> {
        let slot = self
            .shared
            .live
            .read(|pool, _| pool.slot(id).map(|slot| (slot.epoch, slot.needs_login.clone(), slot.credentials.clone())));
        let Some((epoch, needs_login, credentials)) = slot else { return Err(Err(RefreshFailure::Gone)) };
        if epoch != epoch_seen {
            return Err(Ok(()));
        }
        if let Some(why) = needs_login {
            return Err(Err(RefreshFailure::Dead { why }));
        }
        if self.shared.stop.is_cancelled() {
            return Err(Err(RefreshFailure::Later { why: "codex-pool is stopping".into() }));
        }
        let now = clock::now();
        let history = self.history(id, epoch);
        match why {
            Why::Proactive if freshness(&credentials, now) == Freshness::Fresh || history.distrusts_clock() => {
                return Err(Ok(()));
            }
            Why::Rejected if history.renewed.is_some_and(|when| when.elapsed() < JUST_RENEWED) => {
                return Err(Err(RefreshFailure::StillRejected));
            }
            _ => {}
        }
        if !history.back_off.is_over(now) {
            return Err(Err(RefreshFailure::Later { why: "the last try failed a moment ago".into() }));
        }
        Ok(())
    }

    async fn renew(self: Arc<Self>, id: &AccountId, epoch: u64, why: Why) -> Result<(), RefreshFailure> {
        let right = self.claim(id, epoch).await?;
        // Only now: what another replica has written in the meantime is to be found.
        let loan = match self.open(id, epoch).await {
            Some(Opened::Adopted) => {
                tracing::info!(account = %id, "its file holds a newer login; using that");
                return Ok(());
            }
            Some(Opened::Ready(loan)) => loan,
            Some(Opened::Linked(loan)) if loan.credentials.refresh.is_some() => return Err(RefreshFailure::Linked),
            Some(Opened::Linked(_)) => return Err(RefreshFailure::NothingToRenew),
            Some(Opened::Gone) => return Err(RefreshFailure::Gone),
            None => return Err(RefreshFailure::Later { why: "codex-pool is stopping".into() }),
        };
        let Right::Ours(claim) = right else {
            return Err(RefreshFailure::Later { why: "another replica has it".into() });
        };
        let registry = self.shared.registry.clone();
        let provider = registry.get(loan.account.provider).ok_or(RefreshFailure::Gone)?;
        let call =
            provider.refresh_call(&loan.credentials, &self.shared.bases).ok_or(RefreshFailure::NothingToRenew)?;
        if self.shared.disable_refresh {
            return Err(RefreshFailure::Disabled);
        }
        // A single-use token is not spent while the old one still serves and the new one could not be saved.
        let can_wait = why == Why::Proactive && !loan.credentials.is_expired(clock::now());
        if can_wait && !self.is_writable(&loan).await {
            return Err(self.later(&loan, &claim, "the new token could not be saved".into()).await);
        }
        let reply = match self.shared.upstream.call(call, CALL_LIMIT).await {
            Ok(reply) => reply,
            Err(error) => return Err(self.later(&loan, &claim, lost(&error)).await),
        };
        let now = clock::now();
        match provider.read_refresh(&loan.credentials, reply.status, &reply.headers, &reply.body, now) {
            Refreshed::Renewed(new) => self.keep(*loan, new).await,
            Refreshed::Dead { why } => self.dead(&loan, &claim, provider, &why).await,
            Refreshed::Later { why } => Err(self.later(&loan, &claim, why).await),
        }
    }

    /// The right to renew. Whatever stands in its way is told as what the renewal has come to.
    async fn claim(&self, id: &AccountId, epoch: u64) -> Result<Right, RefreshFailure> {
        let stopping = || RefreshFailure::Later { why: "codex-pool is stopping".into() };
        let (shelf, account) = (self.shared.shelf.clone(), id.clone());
        let file = blocking(move || shelf.file_of(&account)).await.ok_or_else(stopping)?;
        let right = self.shared.shelf.home().claim(&file.ok_or(RefreshFailure::Gone)?).await;
        right.map_err(|no| match no {
            NoRight::Gone => RefreshFailure::Gone,
            NoRight::NotNow(why) => {
                tracing::debug!(account = %id, "token not renewed: {why}");
                RefreshFailure::Later { why }
            }
            NoRight::Refused(why) => {
                self.shared.live.apply(Event::SignInNeeded { id: id.clone(), epoch, why: why.clone() });
                RefreshFailure::Dead { why }
            }
        })
    }

    /// A new token: to disk, then into use.
    async fn keep(self: &Arc<Self>, loan: Loan, new: Credentials) -> Result<(), RefreshFailure> {
        let id = loan.account.id.clone();
        self.note_renewal(&loan, &new);
        let mut problem = String::new();
        for wait in WRITE_AGAIN.iter().map(Some).chain([None]) {
            match self.persist(&loan, &new, wait.is_none()).await {
                Ok(Persisted::Written) => {
                    tracing::info!(account = %id, name = loan.account.name, "token renewed");
                    return Ok(());
                }
                Ok(Persisted::Superseded) => {
                    tracing::info!(account = %id, "its file got a newer login while the token was renewed; using that");
                    return Ok(());
                }
                Ok(Persisted::Archived(_)) => return Err(RefreshFailure::Gone),
                Err(error) => problem = error,
            }
            if let Some(wait) = wait {
                tokio::time::sleep(*wait).await;
            }
        }
        self.note_unwritten(&id);
        let shelf = self.shared.shelf.clone();
        blocking(move || shelf.use_unsaved(&loan, &new, &problem)).await;
        Ok(())
    }

    /// The provider says that the refresh token is spent. If another program was faster, its token is good for us too.
    async fn dead(&self, loan: &Loan, claim: &Claim, provider: &dyn Provider, why: &str) -> Result<(), RefreshFailure> {
        for wait in OTHER_OWNER {
            tokio::time::sleep(wait).await;
            match self.open(&loan.account.id, loan.epoch).await {
                Some(Opened::Adopted) => return Ok(()),
                Some(Opened::Ready(now)) if now.epoch == loan.epoch => {}
                // A newer login, though an expired one: the next round renews that.
                Some(Opened::Ready(_)) => return Err(self.later(loan, claim, "its file has changed".into()).await),
                _ => return Err(RefreshFailure::Gone),
            }
        }
        let why = format!("{why}; sign in again with `codex-pool accounts login {}`", provider.id());
        tracing::warn!(account = %loan.account.id, name = loan.account.name, "needs a new sign-in: {why}");
        let id = loan.account.id.clone();
        self.shared.live.apply(Event::SignInNeeded { id, epoch: loan.epoch, why: why.clone() });
        claim.refuse(&why).await;
        Err(RefreshFailure::Dead { why })
    }

    async fn later(&self, loan: &Loan, claim: &Claim, why: String) -> RefreshFailure {
        tracing::warn!(account = %loan.account.id, name = loan.account.name, "token not renewed: {why}");
        self.change_history(&loan.account.id, loan.epoch, |history| history.back_off.failed(clock::now()));
        claim.put_off().await;
        RefreshFailure::Later { why }
    }

    fn note_renewal(&self, loan: &Loan, new: &Credentials) {
        let id = &loan.account.id;
        let now = clock::now();
        let distrust = match freshness(new, now) {
            Freshness::Fresh => None,
            Freshness::Expired => {
                tracing::warn!(account = %id, "the new token has already ended by this machine's clock: is the clock right?");
                Some(DISTRUST)
            }
            // It lives for minutes only.
            Freshness::Due => new.expires_at.map(|end| Duration::from_millis(end.since(now).0 / 2)),
        };
        let instant = Instant::now();
        // The new credentials are the next epoch.
        self.change_history(id, loan.epoch + 1, |history| {
            history.renewed = Some(instant);
            history.distrust_until = distrust.map(|wait| instant + wait);
        });
    }

    fn note_unwritten(&self, id: &AccountId) {
        self.history.lock().entry(id.clone()).or_default().write.failed(clock::now());
    }

    /// Accounts to renew, the most urgent first.
    fn due(&self) -> Vec<(AccountId, u64)> {
        let mut due: Vec<(Option<UnixMs>, AccountId, u64)> = self.shared.live.read(|pool, now| {
            let slots = pool.slots().filter(|slot| !slot.account.settings.disabled && slot.needs_login.is_none());
            slots
                .filter(|slot| freshness(&slot.credentials, now) != Freshness::Fresh)
                .map(|slot| (slot.credentials.expires_at, slot.account.id.clone(), slot.epoch))
                .collect()
        });
        due.sort();
        let now = clock::now();
        due.retain(|(_, id, epoch)| {
            let history = self.history(id, *epoch);
            history.back_off.is_over(now) && !history.distrusts_clock()
        });
        due.into_iter().map(|(_, id, epoch)| (id, epoch)).collect()
    }

    /// Tries again to write what could not be written. `at_once`: whatever the back-off says.
    async fn save_unsaved(&self, at_once: bool) {
        let shelf = self.shared.shelf.clone();
        for unsaved in blocking(move || shelf.unsaved()).await.unwrap_or_default() {
            let id = unsaved.loan.account.id.clone();
            // The vault is asked at every look: as soon as it is back, another replica may renew what it holds.
            let patient = self.shared.vault.is_none();
            let waits =
                patient && self.history.lock().get(&id).is_some_and(|history| !history.write.is_over(clock::now()));
            if waits && !at_once {
                continue;
            }
            let mut saved = self.persist(&unsaved.loan, &unsaved.new, at_once).await;
            if saved.is_err() && !at_once {
                // Not an edit under way, it seems.
                tokio::time::sleep(WRITE_AGAIN[1]).await;
                saved = self.persist(&unsaved.loan, &unsaved.new, true).await;
            }
            match saved {
                Ok(_) => tracing::info!(account = %id, "its renewed token is saved now"),
                Err(problem) if at_once => tracing::error!(account = %id, "its renewed token is lost: {problem}"),
                Err(_) => self.note_unwritten(&id),
            }
        }
    }

    fn forget_gone(&self) {
        let mut history = self.history.lock();
        self.shared.live.read(|pool, _| history.retain(|id, _| pool.slot(id).is_some()));
    }

    fn history(&self, id: &AccountId, epoch: u64) -> History {
        let known = self.history.lock().get(id).copied();
        known.filter(|history| history.epoch == epoch).unwrap_or_default()
    }

    fn change_history(&self, id: &AccountId, epoch: u64, change: impl FnOnce(&mut History)) {
        let mut known = self.history.lock();
        let history = known.entry(id.clone()).or_default();
        if history.epoch != epoch {
            *history = History { epoch, write: history.write, ..History::default() };
        }
        change(history);
    }

    async fn open(&self, id: &AccountId, epoch: u64) -> Option<Opened> {
        let (shelf, id) = (self.shared.shelf.clone(), id.clone());
        blocking(move || shelf.open(&id, epoch)).await
    }

    async fn is_writable(&self, loan: &Loan) -> bool {
        let (shelf, loan) = (self.shared.shelf.clone(), loan.clone());
        blocking(move || shelf.is_writable(&loan)).await.unwrap_or(false)
    }

    async fn persist(&self, loan: &Loan, new: &Credentials, last: bool) -> Result<Persisted, String> {
        let (shelf, loan, new) = (self.shared.shelf.clone(), loan.clone(), new.clone());
        let done = blocking(move || shelf.persist(&loan, &new, last)).await;
        done.unwrap_or_else(|| Err("codex-pool is stopping".into()))
    }
}

impl History {
    fn distrusts_clock(&self) -> bool {
        self.distrust_until.is_some_and(|end| Instant::now() < end)
    }
}

/// `None`: the work panicked, or the runtime is going down.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// A call without an answer may have used the token up all the same; the next try will tell.
fn lost(error: &UpstreamError) -> String {
    match error {
        UpstreamError::Connect(_) => format!("the token endpoint cannot be reached: {error}"),
        _ => format!("the token endpoint gave no answer: {error}"),
    }
}

/// Wall clock beside monotonic clock: when they part, the machine has slept or its clock was set.
struct Progress {
    wall: UnixMs,
    steady: Instant,
}

impl Progress {
    fn start() -> Self {
        Self { wall: clock::now(), steady: Instant::now() }
    }

    fn note_jump(&mut self) {
        let now = Self::start();
        let steady = i64::try_from((now.steady - self.steady).as_millis()).unwrap_or(i64::MAX);
        let jump_secs = (now.wall.0 - self.wall.0 - steady) / 1000;
        if jump_secs.abs() > 30 {
            tracing::info!(
                jump_secs,
                "the clock has jumped, or this machine has slept: every token is looked at again"
            );
        }
        *self = now;
    }
}
