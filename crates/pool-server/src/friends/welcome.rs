//! Somebody new comes in: a user, a credential, and a one-time set-up code for each client, made in one step or not at all.

use std::collections::BTreeMap;

use http::HeaderMap;
use pool_core::limits::Limits;
use pool_core::people::{Change, Directory, Grants, Role, User};
use pool_core::{AccountId, Secret, UnixMs};
use pool_providers::{Provider, Registry};
use pool_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::people::{ChangeError, FRIENDS_KEY, Issued, check_new_name, issue, new_code, new_user};
use crate::roster::{Key, NewKey};
use crate::setup::{self, LINE, Line};

/// Friends that one pool takes in by its code. Invitations of the operator's own are not bound by it.
const MOST_FRIENDS: usize = 500;

/// Who wants to come in, and as what.
#[derive(Clone, Debug)]
pub struct Newcomer {
    pub name: String,
    pub email: Option<String>,
    pub role: Role,
    pub limits: Limits,
    pub accounts: Option<Vec<AccountId>>,
}

/// What they get. Shown once.
#[derive(Debug)]
pub struct Welcome {
    pub user: User,
    pub issued: Issued,
    /// One code a client, by the provider's name; the last one, without a name, is good for any of them.
    codes: Vec<(&'static str, Secret)>,
}

/// The same for programs and for the page that shows it.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Welcomed {
    pub id: String,
    pub name: String,
    pub credential: NewKey,
    pub public_url: String,
    /// Good once, for the set-up of one client.
    pub download_token: String,
    /// The line that sets a client up, by the provider's name.
    pub setup: BTreeMap<String, Line>,
    /// What the Go original's claim answered for each client.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Value>)]
    pub gifts: Map<String, Value>,
}

/// A friend who has named themself. `name` or `email` is enough.
pub fn friend(name: Option<&str>, email: Option<&str>) -> Result<Newcomer, ChangeError> {
    let said = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let (name, email) = (said(name), said(email));
    if let Some(email) = &email
        && (email.len() > 254 || !email.contains('@') || email.contains(|letter: char| letter.is_control()))
    {
        return Err(ChangeError::BadEmail);
    }
    let name = name.or_else(|| email.as_deref().map(name_of)).unwrap_or_default();
    Ok(Newcomer { name, email, role: Role::Friend, limits: Limits::default(), accounts: None })
}

/// What somebody is called of whom only the e-mail address is known: others may see the name, so not the address itself.
pub fn name_of(email: &str) -> String {
    let local = email.split('@').next().unwrap_or_default();
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-');
    local.chars().map(|letter| if fits(letter) { letter } else { '-' }).take(64).collect()
}

impl Newcomer {
    /// The changes that let them in. A name or an address that somebody has is nobody else's: this tells no more than that.
    pub fn enter(self, people: &Directory, registry: &Registry) -> Result<(Vec<Change>, Welcome), ChangeError> {
        check_new_name(people, &self.name)?;
        let same = |known: &str| self.email.as_deref().is_some_and(|email| email.eq_ignore_ascii_case(known));
        if people.users().any(|user| user.email.as_deref().is_some_and(same)) {
            return Err(StoreError::NameTaken.into());
        }
        let user = User {
            email: self.email,
            limits: self.limits,
            accounts: self.accounts,
            ..new_user(&self.name, self.role)?
        };
        let issued = issue(&user.id, "first", (user.role == Role::Friend).then_some(FRIENDS_KEY))?;
        let mut changes = vec![Change::User(user.clone()), Change::Credential(issued.credential.clone())];
        // Everybody was removed, and somebody comes: the operator is somebody too, who only needs a credential.
        if people.is_empty() && user.role != Role::Operator {
            changes.insert(0, Change::User(new_user("operator", Role::Operator)?));
        }
        let clients = registry.iter().filter(|one| one.set_up().is_some()).map(|one| one.id().0);
        let mut codes = Vec::new();
        for client in clients.chain([""]) {
            let (secret, code) = new_code(Grants::SetUp { user: user.id.clone() }, LINE)?;
            changes.push(Change::Code(code));
            codes.push((client, secret));
        }
        Ok((changes, Welcome { user, issued, codes }))
    }

    /// The same by the friend code, of which many may know.
    pub fn enter_by_code(self, people: &Directory, registry: &Registry) -> Result<(Vec<Change>, Welcome), ChangeError> {
        let friends = people.users().filter(|user| user.role == Role::Friend).count();
        if friends >= MOST_FRIENDS { Err(ChangeError::Full) } else { self.enter(people, registry) }
    }
}

impl Welcome {
    /// In the shape that is shown. `None`: the pool does not know its own address.
    pub fn shown(&self, app: &App, headers: &HeaderMap, now: UnixMs) -> Option<Welcomed> {
        let url = setup::address(&app.config, headers)?;
        let secret = &self.issued.secret;
        let line = |(client, code): &(&'static str, Secret)| {
            (!client.is_empty()).then(|| ((*client).to_owned(), setup::line(&url, client, Some(code.expose()))))
        };
        let gift = |provider: &dyn Provider| provider.gift(secret, &self.user.id.0, now);
        let gifts = app.registry.iter().filter_map(gift).map(|(name, value)| (name.to_owned(), json!(value)));
        Some(Welcomed {
            id: self.user.id.to_string(),
            name: self.user.name.clone(),
            credential: NewKey { key: Key::from(&self.issued.credential), secret: secret.expose().to_owned() },
            download_token: self.codes.last().map(|(_, code)| code.expose().to_owned()).unwrap_or_default(),
            setup: self.codes.iter().filter_map(line).collect(),
            gifts: gifts.collect(),
            public_url: url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_an_address_only_is_called_by_its_first_part() {
        for (name, email, expected) in [
            (Some("Mira"), None, Some("Mira")),
            (Some(" Mira "), Some("m@x.example"), Some("Mira")),
            (None, Some("mira.k+pool@x.example"), Some("mira.k-pool")),
            (Some(""), Some("<b>@x.example"), Some("-b-")),
            (None, Some("mira"), None),
            (None, Some("m@x\n"), Some("m")),
            (None, Some("m\u{1b}@x"), None),
        ] {
            let found = friend(name, email).ok().map(|newcomer| newcomer.name);
            assert_eq!(found.as_deref(), expected, "{name:?} {email:?}");
        }
    }
}
