//! A new key for the vault: every file is sealed anew in one transaction, or nothing is changed.

use super::{Vault, VaultError, VaultKey, VaultStatus};
use crate::database::{Database, Location, built, sql};
use crate::events::NOW_MS;
use crate::{OpenError, PostgresUrl};

impl Vault {
    /// Seals everything with another key. Replicas that run with the old one serve on with what they know and renew nothing until they
    /// are restarted with the new key. How many files there are.
    pub async fn rekey(&self, new: &VaultKey) -> Result<u64, VaultError> {
        let mut transaction = self.database.begin().await?;
        // Readers go on. Writers wait, and then find that their key is the old one.
        transaction.run(sql("LOCK TABLE vault, vault_key IN EXCLUSIVE MODE")).await?;
        let first = sql("UPDATE vault_key SET key_id = $1 WHERE key_id = $2").bind(new.id()).bind(self.key.id());
        if transaction.run(first).await? == 0 {
            return Err(VaultError::Unreachable("another rekey came first; start this one again".into()));
        }
        let rows = transaction.all(sql("SELECT name, version, sealed, refused FROM vault ORDER BY name")).await?;
        for row in &rows {
            let entry = self.entry(row)?;
            let text = entry.text.ok_or_else(|| VaultError::Unsealable(entry.name.clone()))?;
            let sealed = new.seal(&entry.name, entry.version, &text)?;
            let anew = sql("UPDATE vault SET sealed = $2, key_id = $3 WHERE name = $1");
            transaction.run(anew.bind(&entry.name).bind(sealed).bind(new.id())).await?;
        }
        transaction.commit().await?;
        Ok(rows.len() as u64)
    }

    /// How the vault is doing, as far as this key can tell. A wrong key is no error here: that is what one wants to see.
    pub async fn status(url: &PostgresUrl, key: &VaultKey) -> Result<VaultStatus, VaultError> {
        let location = Location::Server(url.clone());
        let database = Database::read_only(&location, std::time::Duration::from_secs(5));
        let rows =
            database.all(sql("SELECT key_id FROM vault_key")).await.map_err(|error| OpenError::of(&location, error))?;
        let key_id = rows.first().map(|row| row.get("key_id")).transpose()?;
        let look = built(format!(
            "SELECT name, version, sealed, refused, \
             CASE WHEN held_until_ms >= {NOW_MS} THEN 1::bigint ELSE 0 END AS held FROM vault ORDER BY name"
        ));
        let mut status = VaultStatus { key_id, files: 0, unsealable: Vec::new(), refused: Vec::new(), claimed: 0 };
        for row in database.all(look).await? {
            let name: String = row.get("name")?;
            status.files += 1;
            status.claimed += row.count("held")?;
            if key.open(&name, row.get("version")?, &row.get::<Vec<u8>>("sealed")?).is_none() {
                status.unsealable.push(name.clone());
            }
            if row.get::<Option<String>>("refused")?.is_some() {
                status.refused.push(name);
            }
        }
        Ok(status)
    }
}
