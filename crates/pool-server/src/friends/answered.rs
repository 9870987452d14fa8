//! What the operator was asked or told once, remembered in the database.

use parking_lot::RwLock;
use pool_store::{Answers, StoreError};

use crate::clock;

/// May friends use subscriptions whose files do not say?
const SHARE: &str = "share_subscriptions";

/// See the module's page.
#[derive(Debug)]
pub struct Answered {
    store: Answers,
    share: RwLock<Option<bool>>,
}

impl Answered {
    /// Reads what was answered. What cannot be read counts as not answered: it is asked again.
    pub async fn recall(store: Answers) -> Self {
        let answer = store.get(SHARE).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was answered before is not known now");
            None
        });
        Self { store, share: RwLock::new(answer.map(|answer| answer == "yes")) }
    }

    /// May friends use subscriptions? `None`: not answered yet.
    pub fn share_subscriptions(&self) -> Option<bool> {
        *self.share.read()
    }

    /// Takes effect with the next request.
    pub async fn set_share_subscriptions(&self, share: bool) -> Result<(), StoreError> {
        self.store.set(SHARE, if share { "yes" } else { "no" }, clock::now()).await?;
        *self.share.write() = Some(share);
        Ok(())
    }

    /// Is this the first time? Without a database it is every time.
    pub async fn is_first(&self, what: &str) -> bool {
        self.store.first(what, "yes", clock::now()).await.unwrap_or(true)
    }

    /// The same where it must be known.
    pub async fn was_done(&self, what: &str) -> Result<bool, StoreError> {
        Ok(self.store.get(what).await?.is_some())
    }
}
