//! The settings with their origins, and whether all is well: what `doctor` and the page of health tell.

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reply::{json_page, tagged_page};
use super::status::{faulty_files, ledger_status, statuses};
use super::{Operator, Visit};
use crate::app::App;
use crate::clock;
use crate::notices;
use crate::relay::deliver::ReplyBody;
use crate::roster::Notice;
use crate::status::{FaultyFile, LedgerStatus, State};

/// Answer of `GET /api/settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// The file that was read; null: none.
    pub file: Option<String>,
    pub settings: Vec<Setting>,
}

/// One setting, as whoever started the server resolved it. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// As in `config.toml`; a dot stands for a section.
    pub key: String,
    /// As it would stand in the environment. Null: not set, or a secret.
    pub value: Option<String>,
    /// It was said, rather than left at its default.
    pub said: bool,
    pub secret: bool,
    /// `the default`, `the flag --listen`, `the environment variable PORT`, `config.toml, line 3, column 1`.
    pub origin: String,
    /// Its environment variable; empty: none.
    pub env: String,
    pub help: String,
    /// When a change takes effect.
    pub applies: Applies,
    /// Why it has no effect in this version, if it has none.
    pub without_effect: Option<String>,
}

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SettingApplies)]
pub enum Applies {
    AtNextStart,
    Never,
}

/// Answer of `GET /api/health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Health)]
pub struct Report {
    pub version: String,
    pub now_ms: i64,
    /// Nothing is wrong.
    pub ok: bool,
    pub checks: Vec<Check>,
    /// Where the server listens.
    pub listen: String,
    pub public_url: Option<String>,
    /// Requests of this machine need no credential.
    pub open_to_this_machine: bool,
    /// The order to stop has come.
    pub draining: bool,
    pub requests_in_flight: u64,
    pub ledger: LedgerStatus,
    /// How long single requests are kept.
    pub retention_days: u64,
    /// Where the database is; null: not in a file.
    pub database_file: Option<String>,
    /// Free where the database's file is; null: not known.
    pub disk_free_bytes: Option<u64>,
    pub files_with_faults: Vec<FaultyFile>,
    pub notices: Vec<Notice>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HealthCheck)]
pub struct Check {
    pub id: String,
    pub ok: bool,
    /// What was found, as a sentence for a person.
    pub found: String,
    /// What mends it; null: nothing needs to.
    pub mend: Option<String>,
}

/// Less of it is trouble soon.
const LITTLE_DISK: u64 = 200 << 20;

/// `GET /api/settings`.
pub async fn settings(visit: Visit<Operator>) -> Response<ReplyBody> {
    tagged_page(&visit.parts.headers, &*visit.app.config.settings)
}

/// `GET /api/health`.
pub async fn health(visit: Visit<Operator>) -> Response<ReplyBody> {
    json_page(StatusCode::OK, &report(&visit.app))
}

fn report(app: &App) -> Report {
    let config = &app.config;
    let in_file = config.database_url.is_none();
    let disk = in_file.then(|| free_beside(&config.db_path)).flatten();
    let checks = checks(app, disk);
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: clock::now().0,
        ok: checks.iter().all(|check| check.ok),
        checks,
        listen: config.listen.to_string(),
        public_url: config.public_url.clone(),
        open_to_this_machine: config.local_access && config.public_url.is_none() && app.people.is_empty(),
        draining: app.draining.load(std::sync::atomic::Ordering::Relaxed),
        requests_in_flight: app.in_flight.count() as u64,
        ledger: ledger_status(app),
        retention_days: config.retention.as_secs() / 86_400,
        database_file: in_file.then(|| config.db_path.display().to_string()),
        disk_free_bytes: disk,
        files_with_faults: faulty_files(app),
        notices: notices::now(app),
    }
}

fn checks(app: &App, disk: Option<u64>) -> Vec<Check> {
    let config = &app.config;
    let (accounts, _) = statuses(app);
    let ledger = ledger_status(app);
    let mut checks = Vec::new();
    let mut check = |id: &str, found: String, mend: Option<String>| {
        checks.push(Check { id: id.into(), ok: mend.is_none(), found, mend });
    };
    let beyond = !config.listen.ip().is_loopback() || config.public_url.is_some();
    check(
        "reach",
        if beyond {
            "the pool is reached beyond this machine".into()
        } else {
            "only this machine reaches the pool".into()
        },
        (beyond && !config.is_secure())
            .then(|| "put TLS in front and set `public_url` to its https address, or listen on 127.0.0.1".into()),
    );
    let ready = accounts.iter().filter(|account| account.state == State::Ready).count();
    check(
        "accounts",
        format!("{ready} of {} accounts ready", accounts.len()),
        (ready == 0).then(|| "add an account: `codex-pool accounts add FILE`".into()),
    );
    for account in accounts.iter().filter(|account| account.state == State::NeedsLogin) {
        let why = account.reason.clone().unwrap_or_else(|| "it needs a person".into());
        let mend = format!("codex-pool accounts login {} --name {}", account.provider, account.name);
        check(&format!("sign-in:{}", account.id), format!("{}: {why}", account.name), Some(mend));
    }
    for fault in faulty_files(app).iter().filter(|fault| !fault.usable) {
        check(
            &format!("file:{}", fault.file),
            format!("{}: {}", fault.file, fault.fault),
            Some("mend or remove the file".into()),
        );
    }
    match &ledger.degraded {
        None => check("ledger", "usage is written".into(), None),
        Some(why) => check(
            "ledger",
            format!("usage cannot be written ({why}); {} records wait", ledger.queued),
            Some("requests go on; make room on the disk, or let the database come back".into()),
        ),
    }
    if let Some(disk) = disk {
        let little = (disk < LITTLE_DISK).then(|| "make room: the ledger cannot be written on a full disk".into());
        check("disk", format!("{} MB free beside the database", disk >> 20), little);
    }
    check(
        "renewals",
        if config.disable_refresh { "tokens are not renewed here" } else { "tokens are renewed here" }.into(),
        None,
    );
    checks
}

/// Bytes that may still be written where this file is.
fn free_beside(file: &std::path::Path) -> Option<u64> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}
