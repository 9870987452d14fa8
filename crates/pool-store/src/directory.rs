//! The directory of people, written down: each change in a transaction of its own, before it takes effect.

use pool_core::people::{Change, Code, Credential, CredentialId, SecretHash, User, UserId};
use pool_core::{UnixMs, hex};

use crate::database::{Connection, Database, Row, reason, sql};
use crate::events;
use crate::ledger::Ledger;

/// Where the directory is kept: beside the ledger, in the same database.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    database: Database,
    /// As which replica changes are told to the others.
    replica: Option<String>,
}

/// What replicas are told of a change: nothing more, they read the directory anew.
pub const TOPIC: &str = "people";

/// The directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the name is taken")]
    NameTaken,
    /// Somebody was faster.
    #[error("the code has been used")]
    CodeUsed,
    #[error("the directory of users cannot be reached: {0}")]
    Unreachable(String),
    #[error("the directory of users holds what this version cannot read ({0}); use the version that wrote it")]
    Unreadable(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::NameTaken,
            sqlx::Error::ColumnDecode { index, .. } => Self::Unreadable(index.clone()),
            _ => Self::Unreachable(reason(&error)),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl DirectoryStore {
    pub fn beside(ledger: &Ledger) -> Self {
        Self { database: ledger.database(), replica: None }
    }

    /// The same as one of several replicas: each change is told to the others.
    #[must_use]
    pub fn telling_as(self, replica: &str) -> Self {
        Self { replica: Some(replica.to_owned()), ..self }
    }

    /// Everything, as the changes that would make it.
    pub async fn load(&self) -> Result<Vec<Change>, StoreError> {
        let users = self.database.all(sql("SELECT * FROM users ORDER BY id")).await?;
        let credentials = self.database.all(sql("SELECT * FROM pool_credentials ORDER BY id")).await?;
        let codes = self.database.all(sql("SELECT * FROM codes ORDER BY hash")).await?;
        let users = users.iter().map(|row| user(row).map(Change::User));
        let credentials = credentials.iter().map(|row| credential(row).map(Change::Credential));
        let codes = codes.iter().map(|row| code(row).map(Change::Code));
        users.chain(credentials).chain(codes).collect()
    }

    /// Writes changes down, all or none.
    pub async fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        for change in changes {
            write_one(&mut transaction, change).await?;
        }
        if let Some(replica) = &self.replica {
            events::tell(&mut transaction, replica, TOPIC, "").await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Forgets codes that ended before `before`, and credentials that were revoked or ended before then.
    pub async fn sweep(&self, before: UnixMs) -> Result<(), StoreError> {
        self.database.run(sql("DELETE FROM codes WHERE expires_ms < $1").bind(before.0)).await?;
        let over = sql("DELETE FROM pool_credentials WHERE revoked_ms < $1 OR expires_ms < $1").bind(before.0);
        self.database.run(over).await?;
        Ok(())
    }
}

async fn write_one(to: &mut Connection, change: &Change) -> Result<(), StoreError> {
    const USER: &str = "INSERT INTO users (id, name_key, name, role, email, created_ms, paused, limits, accounts) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (id) DO UPDATE SET name_key = excluded.name_key, name = excluded.name, role = excluded.role, \
         email = excluded.email, paused = excluded.paused, limits = excluded.limits, accounts = excluded.accounts";
    const CREDENTIAL: &str = "INSERT INTO pool_credentials (id, user_id, hash, hint, label, created_ms, expires_ms, revoked_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (id) DO UPDATE SET label = excluded.label, expires_ms = excluded.expires_ms";
    let statement = match change {
        Change::User(user) => {
            let accounts = user.accounts.as_ref().map(serde_json::to_string).transpose()?;
            sql(USER)
                .bind(&*user.id.0)
                .bind(user.name.to_lowercase())
                .bind(&user.name)
                .bind(word(&user.role)?)
                .bind(&user.email)
                .bind(user.created_at.0)
                .bind(i64::from(user.paused))
                .bind(serde_json::to_string(&user.limits)?)
                .bind(accounts)
        }
        Change::UserGone { id } => {
            to.run(sql("DELETE FROM pool_credentials WHERE user_id = $1").bind(&*id.0)).await?;
            sql("DELETE FROM users WHERE id = $1").bind(&*id.0)
        }
        Change::Credential(credential) => sql(CREDENTIAL)
            .bind(&*credential.id.0)
            .bind(&*credential.user.0)
            .bind(hex(&credential.hash.0))
            .bind(&credential.hint)
            .bind(&credential.label)
            .bind(credential.created_at.0)
            .bind(credential.expires_at.map(|time| time.0))
            .bind(credential.revoked_at.map(|time| time.0)),
        Change::Revoked { id, at } => {
            sql("UPDATE pool_credentials SET revoked_ms = $2 WHERE id = $1 AND revoked_ms IS NULL")
                .bind(&*id.0)
                .bind(at.0)
        }
        Change::Code(code) => {
            sql("INSERT INTO codes (hash, grants, created_ms, expires_ms, used_ms) VALUES ($1, $2, $3, $4, $5)")
                .bind(hex(&code.hash.0))
                .bind(serde_json::to_string(&code.grants)?)
                .bind(code.created_at.0)
                .bind(code.expires_at.0)
                .bind(code.used_at.map(|time| time.0))
        }
        Change::CodeUsed { hash, at } => {
            let used = sql("UPDATE codes SET used_ms = $2 WHERE hash = $1 AND used_ms IS NULL");
            return match to.run(used.bind(hex(&hash.0)).bind(at.0)).await? {
                0 => Err(StoreError::CodeUsed),
                _ => Ok(()),
            };
        }
    };
    to.run(statement).await?;
    Ok(())
}

fn user(row: &Row) -> Result<User, StoreError> {
    let accounts: Option<String> = row.get("accounts")?;
    Ok(User {
        id: UserId(row.get::<String>("id")?.into()),
        name: row.get("name")?,
        role: serde_json::from_value(serde_json::Value::String(row.get("role")?))?,
        email: row.get("email")?,
        created_at: UnixMs(row.get("created_ms")?),
        paused: row.get::<i64>("paused")? != 0,
        limits: serde_json::from_str(&row.get::<String>("limits")?)?,
        accounts: accounts.map(|accounts| serde_json::from_str(&accounts)).transpose()?,
    })
}

fn credential(row: &Row) -> Result<Credential, StoreError> {
    Ok(Credential {
        id: CredentialId(row.get::<String>("id")?.into()),
        user: UserId(row.get::<String>("user_id")?.into()),
        hash: hash(row)?,
        hint: row.get("hint")?,
        label: row.get("label")?,
        created_at: UnixMs(row.get("created_ms")?),
        expires_at: row.get::<Option<i64>>("expires_ms")?.map(UnixMs),
        revoked_at: row.get::<Option<i64>>("revoked_ms")?.map(UnixMs),
    })
}

fn code(row: &Row) -> Result<Code, StoreError> {
    Ok(Code {
        hash: hash(row)?,
        grants: serde_json::from_str(&row.get::<String>("grants")?)?,
        created_at: UnixMs(row.get("created_ms")?),
        expires_at: UnixMs(row.get("expires_ms")?),
        used_at: row.get::<Option<i64>>("used_ms")?.map(UnixMs),
    })
}

fn hash(row: &Row) -> Result<SecretHash, StoreError> {
    let text: String = row.get("hash")?;
    let byte = |at: usize| text.get(at * 2..at * 2 + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let mut bytes = [0; 32];
    for (at, place) in bytes.iter_mut().enumerate() {
        *place = byte(at).filter(|_| text.len() == 64).ok_or_else(|| StoreError::Unreadable("hash".into()))?;
    }
    Ok(SecretHash(bytes))
}

/// A unit variant's name, as serde writes it.
fn word(value: &impl serde::Serialize) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value)?.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use pool_core::limits::{Amount, Budget, Limits, Period};
    use pool_core::people::{Directory, Grants, Role};
    use pool_core::{AccountId, Span};

    use super::*;
    use crate::ledger::Options;
    use crate::rig::{Home, homes};

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn person(id: &str, name: &str) -> User {
        User {
            id: UserId(id.into()),
            name: name.into(),
            role: Role::Friend,
            email: Some("m…@example.com".into()),
            created_at: NOW,
            paused: false,
            limits: Limits {
                requests_per_minute: Some(30),
                budgets: vec![Budget { period: Period::Week, amount: Amount::WindowShare(0.25) }],
                ..Limits::default()
            },
            accounts: Some(vec![AccountId("claude-1".into())]),
        }
    }

    fn key(id: &str, user: &str, secret: &str) -> Credential {
        Credential {
            id: CredentialId(id.into()),
            user: UserId(user.into()),
            hash: SecretHash::of(secret),
            hint: "…cret".into(),
            label: "laptop".into(),
            created_at: NOW,
            expires_at: Some(NOW + Span::from_hours(1)),
            revoked_at: None,
        }
    }

    fn invitation(secret: &str) -> Code {
        Code {
            hash: SecretHash::of(secret),
            grants: Grants::Invitation { role: Role::Friend, name: None, limits: Limits::default(), accounts: None },
            created_at: NOW,
            expires_at: NOW + Span::from_hours(24),
            used_at: None,
        }
    }

    async fn store(home: &Home) -> DirectoryStore {
        let opened = Ledger::open(&home.location, Options::default()).await.expect("opens");
        DirectoryStore::beside(&opened.ledger)
    }

    async fn reloaded(store: &DirectoryStore) -> Directory {
        let mut directory = Directory::default();
        store.load().await.expect("reads").into_iter().for_each(|change| directory.apply(change));
        directory
    }

    #[tokio::test]
    async fn what_was_written_is_read_again() {
        for home in homes() {
            let changes = [
                Change::User(person("u-1", "Mira")),
                Change::Credential(key("c-1", "u-1", "made-up-secret-1")),
                Change::Credential(key("c-2", "u-1", "made-up-secret-2")),
                Change::Code(invitation("made-up-code")),
            ];
            store(&home).await.write(&changes).await.expect("written");
            // Another process.
            let store = store(&home).await;
            store.write(&[Change::Revoked { id: CredentialId("c-2".into()), at: NOW }]).await.expect("written");
            let directory = reloaded(&store).await;
            assert_eq!(directory.named("MIRA").map(|user| User::clone(user)), Some(person("u-1", "Mira")));
            let open = |secret| directory.open(SecretHash::of(secret), NOW).map(|(user, _)| user.name.clone());
            assert_eq!(open("made-up-secret-1"), Ok("Mira".into()));
            assert_eq!(open("made-up-secret-2"), Err(pool_core::people::Closed::Revoked));
            assert_eq!(directory.code(SecretHash::of("made-up-code"), NOW), Some(&invitation("made-up-code")));
        }
    }

    #[tokio::test]
    async fn nobody_gets_anothers_name_and_a_code_works_once() {
        for home in homes() {
            let store = store(&home).await;
            store
                .write(&[Change::User(person("u-1", "Mira")), Change::Code(invitation("made-up-code"))])
                .await
                .expect("written");
            let used = Change::CodeUsed { hash: SecretHash::of("made-up-code"), at: NOW };
            let second = store.write(&[used.clone(), Change::User(person("u-2", "mira"))]).await;
            assert!(matches!(second, Err(StoreError::NameTaken)), "{second:?}");
            // Nothing of the failed write stays.
            store.write(&[used.clone(), Change::User(person("u-2", "Nadia"))]).await.expect("the code is unused");
            let third = store.write(&[used, Change::User(person("u-3", "Omar"))]).await;
            assert!(matches!(third, Err(StoreError::CodeUsed)), "{third:?}");
            assert_eq!(reloaded(&store).await.users().count(), 2);
        }
    }

    #[tokio::test]
    async fn who_goes_takes_their_keys_along() {
        for home in homes() {
            let store = store(&home).await;
            store
                .write(&[Change::User(person("u-1", "Mira")), Change::Credential(key("c-1", "u-1", "s"))])
                .await
                .expect("written");
            store.write(&[Change::UserGone { id: UserId("u-1".into()) }]).await.expect("written");
            let directory = reloaded(&store).await;
            assert!(directory.is_empty() && directory.open(SecretHash::of("s"), NOW).is_err());
        }
    }

    #[tokio::test]
    async fn no_secret_is_in_the_file() {
        let home = homes().next().expect("a file comes first");
        let changes = [Change::User(person("u-1", "Mira")), Change::Credential(key("c-1", "u-1", "canary-of-a-key"))];
        store(&home).await.write(&changes).await.expect("written");
        let folder = std::path::Path::new(&home.address).parent().expect("a folder");
        for file in std::fs::read_dir(folder).expect("listed") {
            let bytes = std::fs::read(file.expect("an entry").path()).expect("read");
            assert!(!bytes.windows(15).any(|window| window == b"canary-of-a-key"));
        }
    }
}
