//! A conversation of a run: where it stands, and what its steps cost.

use pool_core::pool::Grant;
use pool_core::{Client, Demand, ProviderId, SessionKey, Span, TokenCounts, UnixMs};

use crate::pool_file::AccountSpec;
use crate::trace::{Session, Step};
use crate::world::Context;

/// See the module's page.
pub(crate) struct Talk {
    pub(crate) key: SessionKey,
    pub(crate) demand: Demand,
    /// The next step.
    pub(crate) step: usize,
    pub(crate) ready_at: UnixMs,
    pub(crate) ended_at: Option<UnixMs>,
    pub(crate) context: Context,
    /// Who served the step before.
    pub(crate) last: Option<usize>,
    /// The step under way: its account, and what it will cost.
    pub(crate) running: Option<(Grant, usize, TokenCounts)>,
}

impl Talk {
    /// `usual`: the provider of a conversation that names none.
    pub(crate) fn new(session: &Session, accounts: &[AccountSpec], usual: ProviderId) -> Self {
        let named = session.provider.as_ref();
        let provider = accounts.iter().map(|spec| spec.provider).find(|id| named.is_some_and(|named| id.0 == named));
        let provider = provider.unwrap_or(usual);
        let demand = Demand { model: session.model.clone(), ..Demand::any(provider, Client::OwnCli) };
        Self {
            key: SessionKey::new(provider, &session.user, &session.session),
            demand,
            step: 0,
            ready_at: UnixMs::default(),
            ended_at: None,
            context: Context::default(),
            last: None,
            running: None,
        }
    }
}

/// The tokens of a step on an account that holds `warm` of the conversation's `context`.
pub(crate) fn cost_of(step: &Step, context: u64, warm: u64) -> TokenCounts {
    TokenCounts {
        cache_read: warm,
        cache_write_5m: context - warm + whole(step.new),
        output: whole(step.out),
        ..TokenCounts::default()
    }
}

pub(crate) fn whole(tokens: f64) -> u64 {
    tokens.round() as u64
}

pub(crate) fn secs(secs: f64) -> Span {
    Span((secs * 1000.0).round() as u64)
}

pub(crate) fn hours(span: Span) -> f64 {
    span.0 as f64 / 3_600_000.0
}
