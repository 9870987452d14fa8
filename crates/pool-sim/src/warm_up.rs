//! What a pool knows of its accounts when a run begins: the accounts themselves, a first reading of each, and, if sizes are
//! known, what the week before has taught it.
//!
//! Sizes are never told as numbers, since no provider tells them: the pool sees requests and the readings after them, as it does in
//! its work.

use pool_core::pool::Event;
use pool_core::usage::Drawn;
use pool_core::{
    Account, AccountId, AccountKind, Credentials, Fraction, Pool, QuotaWindow, Scope, Secret, Settings, Source, Span,
    UnixMs,
};

use crate::pool_file::AccountSpec;
use crate::world::{SHORT, WARM, WEEK, first_end};

/// So many requests are seen before the run …
const LESSONS: u32 = 40;
/// … each of this share of the short window …
const LESSON: f64 = 0.02;
/// … and so far apart.
const APART: Span = Span::from_mins(3);

pub(crate) fn account_id(spec: &AccountSpec) -> AccountId {
    AccountId(format!("{}-{}", spec.provider, spec.name).into())
}

pub(crate) fn seen(spec: &AccountSpec) -> Event {
    let account = Account {
        id: account_id(spec),
        provider: spec.provider,
        kind: AccountKind::Subscription,
        name: spec.name.clone(),
        file: format!("{}/{}.json", spec.provider, spec.name),
        plan: spec.plan.clone(),
        email: None,
        settings: Settings::default(),
    };
    let credentials = Credentials::lasting(Secret::new("simulated"));
    Event::Seen { account: Box::new(account), credentials: Box::new(credentials) }
}

/// The lessons of the week before, in the order of time.
pub(crate) fn learn(pool: &mut Pool, accounts: &[AccountSpec], start: UnixMs) {
    let mut lessons: Vec<(UnixMs, u32, &AccountSpec)> = Vec::new();
    for spec in accounts {
        // Before the week that the run begins in, so that nothing of it is left.
        let from = first_end(spec, start) - WEEK - SHORT - SHORT;
        lessons.extend((0..LESSONS).map(|count| (from + Span(APART.0 * u64::from(count)), count, spec)));
    }
    lessons.sort_by(|a, b| (a.0, &a.2.name).cmp(&(b.0, &b.2.name)));
    for (now, count, spec) in lessons {
        let id = account_id(spec);
        let from = first_end(spec, start) - WEEK - SHORT - SHORT;
        let short = f64::from(count + 1) * LESSON;
        let units = LESSON * spec.weekly_units / spec.short_ratio;
        if count > 0 {
            let drawn = Drawn { units, prefix: 0, warm: WARM };
            pool.apply(Event::Drew { id: id.clone(), user: None, session: None, families: Vec::new(), drawn }, now);
        }
        let window = |span: Span, used: f64, resets_at: UnixMs| QuotaWindow {
            name: QuotaWindow::name_of(span),
            scope: Scope::Account,
            used: Fraction::new(used).unwrap_or(Fraction::ONE),
            resets_at: Some(resets_at),
            span: Some(span),
            source: Source::Headers,
            seen_at: now,
        };
        let windows =
            vec![window(SHORT, short, from + SHORT), window(WEEK, short / spec.short_ratio, from + SHORT + SHORT)];
        pool.apply(Event::Read { id, windows }, now);
    }
}
