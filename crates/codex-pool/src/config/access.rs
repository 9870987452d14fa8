//! Who may enter, and the secrets that decide it. There is no default secret, and none that can be guessed is taken.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use http::Uri;
use pool_core::Secret;
use pool_server::config::Friends;
use pool_server::network::Block;

use super::table::{Kind, SETTINGS};
use super::values::{Origin, Values};
use crate::problem::Problem;

/// Who may enter.
pub(super) struct Access {
    pub(super) operator_token: Option<Secret>,
    pub(super) admin_password: Option<Secret>,
    pub(super) trusted_proxies: Vec<Block>,
    pub(super) public_url: Option<String>,
    pub(super) friends: Friends,
    /// `None`: not said.
    pub(super) share_subscriptions: Option<bool>,
    /// Local requests need no credential.
    pub(super) locally_open: bool,
}

/// A password with fewer characters is as good as none.
const SHORT: usize = 10;

/// The same of a friend code, which opens less, and which people tell each other.
const SHORT_CODE: usize = 8;

const MAKE_TOKEN: &str = "Set operator_token (or POOL_OPERATOR_TOKEN) to what this prints: openssl rand -hex 32";

/// `listen` is absent for commands that start no server.
pub(super) fn resolve(values: &mut Values, listen: Option<SocketAddr>) -> Access {
    let access = Access {
        operator_token: operator_token(values),
        admin_password: values.secret("pool_users.admin_password"),
        trusted_proxies: trusted_proxies(values),
        public_url: public_url(values),
        friends: friends(values),
        share_subscriptions: share_subscriptions(values),
        locally_open: values.flag("local_access"),
    };
    let Some(listen) = listen else { return access };
    sample_secrets(values, listen);
    let has_secret = access.operator_token.is_some() || access.admin_password.is_some();
    if has_secret || may_have_users(values) || !values.problems.is_empty() {
        return access;
    }
    if !listen.ip().is_loopback() {
        values.problems.push(Problem::new(
            format!("refusing to listen on {listen}: everybody who reaches it could spend your accounts"),
            "no pool credential is set",
            format!("{MAKE_TOKEN}\nOr listen on this machine only: --listen 127.0.0.1:{}", listen.port()),
        ));
    } else if access.public_url.is_some() || !access.locally_open {
        let cause = if access.locally_open { "public_url is set" } else { "local_access is false" };
        values.problems.push(Problem::new(
            "nobody could use this pool: every request needs a credential, and there is none",
            format!("{cause}, so no request counts as local"),
            MAKE_TOKEN,
        ));
    }
    access
}

/// Is there a database that may know pool users? The server looks into it before it answers anybody.
fn may_have_users(values: &mut Values) -> bool {
    values.is_said("database_url") || Path::new(&values.text("db_path")).exists()
}

fn trusted_proxies(values: &mut Values) -> Vec<Block> {
    let text = values.text("trusted_proxies");
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    match parts.map(str::parse).collect::<Result<Vec<Block>, _>>() {
        Ok(blocks) => blocks,
        Err(error) => {
            values.wrong("trusted_proxies", error, "Write it as: trusted_proxies = \"10.0.0.0/8, 192.0.2.7\"");
            Vec::new()
        }
    }
}

fn operator_token(values: &mut Values) -> Option<Secret> {
    let (key, token) = match values.secret("operator_token") {
        Some(token) => ("operator_token", token),
        None => ("admin_token", values.secret("admin_token")?),
    };
    if is_strong(token.expose()) {
        return Some(token);
    }
    values.wrong(key, "can be guessed: it needs at least 32 characters, at random", MAKE_TOKEN);
    None
}

/// At least 128 bits if the characters are random; that they are cannot be seen, only that they are not all alike.
fn is_strong(token: &str) -> bool {
    let kinds: std::collections::BTreeSet<char> = token.chars().collect();
    token.is_ascii() && token.len() >= 32 && kinds.len() >= 10 && !is_sample(token)
}

/// Values that stand in examples, in the Go original's documents among them.
fn is_sample(secret: &str) -> bool {
    const SAMPLES: &[&str] = &[
        "",
        "admin",
        "password",
        "secret",
        "changeme",
        "change-me",
        "change_me",
        "default",
        "test",
        "32-char-secret-for-jwt-tokens!!",
        "your-secret-here",
        "your-jwt-secret",
    ];
    SAMPLES.contains(&secret.trim().to_ascii_lowercase().as_str())
}

fn sample_secrets(values: &mut Values, listen: SocketAddr) {
    for key in ["pool_users.admin_password", "pool_users.jwt_secret", "friend_code"] {
        let text = values.text(key);
        let fault = match () {
            () if !values.is_said(key) => continue,
            () if is_sample(&text) => "is empty or a sample value that everybody knows",
            () if key == "pool_users.admin_password" && text.chars().count() < SHORT => "is short enough to be guessed",
            () if key == "friend_code" && text.trim().chars().count() < SHORT_CODE => "is short enough to be guessed",
            () => continue,
        };
        let problem = Problem::new(
            format!("{key} {fault}"),
            format!("from {}", values.origin(key)),
            "Take the line out, or put a random value there, as from: openssl rand -hex 32",
        );
        if listen.ip().is_loopback() {
            values.warnings.push(problem);
        } else {
            values.problems.push(problem);
        }
    }
}

fn friends(values: &mut Values) -> Friends {
    Friends {
        code: values.secret("friend_code"),
        name: values.text("friend_name"),
        tagline: values.text("friend_tagline"),
        leaderboard: values.flag("friends.leaderboard"),
    }
}

fn share_subscriptions(values: &mut Values) -> Option<bool> {
    const KEY: &str = "friends.share_subscriptions";
    let said = values.is_said(KEY);
    let share = values.flag(KEY);
    said.then_some(share)
}

fn public_url(values: &mut Values) -> Option<String> {
    let text = values.optional("public_url")?;
    let trimmed = text.trim_end_matches('/').to_owned();
    let uri = trimmed.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
            && !trimmed.contains('#')
    });
    if uri.is_none() {
        values.wrong("public_url", "is not a web address", "Write it as https://pool.example.com");
    }
    Some(trimmed)
}

/// A settings file with a secret is nobody else's to read.
pub(super) fn check_file_mode(values: &mut Values, path: &Path, shown: &Path) {
    let holds_secret = SETTINGS
        .iter()
        .any(|setting| setting.kind == Kind::Secret && matches!(values.origin(setting.key), Origin::File { .. }));
    let open = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if holds_secret && open {
        values.warnings.push(Problem::new(
            format!("{} holds a secret and can be read by other users of this machine", shown.display()),
            "",
            format!("chmod 600 {}", shown.display()),
        ));
    }
}
