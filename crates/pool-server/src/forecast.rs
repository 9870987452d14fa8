//! What `/api/forecast` answers, and the sentence above the status table: [`pool_core::forecast`] told in somebody's time zone.

use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use pool_core::ask::Rights;
use pool_core::capacity::Capacity;
use pool_core::forecast::say::{self, Reader};
use pool_core::forecast::{Forecast, Picture};
use pool_core::{Pool, Span, UnixMs};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::status::clock;

/// The forecast, and the same in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ForecastPage {
    /// `None`: nothing can be said yet. Times are in the server's zone.
    pub sentence: Option<String>,
    #[serde(flatten)]
    pub forecast: Forecast,
    /// What the accounts hold and what becomes of it; for the operator.
    #[serde(default)]
    pub capacity: Option<Capacity>,
}

/// The pool as this caller meets it. Only who owns it learns what its accounts are called.
pub async fn of(app: &App, caller: Rights<'_>) -> ForecastPage {
    let owner = caller.owner;
    let look = |pool: &Pool, now| (Picture::of(pool, caller, now), owner.then(|| Capacity::of(pool)));
    let (picture, capacity) = app.pool.read(look);
    // Many accounts take tens of milliseconds.
    let forecast = tokio::task::spawn_blocking(move || picture.forecast()).await.unwrap_or_default();
    let forecast = if owner { forecast } else { forecast.without_accounts() };
    ForecastPage { sentence: sentence(&forecast, &TimeZone::system()), forecast, capacity }
}

/// The forecast in a sentence, in a time zone.
pub fn sentence(forecast: &Forecast, zone: &TimeZone) -> Option<String> {
    let clock = |at: UnixMs| clock(at, forecast.at, zone);
    say::sentence_or_why(forecast, &Reader { clock: &clock, tomorrow_ends: tomorrow_ends(forecast.at, zone) })
}

/// The midnight after tomorrow.
fn tomorrow_ends(now: UnixMs, zone: &TimeZone) -> UnixMs {
    let midnight = || {
        let today = jiff::Timestamp::from_millisecond(now.0).ok()?.to_zoned(zone.clone()).date();
        today.checked_add(2.days()).ok()?.to_zoned(zone.clone()).ok()
    };
    midnight().map_or(now + Span::from_hours(24), |end| UnixMs(end.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tomorrow_ends_at_midnight_where_one_is() {
        // Sunday 22 November 2026, 23:30 UTC.
        let now = UnixMs(1_795_390_200_000);
        let hours = |zone: &TimeZone| tomorrow_ends(now, zone).since(now).0 as f64 / 3_600_000.0;
        for (zone, expected) in [("UTC", 24.5), ("America/New_York", 29.5), ("Asia/Tokyo", 39.5)] {
            let Ok(zone) = TimeZone::get(zone) else { continue };
            assert!((hours(&zone) - expected).abs() < 1e-9, "{zone:?}");
        }
    }
}
