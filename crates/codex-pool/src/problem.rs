//! How trouble is told: what happened, why, what to do. And the exit codes that go with it.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What happened, as a sentence without its full stop.
    pub(crate) what: String,
    /// The cause, with the place. Empty if `what` says it.
    pub(crate) why: String,
    /// What mends it, if possible as one command.
    pub(crate) mend: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), mend: mend.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for line in [&self.why, &self.mend] {
            if !line.is_empty() {
                write!(f, "\n  {}", line.trim().replace('\n', "\n  "))?;
            }
        }
        Ok(())
    }
}

/// What the shell is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine = 0,
    /// A problem was found.
    Problem = 1,
    WrongUse = 2,
    NotRunning = 3,
}

/// Why a command ended without doing what it was asked: everything that is wrong, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) problems: Vec<Problem>,
}

impl Failure {
    pub(crate) fn wrong_use(problem: Problem) -> Self {
        Self { exit: Exit::WrongUse, problems: vec![problem] }
    }

    pub(crate) fn not_running(problem: Problem) -> Self {
        Self { exit: Exit::NotRunning, problems: vec![problem] }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { exit: Exit::Problem, problems: vec![problem] }
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self { exit: Exit::Problem, problems }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "error: {problem}")?;
        }
        Ok(())
    }
}
