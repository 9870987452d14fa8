//! The one place that reads the wall clock. Waits use tokio's monotonic clock, so a jump of the wall clock moves none of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pool_core::UnixMs;

/// Now. A clock before 1970 reads as 1970.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A length of time as records and the core count it.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
