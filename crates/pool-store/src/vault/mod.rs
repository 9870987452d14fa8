//! The vault: the credential files of a pool that several replicas share, sealed, in their PostgreSQL.
//!
//! A row is a file. Its **version** is the fencing number: whoever writes names the version that was read, and the write counts only if
//! that is still the one ([`Vault::replace`]). So a replica that was away for too long can never put an old token over a
//! newer one. A replica that renews a row's token **claims** it first ([`Vault::claim`]), by the database's clock and for a short time
//! that it prolongs while it works: one renewal at a time, and one that dies blocks the others for that time only.

mod key;
mod rekey;
mod seal;
#[cfg(test)]
mod tests;

use std::time::Duration;

use pool_core::Secret;

use crate::database::{Database, Location, Row, Statement, built, reason, sql};
use crate::events::{self, NOW_MS};
use crate::ledger::Ledger;
use crate::{OpenError, PostgresUrl};

pub use key::{KeyError, VaultKey};
pub use seal::CannotSeal;

/// What is told of a row that has changed: its name.
pub const TOPIC: &str = "vault";

/// See the module's page. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Vault {
    database: Database,
    key: VaultKey,
    replica: String,
    /// How long a claim lasts that is not prolonged.
    claim: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(
        "the vault is sealed with the key {vault}, and this is the key {given}; copy the key file from another replica. Nothing was changed"
    )]
    WrongKey { vault: String, given: String },
    #[error("{0} in the vault was not sealed with this key, or was altered; nothing was changed")]
    Unsealable(String),
    #[error("the vault cannot be reached: {0}")]
    Unreachable(String),
    #[error(
        "this database has a vault, which its replicas renew the accounts of, and this process has no key to it; copy the key file from \
         another replica and set vault_key_file"
    )]
    NoKey,
    #[error("a vault needs a PostgreSQL server: set database_url")]
    NoServer,
    #[error(transparent)]
    Seal(#[from] CannotSeal),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<sqlx::Error> for VaultError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unreachable(reason(&error))
    }
}

/// One credential file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below a pool folder, as `claude/work.json`.
    pub name: String,
    pub version: i64,
    /// `None`: another key has sealed it, or it was altered.
    pub text: Option<Secret>,
    /// Why only a person can help: this version's refresh token is refused for good.
    pub refused: Option<String>,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The row as it is now.
    pub entry: Entry,
    pub turn: Turn,
}

/// Whose turn it is to renew a row's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Ours,
    /// Another replica is at it: ask again soon.
    Theirs,
    /// A try has failed a moment ago.
    NotYet,
    /// Nobody's: see [`Entry::refused`].
    Nobodys,
}

/// How the vault is doing, for `codex-pool vault status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultStatus {
    /// The key that seals it; `None`: it was never used.
    pub key_id: Option<String>,
    pub files: u64,
    /// Files that this key does not open.
    pub unsealable: Vec<String>,
    /// Files whose owner must sign in again.
    pub refused: Vec<String>,
    /// Files that are being renewed now.
    pub claimed: u64,
}

impl Vault {
    /// In the ledger's database. Where no key has sealed anything yet, this becomes the vault's key.
    pub async fn beside(ledger: &Ledger, key: VaultKey, replica: &str, claim: Duration) -> Result<Self, VaultError> {
        Self::open(ledger.database(), key, replica, claim).await
    }

    /// With connections of its own, for commands.
    pub async fn connect(url: &PostgresUrl, key: VaultKey, replica: &str) -> Result<Self, VaultError> {
        let location = Location::Server(url.clone());
        let database = Database::at(&location, Duration::from_secs(5));
        database.prepare(&location).await?;
        Self::open(database, key, replica, Duration::from_secs(30)).await
    }

    async fn open(database: Database, key: VaultKey, replica: &str, claim: Duration) -> Result<Self, VaultError> {
        const FIRST: &str = "INSERT INTO vault_key (one, key_id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING";
        if !matches!(database, Database::Postgres(_)) {
            return Err(VaultError::NoServer);
        }
        database.run(sql(FIRST).bind(key.id())).await?;
        let rows = database.all(sql("SELECT key_id FROM vault_key")).await?;
        let vault: String = rows.first().map(|row| row.get("key_id")).transpose()?.unwrap_or_default();
        if vault != key.id() {
            return Err(VaultError::WrongKey { vault, given: key.id().to_owned() });
        }
        Ok(Self { database, key, replica: replica.to_owned(), claim })
    }

    /// Does the ledger's database have a vault? Whoever uses it without its key would renew old copies of what is in there.
    pub async fn is_beside(ledger: &Ledger) -> Result<bool, VaultError> {
        let database = ledger.database();
        match database {
            Database::Postgres(_) => Ok(!database.all(sql("SELECT key_id FROM vault_key")).await?.is_empty()),
            Database::Sqlite(_) => Ok(false),
        }
    }

    /// This process's name among the others.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// How long a claim lasts that is not prolonged.
    pub fn claim_life(&self) -> Duration {
        self.claim
    }

    /// Every file.
    pub async fn all(&self) -> Result<Vec<Entry>, VaultError> {
        let rows = self.database.all(sql("SELECT name, version, sealed, refused FROM vault ORDER BY name")).await?;
        Ok(rows.iter().map(|row| self.entry(row)).collect::<Result<_, _>>()?)
    }

    pub async fn one(&self, name: &str) -> Result<Option<Entry>, VaultError> {
        let row = sql("SELECT name, version, sealed, refused FROM vault WHERE name = $1").bind(name);
        let rows = self.database.all(row).await?;
        Ok(rows.first().map(|row| self.entry(row)).transpose()?)
    }

    /// A new file. `false`: there is one of this name.
    pub async fn insert(&self, name: &str, text: &Secret) -> Result<bool, VaultError> {
        const INSERT: &str = "INSERT INTO vault (name, version, key_id, sealed, changed_ms) \
             SELECT $1, $2, key_id, $3, $2 FROM vault_key WHERE key_id = $4 ON CONFLICT (name) DO NOTHING";
        // Versions go on rising where a file was removed and another comes by its name, so that no old seal fits it.
        let rows = self.database.all(built(format!("SELECT {NOW_MS} AS version"))).await?;
        let version: i64 = rows.first().map(|row| row.get("version")).transpose()?.unwrap_or(1);
        let sealed = self.key.seal(name, version, text)?;
        let mut transaction = self.database.begin().await?;
        let insert = sql(INSERT).bind(name).bind(version).bind(sealed).bind(self.key.id());
        let inserted = transaction.run(insert).await? == 1;
        if inserted {
            events::tell(&mut transaction, &self.replica, TOPIC, name).await?;
        }
        transaction.commit().await?;
        Ok(inserted)
    }

    /// Writes over the version that was read, and ends any claim. `spent`: hashes of refresh tokens that this uses up.
    /// `None`: it is not that version any more, and nothing was written. Else the new version.
    pub async fn replace(
        &self,
        name: &str,
        read: i64,
        text: &Secret,
        spent: &[String],
    ) -> Result<Option<i64>, VaultError> {
        let version = read + 1;
        let sealed = self.key.seal(name, version, text)?;
        let mut transaction = self.database.begin().await?;
        let replace = built(format!(
            "UPDATE vault SET version = $3, sealed = $4, changed_ms = {NOW_MS}, refused = NULL, failures = 0, \
             not_before_ms = NULL, holder = NULL, held_until_ms = NULL WHERE name = $1 AND version = $2 AND key_id = $5"
        ));
        let replace = replace.bind(name).bind(read).bind(version).bind(sealed).bind(self.key.id());
        if transaction.run(replace).await? == 0 {
            return Ok(None);
        }
        for hash in spent {
            transaction.run(spend(hash)).await?;
        }
        events::tell(&mut transaction, &self.replica, TOPIC, name).await?;
        transaction.commit().await?;
        Ok(Some(version))
    }

    /// Writes over the version that was read a content with the same login. Whoever renews that goes on, and what is known of it
    /// stays. `None`: as of [`Vault::replace`].
    pub async fn edit(&self, name: &str, read: i64, text: &Secret) -> Result<Option<i64>, VaultError> {
        let version = read + 1;
        let sealed = self.key.seal(name, version, text)?;
        let mut transaction = self.database.begin().await?;
        let edit = built(format!(
            "UPDATE vault SET version = $3, sealed = $4, changed_ms = {NOW_MS} \
             WHERE name = $1 AND version = $2 AND key_id = $5"
        ));
        let edit = edit.bind(name).bind(read).bind(version).bind(sealed).bind(self.key.id());
        if transaction.run(edit).await? == 0 {
            return Ok(None);
        }
        events::tell(&mut transaction, &self.replica, TOPIC, name).await?;
        transaction.commit().await?;
        Ok(Some(version))
    }

    /// Takes a file out. `false`: it was not there.
    pub async fn remove(&self, name: &str) -> Result<bool, VaultError> {
        let mut transaction = self.database.begin().await?;
        let removed = transaction.run(sql("DELETE FROM vault WHERE name = $1").bind(name)).await? == 1;
        events::tell(&mut transaction, &self.replica, TOPIC, name).await?;
        transaction.commit().await?;
        Ok(removed)
    }

    /// Notes a refresh token, by its hash, that was used up without a write.
    pub async fn spend(&self, hash: &str) -> Result<(), VaultError> {
        self.database.run(spend(hash)).await?;
        Ok(())
    }

    /// Has a renewal used this refresh token up, by its hash?
    pub async fn is_spent(&self, hash: &str) -> Result<bool, VaultError> {
        let asked = sql("SELECT hash FROM vault_spent WHERE hash = $1").bind(hash);
        Ok(!self.database.all(asked).await?.is_empty())
    }

    /// Asks for the right to renew a file's token, as `claimant`: nobody else's name, and a new one for each claim, so that what ends one
    /// never ends a later one. `None`: there is no such file.
    pub async fn claim(&self, name: &str, claimant: &str) -> Result<Option<Claimed>, VaultError> {
        let claim = built(format!(
            "UPDATE vault SET holder = $2, held_until_ms = {NOW_MS} + $3 WHERE name = $1 AND key_id = $4 AND refused IS NULL \
             AND COALESCE(not_before_ms, 0) <= {NOW_MS} AND (holder IS NULL OR held_until_ms < {NOW_MS})"
        ));
        let claim = claim.bind(name).bind(claimant).bind(millis(self.claim)).bind(self.key.id());
        let ours = self.database.run(claim).await? == 1;
        let look = built(format!(
            "SELECT name, version, sealed, refused, \
             CASE WHEN not_before_ms > {NOW_MS} THEN 1::bigint ELSE 0 END AS put_off FROM vault WHERE name = $1"
        ));
        let rows = self.database.all(look.bind(name)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let entry = self.entry(row)?;
        let turn = match () {
            () if ours => Turn::Ours,
            () if entry.refused.is_some() => Turn::Nobodys,
            () if row.get::<i64>("put_off")? == 1 => Turn::NotYet,
            // Or it was until a moment ago.
            () => Turn::Theirs,
        };
        Ok(Some(Claimed { entry, turn }))
    }

    /// Prolongs a claim. `false`: it has ended.
    pub async fn prolong(&self, name: &str, claimant: &str) -> Result<bool, VaultError> {
        let prolong = built(format!("UPDATE vault SET held_until_ms = {NOW_MS} + $3 WHERE name = $1 AND holder = $2"));
        let prolong = prolong.bind(name).bind(claimant).bind(millis(self.claim));
        Ok(self.database.run(prolong).await? == 1)
    }

    /// Gives a claim back.
    pub async fn release(&self, name: &str, claimant: &str) -> Result<(), VaultError> {
        const RELEASE: &str = "UPDATE vault SET holder = NULL, held_until_ms = NULL WHERE name = $1 AND holder = $2";
        self.database.run(sql(RELEASE).bind(name).bind(claimant)).await?;
        Ok(())
    }

    /// Gives a claim back after a try that failed: nobody tries again for 2 s, 4 s, 8 s … up to 5 min.
    pub async fn put_off(&self, name: &str, claimant: &str) -> Result<(), VaultError> {
        let put_off = built(format!(
            "UPDATE vault SET holder = NULL, held_until_ms = NULL, failures = failures + 1, \
             not_before_ms = {NOW_MS} + LEAST(300000, 2000 * (1::bigint << LEAST(failures, 8)::int)) \
             WHERE name = $1 AND holder = $2"
        ));
        self.database.run(put_off.bind(name).bind(claimant)).await?;
        Ok(())
    }

    /// Only a person can help this version: nobody tries it again, and everybody is told.
    pub async fn refuse(&self, name: &str, version: i64, why: &str) -> Result<(), VaultError> {
        const REFUSE: &str = "UPDATE vault SET refused = $3, holder = NULL, held_until_ms = NULL \
             WHERE name = $1 AND version = $2 AND refused IS NULL";
        let mut transaction = self.database.begin().await?;
        transaction.run(sql(REFUSE).bind(name).bind(version).bind(why)).await?;
        events::tell(&mut transaction, &self.replica, TOPIC, name).await?;
        Ok(transaction.commit().await?)
    }

    fn entry(&self, row: &Row) -> Result<Entry, sqlx::Error> {
        let (name, version): (String, i64) = (row.get("name")?, row.get("version")?);
        let text = self.key.open(&name, version, &row.get::<Vec<u8>>("sealed")?);
        Ok(Entry { text, version, name, refused: row.get("refused")? })
    }
}

fn spend(hash: &str) -> Statement {
    let note = format!("INSERT INTO vault_spent (hash, at_ms) VALUES ($1, {NOW_MS}) ON CONFLICT (hash) DO NOTHING");
    built(note).bind(hash)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
