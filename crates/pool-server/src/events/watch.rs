//! Looks at the accounts and at what is wrong once a second and tells what has changed. Looking, rather than being told by whoever
//! changes something, keeps this off the way of requests, and sees what time alone changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pool_core::AccountId;
use tokio::time::MissedTickBehavior;

use super::Happening;
use crate::app::App;
use crate::notices;
use crate::pages::accounts;
use crate::roster::Notice;
use crate::status::AccountView;

const EVERY: Duration = Duration::from_secs(1);

/// Runs for as long as the server does.
pub async fn run(app: &App) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Known::default();
    loop {
        every.tick().await;
        known.look(app);
        app.events.tick();
    }
}

/// What was told.
#[derive(Debug, Default)]
pub struct Known {
    accounts: BTreeMap<AccountId, AccountView>,
    notices: Vec<Notice>,
}

impl Known {
    /// Tells what has changed since.
    pub fn look(&mut self, app: &App) {
        let ids: BTreeSet<AccountId> =
            app.pool.read(|pool, _| pool.slots().map(|slot| slot.account.id.clone()).collect());
        // One at a time: a thousand accounts under one lock would hold up requests.
        for id in &ids {
            let Some((view, now)) = accounts::view(app, id) else { continue };
            let lasting = view.clone().dated(now);
            if self.accounts.get(id) != Some(&lasting) {
                self.accounts.insert(id.clone(), lasting);
                app.events.tell(Happening::Account(Box::new(view)));
            }
        }
        let gone: Vec<AccountId> = self.accounts.keys().filter(|id| !ids.contains(id)).cloned().collect();
        for id in gone {
            self.accounts.remove(&id);
            app.events.tell(Happening::AccountGone(id));
        }
        let notices = notices::now(app);
        if notices != self.notices {
            self.notices.clone_from(&notices);
            app.events.tell(Happening::Notices(notices));
        }
    }
}
