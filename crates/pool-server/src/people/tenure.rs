//! How long somebody may go on with what they have begun.

use std::time::Duration;

use pool_core::UnixMs;
use tokio_util::sync::CancellationToken;

use super::People;
use crate::admit::Caller;
use crate::clock;

/// How long somebody may stay who has come in: until their credential is revoked or ends, or they are paused or removed.
/// By default for ever.
#[derive(Clone, Debug, Default)]
pub struct Tenure {
    over: Option<CancellationToken>,
    expires_at: Option<UnixMs>,
}

impl Tenure {
    pub fn can_end(&self) -> bool {
        self.over.is_some()
    }

    /// Resolves when it is over.
    pub async fn over(&self) {
        let Some(over) = &self.over else { return std::future::pending().await };
        let Some(end) = self.expires_at else { return over.cancelled().await };
        let left = Duration::from_millis(end.since(clock::now()).0);
        // In time: because it was revoked.
        let _ = tokio::time::timeout(left, over.cancelled()).await;
    }
}

impl People {
    /// For as long as somebody may stay who has come in so.
    pub fn tenure(&self, caller: &Caller) -> Tenure {
        let Caller::Person { credential, .. } = caller else { return Tenure::default() };
        let mut tenures = self.tenures.lock();
        let token = tenures.entry(credential.hash).or_default();
        // It had ended, and was lengthened since.
        if token.is_cancelled() {
            *token = CancellationToken::new();
        }
        let token = token.clone();
        drop(tenures);
        // Revoked while it came in.
        if self.directory.read().open(credential.hash, clock::now()).is_err() {
            token.cancel();
        }
        Tenure { over: Some(token), expires_at: credential.expires_at }
    }

    /// Ends what nobody may go on with.
    pub(super) fn end_tenures(&self) {
        let directory = self.directory.read();
        let now = clock::now();
        self.tenures.lock().retain(|hash, over| {
            let stays = directory.open(*hash, now).is_ok();
            if !stays {
                over.cancel();
            }
            stays
        });
        self.books.keep(|user| directory.user(user).is_some());
    }
}
