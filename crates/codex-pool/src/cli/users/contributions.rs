//! `users contributions`: what the accounts that people brought gave to others, and what everybody used.

use std::fmt::Write as _;

use http::Method;
use pool_server::Config;
use pool_server::contributions::{Amount, Contribution, Contributions};

use crate::cli::{Output, client};
use crate::problem::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Of the last so many days
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(server: &Config, arguments: &Arguments) -> Result<Output, Failure> {
    let path = format!("/api/people/contributions?days={}", arguments.days);
    let told: Contributions = client::ask(server, Method::GET, &path, super::PATIENCE)?;
    Ok(if arguments.json { Output::json(&told, Exit::Fine) } else { Output::fine(table(&told, arguments.days)) })
}

fn table(told: &Contributions, days: u32) -> String {
    let head = ["NAME", "GIVEN", "OF OTHERS", "OF OWN", "ACCOUNTS"].map(str::to_owned);
    let mut rows = vec![head];
    let shown = told.people.iter().filter(|part| part.id.is_some() || !is_empty(part));
    rows.extend(shown.map(|part| {
        let amounts = [&part.given, &part.taken, &part.own].map(amount);
        let [given, taken, own] = amounts;
        [name(part), given, taken, own, part.accounts.join(", ")]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nTokens, and what they would have cost at the API's list price (of {}), in the last {days} days.",
        told.prices
    );
    let count =
        |what: fn(&Amount) -> u64| told.people.iter().map(|part| what(&part.taken) + what(&part.own)).sum::<u64>();
    let left_out = [
        (count(|amount| amount.unpriced), "of models whose price is not known"),
        (count(|amount| amount.untold), "that did not tell what they used"),
    ];
    for (count, which) in left_out.into_iter().filter(|(count, _)| *count > 0) {
        let _ =
            writeln!(text, "Not in these sums: {count} {} {which}.", if count == 1 { "request" } else { "requests" });
    }
    for unknown in &told.unknown_owners {
        let _ = writeln!(
            text,
            "{} is said to be {}'s, whom nobody is called: it counts as the pool's.",
            unknown.account, unknown.owner
        );
    }
    text
}

fn is_empty(part: &Contribution) -> bool {
    let requests = [part.given, part.taken, part.own].iter().map(|amount| amount.requests).sum::<u64>();
    requests == 0 && part.accounts.is_empty()
}

fn name(part: &Contribution) -> String {
    match (&part.name, &part.id) {
        (Some(name), _) => name.clone(),
        (None, Some(id)) => format!("{id} (removed)"),
        (None, None) => "(the pool)".into(),
    }
}

/// `1.2M, $3.40`; `-`: nothing was served.
fn amount(amount: &Amount) -> String {
    if amount.requests == 0 {
        return "-".into();
    }
    format!("{}, {}", short(amount.tokens), amount.api_equivalent_micro_usd)
}

fn short(tokens: u64) -> String {
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..1_000_000 => format!("{:.1}k", tokens as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", tokens as f64 / 1e6),
        _ => format!("{:.1}G", tokens as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use pool_core::MicroUsd;
    use pool_server::contributions::UnknownOwner;

    use super::*;

    fn used(tokens: u64, dollars: u64) -> Amount {
        let api_equivalent_micro_usd = MicroUsd(dollars * 1_000_000);
        Amount { requests: 2, tokens, api_equivalent_micro_usd, ..Amount::default() }
    }

    #[test]
    fn the_table_tells_who_gave_and_who_used() {
        let part = |id: Option<&str>, name: Option<&str>| Contribution {
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            ..Contribution::default()
        };
        let mira = Contribution {
            accounts: vec!["max".into(), "work".into()],
            given: used(1_234_567, 12),
            own: Amount { untold: 2, unpriced: 1, ..used(999, 0) },
            ..part(Some("u-1"), Some("Mira"))
        };
        let gone = Contribution { taken: used(1_234_567, 12), ..part(Some("u-9"), None) };
        let unknown_owners = vec![UnknownOwner { account: "key".into(), owner: "Mirra".into() }];
        let people = vec![mira, part(Some("u-2"), Some("Nadia")), gone, part(None, None)];
        let told = Contributions { since_ms: 0, prices: "2026-11-01".into(), people, unknown_owners };
        let expected = "\
NAME           GIVEN         OF OTHERS     OF OWN      ACCOUNTS
Mira           1.2M, $12.00  -             999, $0.00  max, work
Nadia          -             -             -
u-9 (removed)  -             1.2M, $12.00  -

Tokens, and what they would have cost at the API's list price (of 2026-11-01), in the last 7 days.
Not in these sums: 1 request of models whose price is not known.
Not in these sums: 2 requests that did not tell what they used.
key is said to be Mirra's, whom nobody is called: it counts as the pool's.
";
        assert_eq!(table(&told, 7), expected);
    }
}
