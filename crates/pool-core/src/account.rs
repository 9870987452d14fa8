//! Who serves: accounts, their identity, their credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::price::MicroUsd;
use crate::quota::Fraction;
use crate::secret::Secret;
use crate::time::UnixMs;
use crate::wishes::{ModelList, Weight};

/// Whose protocol a request speaks and whose accounts can serve it: `codex`, `claude`, `gemini`. The registry of
/// `pool-providers` says which ids exist; the core only compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ProviderId(pub &'static str);

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The stable public id of an account: its provider and twelve hex digits of the hash of its [`Identity`], as in
/// `codex-1f0a33bc9d2e`. It survives token rotation, renaming and moving of the file (where the file names its owner).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct AccountId(pub Arc<str>);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AccountId {
    /// In the record of a request that no account has answered.
    pub fn nobody() -> Self {
        Self(Arc::from(""))
    }

    pub fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }
}

/// What makes two files the same account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The provider's own user id and workspace, organisation or project id (empty if it has none).
    Claims { user: String, workspace: String },
    /// A file without such claims: its path below the pool folder.
    File(String),
}

impl Identity {
    pub fn account_id(&self, provider: ProviderId) -> AccountId {
        let mut hash = Sha256::new();
        match self {
            Self::Claims { user, workspace } => {
                for part in ["claims", provider.0, user, workspace] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
            Self::File(path) => {
                for part in ["file", provider.0, path] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
        }
        AccountId(format!("{provider}-{}", crate::hex(&hash.finalize()[..6])).into())
    }
}

/// How an account pays: a plan's windows, or by use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    Subscription,
    ApiKey,
}

/// The optional pool keys that stand in the credential file beside the provider's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Settings {
    /// Shown in place of the file's name.
    pub name: Option<String>,
    /// Taken out by hand; the pages say *paused*.
    pub disabled: bool,
    /// Higher first; 0 unless told.
    pub priority: i32,
    /// Who brought it: a user's name or id. It gives them no rights; what others use of it counts as given by them.
    pub owner: Option<String>,
    /// May friends use it? `None`: the pool's default.
    pub share: Option<bool>,
    pub weight: Weight,
    /// The share of every window that is kept for the owner: to anybody else a window is spent when no more is left.
    pub reserve: Fraction,
    /// Requests at one time.
    pub max_in_flight: Option<u32>,
    /// It serves these models only. What names no model is not kept out.
    pub models: Option<ModelList>,
    /// What an API key may cost in a day, midnight to midnight UTC.
    pub daily_spend: Option<MicroUsd>,
}

/// One credential set of one provider, as its file describes it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    pub id: AccountId,
    pub provider: ProviderId,
    pub kind: AccountKind,
    /// What people call it: `settings.name`, else the file's name without folder and ending.
    pub name: String,
    /// Path below the pool folder, with `/`.
    pub file: String,
    /// The provider's own word for the plan, as `plus` or `default_claude_max_5x`.
    pub plan: Option<String>,
    /// Masked for display, as `m…@example.com`.
    pub email: Option<String>,
    pub settings: Settings,
}

/// What is sent to the provider for an account, and what renews it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The bearer token or API key.
    pub access: Secret,
    /// Absent: nothing can be renewed (API keys, setup tokens).
    pub refresh: Option<Secret>,
    /// When `access` ends; `None`: it does not say.
    pub expires_at: Option<UnixMs>,
    /// When it was last renewed, where the file says so and `access` does not tell its end.
    pub refreshed_at: Option<UnixMs>,
    /// Values that belong to this account and travel with it (workspace id header, project, …). Keys are the provider
    /// folder's own.
    pub bound: BTreeMap<&'static str, String>,
}

/// Bound values can be secrets too (an id token), so only their keys are shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access, refresh, expires_at, refreshed_at, bound } = self;
        f.debug_struct("Credentials")
            .field("access", access)
            .field("refresh", refresh)
            .field("expires_at", expires_at)
            .field("refreshed_at", refreshed_at)
            .field("bound", &bound.keys())
            .finish()
    }
}

impl Credentials {
    /// A key or token that is never renewed and does not tell its end.
    pub fn lasting(access: Secret) -> Self {
        Self { access, refresh: None, expires_at: None, refreshed_at: None, bound: BTreeMap::new() }
    }

    /// Has the access token passed its end?
    pub fn is_expired(&self, now: UnixMs) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_bound_value() {
        let credentials = Credentials {
            access: Secret::new("made-up-access"),
            refresh: None,
            expires_at: None,
            refreshed_at: None,
            bound: BTreeMap::from([("id_token", "made-up-id".to_owned())]),
        };
        let shown = format!("{credentials:?}");
        assert!(shown.contains("id_token") && !shown.contains("made-up"), "{shown}");
    }

    #[test]
    fn identity_is_not_fooled_by_where_the_parts_meet() {
        let provider = ProviderId("codex");
        let id = |user: &str, workspace: &str| {
            Identity::Claims { user: user.into(), workspace: workspace.into() }.account_id(provider)
        };
        assert_eq!(id("u1", "w1"), id("u1", "w1"));
        assert_ne!(id("u1", "w1"), id("u1w", "1"));
        assert_ne!(id("u1", "w1"), id("u1", "w2"));
        assert_ne!(id("a.json", ""), Identity::File("a.json".into()).account_id(provider));
        assert!(id("u1", "w1").0.starts_with("codex-"));
    }
}
