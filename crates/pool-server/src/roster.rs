//! What our pages say and take of people: the shapes that the server and the terminal share.

use pool_core::limits::Limits;
use pool_core::people::{Code, Credential, Grants, Role, User};
use pool_core::{UnixMs, hex};
use serde::{Deserialize, Deserializer, Serialize};

/// `GET /api/people`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Roster {
    pub people: Vec<Person>,
    /// Codes that still work.
    pub invitations: Vec<Invitation>,
}

/// Somebody, without any secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Person {
    pub id: String,
    pub name: String,
    pub role: Role,
    pub email: Option<String>,
    pub created_at_ms: i64,
    pub paused: bool,
    pub limits: Limits,
    /// Ids of the accounts that they may use; `null`: all that are open to their role.
    pub accounts: Option<Vec<String>>,
    pub credentials: Vec<Key>,
}

/// One machine's credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CredentialStatus)]
pub struct Key {
    pub id: String,
    /// Its last characters, as `…k3f9`.
    pub hint: String,
    pub label: String,
    pub created_at_ms: i64,
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
}

/// A code that lets somebody in, without the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Invitation {
    pub id: String,
    pub role: Role,
    pub name: Option<String>,
    pub limits: Limits,
    pub accounts: Option<Vec<String>>,
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
}

/// A credential that was made just now: the only time that it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewKey {
    #[serde(flatten)]
    pub key: Key,
    pub secret: String,
}

/// Answer of `POST /api/people`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewPerson {
    pub person: Person,
    pub credential: NewKey,
    /// The operator's own, made when the first user came.
    pub operator: Option<NewKey>,
}

/// Answer of `POST /api/invitations`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewInvitation {
    #[serde(flatten)]
    pub invitation: Invitation,
    pub code: String,
    /// Where to open it, below the pool's address.
    pub path: String,
    /// The operator's own, made when the first one was invited.
    pub operator: Option<NewKey>,
}

/// Body of `POST /api/people`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPerson {
    pub name: String,
    #[serde(default = "user")]
    pub role: Role,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub limits: Limits,
    /// Ids, names or files of accounts.
    #[serde(default)]
    pub accounts: Option<Vec<String>>,
    /// Of the first credential, as in [`AddKey`].
    #[serde(default)]
    pub label: String,
    #[serde(default)]
    pub days: Option<u32>,
}

/// Body of `POST /api/people/{user}/credentials`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    /// Which machine or program will hold it.
    #[serde(default)]
    pub label: String,
    /// How long it works. `None`: 90 days for friends, else for ever; 0: for ever.
    #[serde(default)]
    pub days: Option<u32>,
}

/// Body of `PATCH /api/people/{user}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChangePerson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// `null`: all.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub accounts: Option<Option<Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub email: Option<Option<String>>,
}

/// Body of `POST /api/invitations`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    #[serde(default = "friend")]
    pub role: Role,
    /// What they are called; `None`: they say so themselves.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub accounts: Option<Vec<String>>,
    /// How long the code works.
    #[serde(default)]
    pub hours: Option<u32>,
}

impl Default for Invite {
    fn default() -> Self {
        Self { role: Role::Friend, name: None, limits: Limits::default(), accounts: None, hours: None }
    }
}

/// `GET /api/session`: who one is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Whoami {
    pub role: Role,
    /// `None`: the operator, by the settings' token or password, or whoever sits at this machine.
    pub user: Option<String>,
    pub name: Option<String>,
    /// Of the session, if it is not used again; `None`: there is none.
    pub ends_at_ms: Option<i64>,
}

/// A message for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Notice {
    pub id: String,
    pub text: String,
}

impl Person {
    pub fn new<'a>(user: &User, credentials: impl Iterator<Item = &'a Credential>) -> Self {
        let mut credentials: Vec<Key> = credentials.map(Key::from).collect();
        credentials.sort_by(|one, other| (one.created_at_ms, &one.id).cmp(&(other.created_at_ms, &other.id)));
        Self {
            id: user.id.to_string(),
            name: user.name.clone(),
            role: user.role,
            email: user.email.clone(),
            created_at_ms: user.created_at.0,
            paused: user.paused,
            limits: user.limits.clone(),
            accounts: user.accounts.as_ref().map(|ids| ids.iter().map(ToString::to_string).collect()),
            credentials,
        }
    }
}

impl From<&Credential> for Key {
    fn from(credential: &Credential) -> Self {
        Self {
            id: credential.id.to_string(),
            hint: credential.hint.clone(),
            label: credential.label.clone(),
            created_at_ms: credential.created_at.0,
            expires_at_ms: credential.expires_at.map(|end| end.0),
            revoked_at_ms: credential.revoked_at.map(|time| time.0),
        }
    }
}

impl Key {
    /// Does it still open the pool?
    pub fn works(&self, now: UnixMs) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|end| now.0 < end)
    }
}

impl Invitation {
    /// `None`: the code is for something else.
    pub fn of(code: &Code) -> Option<Self> {
        let Grants::Invitation { role, name, limits, accounts } = &code.grants else { return None };
        Some(Self {
            id: invitation_id(code),
            role: *role,
            name: name.clone(),
            limits: limits.clone(),
            accounts: accounts.as_ref().map(|ids| ids.iter().map(ToString::to_string).collect()),
            created_at_ms: code.created_at.0,
            expires_at_ms: code.expires_at.0,
        })
    }
}

/// The beginning of the code's hash: it tells codes apart and opens nothing.
pub fn invitation_id(code: &Code) -> String {
    format!("i-{}", hex(&code.hash.0[..6]))
}

fn user() -> Role {
    Role::User
}

fn friend() -> Role {
    Role::Friend
}

/// What is there counts, even if it is `null`.
#[expect(clippy::option_option, reason = "absent and null mean different things in a PATCH")]
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_are_told_apart() {
        let read = |text: &str| serde_json::from_str::<ChangePerson>(text).expect(text).accounts;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"accounts":null}"#), Some(None));
        assert_eq!(read(r#"{"accounts":["a"]}"#), Some(Some(vec!["a".into()])));
        assert!(serde_json::from_str::<ChangePerson>(r#"{"acounts":null}"#).is_err());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(serde_json::from_str::<AddPerson>(r#"{"name":"Mira","label":"laptop"}"#).is_ok());
        for wrong in [r#"{"name":"Mira","limit":{}}"#, r#"{"name":"Mira","limits":{"tokens":1}}"#, "{}"] {
            assert!(serde_json::from_str::<AddPerson>(wrong).is_err(), "{wrong}");
        }
    }
}
