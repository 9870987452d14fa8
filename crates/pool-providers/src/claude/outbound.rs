//! How a request goes out on a Claude account.
//!
//! Everything is forwarded as the client sent it, but for the credential, the `anthropic-beta` value that goes with it, and
//! the account's id inside `metadata.user_id`.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pool_core::scan::json::{Paths, find};
use pool_core::{AccountKind, Credentials, Secret};

use super::files::bound;
use super::metadata::Metadata;
use crate::alias::rename;
use crate::reply::Failure;
use crate::request::{Body, Edit, Head, Outbound, Serving};

/// Without it upstream refuses an OAuth token.
pub(super) const OAUTH_BETA: &str = "oauth-2025-04-20";

const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Names an organisation of the client's own.
const CLIENT_ORGANIZATION: HeaderName = HeaderName::from_static("x-organization-uuid");

static USER_ID: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["metadata.user_id"]));

static MODEL: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["model"]));

pub(super) fn outbound(head: &Head<'_>, body: &Body, serving: &Serving<'_>) -> Result<Outbound, Failure> {
    // Nothing is left behind after a move (`carry`): a foreign thinking signature is refused upstream with a 400 that the
    // client mends by itself.
    let Serving { account, credentials, bases, carry: _, model } = *serving;
    let unusable = || Failure::UpstreamDown {
        message: "an account's credential cannot stand in a header".into(),
        retry_after: Duration::from_mins(1),
    };
    let mut set = Vec::new();
    let mut remove = vec![CLIENT_ORGANIZATION];
    let betas = Betas::of(head.headers);
    match account.kind {
        AccountKind::Subscription => {
            let value = secret_value("Bearer ", &credentials.access).ok_or_else(unusable)?;
            set.push((header::AUTHORIZATION, value));
            set.extend(betas.with_oauth().map(|value| (BETA, value)));
        }
        AccountKind::ApiKey => {
            set.push((API_KEY, secret_value("", &credentials.access).ok_or_else(unusable)?));
            match betas.without_oauth() {
                Change::None => {}
                Change::Set(value) => set.push((BETA, value)),
                Change::Remove => remove.push(BETA),
            }
        }
    }
    let renamed = model.and_then(|model| Some(rename(find(&body.bytes, &MODEL).range(0)?, model)));
    let mut edits: Vec<Edit> = account_edit(&body.bytes, credentials).into_iter().chain(renamed).collect();
    edits.sort_by_key(|edit| edit.range.start);
    Ok(Outbound { url: url(head, &bases.claude), set, remove, edits, decoded: true, ..Outbound::default() })
}

/// A header value that is not shown by `Debug` and not kept in compression tables. `None`: it cannot stand in a header.
pub(super) fn secret_value(before: &str, secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{before}{}", secret.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The client's path and query at our upstream, without credentials that a client put into the query.
fn url(head: &Head<'_>, base: &str) -> String {
    let is_credential = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        ["key", "api_key", "api-key", "x-api-key", "access_token", "auth_token", "token"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    };
    let query: Vec<&str> = head.query.unwrap_or_default().split('&').filter(|pair| !is_credential(pair)).collect();
    let query = query.join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{base}{}{mark}{query}", head.path)
}

/// The values of `anthropic-beta`, over all its lines, in order.
struct Betas<'a>(Vec<&'a str>);

enum Change {
    None,
    Set(HeaderValue),
    Remove,
}

impl<'a> Betas<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let lines = headers.get_all(BETA).iter().filter_map(|line| line.to_str().ok());
        Self(lines.flat_map(|line| line.split(',')).map(str::trim).filter(|beta| !beta.is_empty()).collect())
    }

    fn has_oauth(&self) -> bool {
        self.0.contains(&OAUTH_BETA)
    }

    /// `None`: it is there already.
    fn with_oauth(&self) -> Option<HeaderValue> {
        if self.has_oauth() {
            return None;
        }
        let all: Vec<&str> = self.0.iter().copied().chain([OAUTH_BETA]).collect();
        HeaderValue::try_from(all.join(",")).ok()
    }

    fn without_oauth(&self) -> Change {
        if !self.has_oauth() {
            return Change::None;
        }
        let rest: Vec<&str> = self.0.iter().copied().filter(|beta| *beta != OAUTH_BETA).collect();
        match HeaderValue::try_from(rest.join(",")) {
            Ok(value) if !rest.is_empty() => Change::Set(value),
            _ => Change::Remove,
        }
    }
}

/// An account id of the client's own login inside `metadata.user_id` becomes the serving account's, or empty where that is
/// not known. An empty one stays empty.
fn account_edit(body: &[u8], credentials: &Credentials) -> Option<Edit> {
    let found = find(body, &USER_ID);
    let start = found.range(0)?.start;
    let metadata = Metadata::read(found.raw(0)?)?;
    let theirs = metadata.account().filter(|account| !account.is_empty())?;
    // Only what needs no escapes, in either layer of JSON.
    let plain = |id: &&String| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let ours = credentials.bound.get(bound::ACCOUNT).filter(plain).map_or("", String::as_str);
    if theirs == ours {
        return None;
    }
    let place = metadata.account_place()?;
    Some(Edit { range: start + place.start..start + place.end, with: Bytes::copy_from_slice(ours.as_bytes()) })
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
