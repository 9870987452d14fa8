//! Limits as people write them: `--tokens 2000000/day`, `--dollars 20/month`, `--share 25%/week`.

use pool_core::limits::{Amount, Budget, Limits, Period};

use crate::problem::{Failure, Problem};

/// Limits on the command line. A word given replaces what was there; `none` takes it away.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Requests a minute, or `none`
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<String>,
    /// Requests under way at one time, or `none`
    #[arg(long, value_name = "N")]
    streams: Option<String>,
    /// Tokens in a day, week or month, as 2000000/day; or `none`
    #[arg(long, value_name = "N/PERIOD")]
    tokens: Vec<String>,
    /// What it would cost by the API's price list, as 5/day or 20.50/month; or `none`
    #[arg(long, value_name = "N/PERIOD")]
    dollars: Vec<String>,
    /// A share of what the accounts' longest windows hold, as 25%/week; or `none`
    #[arg(long, value_name = "P%/PERIOD")]
    share: Vec<String>,
    /// Models that they may use, with `*` for anything; or `none` for no limit
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// Providers that they may use; or `none` for no limit
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
}

impl Flags {
    /// Was anything said?
    pub(crate) fn say_something(&self) -> bool {
        let Self { requests_per_minute, streams, tokens, dollars, share, models, providers } = self;
        let lists = [tokens, dollars, share, models, providers];
        requests_per_minute.is_some() || streams.is_some() || lists.iter().any(|list| !list.is_empty())
    }

    /// What becomes of limits by what was said.
    pub(crate) fn applied(&self, to: Limits) -> Result<Limits, Failure> {
        let mut limits = to;
        if let Some(text) = &self.requests_per_minute {
            limits.requests_per_minute = count(text, "--requests-per-minute")?;
        }
        if let Some(text) = &self.streams {
            limits.streams = count(text, "--streams")?;
        }
        let tokens = |amount: &Amount| matches!(amount, Amount::Tokens(_));
        let money = |amount: &Amount| matches!(amount, Amount::MicroDollars(_));
        let share = |amount: &Amount| matches!(amount, Amount::WindowShare(_));
        replace(&mut limits.budgets, &self.tokens, tokens, |text| Some(Amount::Tokens(text.parse().ok()?)))?;
        replace(&mut limits.budgets, &self.dollars, money, |text| Some(Amount::MicroDollars(micro_dollars(text)?)))?;
        replace(&mut limits.budgets, &self.share, share, |text| Some(Amount::WindowShare(part(text)?)))?;
        for (said, limit) in [(&self.models, &mut limits.models), (&self.providers, &mut limits.providers)] {
            if !said.is_empty() {
                *limit = said.iter().filter(|name| *name != NONE).cloned().collect();
            }
        }
        Ok(limits)
    }
}

const NONE: &str = "none";

fn wrong(text: &str, wanted: &str) -> Failure {
    Failure::wrong_use(Problem::new(format!("{text:?} is no limit"), "", format!("Write it as {wanted}, or none")))
}

fn count(text: &str, flag: &str) -> Result<Option<u32>, Failure> {
    match text {
        NONE => Ok(None),
        text => text.parse().map(Some).map_err(|_| wrong(text, &format!("{flag} 30"))),
    }
}

fn replace(
    budgets: &mut Vec<Budget>,
    said: &[String],
    is_kind: impl Fn(&Amount) -> bool,
    amount: impl Fn(&str) -> Option<Amount>,
) -> Result<(), Failure> {
    if said.is_empty() {
        return Ok(());
    }
    budgets.retain(|budget| !is_kind(&budget.amount));
    for text in said.iter().filter(|text| *text != NONE) {
        let read = text.split_once('/').and_then(|(number, word)| {
            let (amount, period) = (amount(number.trim())?, period(word.trim())?);
            Some(Budget { period, amount })
        });
        budgets.push(read.ok_or_else(|| wrong(text, "2000000/day, 20.50/month or 25%/week"))?);
    }
    Ok(())
}

fn period(word: &str) -> Option<Period> {
    match word {
        "day" => Some(Period::Day),
        "week" => Some(Period::Week),
        "month" => Some(Period::Month),
        _ => None,
    }
}

/// Dollars with up to six decimals, without the rounding of floating point.
fn micro_dollars(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 6 {
        return None;
    }
    let micro: u64 = format!("{decimals:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micro)
}

fn part(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// In a few words: `30/min, 2000000 tokens/day`.
pub(crate) fn told(limits: &Limits) -> String {
    let mut words = Vec::new();
    words.extend(limits.requests_per_minute.map(|count| format!("{count}/min")));
    words.extend(limits.streams.map(|count| format!("{count} at once")));
    words.extend(limits.budgets.iter().map(|budget| {
        let period = match budget.period {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        };
        match budget.amount {
            Amount::Tokens(count) => format!("{count} tokens/{period}"),
            Amount::MicroDollars(micro) => format!("${}.{:02}/{period}", micro / 1_000_000, micro % 1_000_000 / 10_000),
            Amount::WindowShare(part) => format!("{:.0}% of a {period}", part * 100.0),
        }
    }));
    words.extend((!limits.models.is_empty()).then(|| format!("only {}", limits.models.join(", "))));
    words.extend((!limits.providers.is_empty()).then(|| format!("only {}", limits.providers.join(", "))));
    if words.is_empty() { "no limits".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(tokens: &[&str], dollars: &[&str], share: &[&str]) -> Flags {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Flags { tokens: owned(tokens), dollars: owned(dollars), share: owned(share), ..Flags::default() }
    }

    #[test]
    fn limits_are_read_and_told() {
        for (tokens, dollars, share, expected) in [
            (&["2000000/day"][..], &[][..], &[][..], "2000000 tokens/day"),
            (&["1/day", "5/month"], &[], &[], "1 tokens/day, 5 tokens/month"),
            (&[], &["20.5/month"], &[], "$20.50/month"),
            (&[], &["0.000001/day"], &[], "$0.00/day"),
            (&[], &[], &["25%/week"], "25% of a week"),
            (&["none"], &["none"], &["none"], "no limits"),
        ] {
            let limits = flags(tokens, dollars, share).applied(Limits::default()).expect("read");
            assert_eq!(told(&limits), expected);
        }
        for (tokens, dollars, share) in [
            (&["5"][..], &[][..], &[][..]),
            (&["5/year"], &[], &[]),
            (&["-5/day"], &[], &[]),
            (&[], &["1.0000001/day"], &[]),
            (&[], &["1e3/day"], &[]),
            (&[], &[], &["25/week"]),
            (&[], &[], &["101%/week"]),
            (&[], &[], &["NaN%/week"]),
        ] {
            assert!(
                flags(tokens, dollars, share).applied(Limits::default()).is_err(),
                "{tokens:?} {dollars:?} {share:?}"
            );
        }
    }

    #[test]
    fn what_was_not_said_stays() {
        let before = flags(&["1/day"], &["2/week"], &[]).applied(Limits::default()).expect("read");
        let before = Limits { streams: Some(3), models: vec!["a*".into()], ..before };
        let after = Flags { tokens: vec!["none".into()], models: vec!["none".into()], ..Flags::default() };
        assert_eq!(told(&after.applied(before).expect("read")), "3 at once, $2.00/week");
        assert!(!Flags::default().say_something() && after.say_something());
    }
}
