//! What the pool holds and what becomes of it: how big plans have proved to be, what expired unused, what moves have cost.
//!
//! All of it is what this pool itself has seen. Sums over longer times (the cache-hit share of a month, say) are questions to
//! the ledger, weighed by [`cache_hits`] and [`move_cost`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pool::{Pool, Slot};
use crate::quota::{Fraction, Scope};
use crate::sizes::{LONG, Meter};
use crate::time::{Span, UnixMs};
use crate::usage::{CACHE_READ, CACHE_WRITE, TokenCounts};

/// How far a size may be off that was only guessed, as a factor; one that was measured often: hardly.
const GUESSED: f64 = 3.0;
const MEASURED: f64 = 1.1;

/// See the module's page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Capacity {
    pub plans: Vec<PlanWindow>,
    pub wasted: Vec<Wasted>,
    pub moves: Moves,
}

/// One window of all accounts of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanWindow {
    pub provider: String,
    /// `None`: the provider has not told.
    pub plan: Option<String>,
    pub window: String,
    /// The model family that it limits.
    pub family: Option<String>,
    pub span: Option<Span>,
    pub accounts: usize,
    /// What it holds, in units (fresh input tokens), and between what that may lie.
    pub units: f64,
    pub low: f64,
    pub high: f64,
    /// How much of it was measured on these very accounts: 0 (guessed from others) to 1.
    pub confidence: f64,
}

/// What an account's long window had left when it was reset, of the last few.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = WastedQuota)]
pub struct Wasted {
    pub provider: String,
    pub account: String,
    pub window: String,
    pub resets: Vec<Expired>,
    /// The mean share.
    pub mean: Fraction,
}

/// What a window had left when it was reset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ExpiredQuota)]
pub struct Expired {
    pub at: UnixMs,
    pub left: Fraction,
}

impl Expired {
    /// Resets that are remembered of a window.
    pub(crate) const KEPT: usize = 8;

    /// Adds one: so much was used of it at its end.
    pub(crate) fn note(list: &mut Vec<Self>, used: f64, at: UnixMs) {
        list.drain(..(list.len() + 1).saturating_sub(Self::KEPT));
        list.extend(Fraction::new(used).map(|used| Self { at, left: used.rest() }));
    }
}

/// Conversations that changed their account since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CacheMoves)]
pub struct Moves {
    pub cold: u64,
    /// … while the old account's cache still held them.
    pub warm: u64,
    /// Tokens that the new account had to read anew for that.
    pub tokens: u64,
}

impl Moves {
    /// What they cost beyond what the same requests would have, in units.
    pub fn extra_units(self) -> f64 {
        move_cost(self.tokens)
    }
}

/// What it costs to write so many tokens into a cache anew that another account could have read from its own.
pub fn move_cost(tokens: u64) -> f64 {
    tokens as f64 * (CACHE_WRITE - CACHE_READ)
}

/// The share of all input that came from caches. `None`: there was no input.
pub fn cache_hits(tokens: &TokenCounts) -> Option<Fraction> {
    let input = [tokens.input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h];
    let input = input.into_iter().fold(0, u64::saturating_add);
    if input == 0 { None } else { Fraction::new(tokens.cache_read as f64 / input as f64) }
}

/// Which window of which plan: provider, plan, window, family.
type Key<'a> = (&'static str, Option<&'a str>, &'a str, Option<&'a str>);

impl Capacity {
    pub fn of(pool: &Pool) -> Self {
        let mut windows: BTreeMap<Key<'_>, Vec<&Meter>> = BTreeMap::new();
        for slot in pool.slots() {
            for meter in &slot.meters {
                let key = (slot.account.provider.0, slot.account.plan.as_deref(), &*meter.window, family(meter));
                windows.entry(key).or_default().push(meter);
            }
        }
        let plans = windows.into_iter().filter_map(|(key, meters)| plan(key, &meters)).collect();
        Self { plans, wasted: pool.slots().flat_map(wasted).collect(), moves: pool.pins.moves() }
    }
}

fn family(meter: &Meter) -> Option<&str> {
    match &meter.scope {
        Scope::Account => None,
        Scope::Family(family) => Some(family),
    }
}

/// Sizes weighed by how well they are known.
fn plan((provider, plan, window, family): Key<'_>, meters: &[&Meter]) -> Option<PlanWindow> {
    let sizes: Vec<_> = meters.iter().filter_map(|meter| meter.size()).collect();
    let weight = |confidence: f64| confidence + 1e-6;
    let all: f64 = sizes.iter().map(|size| weight(size.confidence)).sum();
    let units = sizes.iter().map(|size| size.units * weight(size.confidence)).sum::<f64>() / all;
    let confidence = sizes.iter().map(|size| size.confidence).fold(0.0, f64::max);
    let factor = MEASURED + (GUESSED - MEASURED) * (1.0 - confidence);
    (!sizes.is_empty()).then(|| PlanWindow {
        provider: provider.to_owned(),
        plan: plan.map(str::to_owned),
        window: window.to_owned(),
        family: family.map(str::to_owned),
        span: meters.iter().find_map(|meter| meter.span),
        accounts: sizes.len(),
        units,
        low: units / factor,
        high: units * factor,
        confidence,
    })
}

fn wasted(slot: &Slot) -> Vec<Wasted> {
    let of = |meter: &Meter| {
        let resets = meter.expired.clone();
        let mean = resets.iter().map(|one| one.left.get()).sum::<f64>() / resets.len() as f64;
        Some(Wasted {
            provider: slot.account.provider.to_string(),
            account: slot.account.name.clone(),
            window: meter.window.clone(),
            mean: Fraction::new(mean)?,
            resets,
        })
    };
    slot.meters.iter().filter(|meter| meter.span.is_some_and(|span| span >= LONG)).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Account, AccountId, AccountKind, Credentials, ProviderId, Settings};
    use crate::binding::Binding;
    use crate::demand::SessionKey;
    use crate::pins::Pins;
    use crate::pool::Event;
    use crate::quota::{QuotaWindow, Source};
    use crate::secret::Secret;
    use crate::usage::Drawn;

    const NOW: UnixMs = UnixMs(1_786_147_200_000);

    fn hours(hours: u64) -> Span {
        Span::from_hours(hours)
    }

    #[test]
    fn a_plan_is_as_big_as_it_proved_and_what_expired_is_kept() {
        let id = AccountId("acme-1".into());
        let account = Account {
            id: id.clone(),
            provider: ProviderId("acme"),
            kind: AccountKind::Subscription,
            name: "work".into(),
            file: "a.json".into(),
            plan: Some("pro".into()),
            email: None,
            settings: Settings::default(),
        };
        let mut pool = Pool::default();
        let credentials = Box::new(Credentials::lasting(Secret::new("made-up")));
        pool.apply(Event::Seen { account: Box::new(account), credentials }, NOW);
        let mut read = |used: f64, at: UnixMs, resets_at: UnixMs| {
            let window = QuotaWindow {
                name: "week".into(),
                scope: Scope::Account,
                used: Fraction::new(used).expect("a number"),
                resets_at: Some(resets_at),
                span: Some(hours(168)),
                source: Source::Headers,
                seen_at: at,
            };
            let drawn = Drawn { units: 10e6, prefix: 0, warm: Span::ZERO };
            pool.apply(Event::Drew { id: id.clone(), session: None, user: None, families: vec![], drawn }, at);
            pool.apply(Event::Read { id: id.clone(), windows: vec![window] }, at);
        };
        let end = NOW + hours(30);
        for (hour, used) in [(0, 0.1), (10, 0.2), (20, 0.3), (29, 0.7)] {
            read(used, NOW + hours(hour), end);
        }
        read(0.0, end + hours(1), end + hours(168));
        let capacity = Capacity::of(&pool);
        let [plan] = capacity.plans.as_slice() else { panic!("{capacity:?}") };
        assert_eq!((plan.plan.as_deref(), plan.window.as_str(), plan.accounts), (Some("pro"), "week", 1));
        assert!(
            plan.units > 80e6 && plan.low < plan.units && plan.units < plan.high && plan.confidence > 0.9,
            "{plan:?}"
        );
        let [wasted] = capacity.wasted.as_slice() else { panic!("{capacity:?}") };
        assert_eq!((wasted.resets.len(), wasted.resets[0].at), (1, end));
        // What was drawn after the last reading is taken off.
        assert!((0.15..0.31).contains(&wasted.mean.get()), "{wasted:?}");
    }

    #[test]
    fn moves_cost_what_was_warm_and_shares_are_of_all_input() {
        let mut pins = Pins::default();
        let [here, there] = ["a", "b"].map(|name| AccountId(name.into()));
        let key = SessionKey([1; 16]);
        let drawn = Drawn { units: 1.0, prefix: 1000, warm: Span::from_mins(5) };
        for (account, after) in [(&here, 0), (&here, 1), (&there, 2), (&here, 60)] {
            let at = NOW + Span::from_mins(after);
            pins.set(key, account, Binding::Cache, at);
            pins.drew(key, account, &drawn, at);
        }
        assert_eq!(pins.moves(), Moves { cold: 1, warm: 1, tokens: 1000 });
        assert!((pins.moves().extra_units() - 1150.0).abs() < 1e-6);
        let tokens = TokenCounts { input: 100, cache_read: 900, output: 5000, ..TokenCounts::default() };
        assert_eq!(cache_hits(&tokens).map(Fraction::get), Some(0.9));
        assert_eq!(cache_hits(&TokenCounts::default()), None);
    }
}
