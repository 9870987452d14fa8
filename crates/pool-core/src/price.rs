//! What tokens cost: a table of prices and the arithmetic on it, in whole micro-dollars.
//!
//! The table that is compiled in is a trimmed copy of a published one (its source and date are in it); a file of the operator's
//! goes on top. What a model costs that no table knows is unknown, never zero. For an API key it is money; for a subscription it is
//! what the same tokens would have cost by the API. Rates are the standard ones: service tiers (priority, flex, batch) are not
//! told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::usage::TokenCounts;

/// An amount of money: millionths of a US dollar.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    pub const ZERO: Self = Self(0);

    /// From dollars. `None`: negative, not a number, or more than anybody has.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let micro = (dollars * 1e6).round();
        (0.0..1e15).contains(&micro).then_some(Self(micro as u64))
    }

    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

/// `$1.23`; small amounts with as many digits as they need: `$0.0042`.
impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 10_000.. => {
                let cents = self.0.saturating_add(5_000) / 10_000;
                write!(f, "${}.{:02}", cents / 100, cents % 100)
            }
            small => write!(f, "${}", format!("0.{small:06}").trim_end_matches('0')),
        }
    }
}

/// Micro-dollars for a million tokens of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rates {
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    /// Reasoning is billed as output.
    output: u64,
}

/// What one model costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    rates: Rates,
    /// The whole request at these rates if its prompt is longer than so many tokens.
    long: Option<(u64, Rates)>,
}

impl Price {
    /// What a request of these tokens costs.
    pub fn of(&self, tokens: &TokenCounts) -> MicroUsd {
        self.of_many(tokens, tokens.prompt())
    }

    /// What many requests cost that used these tokens together and whose prompts had about so many each: none of
    /// [`Prices::lengths`] lies between them.
    pub fn of_many(&self, tokens: &TokenCounts, prompt: u64) -> MicroUsd {
        let rates = self.long.filter(|(above, _)| prompt > *above).map_or(self.rates, |(_, rates)| rates);
        let classes = [
            (tokens.input, rates.input),
            (tokens.cache_read, rates.cache_read),
            (tokens.cache_write_5m, rates.cache_write_5m),
            (tokens.cache_write_1h, rates.cache_write_1h),
            (tokens.output, rates.output),
            (tokens.reasoning, rates.output),
        ];
        let total: u128 = classes.into_iter().map(|(tokens, rate)| u128::from(tokens) * u128::from(rate)).sum();
        MicroUsd(u64::try_from((total + 500_000) / 1_000_000).unwrap_or(u64::MAX))
    }
}

/// The lengths of a prompt at which the prices of some models change. Sums of many requests are kept apart by them.
pub const PROMPT_STEPS: [u64; 4] = [0, 100_000, 200_000, 272_000];

/// The last of [`PROMPT_STEPS`] that a prompt is above.
pub fn prompt_step(prompt: u64) -> u64 {
    PROMPT_STEPS.into_iter().rev().find(|step| prompt > *step).unwrap_or(0)
}

/// The prices of many models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    models: BTreeMap<String, Price>,
    /// Where the table that is compiled in comes from, and of which day it is.
    pub source: String,
    pub date: String,
}

/// Why a table of prices cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPrices {
    #[error("it is not JSON of the right shape (line {line}, column {column}): {what}")]
    Shape { line: usize, column: usize, what: String },
    #[error("{model} has a price that is no amount of dollars for a million tokens")]
    Amount { model: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    source: String,
    #[serde(default)]
    date: String,
    models: BTreeMap<String, Entry>,
}

/// US dollars for a million tokens. Of what is absent, a cache read or a write of five minutes costs as much as fresh input, a
/// write of an hour as one of five minutes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    input: f64,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
    output: f64,
    long: Option<Long>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    above: u64,
    input: f64,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
    output: f64,
}

impl Default for Prices {
    /// What is compiled in. (A test reads it; if it could not be read, every price would be unknown.)
    fn default() -> Self {
        let none = Self { models: BTreeMap::new(), source: String::new(), date: String::new() };
        Self::read(include_str!("price/prices.json")).unwrap_or(none)
    }
}

impl Prices {
    /// Reads a table: `{"models": {"some-model": {"input": 2.5, "output": 15, …}}}`.
    pub fn read(text: &str) -> Result<Self, BadPrices> {
        let file: File = serde_json::from_str(text).map_err(|error| BadPrices::Shape {
            line: error.line(),
            column: error.column(),
            what: error.to_string(),
        })?;
        let price = |(model, entry): (String, Entry)| match entry.price() {
            Some(price) => Ok((model.to_lowercase(), price)),
            None => Err(BadPrices::Amount { model }),
        };
        let models = file.models.into_iter().map(price).collect::<Result<_, _>>()?;
        Ok(Self { models, source: file.source, date: file.date })
    }

    /// With another table on top: its models are added, or replace those of the same name.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.models.extend(other.models);
        self
    }

    /// What a model costs: by its name, else by its name without a date, else by the longest known name that it goes on from.
    /// `None`: unknown.
    pub fn find(&self, model: &str) -> Option<&Price> {
        let name = model.rsplit('/').next().unwrap_or(model).to_lowercase();
        let undated = without_date(&name);
        self.models.get(&name).or_else(|| self.models.get(undated)).or_else(|| {
            let ends = undated.char_indices().rev().filter(|(_, letter)| matches!(letter, '-' | '[' | ':' | '@'));
            ends.map(|(at, _)| undated.split_at(at))
                .find_map(|(known, rest)| Some((self.models.get(known)?, rest)))
                .filter(|(_, rest)| !names_another_size(rest))
                .map(|(price, _)| price)
        })
    }

    /// What a request cost. `None`: its model's price, or what it used, is unknown.
    pub fn cost(&self, model: Option<&str>, tokens: Option<&TokenCounts>) -> Option<MicroUsd> {
        Some(self.find(model?)?.of(tokens?))
    }

    /// Lengths of a prompt, in tokens, beyond which some model costs more; rising.
    pub fn lengths(&self) -> Vec<u64> {
        let above = self.models.values().filter_map(|price| Some(price.long?.0));
        above.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub fn len(&self) -> usize {
        self.models.len()
    }

    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

impl Entry {
    fn price(&self) -> Option<Price> {
        let rates = rates([self.input, self.output], [self.cache_read, self.cache_write_5m, self.cache_write_1h])?;
        let long = match &self.long {
            None => None,
            Some(long) => {
                let cache = [long.cache_read, long.cache_write_5m, long.cache_write_1h];
                Some((long.above, self::rates([long.input, long.output], cache)?))
            }
        };
        Some(Price { rates, long })
    }
}

fn rates([input, output]: [f64; 2], [read, write_5m, write_1h]: [Option<f64>; 3]) -> Option<Rates> {
    let micro = |dollars: f64| MicroUsd::from_dollars(dollars).map(|amount| amount.0);
    let write_5m = write_5m.unwrap_or(input);
    Some(Rates {
        input: micro(input)?,
        cache_read: micro(read.unwrap_or(input))?,
        cache_write_5m: micro(write_5m)?,
        cache_write_1h: micro(write_1h.unwrap_or(write_5m))?,
        output: micro(output)?,
    })
}

/// The name without a date or a floating tag at its end: `-20250929`, `-2026-10-21`, `@20250929`, `-latest`.
fn without_date(name: &str) -> &str {
    let name = name.strip_suffix("-latest").unwrap_or(name);
    let is_date = |text: &str| {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        digits == 8 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && text.starts_with("20")
    };
    [8, 10]
        .into_iter()
        .filter_map(|length| name.split_at_checked(name.len().checked_sub(length)?))
        .find_map(|(before, date)| before.strip_suffix(['-', '@']).filter(|_| is_date(date)))
        .unwrap_or(name)
}

/// Does what follows a known name say that it is a dearer or cheaper model? Then the known one's price says nothing of it.
fn names_another_size(rest: &str) -> bool {
    const SIZES: [&str; 9] = ["pro", "max", "ultra", "mini", "nano", "lite", "flash", "fast", "ultrafast"];
    rest.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| SIZES.contains(&word))
}

#[cfg(test)]
#[path = "price/tests.rs"]
mod tests;
