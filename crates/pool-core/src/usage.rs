//! What a request cost, in disjoint classes of tokens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::people::UserId;
use crate::time::{Span, UnixMs};

/// Tokens by class. The classes do not overlap: their sum is all that was processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenCounts {
    /// Prompt tokens that came from no cache.
    pub input: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    /// Answer without reasoning (where the provider tells them apart).
    pub output: u64,
    pub reasoning: u64,
}

impl TokenCounts {
    pub fn total(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output, self.reasoning]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// What a request took from an account, in the one unit that quota is weighed in: a fresh input token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    pub units: f64,
    /// Tokens of the conversation that the account's cache holds now.
    pub prefix: u64,
    /// How long it holds them unless they are read again.
    pub warm: Span,
}

/// What the classes of tokens cost next to a fresh input token. Providers price them so (cache writes of an hour at twice,
/// Anthropic's and OpenAI's price lists of 2026), and their quota moves alike.
pub const INPUT: f64 = 1.0;
pub const CACHE_WRITE: f64 = 1.25;
pub const CACHE_WRITE_1H: f64 = 2.0;
pub const CACHE_READ: f64 = 0.1;
pub const OUTPUT: f64 = 5.0;

impl TokenCounts {
    /// Its weight in quota, in fresh input tokens.
    pub fn units(&self) -> f64 {
        let weigh = |tokens: u64, weight: f64| tokens as f64 * weight;
        weigh(self.input, INPUT)
            + weigh(self.cache_read, CACHE_READ)
            + weigh(self.cache_write_5m, CACHE_WRITE)
            + weigh(self.cache_write_1h, CACHE_WRITE_1H)
            + weigh(self.output.saturating_add(self.reasoning), OUTPUT)
    }

    #[must_use]
    pub fn plus(&self, more: &Self) -> Self {
        Self {
            input: self.input.saturating_add(more.input),
            cache_read: self.cache_read.saturating_add(more.cache_read),
            cache_write_5m: self.cache_write_5m.saturating_add(more.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(more.cache_write_1h),
            output: self.output.saturating_add(more.output),
            reasoning: self.reasoning.saturating_add(more.reasoning),
        }
    }

    /// The tokens of the prompt, wherever they came from.
    pub fn prompt(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h].into_iter().fold(0, u64::saturating_add)
    }

    /// The conversation as its next request will repeat it.
    pub fn prefix(&self) -> u64 {
        self.total()
    }
}

/// How a delivered request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer came to its own end.
    Complete,
    /// Upstream broke off, or ended without its terminal event.
    Incomplete,
    /// The client went away.
    Aborted,
    /// The answer was an error that was passed on.
    Failed,
}

/// One delivered request. No prompt, no answer, no address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UsageRecord {
    /// The id in the `x-pool-request` reply header.
    pub request_id: String,
    pub at: UnixMs,
    /// Whose request it was, where the pool knows its people.
    pub user: Option<UserId>,
    pub provider: String,
    /// [`AccountId::nobody`]: no account's answer went to the client.
    pub account: AccountId,
    /// As the request named it, or as the answer did if the request named none.
    pub model: Option<String>,
    /// User agent's first word and version, as `codex_exec/0.169.0`.
    pub client: Option<String>,
    /// Short hash of the conversation.
    pub session: Option<String>,
    pub status: u16,
    pub ending: Ending,
    /// `None`: the answer did not tell.
    pub tokens: Option<TokenCounts>,
    pub attempts: u32,
    /// Milliseconds from the request's arrival to the first byte sent and to the last.
    pub first_byte_ms: u64,
    pub total_ms: u64,
    /// `None`: not measured (on sockets).
    pub parts: Option<LatencyParts>,
}

/// Where the time before an answer went, over all tries of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LatencyParts {
    /// Choosing accounts: microseconds.
    pub choose_us: u64,
    /// In line for a busy account.
    pub wait_ms: u64,
    /// Until there was a connection; 0 for one that was open already.
    pub connect_ms: u64,
    /// From there to the head of the answer: sending the request, and what the provider took to begin.
    pub upstream_ms: u64,
}

impl LatencyParts {
    /// An account was chosen within `taken`, of which `waited` were spent in line.
    pub fn chose(&mut self, taken: Duration, waited: Duration) {
        self.choose_us = self.choose_us.saturating_add(whole(taken.saturating_sub(waited).as_micros()));
        self.wait_ms = self.wait_ms.saturating_add(whole(waited.as_millis()));
    }

    /// The head of an answer came within `taken`, of which `connecting` went into the connection.
    pub fn heard(&mut self, taken: Duration, connecting: Duration) {
        self.connect_ms = self.connect_ms.saturating_add(whole(connecting.as_millis()));
        self.upstream_ms = self.upstream_ms.saturating_add(whole(taken.saturating_sub(connecting).as_millis()));
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
