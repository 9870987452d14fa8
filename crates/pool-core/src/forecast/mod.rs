//! The forecast: when the accounts run dry, for how long, and how sure that is.
//!
//! One function says it for everybody: `status`, pages, alerts. Demand ahead is what was drawn in the last two hours, giving way to what is
//! usual at that time of the week ([`week`]); supply is what the windows still hold and when they refill. A walk in steps of
//! five minutes pours the one out over the other ([`walk`]), three times: with the demand that is likely, with one that only one time in
//! ten is more, and with one that only one time in ten is less. docs/FORECAST.md has the parameters, and how well it does.

mod burn;
mod feed;
mod picture;
pub mod say;
mod walk;
mod week;

use serde::{Deserialize, Serialize};

use crate::account::ProviderId;
use crate::ask::Rights;
use crate::pool::Pool;
use crate::quota::Fraction;
use crate::time::{Span, UnixMs};

pub use burn::Burn;
pub use week::Week;

use picture::Seen;
use walk::{Spells, Walked, moment, walk};

/// The pool as it will be, for one caller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Forecast {
    pub at: UnixMs,
    /// So far was looked.
    pub until: UnixMs,
    pub providers: Vec<ProviderForecast>,
}

/// All accounts of a provider that the caller may use, as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProviderForecast {
    pub provider: String,
    pub prospect: Prospect,
    /// An API key that pays by use goes on when the accounts with windows are out.
    pub paid: bool,
    /// What it is drawn on now, in units (fresh input tokens) an hour. `None`: not known.
    pub burn: Option<f64>,
    /// What is left, hour by hour from now on. Empty: nothing is known.
    pub tide: Vec<Tide>,
    /// Model families with limits of their own that are used.
    pub families: Vec<FamilyForecast>,
    /// By account; empty for who may not know them.
    pub accounts: Vec<AccountForecast>,
}

/// What is left at a time, of what the accounts hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Tide {
    pub at: UnixMs,
    pub low: Fraction,
    pub likely: Fraction,
    pub high: Fraction,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FamilyForecast {
    pub family: String,
    pub prospect: Prospect,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccountForecast {
    pub id: String,
    pub name: String,
    pub prospect: Prospect,
}

/// What is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Prospect {
    /// Nothing can be said.
    Unknown { why: Unknown },
    /// It goes on as far as was looked. `may_end`: in one case of ten it ends by then.
    Lasts { may_end: Option<UnixMs> },
    /// It runs dry: in one case of ten before `earliest`, in one after `latest` (`None`: perhaps not at all).
    Dries {
        earliest: UnixMs,
        likely: UnixMs,
        latest: Option<UnixMs>,
        /// When it can serve again, if that was seen.
        back: Option<UnixMs>,
    },
    /// It is out now.
    Out { until: Option<UnixMs> },
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ForecastUnknown)]
pub enum Unknown {
    /// There is no account that the caller may use.
    NoAccounts,
    /// All of them wait for a person.
    NeedsPerson,
    /// Their provider has not told yet what is left.
    NotTold,
    /// They pay by use: there is nothing that could run dry.
    ByUse,
    /// Less than half an hour of use, or less than one percent of a window.
    TooEarly,
}

/// How the forecast is made. The default is what docs/FORECAST.md tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// So far is looked ahead: by default to the end of tomorrow, wherever one is.
    pub ahead: Span,
    /// Of the last two hours, a cell so old counts half. Zero: all count alike.
    pub half: Span,
    /// The burn of lately gives way to the usual one: after this time a third of it counts.
    pub fade: Span,
    /// The same before a week is known, when the usual burn is one mean for day and night.
    pub young_fade: Span,
    /// Take what is usual into account.
    pub usual: bool,
    /// A standard deviation of the level of demand, as a share, where the week is known …
    pub level: f64,
    /// … and where it is not.
    pub unknown_level: f64,
    /// How much conversations differ: the variance of what one draws over the square of its mean, plus one.
    pub clump: f64,
    /// The likely range, in standard deviations to each side: 1.28 leaves out one case of ten.
    pub range: f64,
    /// What is taken to be likely, as a multiple of the mean of what is to come. A little above one a spell is rather named than not.
    pub middle: f64,
}

impl Default for Manner {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Manner {
    /// What docs/FORECAST.md tells.
    pub const DEFAULT: Self = Self {
        ahead: Span::from_hours(48),
        half: Span::from_mins(15),
        fade: Span::from_mins(150),
        young_fade: Span::from_hours(8),
        usual: true,
        level: 0.2,
        unknown_level: 0.4,
        clump: 3.0,
        range: 1.28,
        middle: 1.1,
    };

    /// What anybody would guess: the mean of the last two hours, for ever. For comparison.
    pub const CONSTANT: Self = Self {
        ahead: Span::from_hours(48),
        half: Span::ZERO,
        fade: Span::from_hours(1_000_000),
        young_fade: Span::from_hours(1_000_000),
        usual: false,
        level: 0.4,
        unknown_level: 0.4,
        clump: 3.0,
        range: 1.28,
        middle: 1.0,
    };
}

/// What is needed of the pool; the pool is not held while [`Picture::forecast`] works.
#[derive(Clone, Debug)]
pub struct Picture {
    at: UnixMs,
    manner: Manner,
    seen: Vec<Seen>,
}

impl Picture {
    /// Of every provider that has an account, for this caller.
    pub fn of(pool: &Pool, caller: Rights<'_>, now: UnixMs) -> Self {
        Self::in_manner(pool, caller, Manner::default(), now)
    }

    pub fn in_manner(pool: &Pool, caller: Rights<'_>, manner: Manner, now: UnixMs) -> Self {
        let mut providers: Vec<ProviderId> = pool.slots().map(|slot| slot.account.provider).collect();
        providers.sort_unstable();
        providers.dedup();
        let seen = providers.into_iter().map(|provider| Seen::of(pool, provider, caller, &manner, now)).collect();
        Self { at: now, manner, seen }
    }

    pub fn forecast(&self) -> Forecast {
        let providers = self.seen.iter().map(|seen| self.provider(seen)).collect();
        Forecast { at: self.at, until: self.at + self.manner.ahead, providers }
    }

    fn provider(&self, seen: &Seen) -> ProviderForecast {
        let told = ProviderForecast {
            provider: seen.provider.to_string(),
            prospect: Prospect::Unknown { why: seen.unknown.unwrap_or(Unknown::NoAccounts) },
            paid: seen.paid,
            burn: seen.recent,
            tide: Vec::new(),
            families: Vec::new(),
            accounts: Vec::new(),
        };
        if seen.unknown.is_some() {
            return told;
        }
        let range = self.manner.range;
        let [less, likely, more] = [-range, 0.0, range].map(|deviate| self.walk(seen, deviate));
        let three = |of: &dyn Fn(&Walked) -> Option<Spells>| {
            let spells = [&more, &likely, &less].map(|walked| of(walked).unwrap_or_default());
            self.prospect(&spells)
        };
        let families = seen.families.iter().enumerate().filter(|(index, _)| seen.uses(*index));
        let account = |(index, (id, name)): (usize, &(crate::AccountId, String))| AccountForecast {
            id: id.to_string(),
            name: name.clone(),
            prospect: three(&|walked| walked.accounts.get(index).cloned()),
        };
        let theirs = |(index, _): &(usize, &(crate::AccountId, String))| seen.wells[*index].theirs;
        ProviderForecast {
            prospect: seen.out.unwrap_or_else(|| three(&|walked| Some(walked.all.clone()))),
            tide: tide(&less, &likely, &more, self.at),
            families: families
                .map(|(index, family)| FamilyForecast {
                    family: family.clone(),
                    prospect: three(&|walked| walked.families.get(index).cloned()),
                })
                .collect(),
            accounts: seen.names.iter().enumerate().filter(theirs).map(account).collect(),
            ..told
        }
    }

    fn walk(&self, seen: &Seen, deviate: f64) -> Walked {
        walk(seen.wells.clone(), &self.demand(seen, deviate), seen.families.len())
    }

    /// Units in each step: what is likely, moved by so many standard deviations of all that is drawn until then.
    fn demand(&self, seen: &Seen, deviate: f64) -> Vec<f64> {
        let Manner { level, unknown_level, clump, middle, .. } = self.manner;
        let hours = walk::STEP.0 as f64 / 3_600_000.0;
        let profile = seen.usual.as_ref().is_some_and(|usual| usual.profile);
        let (fade, level) = if profile { (self.manner.fade, level) } else { (self.manner.young_fade, unknown_level) };
        let doubt = level.hypot(seen.doubt);
        let (mut mean, mut before) = (0.0, 0.0_f64);
        let steps = self.manner.ahead.0 / walk::STEP.0;
        let mut demand = Vec::with_capacity(steps as usize);
        for step in 0..steps {
            let ahead = Span(walk::STEP.0 * step + walk::STEP.0 / 2);
            let stays = (-(ahead.0 as f64) / fade.0.max(1) as f64).exp();
            let usual = seen.usual.as_ref().map(|usual| usual.at(self.at + ahead));
            let rate = match (seen.recent, usual) {
                (Some(recent), Some(usual)) => recent * stays + usual * (1.0 - stays),
                (recent, usual) => recent.or(usual).unwrap_or(0.0),
            };
            mean += rate * hours;
            let spread = ((doubt * mean).powi(2) + clump * seen.run * mean).sqrt();
            let upto = (mean * middle + deviate * spread).max(before);
            demand.push(upto - before);
            before = upto;
        }
        demand
    }

    /// From the first dry spells with more, likely and less demand.
    fn prospect(&self, [more, likely, less]: &[Spells; 3]) -> Prospect {
        let begins = |spells: &Spells| spells.first().map(|spell| moment(spell.from, self.at));
        match likely.first() {
            None => Prospect::Lasts { may_end: begins(more) },
            Some(spell) if spell.from <= 0.0 => Prospect::Out { until: spell.to.map(|to| moment(to, self.at)) },
            Some(spell) => {
                let at = moment(spell.from, self.at);
                Prospect::Dries {
                    earliest: begins(more).map_or(at, |earliest| earliest.min(at)),
                    likely: at,
                    latest: begins(less).map(|latest| latest.max(at)),
                    back: spell.to.map(|to| moment(to, self.at)),
                }
            }
        }
    }
}

impl Seen {
    /// Is a family drawn on, so that its limits matter?
    fn uses(&self, family: usize) -> bool {
        self.wells.iter().flat_map(|well| &well.basins).any(|basin| basin.family == Some(family) && basin.part > 0.0)
    }
}

/// Hour by hour. With more demand less is left.
fn tide(less: &Walked, likely: &Walked, more: &Walked, start: UnixMs) -> Vec<Tide> {
    let share = |value: f64| Fraction::new(value).unwrap_or_default();
    let levels = likely.tide.iter().zip(&less.tide).zip(&more.tide).enumerate();
    levels
        .map(|(hour, ((likely, less), more))| Tide {
            at: start + Span::from_hours(hour as u64),
            low: share(more.min(*less).min(*likely)),
            likely: share(*likely),
            high: share(less.max(*more).max(*likely)),
        })
        .collect()
}

impl Forecast {
    /// For who may not know the accounts.
    #[must_use]
    pub fn without_accounts(mut self) -> Self {
        for provider in &mut self.providers {
            provider.accounts.clear();
        }
        self
    }

    pub fn provider(&self, provider: &str) -> Option<&ProviderForecast> {
        self.providers.iter().find(|one| one.provider == provider)
    }
}

#[cfg(test)]
mod tests;
