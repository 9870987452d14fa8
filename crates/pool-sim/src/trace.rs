//! Traces: what people did, one conversation a line of JSON.

use serde::{Deserialize, Serialize, Serializer};

use crate::pool_file::AccountSpec;

/// A conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub session: String,
    #[serde(default)]
    pub user: String,
    /// `None`: the provider of the pool's first account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Seconds from the beginning of the trace.
    pub start: f64,
    pub steps: Vec<Step>,
}

/// One request of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Seconds from the end of the step before (of the first: from the conversation's start).
    pub gap: f64,
    /// Tokens of input that no request of the conversation has sent before.
    #[serde(serialize_with = "whole")]
    pub new: f64,
    /// Tokens of the answer.
    #[serde(serialize_with = "whole")]
    pub out: f64,
    /// How long the provider takes, in seconds.
    pub secs: f64,
    /// Tokens of the conversation that this step repeats, where that was measured (a replay). `None`: all that came before, as
    /// the client would compact it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<f64>,
}

/// Tokens are written as a whole number, though a measured share of one is read too.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn whole<S: Serializer>(tokens: &f64, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(tokens.round() as u64)
}

/// Why a trace cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    #[error("line {line}: {what}")]
    Line { line: usize, what: String },
    #[error("there is no conversation in it")]
    Empty,
}

/// Longer times and bigger counts than these are slips of a unit.
const MOST_SECS: f64 = 400.0 * 86_400.0;
const MOST_TOKENS: f64 = 1e9;

/// Reads a trace. Empty lines are passed over.
pub fn parse(text: &str) -> Result<Vec<Session>, TraceError> {
    let mut sessions = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for (index, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line = index + 1;
        let fault = |what: String| TraceError::Line { line, what };
        let session: Session = serde_json::from_str(text).map_err(|error| fault(plain(&error)))?;
        check(&session).map_err(fault)?;
        if let Some(before) = seen.insert((session.user.clone(), session.session.clone()), line) {
            return Err(fault(format!(
                "session {:?} of user {:?} stands on line {before} already",
                session.session, session.user
            )));
        }
        sessions.push(session);
    }
    if sessions.is_empty() { Err(TraceError::Empty) } else { Ok(sessions) }
}

fn check(session: &Session) -> Result<(), String> {
    let within = |name: &str, value: f64, most: f64| {
        if (0.0..=most).contains(&value) {
            return Ok(());
        }
        Err(format!("{name} is {value}, and must be from 0 to {most}"))
    };
    within("start", session.start, MOST_SECS)?;
    if session.steps.is_empty() {
        return Err("it has no steps".into());
    }
    for (index, step) in session.steps.iter().enumerate() {
        let checked = within("gap", step.gap, MOST_SECS)
            .and_then(|()| within("new", step.new, MOST_TOKENS))
            .and_then(|()| within("out", step.out, MOST_TOKENS))
            .and_then(|()| within("secs", step.secs, MOST_SECS))
            .and_then(|()| within("prefix", step.prefix.unwrap_or(0.0), MOST_TOKENS));
        checked.map_err(|what| format!("step {}: {what}", index + 1))?;
    }
    Ok(())
}

/// serde_json's words without its "at line 1", which is a line of a line.
fn plain(error: &serde_json::Error) -> String {
    let said = error.to_string();
    match said.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} (column {})", error.column()),
        None => said,
    }
}

/// The first provider that the trace names and `known` does not.
pub fn unknown_provider<'a>(sessions: &'a [Session], known: &[AccountSpec]) -> Option<(&'a Session, &'a str)> {
    let named = |session: &'a Session| session.provider.as_deref().map(|name| (session, name));
    sessions.iter().filter_map(named).find(|(_, name)| known.iter().all(|spec| spec.provider.0 != *name))
}

/// A trace as text, one conversation a line.
pub fn write(sessions: &[Session]) -> String {
    let lines = sessions.iter().filter_map(|session| serde_json::to_string(session).ok());
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str =
        r#"{"session":"s1","user":"u0","start":5.5,"steps":[{"gap":0,"new":14000,"out":210,"secs":6.1}]}"#;

    #[test]
    fn what_is_written_is_read() {
        let sessions = parse(&format!("{FINE}\n\n")).expect("a trace");
        assert_eq!((sessions.len(), sessions[0].start, sessions[0].steps[0].new), (1, 5.5, 14_000.0));
        assert_eq!(parse(&write(&sessions)).expect("a trace"), sessions);
        assert!(write(&sessions).contains(r#""new":14000,"out":210,"#));
    }

    #[test]
    fn faults_are_told_with_their_line() {
        for (second, told) in [
            ("nonsense", "line 2: expected ident (column 2)"),
            (r#"{"session":"s2","start":1}"#, "line 2: missing field `steps` (column 26)"),
            (r#"{"session":"s2","start":1,"steps":[]}"#, "line 2: it has no steps"),
            (r#"{"session":"s2","start":-1,"steps":[]}"#, "line 2: start is -1, and must be from 0 to 34560000"),
            (FINE, r#"line 2: session "s1" of user "u0" stands on line 1 already"#),
            (
                r#"{"session":"s2","start":1,"steps":[{"gap":0,"new":1,"out":1e12,"secs":1}]}"#,
                "line 2: step 1: out is 1000000000000, and must be from 0 to 1000000000",
            ),
        ] {
            let error = parse(&format!("{FINE}\n{second}\n")).expect_err(told);
            assert_eq!(error.to_string(), told);
        }
        assert_eq!(parse("\n"), Err(TraceError::Empty));
    }
}
