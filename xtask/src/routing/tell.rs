//! Tells what came of the cells, and where ours misses the goal.

use std::fmt::Write as _;

use pool_sim::Outcome;
use pool_sim::policies::ONE_BIG_ACCOUNT;

use super::play::Played;

/// Extra tokens at most, in percent: anywhere, and on the average.
pub(super) const MOST_EXTRA: f64 = 0.3;
pub(super) const MEAN_EXTRA: f64 = 0.1;

/// The mean over a cell's seeds.
pub(super) fn mean(outcomes: &[Outcome], value: impl Fn(&Outcome) -> f64) -> f64 {
    outcomes.iter().map(value).sum::<f64>() / outcomes.len().max(1) as f64
}

/// What a cell says of our policy.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) hours: f64,
    pub(super) extra: f64,
    /// The best of the others (the reference is no policy).
    pub(super) best: Option<(&'static str, f64)>,
    pub(super) misses_hours: bool,
    pub(super) misses_extra: bool,
}

pub(super) fn verdict(played: &Played) -> Option<Verdict> {
    let (_, ours) = played.policies.iter().find(|(policy, _)| policy.name == "ours")?;
    let hours = mean(ours, |outcome| outcome.blocked_hours);
    let extra = mean(ours, |outcome| outcome.extra_tokens_pct);
    let others = played.policies.iter().filter(|(policy, _)| !["ours", ONE_BIG_ACCOUNT].contains(&policy.name));
    let best = others
        .map(|(policy, outcomes)| (policy.name, mean(outcomes, |outcome| outcome.blocked_hours)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let misses_hours = best.is_some_and(|(_, best)| hours > best + (0.05 * best).max(0.5));
    Some(Verdict { hours, extra, best, misses_hours, misses_extra: extra > MOST_EXTRA })
}

/// Every cell with every policy, and then the misses.
pub(super) fn cells(results: &[Played]) -> String {
    let mut out = String::new();
    for played in results {
        let _ = writeln!(out, "{}", played.cell.name());
        for (policy, outcomes) in &played.policies {
            let of = |value: fn(&Outcome) -> f64| mean(outcomes, value);
            let _ = writeln!(
                out,
                "  {:18}{:10.1} h blocked {:8.3} % extra {:8.0} moves {:7.0} warm {:6.0} refused {:6.1} % wasted",
                policy.name,
                of(|outcome| outcome.blocked_hours),
                of(|outcome| outcome.extra_tokens_pct),
                of(|outcome| outcome.moves as f64),
                of(|outcome| outcome.warm_moves as f64),
                of(|outcome| outcome.refused_upstream as f64),
                of(|outcome| outcome.wasted_pct),
            );
        }
    }
    let _ = write!(out, "\n{}", misses(results));
    out
}

fn misses(results: &[Played]) -> String {
    let mut out = String::new();
    let verdicts: Vec<_> = results.iter().filter_map(|played| Some((played, verdict(played)?))).collect();
    for (played, verdict) in verdicts.iter().filter(|(_, verdict)| verdict.misses_hours || verdict.misses_extra) {
        let (best, hours) = verdict.best.unwrap_or(("none", f64::NAN));
        let _ = writeln!(
            out,
            "misses {:24} {:8.1} h (best {hours:.1}, {best}) {:.3} % extra",
            played.cell.name(),
            verdict.hours,
            verdict.extra
        );
    }
    let count = verdicts.len().max(1) as f64;
    let extra = verdicts.iter().map(|(_, verdict)| verdict.extra).sum::<f64>() / count;
    let hours = verdicts.iter().map(|(_, verdict)| verdict.hours).sum::<f64>();
    let missed = verdicts.iter().filter(|(_, verdict)| verdict.misses_hours).count();
    let dear = verdicts.iter().filter(|(_, verdict)| verdict.misses_extra).count();
    let _ = writeln!(
        out,
        "ours: {missed} of {} cells miss the hours, {dear} the tokens; {hours:.1} h in all, {extra:.3} % extra (goal {MEAN_EXTRA})",
        verdicts.len()
    );
    out
}
