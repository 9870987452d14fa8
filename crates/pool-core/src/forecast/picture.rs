//! What the forecast looks at: copied out of the pool in one moment, so that the walk need not hold it.

use crate::account::{AccountId, AccountKind, ProviderId};
use crate::ask::Rights;
use crate::demand::{Client, Demand};
use crate::eligible::eligible;
use crate::outlook::Outlook;
use crate::pool::{Pool, Slot};
use crate::quota::{Level, QuotaWindow, Scope};
use crate::refusal::refusal;
use crate::sizes::{LONG, Meter, Size};
use crate::standing::{Ineligible, RefusalWhy};
use crate::time::{Span, UnixMs};

use super::walk::{Basin, Well};
use super::week::Usual;
use super::{Manner, Prospect, Unknown};

/// Shorter windows limit how fast is worked, not whether.
const SHORTEST: Span = Span::from_hours(1);
/// How long a spent window without a reset is believed (`quota.rs`).
const UNTOLD: Span = Span::from_mins(15);
/// Nothing is said before the pool has been watched for so long …
const WATCHED: Span = Span::from_mins(30);
/// … and this share of a window has been used.
const USED: f64 = 0.01;
/// How far the guessed size of a window may be off: a standard deviation, as a share.
const GUESSED: f64 = 0.6;
/// … and one that was learned.
const LEARNED: f64 = 0.05;

/// A provider's accounts, as the asking caller meets them.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) provider: ProviderId,
    /// Why nothing can be said.
    pub(super) unknown: Option<Unknown>,
    /// Nobody can serve now.
    pub(super) out: Option<Prospect>,
    /// An API key without windows can take over.
    pub(super) paid: bool,
    pub(super) names: Vec<(AccountId, String)>,
    /// In the order of the names.
    pub(super) wells: Vec<Well>,
    /// Model families with limits of their own.
    pub(super) families: Vec<String>,
    /// Units an hour lately; `None`: nobody could serve, or nobody has watched.
    pub(super) recent: Option<f64>,
    pub(super) usual: Option<Usual>,
    /// What a conversation draws.
    pub(super) run: f64,
    /// How far the sizes may be off together: a standard deviation, as a share.
    pub(super) doubt: f64,
}

impl Seen {
    pub(super) fn of(pool: &Pool, provider: ProviderId, caller: Rights<'_>, manner: &Manner, now: UnixMs) -> Self {
        let demand = Demand::any(provider, Client::OwnCli);
        let stream = pool.burn.stream(provider);
        let run = pool.learned.outlook(provider).map_or_else(|| Outlook::default().run, |outlook| outlook.run);
        let mut seen = Self {
            provider,
            unknown: None,
            out: None,
            paid: false,
            names: Vec::new(),
            wells: Vec::new(),
            families: Vec::new(),
            recent: stream.and_then(|stream| stream.recent.rate(manner.half, now)),
            usual: stream.filter(|_| manner.usual).and_then(|stream| stream.week.usual()),
            run,
            doubt: 0.0,
        };
        let mut considered = Vec::new();
        let (mut waits, mut untold) = (false, false);
        for slot in pool.slots().filter(|slot| slot.account.provider == provider) {
            let found = eligible(slot, &demand, caller, now);
            let theirs = !matches!(found, Err(Ineligible::Kind | Ineligible::NotForCaller));
            let can = matches!(found, Ok(()) | Err(Ineligible::Busy));
            waits |= theirs && matches!(found, Err(Ineligible::Paused | Ineligible::NeedsLogin { .. }));
            if slot.account.settings.disabled || slot.needs_login.is_some() {
                continue;
            }
            let basins = seen.basins(pool, slot, now);
            if !basins.iter().any(|basin| basin.family.is_none() || theirs) {
                let by_use = slot.account.kind == AccountKind::ApiKey;
                seen.paid |= by_use && can;
                untold |= theirs && !by_use;
                continue;
            }
            let lately = pool.burn.account(&slot.account.id).and_then(|recent| recent.rate(manner.half, now));
            let shut_until = shut_until(&found).map_or(0.0, |until| seconds(until.since(now)));
            seen.names.push((slot.account.id.clone(), slot.account.name.clone()));
            seen.wells.push(Well { basins, shut_until, share: lately.unwrap_or(0.0), theirs });
            if let Err(why) = found {
                considered.push((slot.account.id.clone(), why));
            }
        }
        let any = seen.wells.iter().any(|well| well.theirs);
        let all_out = any && !seen.paid && considered.len() == seen.wells.len();
        if all_out && !considered.iter().any(|(_, why)| matches!(why, Ineligible::Busy)) {
            // The same end that a refused client is told.
            let until = match refusal(&demand, considered, now).why {
                RefusalWhy::AllSpent { resets_at, .. } => resets_at,
                RefusalWhy::Trouble { until, .. } => until,
                _ => None,
            };
            seen.out = Some(Prospect::Out { until });
        }
        seen.doubt = seen.doubts(pool, now);
        seen.unknown = match () {
            () if !any && untold => Some(Unknown::NotTold),
            () if !any && seen.paid => Some(Unknown::ByUse),
            () if !any && waits => Some(Unknown::NeedsPerson),
            () if !any => Some(Unknown::NoAccounts),
            () if seen.out.is_some() || seen.is_watched(pool, now) => None,
            () => Some(Unknown::TooEarly),
        };
        seen
    }

    /// Is there evidence of how it is used?
    fn is_watched(&self, pool: &Pool, now: UnixMs) -> bool {
        let watched = pool.burn.stream(self.provider).is_some_and(|stream| stream.recent.watched(now) >= WATCHED);
        let used = |basin: &Basin| basin.left <= basin.size * (1.0 - USED);
        let profile = self.usual.as_ref().is_some_and(|usual| usual.profile);
        profile || watched && self.wells.iter().flat_map(|well| &well.basins).any(used)
    }

    fn basins(&mut self, pool: &Pool, slot: &Slot, now: UnixMs) -> Vec<Basin> {
        let counts =
            |window: &&QuotaWindow| window.is_believable(now) && window.span.is_some_and(|span| span >= SHORTEST);
        let mut basins = Vec::new();
        for window in slot.windows.iter().filter(counts) {
            let (family, part) = match &window.scope {
                Scope::Account => (None, 1.0),
                Scope::Family(family) => {
                    let stream = pool.burn.stream(self.provider);
                    (Some(self.family(family)), stream.and_then(|stream| stream.part(family, now)).unwrap_or(0.0))
                }
            };
            basins.push(basin(window, slot, family, part, now));
        }
        basins
    }

    fn family(&mut self, name: &str) -> usize {
        self.families.iter().position(|known| known == name).unwrap_or_else(|| {
            self.families.push(name.to_owned());
            self.families.len() - 1
        })
    }

    /// What is guessed of one account is guessed of its like in the same way, so doubts do not cancel out.
    fn doubts(&self, pool: &Pool, now: UnixMs) -> f64 {
        let (mut sum, mut weight) = (0.0, 0.0);
        for (id, _) in &self.names {
            let Some(slot) = pool.slot(id) else { continue };
            for window in slot.windows.iter().filter(|window| window.is_believable(now)) {
                let size = meter(slot, window).and_then(Meter::size).unwrap_or(Size::unknown(window.span));
                sum += size.units * (1.0 - size.confidence);
                weight += size.units;
            }
        }
        LEARNED + if weight > 0.0 { GUESSED * sum / weight } else { GUESSED }
    }
}

/// What keeps it out beside its windows.
fn shut_until(found: &Result<(), Ineligible>) -> Option<UnixMs> {
    match found {
        Err(Ineligible::Cooling { until, .. } | Ineligible::SpendCap { until }) => Some(*until),
        _ => None,
    }
}

fn meter<'a>(slot: &'a Slot, window: &QuotaWindow) -> Option<&'a Meter> {
    slot.meters.iter().find(|meter| meter.is_of(window))
}

fn basin(window: &QuotaWindow, slot: &Slot, family: Option<usize>, part: f64, now: UnixMs) -> Basin {
    let span = window.span.unwrap_or(SHORTEST);
    let rests = span < LONG;
    let meter = meter(slot, window);
    let size = meter.and_then(Meter::size).unwrap_or(Size::unknown(window.span)).units.max(1.0);
    let spent = window.is_exhausted(now);
    let left = match window.level(now) {
        Level::Fresh => size,
        Level::Known { .. } if spent => 0.0,
        // As long as it is not told to be spent, it serves.
        Level::Known { used, .. } => (used.rest().get() * size - meter.map_or(0.0, Meter::unread)).max(size * 0.006),
    };
    let ends = match window.resets_at {
        Some(reset) if reset > now => Some(seconds(reset.since(now))),
        // A week that has ended: the next one runs.
        Some(reset) if !rests => {
            let span = seconds(span).max(1.0);
            Some(span - seconds(now.since(reset)) % span)
        }
        None if spent => Some(seconds((window.seen_at + window.span.unwrap_or(UNTOLD)).since(now))),
        _ => None,
    };
    let kept = slot.account.settings.reserve.get();
    Basin { size, left, span: seconds(span), ends, rests, part, family, kept }
}

pub(super) fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}
