//! The book of one answer: its account's slot until the end, and one record then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use pool_core::pool::Event;
use pool_core::quota::QuotaWindow;
use pool_core::usage::{Ending, UsageRecord};
use pool_core::verdict::Verdict;
use pool_core::{AccountId, Demand, SessionKey, Trail};
use pool_providers::reply::{News, Stage};

use super::answer::{Answer, Broken};
use super::draw::draw;
use super::estate::Estate;
use super::headers;
use super::path::Errand;
use crate::app::{App, Counted};
use crate::clock;
use crate::events::Phase;
use crate::people::books::Stay;
use crate::pool::Lease;

/// Keeps the book of one delivery, and its lease until the end.
#[derive(Debug)]
pub struct Meter {
    app: Arc<App>,
    lease: Option<Lease>,
    under_way: Arc<Counted>,
    stay: Option<Arc<Stay>>,
    demand: Demand,
    session: Option<SessionKey>,
    estate: Estate,
    /// The provider told of a failure inside the answer.
    failed: bool,
    account: AccountId,
    /// What the client called the model.
    alias: Option<String>,
    record: UsageRecord,
    trail: Trail,
    started: Instant,
    first_byte: Option<Duration>,
}

impl Meter {
    pub fn new(errand: &Errand, lease: &Lease, status: StatusCode, trail: &Trail) -> Self {
        let trail = trail.delivered(lease, status.as_u16(), clock::now());
        let record = record(errand, lease.account.id.clone(), status, &trail);
        Self {
            app: errand.app.clone(),
            lease: Some(lease.share()),
            under_way: errand.under_way.clone(),
            stay: errand.stay.clone(),
            demand: errand.demand.clone(),
            session: errand.session,
            estate: errand.estate.clone(),
            failed: false,
            account: lease.account.id.clone(),
            alias: errand.menu.alias().map(str::to_owned),
            record,
            trail,
            started: errand.started,
            first_byte: None,
        }
    }

    pub fn sent(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
            self.under_way.enter(Phase::Streaming);
        }
    }

    pub fn read(&self, windows: Vec<QuotaWindow>) {
        if !windows.is_empty() {
            self.app.pool.apply(Event::Read { id: self.account.clone(), windows });
        }
    }

    /// What is told in the middle of a delivery no longer changes it, but the pool wants to know.
    pub fn hear(&mut self, news: News) {
        self.read(news.windows);
        self.estate.hear(&self.app, self.demand.provider, &self.account, &news.created);
        self.failed |= news.failure.is_some();
        let Some(judgement) = news.failure.filter(|judgement| judgement.verdict != Verdict::Fatal) else { return };
        tracing::info!(request = self.record.request_id, account = %self.account, reason = judgement.reason, "an answer failed midway");
        if let Some(penalty) = judgement.penalty {
            self.app.pool.apply(Event::Penalised { id: self.account.clone(), penalty });
        }
    }

    pub fn end(&mut self, answer: &Answer, broken: Option<&Broken>) {
        let ending = self.ending(answer.tap.stage(), if broken.is_some() { Stop::Broken } else { Stop::End });
        if let Some(broken) = broken {
            tracing::warn!(request = self.record.request_id, account = %self.account, %broken, "an answer broke off");
        }
        self.close(answer, ending);
    }

    pub fn abort(&mut self, answer: &Answer) {
        self.close(answer, self.ending(answer.tap.stage(), Stop::ClientLeft));
    }

    fn ending(&self, stage: Stage, stop: Stop) -> Ending {
        ending(self.failed || self.record.status >= 400, stage, stop)
    }

    /// Gives the account back and records nothing.
    pub fn forget(&mut self) {
        self.lease = None;
    }

    /// Once: later calls find the lease gone.
    pub fn close(&mut self, answer: &Answer, ending: Ending) {
        let Some(lease) = self.lease.take() else { return };
        self.record.ending = ending;
        self.record.tokens = answer.tap.usage();
        if self.record.model.is_none() {
            self.record.model = answer.tap.model().map(str::to_owned);
        }
        let total = self.started.elapsed();
        let whose = (&self.account, self.record.user.as_ref());
        draw(&self.app, whose, &self.demand, self.session, self.record.tokens, total);
        self.record.first_byte_ms = clock::millis(self.first_byte.unwrap_or(total));
        self.record.total_ms = clock::millis(total);
        tracing::info!(
            request = self.record.request_id, provider = self.record.provider, account = %lease.account.name,
            model = self.record.model, asked = self.alias, status = self.record.status, ending = ?ending, tokens = self.record.tokens.map(|tokens| tokens.total()),
            attempts = self.record.attempts, ms = self.record.total_ms, "served"
        );
        if !self.demand.light {
            self.app.keep(self.record.clone(), std::mem::take(&mut self.trail));
        }
        self.stay = None;
    }
}

/// The record of a request that no account has answered.
#[derive(Debug)]
pub struct Unserved {
    app: Arc<App>,
    record: UsageRecord,
    trail: Trail,
    light: bool,
}

impl Unserved {
    pub fn new(errand: &Errand, trail: Trail) -> Self {
        let mut record = record(errand, AccountId::nobody(), StatusCode::BAD_GATEWAY, &trail);
        record.ending = Ending::Failed;
        record.total_ms = clock::millis(errand.started.elapsed());
        record.first_byte_ms = record.total_ms;
        Self { app: errand.app.clone(), record, trail, light: errand.demand.light }
    }

    /// It will not be kept.
    pub fn forget(&mut self) {
        self.light = true;
    }

    /// Keeps it, with the status that the client is told.
    pub fn keep(self, status: StatusCode) {
        self.close(status.as_u16());
    }

    /// Keeps it: the client has left. 499 is what others write into their logs for that.
    pub fn abandon(mut self) {
        self.record.ending = Ending::Aborted;
        self.close(499);
    }

    fn close(self, status: u16) {
        if !self.light {
            self.app.keep(UsageRecord { status, ..self.record }, self.trail);
        }
    }
}

/// What is known of a request before its end.
fn record(errand: &Errand, account: AccountId, status: StatusCode, trail: &Trail) -> UsageRecord {
    let client = headers::client_name(&errand.parts.headers);
    UsageRecord {
        request_id: errand.id.clone(),
        at: errand.arrived,
        user: errand.caller.user().map(|user| user.id.clone()),
        provider: errand.demand.provider.0.to_owned(),
        account,
        model: errand.demand.model.clone(),
        client,
        session: errand.session.map(pool_core::SessionKey::short),
        status: status.as_u16(),
        ending: Ending::Aborted,
        tokens: None,
        attempts: u32::try_from(trail.attempts.len()).unwrap_or(u32::MAX),
        first_byte_ms: 0,
        total_ms: 0,
        parts: Some(trail.parts),
    }
}

/// How a delivery stopped.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// There was no more.
    End,
    Broken,
    ClientLeft,
}

fn ending(failed: bool, stage: Stage, stop: Stop) -> Ending {
    match (stop, stage) {
        (Stop::End, _) if failed => Ending::Failed,
        // Codex leaves as soon as it has the terminal event, and does not wait for the end of the stream.
        (Stop::End | Stop::ClientLeft, Stage::Ended) if !failed => Ending::Complete,
        (Stop::End | Stop::Broken, _) => Ending::Incomplete,
        (Stop::ClientLeft, _) => Ending::Aborted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_told_to_its_end_is_complete_whoever_leaves_first() {
        for (failed, stage, stop, expected) in [
            (false, Stage::Ended, Stop::End, Ending::Complete),
            (false, Stage::Ended, Stop::ClientLeft, Ending::Complete),
            (false, Stage::Meaningful, Stop::End, Ending::Incomplete),
            (false, Stage::Meaningful, Stop::ClientLeft, Ending::Aborted),
            (false, Stage::Ended, Stop::Broken, Ending::Incomplete),
            (true, Stage::Ended, Stop::End, Ending::Failed),
            (true, Stage::Ended, Stop::ClientLeft, Ending::Aborted),
        ] {
            assert_eq!(ending(failed, stage, stop), expected, "{failed} {stage:?} {stop:?}");
        }
    }
}
