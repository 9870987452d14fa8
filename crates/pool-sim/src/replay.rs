//! The pool's own past as a trace: what the ledger's records say of conversations, made into steps.
//!
//! The ledger knows when a request came, how long it took, its conversation and its tokens. It does not know what was used
//! outside the pool, nor who waited or gave up; [`Gaps`] counts what it does not know of the requests. How big accounts are the
//! pool has learned of some, and of the others only what they have served is known ([`accounts`]).

use std::collections::BTreeMap;

use pool_core::sizes::{LONG, Meter, Snapshot};
use pool_core::{ProviderId, Scope, Span, TokenCounts, UnixMs};

use crate::pool_file::AccountSpec;
use crate::trace::{Session, Step};
use crate::world::{SHORT, WEEK};

/// One served request.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub at: UnixMs,
    pub provider: String,
    pub account: String,
    pub model: Option<String>,
    pub session: Option<String>,
    /// `None`: the answer did not tell.
    pub tokens: Option<TokenCounts>,
    pub total_ms: u64,
}

/// What the records do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Requests without a conversation: each counts as one of its own.
    pub alone: usize,
    /// Requests whose answer did not tell its tokens: they count as nothing.
    pub untold: usize,
}

/// The conversations of these records, which must be in the order of time. Seconds count from `since`.
pub fn sessions(records: &[Record], since: UnixMs) -> (Vec<Session>, Gaps) {
    let mut gaps = Gaps::default();
    let mut talks: BTreeMap<(String, String), Vec<&Record>> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        gaps.untold += usize::from(record.tokens.is_none());
        gaps.alone += usize::from(record.session.is_none());
        let name = record.session.clone().unwrap_or_else(|| format!("alone {index}"));
        talks.entry((record.provider.clone(), name)).or_default().push(record);
    }
    let session = |((provider, name), records): ((String, String), Vec<&Record>)| {
        let first = records.first()?;
        Some(Session {
            session: name,
            user: String::new(),
            provider: Some(provider),
            model: first.model.clone(),
            start: seconds(first.at.since(since).0),
            steps: steps(&records),
        })
    };
    let mut sessions: Vec<Session> = talks.into_iter().filter_map(session).collect();
    sessions.sort_by(|a, b| a.start.total_cmp(&b.start));
    (sessions, gaps)
}

fn steps(records: &[&Record]) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut held, mut ended) = (0, None);
    for record in records {
        let tokens = record.tokens.unwrap_or_default();
        let out = tokens.output + tokens.reasoning;
        let prompt = tokens.total() - out;
        // A prompt that is shorter than the conversation was compacted, or belongs to a side line of it.
        let prefix = prompt.min(held);
        let gap = ended.map_or(0, |ended: UnixMs| record.at.since(ended).0);
        steps.push(Step {
            gap: seconds(gap),
            new: (prompt - prefix) as f64,
            out: out as f64,
            secs: seconds(record.total_ms),
            prefix: Some(prefix as f64),
        });
        if record.tokens.is_some() {
            held = prompt + out;
        }
        ended = Some(record.at + Span(record.total_ms));
    }
    steps
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// What all these requests have cost, in fresh input tokens.
pub fn cost(records: &[Record]) -> f64 {
    records.iter().filter_map(|record| record.tokens).map(|tokens| tokens.units()).sum()
}

/// The accounts of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cast {
    pub accounts: Vec<AccountSpec>,
    /// Of so many a window's size was learned. The others count as big as what they have served.
    pub learned: usize,
}

/// The accounts of these records. Of the windows whose size is not learned each holds what the account has served in its busiest
/// five hours and in its busiest seven days. The end of its week is not known: midway.
pub fn accounts(records: &[Record], providers: &[ProviderId], sizes: &Snapshot) -> Cast {
    let mut by_account: BTreeMap<(&str, ProviderId), Vec<(UnixMs, f64)>> = BTreeMap::new();
    for record in records {
        let Some(provider) = providers.iter().find(|id| id.0 == record.provider) else { continue };
        let units = record.tokens.map_or(0.0, |tokens| tokens.units());
        by_account.entry((&record.account, *provider)).or_default().push((record.at, units));
    }
    let mut cast = Cast::default();
    for ((name, provider), draws) in &by_account {
        let meters = sizes.accounts.iter().find(|(id, _)| *id.0 == **name).map_or(&[][..], |(_, meters)| meters);
        let (short, week) = (taught(meters, |span| span < LONG), taught(meters, |span| span >= LONG));
        cast.learned += usize::from(short.or(week).is_some());
        let (least_short, least_week) = (busiest(draws, SHORT.0), busiest(draws, WEEK.0));
        let short = short.unwrap_or(week.map_or(least_short, |week| least_short.min(week)));
        // No plan is known whose week is smaller than three of its short windows.
        let weekly = week.unwrap_or(least_week.max(3.0 * short)).max(1.0);
        cast.accounts.push(AccountSpec {
            name: (*name).to_owned(),
            provider: *provider,
            plan: None,
            weekly_units: weekly,
            short_ratio: weekly / short.max(weekly / 1000.0),
            phase_hours: 84.0,
        });
    }
    cast
}

/// What the account's windows of such a length have taught; the smallest counts.
fn taught(meters: &[Meter], is_such: impl Fn(Span) -> bool) -> Option<f64> {
    let whole = meters.iter().filter(|meter| meter.scope == Scope::Account && meter.span.is_some_and(&is_such));
    whole.filter_map(|meter| Some(meter.taught()?.units)).min_by(f64::total_cmp)
}

/// The most that was drawn within any time of this length.
fn busiest(draws: &[(UnixMs, f64)], length: u64) -> f64 {
    let (mut from, mut sum, mut most) = (0, 0.0, 0.0_f64);
    for (at, units) in draws {
        sum += units;
        while at.since(draws[from].0).0 >= length {
            sum -= draws[from].1;
            from += 1;
        }
        most = most.max(sum);
    }
    most
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(at_secs: i64, session: Option<&str>, account: &str, prompt: [u64; 3], output: u64) -> Record {
        let [input, cache_read, cache_write_5m] = prompt;
        let counts = TokenCounts { input, cache_read, cache_write_5m, output, ..TokenCounts::default() };
        Record {
            at: UnixMs::from_secs(at_secs),
            provider: "apple".into(),
            account: account.into(),
            model: None,
            session: session.map(str::to_owned),
            tokens: (output > 0).then_some(counts),
            total_ms: 2_000,
        }
    }

    #[test]
    fn a_conversation_becomes_steps_that_say_what_they_repeat() {
        let records = [
            record(100, Some("x"), "a", [10, 0, 90], 20),
            record(110, Some("x"), "a", [5, 100, 45], 10),
            // Compacted.
            record(111, Some("x"), "b", [0, 40, 0], 1),
            record(200, None, "b", [7, 0, 0], 0),
        ];
        let (sessions, gaps) = sessions(&records, UnixMs::from_secs(40));
        assert_eq!(gaps, Gaps { alone: 1, untold: 1 });
        let told: Vec<_> = sessions[0].steps.iter().map(|step| (step.gap, step.prefix, step.new, step.out)).collect();
        assert_eq!(told, [(0.0, Some(0.0), 100.0, 20.0), (8.0, Some(120.0), 30.0, 10.0), (0.0, Some(40.0), 0.0, 1.0)]);
        assert_eq!((sessions.len(), sessions[0].start, sessions[1].start), (2, 60.0, 160.0));
    }

    #[test]
    fn an_account_holds_at_least_what_it_has_served() {
        let hour = 3600;
        let records: Vec<Record> =
            [0, 1, 2, 30].map(|hours| record(hours * hour, Some("x"), "a", [1000, 0, 0], 1)).into();
        // By what is learned of the short window and of the week.
        for (short, week, expected) in [
            (None, None, (3015.0, 9045.0)),
            (Some(9e3), None, (9e3, 27e3)),
            (None, Some(1e6), (3015.0, 1e6)),
            (None, Some(2e3), (2e3, 2e3)),
            (Some(1e5), Some(1e6), (1e5, 1e6)),
        ] {
            let cast = accounts(&records, &[ProviderId("apple")], &sizes("a", short, week));
            let [spec] = &cast.accounts[..] else { panic!("{cast:?}") };
            let found = (spec.weekly_units / spec.short_ratio, spec.weekly_units);
            assert!((found.0 - expected.0).abs() < 1e-6 && (found.1 - expected.1).abs() < 1e-6, "{found:?}");
            assert_eq!(cast.learned, usize::from(short.or(week).is_some()));
            let of_another = accounts(&records, &[ProviderId("apple")], &sizes("b", short, week));
            assert_eq!(of_another, accounts(&records, &[ProviderId("apple")], &Snapshot::default()));
        }
    }

    /// What an account has taught, as it was put away.
    fn sizes(account: &str, short: Option<f64>, week: Option<f64>) -> Snapshot {
        let meter = |name: &str, span: Span, units: Option<f64>| {
            json!({
                "window": name, "scope": "account", "span": span, "from": null, "units": 0.0, "moved": 0.0,
                "stretches": units.map(|units| json!({ "units": units / 10.0, "moved": 0.1 })).into_iter().collect::<Vec<_>>(),
            })
        };
        let meters = json!([meter("5h", SHORT, short), meter("7d", WEEK, week)]);
        let meters = serde_json::from_value(meters).expect("meters");
        Snapshot { accounts: vec![(pool_core::AccountId(account.into()), meters)] }
    }
}
