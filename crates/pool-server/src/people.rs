//! The directory of people as the server uses it: asked from memory, changed on disk first.

pub mod books;
mod tenure;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, RwLock};
use pool_core::people::{
    Change, Closed, Code, Credential, CredentialId, Directory, Grants, Role, SecretHash, User, UserId,
};
use pool_core::{Secret, Span, UnixMs, hex};
use pool_store::{DirectoryStore, StoreError};
use tokio_util::sync::CancellationToken;

use crate::clock;

use books::Books;
pub use tenure::Tenure;

/// Everybody who may use the pool, beyond who sits at this machine.
#[derive(Debug)]
pub struct People {
    directory: RwLock<Directory>,
    store: DirectoryStore,
    /// One change at a time, so that what is checked before it still holds.
    changing: tokio::sync::Mutex<()>,
    /// What ends with a credential: one token for each that has come in, so there are never more of them than credentials.
    tenures: Mutex<HashMap<SecretHash, CancellationToken>>,
    pub books: Arc<Books>,
}

/// A secret that was made just now. It is shown once and kept nowhere.
#[derive(Debug)]
pub struct Issued {
    pub credential: Credential,
    pub secret: Secret,
}

/// Why a change did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{0:?} cannot be a name: it needs 1 to 64 letters, digits, spaces or any of . _ - @ and must not begin or end with a space"
    )]
    BadName(String),
    #[error("this is no e-mail address")]
    BadEmail,
    #[error("nobody is called {0:?}; see `codex-pool users list`")]
    Nobody(String),
    #[error("this pool has as many friends as it takes: ask its operator")]
    Full,
    #[error("this code is unknown, was used, or has ended; ask for a new one")]
    NoSuchCode,
    #[error(
        "then no operator could come in any more: issue the operator another credential first (`codex-pool users key NAME`), or set \
         `operator_token`"
    )]
    LastOperator,
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(String),
}

/// How long what is over stays on record.
const KEEP: Span = Span::from_hours(90 * 24);

/// How long a friend's credential works, if nothing says otherwise.
pub const FRIENDS_KEY: Span = Span::from_hours(90 * 24);

/// The label of the operator's credential that comes with the first user.
pub const FIRST_USER: &str = "made when the first user came";

/// Credentials of one person that work: enough for every machine, and an end to a script that runs wild.
pub const MOST_KEYS: usize = 50;

impl People {
    /// Reads the directory. It must be readable: an empty one would open the pool to everybody on this machine. Only where nothing
    /// was ever written (`fresh`) there is nothing to read, as on a disk that is full from the start.
    pub async fn start(store: DirectoryStore, fresh: bool) -> Result<Self, StoreError> {
        let mut directory = Directory::default();
        match store.load().await {
            Ok(changes) => changes.into_iter().for_each(|change| directory.apply(change)),
            Err(_) if fresh => {}
            Err(error) => return Err(error),
        }
        if let Err(error) = store.sweep(clock::now() - KEEP).await {
            tracing::warn!(%error, "old codes and credentials stay on record");
        }
        Ok(Self {
            directory: RwLock::new(directory),
            store,
            changing: tokio::sync::Mutex::default(),
            tenures: Mutex::default(),
            books: Arc::default(),
        })
    }

    /// Whose secret is this?
    pub fn open(&self, secret: &str) -> Result<(Arc<User>, Arc<Credential>), Closed> {
        self.directory.read().open(SecretHash::of(secret), clock::now())
    }

    pub fn read<T>(&self, look: impl FnOnce(&Directory) -> T) -> T {
        look(&self.directory.read())
    }

    /// Is nobody known? Then local requests need no credential.
    pub fn is_empty(&self) -> bool {
        self.directory.read().is_empty()
    }

    /// Writes changes down, all or none, and then lets them take effect.
    pub async fn change(&self, changes: Vec<Change>) -> Result<(), ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        self.commit(changes).await
    }

    /// Adds somebody with a first credential. Where nobody was known before, the operator is added in the same step: from now on
    /// the operator needs a credential too.
    pub async fn add(&self, user: User, label: &str, life: Option<Span>) -> Result<Added, ChangeError> {
        check_name(&user.name)?;
        let _one_at_a_time = self.changing.lock().await;
        let operator = self.operator_if_first(user.role)?;
        let theirs = issue(&user.id, label, life)?;
        let mut changes = vec![Change::User(user.clone()), Change::Credential(theirs.credential.clone())];
        if let Some((user, issued)) = &operator {
            changes.insert(0, Change::User(user.clone()));
            changes.push(Change::Credential(issued.credential.clone()));
        }
        self.commit(changes).await?;
        Ok(Added { user, issued: theirs, operator: operator.map(|(_, issued)| issued) })
    }

    /// One more credential, for another machine.
    pub async fn issue(&self, user: &UserId, label: &str, life: Option<Span>) -> Result<Issued, ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        let known = self.directory.read().user(user).cloned();
        let known = known.ok_or_else(|| ChangeError::Nobody(user.to_string()))?;
        let issued = issue(&known.id, label, life)?;
        self.commit(vec![Change::Credential(issued.credential.clone())]).await?;
        Ok(issued)
    }

    /// A code that works once within `life`. Inviting the first one makes the operator's own credential in the same step.
    pub async fn make_code(&self, grants: Grants, life: Span) -> Result<(Secret, Code, Option<Issued>), ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        let role = match &grants {
            Grants::Invitation { role, .. } => *role,
            Grants::SetUp { .. } => Role::Operator,
        };
        let operator = self.operator_if_first(role)?;
        let (secret, code) = new_code(grants, life)?;
        let mut changes = vec![Change::Code(code.clone())];
        if let Some((user, issued)) = &operator {
            changes.extend([Change::User(user.clone()), Change::Credential(issued.credential.clone())]);
        }
        self.commit(changes).await?;
        Ok((secret, code, operator.map(|(_, issued)| issued)))
    }

    /// Changes that follow from who is known at that moment.
    pub async fn decide<T>(
        &self,
        decide: impl FnOnce(&Directory) -> Result<(Vec<Change>, T), ChangeError>,
    ) -> Result<T, ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        let (changes, result) = decide(&self.directory.read())?;
        self.commit(changes).await?;
        Ok(result)
    }

    /// Uses a code up: `redeem` says what it brings. Two who redeem it at once: one gets it.
    pub async fn redeem<T>(
        &self,
        code: &str,
        redeem: impl FnOnce(&Grants, &Directory) -> Result<(Vec<Change>, T), ChangeError>,
    ) -> Result<T, ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        let (hash, now) = (SecretHash::of(code), clock::now());
        let (mut changes, result) = {
            let directory = self.directory.read();
            let code = directory.code(hash, now).ok_or(ChangeError::NoSuchCode)?;
            redeem(&code.grants, &directory)?
        };
        changes.insert(0, Change::CodeUsed { hash, at: now });
        self.commit(changes).await.map_err(|error| match error {
            ChangeError::Store(StoreError::CodeUsed) => ChangeError::NoSuchCode,
            other => other,
        })?;
        Ok(result)
    }

    /// Changes somebody who is known. `outside`: the operator can come in without being in the directory.
    pub async fn edit(
        &self,
        user: &UserId,
        outside: bool,
        change: impl FnOnce(&mut User),
    ) -> Result<User, ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        let known = self.directory.read().user(user).cloned();
        let known = known.ok_or_else(|| ChangeError::Nobody(user.to_string()))?;
        let mut user = User::clone(&known);
        change(&mut user);
        check_name(&user.name)?;
        self.commit_kept(vec![Change::User(user.clone())], outside).await?;
        Ok(user)
    }

    /// Removes somebody with their credentials. What they used stays on record.
    pub async fn remove(&self, user: &UserId, outside: bool) -> Result<(), ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        self.commit_kept(vec![Change::UserGone { id: user.clone() }], outside).await
    }

    /// The same as [`People::revoke`], unless nobody could mend it.
    pub async fn revoke_kept(&self, id: &CredentialId, outside: bool) -> Result<(), ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        self.commit_kept(vec![Change::Revoked { id: id.clone(), at: clock::now() }], outside).await
    }

    /// Is this a name that somebody new may have?
    pub fn check_new_name(&self, name: &str) -> Result<(), ChangeError> {
        check_new_name(&self.directory.read(), name)
    }

    /// Changes that do not take the last operator's way in, unless nobody is known any more: then whoever sits here is.
    async fn commit_kept(&self, changes: Vec<Change>, outside: bool) -> Result<(), ChangeError> {
        let mut after = self.directory.read().clone();
        for change in &changes {
            after.apply(change.clone());
        }
        let now = clock::now();
        let could = has_operator(&self.directory.read(), now);
        if !outside && could && !after.is_empty() && !has_operator(&after, now) {
            return Err(ChangeError::LastOperator);
        }
        self.commit(changes).await
    }

    /// Takes effect at once, also for what is under way.
    pub async fn revoke(&self, id: &CredentialId) -> Result<(), ChangeError> {
        self.change(vec![Change::Revoked { id: id.clone(), at: clock::now() }]).await
    }

    /// Reads everything anew, because another replica has changed something. What that ends ends here too.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut directory = Directory::default();
        self.store.load().await?.into_iter().for_each(|change| directory.apply(change));
        *self.directory.write() = directory;
        self.end_tenures();
        Ok(())
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), ChangeError> {
        self.store.write(&changes).await?;
        {
            let mut directory = self.directory.write();
            for change in changes {
                directory.apply(change);
            }
        }
        self.end_tenures();
        Ok(())
    }

    fn operator_if_first(&self, role: Role) -> Result<Option<(User, Issued)>, ChangeError> {
        if role == Role::Operator || !self.is_empty() {
            return Ok(None);
        }
        let user = new_user("operator", Role::Operator)?;
        let issued = issue(&user.id, FIRST_USER, None)?;
        Ok(Some((user, issued)))
    }
}

/// Somebody new.
#[derive(Debug)]
pub struct Added {
    pub user: User,
    pub issued: Issued,
    /// The operator's, if this was the first user.
    pub operator: Option<Issued>,
}

/// A user with a new id and no limits.
pub fn new_user(name: &str, role: Role) -> Result<User, ChangeError> {
    Ok(User {
        id: UserId(random_id("u")?),
        name: name.trim().to_owned(),
        role,
        email: None,
        created_at: clock::now(),
        paused: false,
        limits: pool_core::limits::Limits::default(),
        accounts: None,
    })
}

/// Makes a secret of 256 random bits for a user. It counts once its credential is in the directory.
pub fn issue(user: &UserId, label: &str, life: Option<Span>) -> Result<Issued, ChangeError> {
    let secret = random_text::<32>("pool-")?;
    let now = clock::now();
    let hint: String = secret.expose().chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    let credential = Credential {
        id: CredentialId(random_id("c")?),
        user: user.clone(),
        hash: SecretHash::of(secret.expose()),
        hint: format!("…{hint}"),
        label: label.chars().filter(|letter| !letter.is_control()).take(64).collect(),
        created_at: now,
        expires_at: life.map(|life| now + life),
        revoked_at: None,
    };
    Ok(Issued { credential, secret })
}

/// A code of 128 random bits that works once within `life`. It counts once it is in the directory.
pub fn new_code(grants: Grants, life: Span) -> Result<(Secret, Code), ChangeError> {
    let secret = random_text::<16>("")?;
    let now = clock::now();
    let hash = SecretHash::of(secret.expose());
    Ok((secret, Code { hash, grants, created_at: now, expires_at: now + life, used_at: None }))
}

fn has_operator(people: &Directory, now: UnixMs) -> bool {
    let operators = people.users().filter(|user| user.role == Role::Operator);
    operators.into_iter().any(|user| people.credentials_of(&user.id).any(|key| people.open(key.hash, now).is_ok()))
}

/// Is this a name that somebody new may have?
pub fn check_new_name(people: &Directory, name: &str) -> Result<(), ChangeError> {
    check_name(name)?;
    if people.named(name).is_some() { Err(ChangeError::Store(StoreError::NameTaken)) } else { Ok(()) }
}

fn check_name(name: &str) -> Result<(), ChangeError> {
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '.' | '_' | '-' | '@');
    let good = (1..=64).contains(&name.chars().count()) && name.chars().all(fits) && name.trim() == name;
    if good { Ok(()) } else { Err(ChangeError::BadName(name.chars().take(64).collect())) }
}

fn random<const N: usize>() -> Result<[u8; N], ChangeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ChangeError::NoRandomness(error.to_string()))?;
    Ok(bytes)
}

pub(crate) fn random_text<const N: usize>(prefix: &str) -> Result<Secret, ChangeError> {
    let text = URL_SAFE_NO_PAD.encode(random::<N>()?);
    Ok(Secret::new(format!("{prefix}{text}")))
}

fn random_id(prefix: &str) -> Result<Arc<str>, ChangeError> {
    Ok(format!("{prefix}-{}", hex(&random::<6>()?)).into())
}

/// When somebody's credential ends, for pages.
pub fn ends(credential: &Credential, now: UnixMs) -> Option<Closed> {
    match () {
        () if credential.revoked_at.is_some() => Some(Closed::Revoked),
        () if credential.expires_at.is_some_and(|end| end <= now) => Some(Closed::Expired),
        () => None,
    }
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
