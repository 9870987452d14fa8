//! What the operator should know and may not have asked.

use std::path::PathBuf;

use crate::app::App;
use crate::config::Config;
use crate::roster::Notice;

/// The providers' terms, as they concern whoever lets other people in.
pub const TERMS: &str = "Letting other people use a subscription conflicts with the terms of all three providers, and routing one's own \
     subscriptions through a proxy is outside the stated rules of two of them; accounts can be suspended without notice. Pooling \
     API keys of one's own is within their documented use.";

/// What holds now. `has_users`: somebody else may come in.
pub fn of(config: &Config, has_users: bool) -> Vec<Notice> {
    let mut notices = Vec::new();
    if reaches_out(config) || has_users {
        notices.push(Notice { id: "terms".into(), text: TERMS.into() });
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
    let mut notices = of(&app.config, !app.people.is_empty());
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

/// The first start beyond loopback says so in the log; a mark beside the database keeps it from being said again.
pub(crate) fn tell_once(config: &Config) {
    if !reaches_out(config) || mark(config).exists() {
        return;
    }
    tracing::warn!("{TERMS}");
    if let Err(error) = std::fs::write(mark(config), "The providers' terms were told; see the README.\n") {
        tracing::debug!(%error, "this will be said again at the next start");
    }
}

fn mark(config: &Config) -> PathBuf {
    config.db_path.with_file_name("terms-told")
}

fn reaches_out(config: &Config) -> bool {
    !config.listen.ip().is_loopback() || config.public_url.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lets_others_in_is_told() {
        let ids = |config: &Config, users| of(config, users).into_iter().map(|notice| notice.id).collect::<Vec<_>>();
        let local = Config::default();
        let open = Config { listen: ([0, 0, 0, 0], 8989).into(), ..Config::default() };
        let behind = Config { public_url: Some("https://pool.example".into()), ..Config::default() };
        assert_eq!(ids(&local, false), [""; 0]);
        assert_eq!(ids(&local, true), ["terms"]);
        assert_eq!(ids(&open, false), ["terms", "no-tls"]);
        assert_eq!(ids(&behind, false), ["terms"]);
    }

    #[test]
    fn it_is_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let db_path = folder.path().join("proxy.db");
        let config = Config { listen: ([0, 0, 0, 0], 8989).into(), db_path, ..Config::default() };
        tell_once(&config);
        assert!(mark(&config).exists());
        let local = Config { listen: ([127, 0, 0, 1], 1).into(), db_path: folder.path().join("x/proxy.db"), ..config };
        tell_once(&local);
        assert!(!mark(&local).exists());
    }
}
