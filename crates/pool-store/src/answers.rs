//! What was answered, told or done once and must not be asked, told or done again: names, each with a text.

use pool_core::UnixMs;

use crate::database::{Database, sql};
use crate::directory::StoreError;
use crate::ledger::Ledger;

/// Kept beside the ledger, in the same database.
#[derive(Clone, Debug)]
pub struct Answers {
    database: Database,
}

impl Answers {
    pub fn beside(ledger: &Ledger) -> Self {
        Self { database: ledger.database() }
    }

    pub async fn get(&self, name: &str) -> Result<Option<String>, StoreError> {
        let rows = self.database.all(sql("SELECT text FROM answers WHERE name = $1").bind(name)).await?;
        Ok(rows.first().map(|row| row.get("text")).transpose()?)
    }

    /// Writes it down in place of what was there.
    pub async fn set(&self, name: &str, text: &str, at: UnixMs) -> Result<(), StoreError> {
        const SET: &str = "INSERT INTO answers (name, text, at_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET text = excluded.text, at_ms = excluded.at_ms";
        self.database.run(sql(SET).bind(name).bind(text).bind(at.0)).await?;
        Ok(())
    }

    /// Writes it down unless something is there. `true`: nothing was.
    pub async fn first(&self, name: &str, text: &str, at: UnixMs) -> Result<bool, StoreError> {
        const FIRST: &str = "INSERT INTO answers (name, text, at_ms) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
        Ok(self.database.run(sql(FIRST).bind(name).bind(text).bind(at.0)).await? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Options;

    #[tokio::test]
    async fn an_answer_stays_and_the_first_is_told_from_later_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data.db");
        let open = async || Answers::beside(&Ledger::open(&path, Options::default()).await.expect("opens").ledger);
        let answers = open().await;
        assert_eq!(answers.get("share").await.expect("read"), None);
        assert!(answers.first("told", "yes", UnixMs(1)).await.expect("written"));
        assert!(!answers.first("told", "again", UnixMs(2)).await.expect("written"));
        answers.set("share", "no", UnixMs(1)).await.expect("written");
        answers.set("share", "yes", UnixMs(2)).await.expect("written");
        let again = open().await;
        assert_eq!(again.get("share").await.expect("read").as_deref(), Some("yes"));
        assert_eq!(again.get("told").await.expect("read").as_deref(), Some("yes"));
    }
}
