//! `codex-pool demo`: the whole product with simulated providers on loopback.

use super::Output;
use crate::config::{self, Inputs};
use crate::problem::{Failure, Problem};

pub(super) fn run(inputs: &Inputs) -> Result<Output, Failure> {
    config::load(inputs)?;
    Err(Problem::new("cannot start the demo", "this build has no server in it yet", "Use a newer build").into())
}
