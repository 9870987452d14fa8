//! What the operator should know and may not have asked.

use crate::app::App;
use crate::config::Config;
use crate::friends::Answered;
use crate::roster::Notice;

/// The providers' terms, as they concern whoever lets other people in.
pub const TERMS: &str = "Letting other people use a subscription conflicts with the terms of all three providers, and routing one's own \
     subscriptions through a proxy is outside the stated rules of two of them; accounts can be suspended without notice. Pooling \
     API keys of one's own is within their documented use.";

/// The notice that a question of the operator's page answers.
pub const SHARING: &str = "share-subscriptions";

/// What the notices hang on, besides the settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Somebody else may come in.
    pub has_users: bool,
    /// Friends are among them, or may come by themselves, and they may use subscriptions because nobody has said that they may not.
    pub shares_unasked: bool,
}

/// What holds now.
pub fn of(config: &Config, facts: Facts) -> Vec<Notice> {
    let mut notices = Vec::new();
    if reaches_out(config) || facts.has_users {
        notices.push(Notice { id: "terms".into(), text: TERMS.into() });
    }
    if facts.shares_unasked {
        let text = "Friends may use your subscriptions, since you have not said whether they may. Say so on your page (/me), in the \
                    settings (`friends.share_subscriptions`), or in an account's file (`share`).";
        notices.push(Notice { id: SHARING.into(), text: text.into() });
    }
    if reaches_out(config) && !config.is_secure() {
        let text = "The pool is reached beyond this machine and `public_url` is not https: unless something in front of it \
                    speaks TLS, credentials can be read on the way.";
        notices.push(Notice { id: "no-tls".into(), text: text.into() });
    }
    notices
}

/// The same, and what is wrong at this moment.
pub fn now(app: &App) -> Vec<Notice> {
    let mut notices = app.notices();
    if let Some(why) = app.ledger.health().degraded {
        notices.push(Notice { id: "ledger".into(), text: format!("usage cannot be written: {why}") });
    }
    for fault in app.keeper.faults.list() {
        let text = format!("{}: {}", fault.file, fault.what);
        notices.push(Notice { id: format!("file:{}:{:?}", fault.file, fault.topic).to_lowercase(), text });
    }
    app.pool.read(|pool, _| {
        for slot in pool.slots() {
            if let Some(why) = &slot.needs_login {
                let text = format!("{} needs you: {why}", slot.account.name);
                notices.push(Notice { id: format!("sign-in:{}", slot.account.id), text });
            }
        }
    });
    notices
}

/// The first time that friends may come, or that others reach the pool, the log says so. Remembered in the database.
pub(crate) async fn tell_once(config: &Config, friends: bool, answered: &Answered) {
    if (reaches_out(config) || friends) && answered.is_first("terms-told").await {
        tracing::warn!("{TERMS}");
    }
}

fn reaches_out(config: &Config) -> bool {
    !config.listen.ip().is_loopback() || config.public_url.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lets_others_in_is_told() {
        let ids = |config: &Config, has_users, shares_unasked| {
            of(config, Facts { has_users, shares_unasked }).into_iter().map(|notice| notice.id).collect::<Vec<_>>()
        };
        let local = Config::default();
        let open = Config { listen: ([0, 0, 0, 0], 8989).into(), ..Config::default() };
        let behind = Config { public_url: Some("https://pool.example".into()), ..Config::default() };
        assert_eq!(ids(&local, false, false), [""; 0]);
        assert_eq!(ids(&local, true, false), ["terms"]);
        assert_eq!(ids(&local, true, true), ["terms", "share-subscriptions"]);
        assert_eq!(ids(&open, false, false), ["terms", "no-tls"]);
        assert_eq!(ids(&behind, false, false), ["terms"]);
    }

    #[tokio::test]
    async fn it_is_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("proxy.db");
        let opened = pool_store::Ledger::open(&path, pool_store::Options::default()).await.expect("opens");
        let answered = Answered::recall(pool_store::Answers::beside(&opened.ledger)).await;
        let (local, told) = (Config::default(), async || answered.was_done("terms-told").await.expect("read"));
        tell_once(&local, false, &answered).await;
        assert!(!told().await);
        tell_once(&local, true, &answered).await;
        assert!(told().await && !answered.is_first("terms-told").await);
    }
}
