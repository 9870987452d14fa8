//! The pool file: which accounts there are, with the sizes that a real pool could only learn.

use std::collections::HashSet;

use pool_core::ProviderId;
use serde::{Deserialize, Serialize};

/// An account of the simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountSpec {
    pub name: String,
    pub provider: ProviderId,
    pub plan: Option<String>,
    /// What a week holds, in fresh input tokens ([`pool_core::TokenCounts::units`]).
    pub weekly_units: f64,
    /// The week's quota over the short window's.
    pub short_ratio: f64,
    /// The week ends first so many hours after the start, and then every seven days.
    pub phase_hours: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    accounts: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    weekly_units: f64,
    #[serde(default = "usual_ratio")]
    short_ratio: f64,
    #[serde(default)]
    phase_hours: f64,
}

fn usual_ratio() -> f64 {
    8.0
}

/// Why a pool file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PoolFileError(String);

/// Reads a pool file. `providers` are those that exist; an account that names none is of `usual`.
pub fn parse(text: &str, providers: &[ProviderId], usual: ProviderId) -> Result<Vec<AccountSpec>, PoolFileError> {
    let file: File = serde_json::from_str(text).map_err(|error| PoolFileError(error.to_string()))?;
    if file.accounts.is_empty() {
        return Err(PoolFileError("it has no accounts".into()));
    }
    let mut names = HashSet::new();
    let mut accounts = Vec::new();
    for entry in file.accounts {
        let name = entry.name.clone();
        let fault = |what: String| PoolFileError(format!("account {name:?}: {what}"));
        if !names.insert(entry.name.clone()) {
            return Err(fault("the name stands twice".into()));
        }
        let provider = match &entry.provider {
            None => usual,
            Some(named) => *providers.iter().find(|id| id.0 == named).ok_or_else(|| {
                let known: Vec<&str> = providers.iter().map(|id| id.0).collect();
                fault(format!("provider is {named:?}, and must be one of {}", known.join(", ")))
            })?,
        };
        for (key, value, least, most) in [
            ("weekly_units", entry.weekly_units, 1.0, 1e15),
            ("short_ratio", entry.short_ratio, 1.0, 1000.0),
            ("phase_hours", entry.phase_hours, 0.0, 10_000.0),
        ] {
            if !(least..=most).contains(&value) {
                return Err(fault(format!("{key} is {value}, and must be from {least} to {most}")));
            }
        }
        let Entry { name, plan, weekly_units, short_ratio, phase_hours, .. } = entry;
        accounts.push(AccountSpec { name, provider, plan, weekly_units, short_ratio, phase_hours });
    }
    Ok(accounts)
}

/// A pool file of these accounts.
pub fn write(accounts: &[AccountSpec]) -> String {
    let entry = |spec: &AccountSpec| Entry {
        name: spec.name.clone(),
        provider: Some(spec.provider.0.into()),
        plan: spec.plan.clone(),
        weekly_units: spec.weekly_units,
        short_ratio: spec.short_ratio,
        phase_hours: spec.phase_hours,
    };
    let file = File { accounts: accounts.iter().map(entry).collect() };
    serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [ProviderId; 2] = [ProviderId("apple"), ProviderId("pear")];

    #[test]
    fn accounts_are_read_and_faults_are_told() {
        let text = r#"{"accounts":[{"name":"a1","provider":"pear","weekly_units":1.5e8,"short_ratio":8,"phase_hours":31},
            {"name":"a2","weekly_units":1}]}"#;
        let accounts = parse(text, &KNOWN, KNOWN[0]).expect("accounts");
        assert_eq!((accounts[0].provider, accounts[1].provider), (KNOWN[1], KNOWN[0]));
        assert_eq!((accounts[0].phase_hours, accounts[1].short_ratio), (31.0, 8.0));
        assert_eq!(parse(&write(&accounts), &KNOWN, KNOWN[0]).expect("accounts"), accounts);
        for (entries, told) in [
            ("", "it has no accounts"),
            (r#"{"name":"a"}"#, "missing field `weekly_units` at line 1 column 25"),
            (
                r#"{"name":"a","weekly_units":0}"#,
                r#"account "a": weekly_units is 0, and must be from 1 to 1000000000000000"#,
            ),
            (
                r#"{"name":"a","weekly_units":9,"provider":"fig"}"#,
                r#"account "a": provider is "fig", and must be one of apple, pear"#,
            ),
            (r#"{"name":"a","weekly_units":9},{"name":"a","weekly_units":9}"#, r#"account "a": the name stands twice"#),
        ] {
            let error = parse(&format!(r#"{{"accounts":[{entries}]}}"#), &KNOWN, KNOWN[0]).expect_err(told);
            assert_eq!(error.to_string(), told);
        }
    }
}
