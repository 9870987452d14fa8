//! placeholder until the server is there
use pool_providers::Registry;

use super::Output;
use crate::config::{self, Inputs};
use crate::logging;
use crate::problem::{Failure, Problem};

pub(super) fn run(inputs: &Inputs, _registry: Registry) -> Result<Output, Failure> {
    let settings = config::load(inputs)?;
    logging::start(&settings.log);
    Err(Problem::new("", "", "").into())
}
