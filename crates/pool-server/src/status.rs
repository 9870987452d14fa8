//! What `/api/status` answers and `codex-pool status` prints: one shape for the server that fills it and the terminal that
//! reads it, and the table that both show.

mod table;

use pool_core::{AccountId, AccountKind, Fraction, Source, UnixMs};
use serde::{Deserialize, Serialize};

use crate::events::Eyes;
use crate::forecast::ForecastPage;

pub use table::{Look, render, render_table};
pub(crate) use table::{chars, clock, harmless, pad, wrapped};

/// The pool at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StatusPage {
    /// Of the running program.
    pub version: String,
    /// The server's clock, milliseconds since the Unix epoch. Ages and countdowns are meant from here.
    pub now_ms: i64,
    /// When it runs dry.
    #[serde(default)]
    pub forecast: ForecastPage,
    pub accounts: Vec<AccountStatus>,
    pub files_with_faults: Vec<FaultyFile>,
    pub requests_in_flight: u64,
    pub ledger: LedgerStatus,
}

/// One account: who it is, whether it serves, what it has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccountStatus {
    pub id: String,
    pub name: String,
    pub provider: String,
    pub kind: AccountKind,
    pub plan: Option<String>,
    /// Masked.
    pub email: Option<String>,
    /// Path below the pool folder.
    pub file: String,
    pub state: State,
    /// Why it is not ready, as a sentence for a person.
    pub reason: Option<String>,
    /// When that ends by itself, if it does.
    pub until_ms: Option<i64>,
    pub in_flight: u64,
    /// Those that have been reported; none: nothing is known yet.
    pub windows: Vec<WindowStatus>,
}

/// One account, as `GET /api/accounts` and the events show it: to each caller what is theirs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccountView {
    pub id: String,
    pub name: String,
    pub provider: String,
    pub kind: AccountKind,
    pub plan: Option<String>,
    pub state: State,
    /// When that ends by itself, if it does.
    pub until_ms: Option<i64>,
    pub in_flight: u64,
    /// Those that have been reported; none: nothing is known yet.
    pub windows: Vec<WindowStatus>,
    /// Why it is not ready. For the operator only, as what follows.
    pub reason: Option<String>,
    /// Masked.
    pub email: Option<String>,
    /// Path below the pool folder.
    pub file: Option<String>,
}

/// What a provider's accounts have left for the caller, told as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProviderView {
    pub provider: String,
    /// Accounts that may serve its own client.
    pub accounts: u64,
    /// Of them: ready now.
    pub ready: u64,
    pub windows: Vec<ProviderWindow>,
}

/// One kind of window over all accounts of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProviderWindow {
    pub name: String,
    /// The model family that it limits; null: every request.
    pub family: Option<String>,
    pub left: Fraction,
    /// The first reset that frees some of it.
    pub resets_at_ms: Option<i64>,
}

/// Can the account serve now?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AccountState)]
pub enum State {
    Ready,
    /// Out until a time.
    Cooling,
    /// Somebody has to sign in again.
    NeedsLogin,
    /// Taken out by hand.
    Paused,
    /// Its first probe has not come back.
    Checking,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Ready, Self::Cooling, Self::NeedsLogin, Self::Paused, Self::Checking];

    /// As JSON and labels write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cooling => "cooling",
            Self::NeedsLogin => "needs_login",
            Self::Paused => "paused",
            Self::Checking => "checking",
        }
    }
}

/// One quota window of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WindowStatus {
    pub name: String,
    /// The model family that it limits; `None`: every request.
    pub family: Option<String>,
    /// What is left of it now.
    pub left: Fraction,
    pub resets_at_ms: Option<i64>,
    /// Since the reading.
    pub age_ms: u64,
    pub source: Source,
}

/// A file in the pool folder that somebody should look at. Holds nothing of the file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FaultyFile {
    /// Path below the pool folder.
    pub file: String,
    /// What is wrong and what mends it.
    pub fault: String,
    /// The account works all the same.
    pub usable: bool,
}

/// How the usage ledger is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LedgerStatus {
    /// `None`: it is fine. Else why records cannot be written now.
    pub degraded: Option<String>,
    /// Waiting to be written.
    pub queued: u64,
    /// Written since the start.
    pub written: u64,
    /// Lost since the start because the queue was full.
    pub dropped: u64,
}

/// The answer to `POST /api/accounts/{id}/test`: what the provider said to one probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TestResult {
    /// Nothing speaks against the account.
    pub ok: bool,
    /// What was found, as a sentence for a person.
    pub message: String,
    /// The account after the probe.
    pub account: Option<AccountStatus>,
}

impl From<AccountStatus> for AccountView {
    fn from(account: AccountStatus) -> Self {
        Self {
            id: account.id,
            name: account.name,
            provider: account.provider,
            kind: account.kind,
            plan: account.plan,
            state: account.state,
            until_ms: account.until_ms,
            in_flight: account.in_flight,
            windows: account.windows,
            reason: account.reason,
            email: account.email,
            file: Some(account.file),
        }
    }
}

impl AccountView {
    /// What these eyes may see of it.
    #[must_use]
    pub fn seen_by(self, eyes: &Eyes) -> Option<Self> {
        if *eyes == Eyes::Operator {
            return Some(self);
        }
        let id = AccountId(self.id.as_str().into());
        eyes.sees_account(&id).then_some(Self { reason: None, email: None, file: None, ..self })
    }

    /// With the moment of each reading in place of its age, so that two looks at the same reading are the same.
    #[must_use]
    pub fn dated(mut self, now: UnixMs) -> Self {
        for window in &mut self.windows {
            window.age_ms = u64::try_from(now.0).unwrap_or(0).saturating_sub(window.age_ms);
        }
        self
    }
}

impl WindowStatus {
    /// The same bound as [`pool_core::QuotaWindow::is_exhausted`].
    pub fn is_spent(&self) -> bool {
        self.left.get() <= 0.005
    }

    /// Does `other` being spent keep this window's quota from being used?
    fn is_blocked_by(&self, other: &Self) -> bool {
        let other_covers = other.family.is_none() || other.family == self.family;
        other_covers && other.is_spent() && !self.is_spent()
    }
}

/// A model family as people know it: one that is a single model goes by that model's name.
pub(crate) fn family_word(family: &str) -> &str {
    family.strip_prefix("model:").unwrap_or(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_reads_back_as_it_was_written() {
        let page = StatusPage {
            version: "0.1.0".into(),
            now_ms: 1,
            forecast: ForecastPage::default(),
            accounts: vec![],
            files_with_faults: vec![FaultyFile { file: "a.json".into(), fault: "not JSON".into(), usable: false }],
            requests_in_flight: 2,
            ledger: LedgerStatus::default(),
        };
        let text = serde_json::to_string(&page).expect("serialises");
        assert_eq!(serde_json::from_str::<StatusPage>(&text).expect("reads back"), page);
        assert_eq!(serde_json::to_value(State::NeedsLogin).expect("serialises"), "needs_login");
    }
}
