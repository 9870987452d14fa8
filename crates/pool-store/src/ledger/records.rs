//! The records themselves, in pages: by time and id, with filters.

use pool_core::usage::Ending;
use pool_core::{UnixMs, UsageRecord};

use super::Ledger;
use super::explained::record;
use super::read::ReadError;
use super::write::ending;
use crate::database::{Statement, Value, built};

/// Which records. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// At this time or later.
    pub since: Option<UnixMs>,
    /// Before this time.
    pub until: Option<UnixMs>,
    /// A user's id; an empty one: nobody's of the directory.
    pub user: Option<String>,
    /// An account's id; an empty one: what no account has answered.
    pub account: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub client: Option<String>,
    /// From the first to the last, as 400 to 599.
    pub status: Option<(u16, u16)>,
    pub ending: Option<Ending>,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    NewestFirst,
    OldestFirst,
}

/// Where a page ended: the next one goes on behind it, whatever has come in meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub at: UnixMs,
    pub request_id: String,
}

/// Some records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<UsageRecord>,
    /// `None`: that was all.
    pub next: Option<Cursor>,
}

/// No page is longer.
pub const LONGEST_PAGE: u32 = 10_000;

impl Ledger {
    /// One page of records, `most` of them (at most [`LONGEST_PAGE`]).
    pub async fn records(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Cursor>,
        most: u32,
    ) -> Result<Page, ReadError> {
        let most = most.clamp(1, LONGEST_PAGE);
        let rows = self.shared.database.all(page(filter, order, after, most)).await?;
        let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let full = records.len() == most as usize;
        let next = records.last().filter(|_| full);
        let next = next.map(|last| Cursor { at: last.at, request_id: last.request_id.clone() });
        Ok(Page { records, next })
    }
}

fn page(filter: &Filter, order: Order, after: Option<&Cursor>, most: u32) -> Statement {
    let (beyond, direction) = match order {
        Order::NewestFirst => ("<", "DESC"),
        Order::OldestFirst => (">", "ASC"),
    };
    let mut which = filter.conditions();
    if let Some(Cursor { at, request_id }) = after {
        // The first of the two lets the index of the times be used.
        which.add(&format!("at_ms {beyond}= $"), at.0);
        which.values.push(request_id.into());
        let [at, id] = [which.values.len() - 1, which.values.len()];
        which.texts.push(format!("(at_ms, request_id) {beyond} (${at}, ${id})"));
    }
    let text = format!(
        "SELECT * FROM usage_records WHERE {} ORDER BY at_ms {direction}, request_id {direction} LIMIT {most}",
        which.text()
    );
    which.values.into_iter().fold(built(text), Statement::bind)
}

/// Conditions with their values, all of which have to hold.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    texts: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    /// `text` ends in the `$` that the number of the value comes behind.
    pub(super) fn add(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.texts.push(format!("{text}{}", self.values.len()));
    }

    pub(super) fn text(&self) -> String {
        if self.texts.is_empty() { "1 = 1".into() } else { self.texts.join(" AND ") }
    }
}

impl Filter {
    fn conditions(&self) -> Conditions {
        let mut which = Conditions::default();
        if let Some(since) = self.since {
            which.add("at_ms >= $", since.0);
        }
        if let Some(until) = self.until {
            which.add("at_ms < $", until.0);
        }
        match self.user.as_deref() {
            Some("") => which.texts.push("user_id IS NULL".into()),
            Some(user) => which.add("user_id = $", user),
            None => {}
        }
        let equal = [
            ("account", &self.account),
            ("provider", &self.provider),
            ("model", &self.model),
            ("client", &self.client),
        ];
        for (column, value) in equal {
            if let Some(value) = value {
                which.add(&format!("{column} = $"), value);
            }
        }
        if let Some((from, to)) = self.status {
            which.add("status >= $", i64::from(from));
            which.add("status <= $", i64::from(to));
        }
        if let Some(wanted) = self.ending {
            which.add("ending = $", ending(wanted));
        }
        which
    }
}
