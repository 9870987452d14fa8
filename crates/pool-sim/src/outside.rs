//! Use of accounts outside the pool: somebody sits down at times of each account's own.

use pool_core::Span;

use crate::options::Options;
use crate::pool_file::AccountSpec;
use crate::rng::Rng;
use crate::world::WEEK;

/// Sittings a week …
const SITTINGS: u32 = 10;
/// … of so many draws each …
const DRAWS: u32 = 12;
/// … this far apart.
const APART: Span = Span::from_mins(10);

/// When an account is drawn on, from the start of the run.
pub(crate) fn draws(spec: &AccountSpec, options: &Options) -> Vec<Span> {
    let mut rng = Rng::named(options.seed, &spec.name);
    let length = options.length.0 as f64;
    let sittings = (f64::from(SITTINGS) * length / WEEK.0 as f64).round() as u32;
    let begun = (0..sittings).map(|_| (rng.unit() * length) as u64);
    begun.flat_map(|from| (0..DRAWS).map(move |draw| Span(from + APART.0 * u64::from(draw)))).collect()
}

/// What each of them takes.
pub(crate) fn units(spec: &AccountSpec, options: &Options) -> f64 {
    options.outside * spec.weekly_units / f64::from(SITTINGS * DRAWS)
}
