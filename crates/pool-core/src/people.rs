//! Who may use the pool: people, their credentials, invitations and one-time codes.
//!
//! [`Directory`] is the whole of it in memory: asked on every request, changed by [`Change`]s only. Whoever keeps it writes each
//! change down before applying it. It never holds a secret, only hashes of random ones.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::account::AccountId;
use crate::limits::Limits;
use crate::time::UnixMs;

/// What somebody may do. Later ones may do less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Operator,
    /// Uses the pool, sees their own usage and the accounts' names.
    User,
    /// Came by friend code or invite: uses what is shared, sees their own usage and no account names.
    Friend,
}

impl Role {
    /// As a label: `operator`, `user`, `friend`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::User => "user",
            Self::Friend => "friend",
        }
    }
}

/// A random id, as `u-3f0a9c…`. It appears in addresses and logs and opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct UserId(pub Arc<str>);

/// The same for a credential, as `c-81b2…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CredentialId(pub Arc<str>);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a random secret of 128 bits or more. Being random, it needs neither salt nor a slow hash; being a hash, it is looked
/// up in a map without time telling anything of the secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// A pool user or friend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    /// Unique without regard to case.
    pub name: String,
    pub role: Role,
    pub email: Option<String>,
    pub created_at: UnixMs,
    /// Taken out by the operator; may come back.
    pub paused: bool,
    pub limits: Limits,
    /// Accounts that they may use; `None`: all (friends: all that are shared).
    pub accounts: Option<Vec<AccountId>>,
}

/// One machine's key to the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    pub id: CredentialId,
    pub user: UserId,
    pub hash: SecretHash,
    /// The last characters, so that a person can tell theirs apart: `…k3f9`.
    pub hint: String,
    /// Which machine or program holds it, in its owner's words.
    pub label: String,
    pub created_at: UnixMs,
    /// `None`: it does not end.
    pub expires_at: Option<UnixMs>,
    pub revoked_at: Option<UnixMs>,
}

/// An invitation, or the right to fetch a set-up script: works once, for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Code {
    pub hash: SecretHash,
    pub grants: Grants,
    pub created_at: UnixMs,
    pub expires_at: UnixMs,
    pub used_at: Option<UnixMs>,
}

/// What a code is good for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grants {
    /// Whoever redeems it becomes a user with these rights.
    Invitation { role: Role, name: Option<String>, limits: Limits, accounts: Option<Vec<AccountId>> },
    /// A machine of this user's may fetch a credential of its own.
    SetUp { user: UserId },
}

/// Something that changes the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A user is new, or is other than before.
    User(User),
    UserGone {
        id: UserId,
    },
    /// A credential is new.
    Credential(Credential),
    Revoked {
        id: CredentialId,
        at: UnixMs,
    },
    /// A code is new.
    Code(Code),
    CodeUsed {
        hash: SecretHash,
        at: UnixMs,
    },
}

/// Why a presented secret opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Unknown,
    Expired,
    Revoked,
    /// Its user is paused.
    Paused,
}

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    users: BTreeMap<UserId, Arc<User>>,
    credentials: HashMap<SecretHash, Arc<Credential>>,
    codes: HashMap<SecretHash, Code>,
}

impl Directory {
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::User(user) => drop(self.users.insert(user.id.clone(), Arc::new(user))),
            Change::UserGone { id } => {
                self.users.remove(&id);
                self.credentials.retain(|_, credential| credential.user != id);
            }
            Change::Credential(credential) => {
                self.credentials.insert(credential.hash, Arc::new(credential));
            }
            Change::Revoked { id, at } => {
                if let Some(found) = self.credentials.values_mut().find(|credential| credential.id == id) {
                    Arc::make_mut(found).revoked_at.get_or_insert(at);
                }
            }
            Change::Code(code) => drop(self.codes.insert(code.hash, code)),
            Change::CodeUsed { hash, at } => {
                if let Some(code) = self.codes.get_mut(&hash) {
                    code.used_at.get_or_insert(at);
                }
            }
        }
    }

    /// Whose secret is this?
    pub fn open(&self, presented: SecretHash, now: UnixMs) -> Result<(Arc<User>, Arc<Credential>), Closed> {
        let credential = self.credentials.get(&presented).ok_or(Closed::Unknown)?;
        if credential.revoked_at.is_some() {
            return Err(Closed::Revoked);
        }
        if credential.expires_at.is_some_and(|end| end <= now) {
            return Err(Closed::Expired);
        }
        let user = self.users.get(&credential.user).ok_or(Closed::Unknown)?;
        if user.paused { Err(Closed::Paused) } else { Ok((user.clone(), credential.clone())) }
    }

    /// Is anybody known? As soon as somebody is, nobody enters without a credential.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    pub fn user(&self, id: &UserId) -> Option<&Arc<User>> {
        self.users.get(id)
    }

    /// By name, without regard to case.
    pub fn named(&self, name: &str) -> Option<&Arc<User>> {
        self.users.values().find(|user| user.name.to_lowercase() == name.to_lowercase())
    }

    pub fn credentials_of(&self, user: &UserId) -> impl Iterator<Item = &Arc<Credential>> {
        self.credentials.values().filter(move |credential| credential.user == *user)
    }

    /// Codes that are still good.
    pub fn codes(&self, now: UnixMs) -> impl Iterator<Item = &Code> {
        self.codes.values().filter(move |code| code.used_at.is_none() && now < code.expires_at)
    }

    /// A code that is still good.
    pub fn code(&self, hash: SecretHash, now: UnixMs) -> Option<&Code> {
        self.codes.get(&hash).filter(|code| code.used_at.is_none() && now < code.expires_at)
    }
}
