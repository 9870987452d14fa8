//! The comparison for people: what it means, then the table.

use std::fmt::Write as _;

use pool_sim::Outcome;

use super::compare::Comparison;

const LEGEND: &str = "
blocked: steps that waited because no account could take them; hours: how long
extra %: tokens beyond what warm caches would have needed
moves:   steps on another account than the step before; warm: with a warm cache
refused: tries on an account that was spent, which the pool did not know
wasted:  percent of weekly quota that nobody had used when its week ended
";

pub(super) fn told(comparison: &Comparison) -> String {
    let mut out = wrapped(&sentence(comparison));
    out.push('\n');
    out.push_str(&table(comparison));
    out.push_str(LEGEND);
    out
}

/// What the result means.
fn sentence(comparison: &Comparison) -> String {
    let ours = comparison.ours();
    let Comparison { accounts, conversations, steps, days, .. } = comparison;
    let time = pool_core::Span((days * 86_400_000.0) as u64);
    let work = format!(
        "Over {time} with {} ({}) on {}",
        count(*conversations, "conversation"),
        count(*steps, "step"),
        count(*accounts, "account")
    );
    let wait = if ours.blocked_steps == 0 {
        "nobody would have waited for quota".to_owned()
    } else {
        format!("conversations would have waited {} h for quota", number(ours.blocked_hours, 1))
    };
    let extra = format!("{} % of tokens spent on lost caches", number(ours.extra_tokens_pct, 2));
    let best = comparison.policies.iter().skip(1).min_by(|a, b| {
        a.blocked_hours.total_cmp(&b.blocked_hours).then(a.extra_tokens_pct.total_cmp(&b.extra_tokens_pct))
    });
    let best = best.map_or_else(String::new, |best| {
        let (hours, extra) = (number(best.blocked_hours, 1), number(best.extra_tokens_pct, 2));
        format!(" The best of the others, {}: {hours} h and {extra} %.", best.name)
    });
    format!("{work}: with codex-pool {wait}, and {extra}.{best}")
}

fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

fn table(comparison: &Comparison) -> String {
    let mut out = format!(
        "{:17} {:>7} {:>7} {:>8} {:>7} {:>7} {:>6} {:>7} {:>6}\n",
        "policy", "steps", "blocked", "hours", "extra %", "moves", "warm", "refused", "wasted"
    );
    for outcome in comparison.policies.iter().chain([&comparison.reference]) {
        let Outcome { name, steps, blocked_steps, moves, warm_moves, refused_upstream, .. } = outcome;
        let hours = number(outcome.blocked_hours, 1);
        let extra = number(outcome.extra_tokens_pct, 2);
        let wasted = number(outcome.wasted_pct, 1);
        let _ = writeln!(
            out,
            "{name:17} {steps:>7} {blocked_steps:>7} {hours:>8} {extra:>7} {moves:>7} {warm_moves:>6} {refused_upstream:>7} {wasted:>6}",
        );
    }
    out
}

/// Without a fraction that says nothing.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short.is_empty() || value.fract() != 0.0 { text } else { short.to_owned() }
}

/// Lines of 80 columns at most.
pub(super) fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 80 {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
    out
}
