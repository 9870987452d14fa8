//! Asks each provider what an account has left: all accounts at the start, idle ones now and then, one whenever somebody wants
//! to know.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use pool_core::pool::Event;
use pool_core::verdict::Fault;
use pool_core::{Account, AccountId, Credentials, QuotaWindow, Verdict};
use pool_providers::provider::Probed;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};

use super::Shared;
use super::flights::Flights;
use super::refresher::{RefreshFailure, Refresher, Why};
use crate::clock;

const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Probes in the background at one time.
const AT_ONCE: usize = 4;
/// The first probes are this far apart, so that not all accounts knock in one moment.
const SPREAD: Duration = Duration::from_millis(40);
/// After a first failure, doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What a probe has told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbeReport {
    pub outcome: Outcome,
    pub windows: Vec<QuotaWindow>,
    pub plan: Option<String>,
    pub took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The credential works.
    Works,
    /// There is no question that costs nothing: only a real request can tell.
    NoProbe,
    /// Only a person can help: why, and what to do.
    NeedsPerson { why: String },
    /// No useful answer; it says nothing against the account.
    Trouble { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    #[error("there is no such account")]
    Gone,
    #[error("the probe broke off; try again")]
    BrokenOff,
}

/// See the module's page. Clones share everything.
#[derive(Clone)]
pub struct Prober(Arc<Inner>);

struct Inner {
    shared: Shared,
    refresher: Refresher,
    flights: Arc<Flights<Result<ProbeReport, ProbeFailure>>>,
    plan: Mutex<HashMap<AccountId, Next>>,
    wake: Notify,
}

/// When an account is probed next.
#[derive(Clone, Copy, Debug)]
struct Next {
    at: Instant,
    failures: u32,
    /// Its file says something new, so it is asked though it may be serving. Until a probe has come to an end.
    anyway: bool,
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

impl Prober {
    pub(super) fn new(shared: Shared, refresher: Refresher) -> Self {
        let inner = Inner { shared, refresher, flights: Arc::default(), plan: Mutex::default(), wake: Notify::new() };
        Self(Arc::new(inner))
    }

    /// Probes the account now, or joins the probe under way.
    pub async fn probe_now(&self, id: &AccountId) -> Result<ProbeReport, ProbeFailure> {
        let start = || {
            let (inner, id) = (self.0.clone(), id.clone());
            Ok(async move {
                let report = inner.probe(&id).await;
                inner.plan_next(
                    &id,
                    report.as_ref().is_ok_and(|report| !matches!(report.outcome, Outcome::Trouble { .. })),
                );
                report
            })
        };
        let answer = self.0.flights.join(id, &self.0.shared.tasks, start).await;
        answer.unwrap_or(Err(ProbeFailure::BrokenOff))
    }

    /// Has the account been asked to be probed since its file said something new, and not answered yet?
    pub fn is_checking(&self, id: &AccountId) -> bool {
        self.0.plan.lock().get(id).is_some_and(|next| next.anyway) || self.0.flights.is_under_way(id)
    }

    /// Accounts that are new, or whose file says something new.
    pub(super) fn probe_soon(&self, changed: Vec<AccountId>) {
        if changed.is_empty() {
            return;
        }
        let mut plan = self.0.plan.lock();
        let mut at = Instant::now();
        for id in changed {
            plan.insert(id, Next { at, failures: 0, anyway: true });
            at += SPREAD;
        }
        drop(plan);
        self.0.wake.notify_one();
    }

    /// Probes what is due until told to stop.
    pub(super) async fn run(self) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let wait = self.0.until_next();
            tokio::select! {
                () = self.0.shared.stop.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            for id in self.0.due() {
                let slot = tokio::select! {
                    () = self.0.shared.stop.cancelled() => return,
                    slot = slots.clone().acquire_owned() => slot,
                };
                let prober = self.clone();
                // What it tells is applied to the pool; nobody waits for the report.
                self.0.shared.tasks.spawn(async move {
                    let _ = prober.probe_now(&id).await;
                    drop(slot);
                });
            }
        }
    }
}

impl Inner {
    async fn probe(&self, id: &AccountId) -> Result<ProbeReport, ProbeFailure> {
        let begun = Instant::now();
        let (mut outcome, mut probed) = self.ask(id).await?;
        if matches!(&probed.judgement, Some(judgement) if judgement.verdict == Verdict::RefreshThenSame) {
            (outcome, probed) = self.ask_renewed(id, outcome).await?;
        }
        // Some questions can be asked only with what the first answer told.
        if outcome == Outcome::Works && !probed.bound.is_empty() && probed.windows.is_empty() {
            (outcome, probed) = self.ask(id).await?;
        }
        Ok(ProbeReport { outcome, windows: probed.windows, plan: probed.plan, took: begun.elapsed() })
    }

    /// One question and what follows from its answer. A refused credential is the caller's to deal with.
    async fn ask(&self, id: &AccountId) -> Result<(Outcome, Probed), ProbeFailure> {
        let (account, mut credentials, mut epoch) = self.snapshot(id)?;
        if credentials.is_expired(clock::now()) && credentials.refresh.is_some() {
            match self.refresher.ensure_fresh(id, epoch, Why::Proactive).await {
                Ok(()) => (_, credentials, epoch) = self.snapshot(id)?,
                Err(failure) => return Ok((not_renewed(&failure), Probed::default())),
            }
        }
        let registry = &self.shared.registry;
        let provider = registry.get(account.provider).ok_or(ProbeFailure::Gone)?;
        let Some(call) = provider.probe_call(&account, &credentials, &self.shared.bases) else {
            return Ok((Outcome::NoProbe, Probed::default()));
        };
        let reply = tokio::select! {
            () = self.shared.stop.cancelled() => return Err(ProbeFailure::BrokenOff),
            reply = self.shared.upstream.call(call, CALL_LIMIT) => reply,
        };
        let reply = match reply {
            Ok(reply) => reply,
            // The network's trouble is not the account's.
            Err(error) => return Ok((Outcome::Trouble { why: error.to_string() }, Probed::default())),
        };
        // That we asked too often says nothing of what the account has left.
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            return Ok((Outcome::Trouble { why: "the provider limits this question (429)".into() }, Probed::default()));
        }
        let probed = provider.read_probe(&account, reply.status, &reply.headers, &reply.body, clock::now());
        let outcome = self.apply(id, epoch, &probed);
        Ok((outcome, probed))
    }

    /// The credential was refused: renew it and ask once more. Refused again, or not to be renewed: a person must help.
    async fn ask_renewed(&self, id: &AccountId, refused: Outcome) -> Result<(Outcome, Probed), ProbeFailure> {
        let (account, _, epoch) = self.snapshot(id)?;
        match self.refresher.ensure_fresh(id, epoch, Why::Rejected).await {
            Ok(()) => {
                let (_, _, epoch) = self.snapshot(id)?;
                let (outcome, probed) = self.ask(id).await?;
                let refused =
                    probed.judgement.as_ref().filter(|judgement| judgement.verdict == Verdict::RefreshThenSame);
                match refused {
                    Some(judgement) => {
                        let reason =
                            format!("its credential is refused even after it was renewed ({})", judgement.reason);
                        Ok((self.park(id, epoch, &account, &reason), probed))
                    }
                    None => Ok((outcome, probed)),
                }
            }
            Err(RefreshFailure::NothingToRenew) => {
                let reason = "its credential is refused and cannot be renewed";
                Ok((self.park(id, epoch, &account, reason), Probed::default()))
            }
            Err(RefreshFailure::StillRejected) => Ok((refused, Probed::default())),
            Err(failure) => Ok((not_renewed(&failure), Probed::default())),
        }
    }

    fn apply(&self, id: &AccountId, epoch: u64, probed: &Probed) -> Outcome {
        let live = &self.shared.live;
        if !probed.windows.is_empty() {
            live.apply(Event::Read { id: id.clone(), windows: probed.windows.clone() });
        }
        if let Some(plan) = &probed.plan {
            live.apply(Event::Plan { id: id.clone(), plan: plan.clone() });
        }
        if !probed.bound.is_empty() {
            live.apply(Event::Bound { id: id.clone(), values: probed.bound.clone() });
        }
        let Some(judgement) = &probed.judgement else { return Outcome::Works };
        if !judgement.windows.is_empty() {
            live.apply(Event::Read { id: id.clone(), windows: judgement.windows.clone() });
        }
        // What is not the account's own (an outage, a firewall) it does not pay for.
        let own = judgement.penalty.clone().filter(|_| matches!(judgement.fault, Fault::Account | Fault::Model));
        if let Some(penalty) = own {
            live.apply(Event::Penalised { id: id.clone(), penalty });
        }
        if let Some(why) = &judgement.park {
            live.apply(Event::SignInNeeded { id: id.clone(), epoch, why: why.clone() });
            return Outcome::NeedsPerson { why: why.clone() };
        }
        match judgement.verdict {
            Verdict::Deliver => Outcome::Works,
            _ => Outcome::Trouble { why: judgement.reason.clone() },
        }
    }

    fn park(&self, id: &AccountId, epoch: u64, account: &Account, reason: &str) -> Outcome {
        let why = format!("{reason}; {}", super::what_mends(account));
        tracing::warn!(account = %id, name = account.name, "{why}");
        self.shared.live.apply(Event::SignInNeeded { id: id.clone(), epoch, why: why.clone() });
        Outcome::NeedsPerson { why }
    }

    fn snapshot(&self, id: &AccountId) -> Result<(Arc<Account>, Arc<Credentials>, u64), ProbeFailure> {
        let slot = self
            .shared
            .live
            .read(|pool, _| pool.slot(id).map(|slot| (slot.account.clone(), slot.credentials.clone(), slot.epoch)));
        slot.ok_or(ProbeFailure::Gone)
    }

    /// Idle accounts are asked every `probe_every`, give or take a tenth; after failures less and less often.
    fn plan_next(&self, id: &AccountId, well: bool) {
        let mut plan = self.plan.lock();
        let failures = if well { 0 } else { plan.get(id).map_or(0, |next| next.failures).saturating_add(1) };
        let wait = match failures {
            0 => self.shared.probe_every,
            _ => FIRST_WAIT.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_WAIT),
        };
        plan.insert(id.clone(), Next { at: Instant::now() + jittered(wait), failures, anyway: false });
    }

    /// Takes the due accounts off the plan for now, and those that are gone off it for good.
    fn due(&self) -> Vec<AccountId> {
        let now = Instant::now();
        let every = self.shared.probe_every;
        // The pool's lock first, then the plan's: status pages ask `is_checking` from within the former.
        self.shared.live.read(|pool, wall| {
            let mut plan = self.plan.lock();
            let mut due = Vec::new();
            plan.retain(|id, _| pool.slot(id).is_some());
            for (id, next) in plan.iter_mut().filter(|(_, next)| next.at <= now) {
                let Some(slot) = pool.slot(id) else { continue };
                // An account that serves tells what it has left with each reply. One that waits for a person is asked when
                // its file has changed.
                let idle_for = slot.last_used.map_or(Duration::MAX, |used| Duration::from_millis(wall.since(used).0));
                let out = slot.account.settings.disabled || slot.needs_login.is_some();
                next.at = now + jittered(every);
                if !out && (next.anyway || idle_for >= every) {
                    due.push(id.clone());
                    continue;
                }
                next.anyway = false;
                if !out {
                    next.at = now + every.saturating_sub(idle_for);
                }
            }
            due
        })
    }

    fn until_next(&self) -> Duration {
        let soonest = self.plan.lock().values().map(|next| next.at).min();
        // Not more often than this, whatever the plan says.
        let pause = Duration::from_millis(50);
        soonest.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(Instant::now())).max(pause)
    }
}

fn not_renewed(failure: &RefreshFailure) -> Outcome {
    match failure {
        RefreshFailure::Dead { why } => Outcome::NeedsPerson { why: why.clone() },
        _ => Outcome::Trouble { why: failure.to_string() },
    }
}

/// Up to a tenth more or less.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let thousandths = u32::try_from(random % 201).unwrap_or(100) + 900;
    wait.saturating_mul(thousandths) / 1000
}
