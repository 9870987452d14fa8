//! A statement with its values, and a row of an answer: what both databases understand.

use std::borrow::Cow;
use std::fmt::Write as _;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Decode, Postgres, Row as _, Sqlite, Type};

/// A text of SQL, the same for both databases: `$1` markers, whole numbers, texts, bytes.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
    /// The markers are `?` and stand in the order of the values.
    plain: bool,
}

/// One value. The tables know no other kinds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

pub(crate) fn sql(text: &'static str) -> Statement {
    Statement { text: Cow::Borrowed(text), values: Vec::new(), plain: false }
}

/// A text that was put together here. Never out of anything that came from outside: that is bound.
pub(crate) fn built(text: String) -> Statement {
    Statement { text: Cow::Owned(text), values: Vec::new(), plain: false }
}

/// `head VALUES (…), (…), … tail`: many rows in one statement. SQLite looks for a marker with a number among all before it, which is
/// slow for thousands, so these have none.
pub(crate) fn rows(head: &str, rows: impl IntoIterator<Item = Vec<Value>>, tail: &str) -> Statement {
    let mut text = format!("{head} VALUES ");
    let mut values = Vec::new();
    for row in rows {
        text.push_str(if values.is_empty() { "(" } else { ", (" });
        text.push_str(&vec!["?"; row.len()].join(", "));
        text.push(')');
        values.extend(row);
    }
    text.push(' ');
    text.push_str(tail);
    Statement { text: Cow::Owned(text), values, plain: true }
}

/// With `$1`, `$2`, … for the markers.
fn numbered(plain: &str) -> String {
    let mut text = String::with_capacity(plain.len() * 2);
    for (number, part) in plain.split('?').enumerate() {
        if number > 0 {
            let _ = write!(text, "${number}");
        }
        text.push_str(part);
    }
    text
}

impl Statement {
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) fn for_sqlite(self) -> Result<Query<'static, Sqlite, SqliteArguments>, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            let added = match value {
                Value::Number(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text.map(clean)),
                Value::Bytes(bytes) => arguments.add(bytes),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(match self.text {
            Cow::Borrowed(text) => sqlx::query_with(text, arguments),
            Cow::Owned(text) => sqlx::query_with(AssertSqlSafe(text), arguments).persistent(false),
        })
    }

    pub(super) fn for_postgres(self) -> Result<Query<'static, Postgres, PgArguments>, sqlx::Error> {
        let mut arguments = PgArguments::default();
        for value in self.values {
            let added = match value {
                Value::Number(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text.map(clean)),
                Value::Bytes(bytes) => arguments.add(bytes),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(match self.text {
            Cow::Borrowed(text) => sqlx::query_with(text, arguments),
            Cow::Owned(text) if self.plain => {
                sqlx::query_with(AssertSqlSafe(numbered(&text)), arguments).persistent(false)
            }
            Cow::Owned(text) => sqlx::query_with(AssertSqlSafe(text), arguments).persistent(false),
        })
    }
}

/// Without the one character that PostgreSQL refuses, and a model's name may come with.
fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// One row of an answer.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// A column by its name: `i64`, `String`, `Vec<u8>`, or an `Option` of one of them.
    pub(crate) fn get<T>(&self, column: &str) -> Result<T, sqlx::Error>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// A number that cannot be negative.
    pub(crate) fn count(&self, column: &str) -> Result<u64, sqlx::Error> {
        Ok(u64::try_from(self.get::<i64>(column)?).unwrap_or(0))
    }
}
