//! A PostgreSQL server: its address, whose password is never shown, and the connections to it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// `postgres://user:password@host:port/database?sslmode=…`. Neither `Debug` nor `Display` tells the password.
#[derive(Clone)]
pub struct PostgresUrl {
    options: Box<PgConnectOptions>,
    /// The address without password and parameters.
    shown: String,
}

/// What was given is no such address. It is not repeated, since it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an address of a PostgreSQL database")]
pub struct BadUrl;

impl FromStr for PostgresUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(BadUrl);
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| BadUrl)?;
        let place = match options.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let shown = format!(
            "postgres://{}@{place}/{}",
            options.get_username(),
            options.get_database().unwrap_or(options.get_username())
        );
        Ok(Self { options: Box::new(options.application_name("codex-pool")), shown })
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.shown).finish_non_exhaustive()
    }
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

impl Eq for PostgresUrl {}

/// How long an attempt waits for a connection, to a server that may just be starting.
const CONNECT: Duration = Duration::from_secs(10);

pub(super) fn pool(url: &PostgresUrl) -> PgPool {
    PgPoolOptions::new().max_connections(5).acquire_timeout(CONNECT).connect_lazy_with((*url.options).clone())
}

pub(super) fn read_only(url: &PostgresUrl) -> PgPool {
    let options = (*url.options).clone().options([("default_transaction_read_only", "on")]);
    PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT).connect_lazy_with(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_password_never_shown() {
        let cases = [
            (
                "postgres://pool:canary@db.example:5433/usage?sslmode=require",
                Some("postgres://pool@db.example:5433/usage"),
            ),
            ("postgresql://pool:canary@[::1]/usage", Some("postgres://pool@[::1]:5432/usage")),
            ("postgres://pool:canary@db.example:99999/usage", None),
            ("mysql://pool:canary@db.example/usage", None),
            ("pool:canary", None),
        ];
        for (text, shown) in cases {
            let read = text.parse::<PostgresUrl>();
            assert_eq!(read.as_ref().ok().map(ToString::to_string).as_deref(), shown, "{text}");
            assert!(!format!("{read:?}").contains("canary"), "{read:?}");
        }
    }
}
