//! Which requests: the filter that the pages of requests and of usage share, and times as people write them.

use http::StatusCode;
use pool_core::people::UserId;
use pool_core::usage::Ending;
use pool_core::{Span, UnixMs};
use pool_store::ledger::{Dimension, Filter};

use super::accounts;
use super::reply::Fault;
use crate::app::App;
use crate::clock;
use crate::events::Eyes;

/// The words of a query that say which requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    pub since: Option<&'a str>,
    pub until: Option<&'a str>,
    pub person: Option<&'a str>,
    pub account: Option<&'a str>,
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub client: Option<&'a str>,
    pub status: Option<&'a str>,
    pub ending: Option<Ending>,
}

/// In a filter: what belongs to nobody.
const NOBODY: &str = "nobody";

impl Words<'_> {
    /// What they mean, for who asks: nobody but the operator is told of others.
    pub fn resolve(self, app: &App, eyes: &Eyes) -> Result<Filter, Fault> {
        let now = clock::now();
        Ok(Filter {
            since: self.since.map(|text| time(text, now)).transpose()?,
            until: self.until.map(|text| time(text, now)).transpose()?,
            user: person(app, eyes, self.person)?,
            account: self.account.map(|name| account(app, eyes, name)).transpose()?,
            provider: self.provider.map(|name| provider(app, name)).transpose()?,
            model: self.model.map(str::to_owned),
            client: self.client.map(str::to_owned),
            status: self.status.map(status).transpose()?,
            ending: self.ending,
        })
    }
}

/// What of a filter the sums can tell apart.
pub fn only(filter: &Filter) -> Vec<(Dimension, String)> {
    let parts = [
        (Dimension::User, &filter.user),
        (Dimension::Account, &filter.account),
        (Dimension::Provider, &filter.provider),
        (Dimension::Model, &filter.model),
        (Dimension::Client, &filter.client),
    ];
    parts.into_iter().filter_map(|(dimension, value)| Some((dimension, value.clone()?))).collect()
}

fn person(app: &App, eyes: &Eyes, name: Option<&str>) -> Result<Option<String>, Fault> {
    let find = |name: &str| {
        app.people.read(|people| {
            people.user(&UserId(name.into())).or_else(|| people.named(name)).map(|user| user.id.to_string())
        })
    };
    match (eyes.own(), name) {
        (None, None) => Ok(None),
        (None, Some(NOBODY)) => Ok(Some(String::new())),
        // Somebody who was removed has no name any more, but an id.
        (None, Some(name)) => Ok(Some(find(name).unwrap_or_else(|| name.to_owned()))),
        (Some(own), None | Some("me")) => Ok(Some(own.to_string())),
        (Some(own), Some(name)) if find(name).as_deref() == Some(&*own.0) => Ok(Some(own.to_string())),
        (Some(_), Some(_)) => Err(Fault::new(StatusCode::FORBIDDEN, "you may ask about your own requests only")),
    }
}

fn account(app: &App, eyes: &Eyes, name: &str) -> Result<String, Fault> {
    if !eyes.see_accounts() {
        return Err(Fault::new(StatusCode::FORBIDDEN, "accounts are not for you to tell apart"));
    }
    if name == NOBODY {
        return Ok(String::new());
    }
    match accounts::find(app, name) {
        Ok(id) if eyes.sees_account(&id) => Ok(id.to_string()),
        // One that is gone has no name any more, but an id.
        Err(fault) if *eyes == Eyes::Operator && fault.status == StatusCode::NOT_FOUND && name.contains('-') => {
            Ok(name.to_owned())
        }
        Err(fault) if *eyes == Eyes::Operator => Err(fault),
        // Of what is not theirs they learn nothing, not even that it is there.
        _ => Err(Fault::new(StatusCode::NOT_FOUND, format!("no account of yours is called {name:?}"))),
    }
}

fn provider(app: &App, name: &str) -> Result<String, Fault> {
    if app.registry.iter().any(|provider| provider.id().0 == name) {
        return Ok(name.to_owned());
    }
    let known: Vec<&str> = app.registry.iter().map(|provider| provider.id().0).collect();
    Err(wrong(format!("there is no provider {name:?}, only {}", known.join(", "))))
}

/// `429`, `4xx`, `400-499`, `ok` (below 400) or `failed`.
fn status(text: &str) -> Result<(u16, u16), Fault> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| (100..=599).contains(number));
    let range = match text.split_once('-') {
        _ if text == "ok" => Some((100, 399)),
        _ if text == "failed" => Some((400, 599)),
        Some((from, to)) => number(from).zip(number(to)),
        None => match text.strip_suffix("xx").and_then(|digit| number(&format!("{digit}00"))) {
            Some(from) => Some((from, from + 99)),
            None => number(text).map(|one| (one, one)),
        },
    };
    range.ok_or_else(|| wrong(format!("a status is 429, 4xx, 400-499, ok or failed, not {text:?}")))
}

/// Milliseconds since the epoch, `90m`, `24h` or `7d` ago, or a time as in `2026-11-22T10:00:00Z`.
fn time(text: &str, now: UnixMs) -> Result<UnixMs, Fault> {
    let ago = |unit: char, minutes: u64| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(now - Span::from_mins(count.checked_mul(minutes).filter(|minutes| *minutes < 100 * 366 * 24 * 60)?))
    };
    let read = text.parse().ok().map(UnixMs).or_else(|| ago('m', 1)).or_else(|| ago('h', 60));
    let read = read.or_else(|| ago('d', 24 * 60));
    let read = read.or_else(|| Some(UnixMs(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())));
    read.ok_or_else(|| {
        wrong(format!("a time is 90m, 24h or 7d (ago), 2026-11-22T10:00:00Z or milliseconds, not {text:?}"))
    })
}

fn wrong(message: String) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_statuses_are_read() {
        let now = UnixMs(1_800_000_000_000);
        for (text, expected) in [
            ("1700000000000", Some(1_700_000_000_000)),
            ("90m", Some(now.0 - 90 * 60_000)),
            ("24h", Some(now.0 - 24 * 3_600_000)),
            ("7d", Some(now.0 - 7 * 24 * 3_600_000)),
            ("2027-01-15T08:00:00Z", Some(1_800_000_000_000)),
            ("yesterday", None),
            ("99999999999999999h", None),
            ("-3h", None),
        ] {
            assert_eq!(time(text, now).ok().map(|time| time.0), expected, "{text}");
        }
        for (text, expected) in [
            ("429", Some((429, 429))),
            ("4xx", Some((400, 499))),
            ("400-499", Some((400, 499))),
            ("ok", Some((100, 399))),
            ("failed", Some((400, 599))),
            ("9xx", None),
            ("4", None),
            ("400-", None),
        ] {
            assert_eq!(status(text).ok(), expected, "{text}");
        }
    }
}
