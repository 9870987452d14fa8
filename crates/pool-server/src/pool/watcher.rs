//! Watches the pool folder: what is dropped, edited or removed there takes effect within a second.
//!
//! The system's notices only say when to look; what has changed the shelf finds out by reading. A slow look without any notice
//! catches what the system did not tell (network file systems, a full notice queue).

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::Shared;
use super::prober::Prober;
use super::shelf::Rescan;

/// Edits come in bursts: the look waits for the end of one, though not for ever.
const DEBOUNCE: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(10);
/// Between looks while the system gives no notices.
const UNNOTICED: Duration = Duration::from_secs(1);

/// Looks until told to stop.
pub(super) async fn run(shared: Shared, prober: Prober) {
    let trigger = shared.vault.as_ref().map_or_else(Arc::default, |vault| vault.changed().clone());
    let mut folder = folder_id(shared.shelf.dir());
    let mut notices = watch(shared.shelf.dir(), &trigger);
    // What happened between the first look and now is found by this one.
    let mut next = Duration::ZERO;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(next) => {}
            () = trigger.notified() => tokio::time::sleep(DEBOUNCE).await,
        }
        let (shelf, vault, faults) = (shared.shelf.clone(), shared.vault.clone(), shared.faults.clone());
        let look = move || {
            let again = vault.and_then(|vault| vault.take_in(shelf.dir(), &faults));
            let rescan = shelf.rescan();
            Rescan { again: rescan.again.or(again), ..rescan }
        };
        let Ok(Rescan { changed, again, lost }) = tokio::task::spawn_blocking(look).await else { continue };
        prober.probe_soon(changed);
        // A folder that was away, or was made anew, is another folder: nobody tells of changes in it.
        let now = folder_id(shared.shelf.dir());
        if lost || now != folder {
            notices = None;
        }
        let mut idle = if notices.is_some() { SLOW } else { UNNOTICED };
        if !lost && notices.is_none() {
            (notices, folder) = (watch(shared.shelf.dir(), &trigger), now);
            // What happened between the look and the watch is found by another look.
            idle = if notices.is_some() { DEBOUNCE } else { UNNOTICED };
        }
        next = again.unwrap_or(idle);
    }
}

/// Which folder it is. Numbers of removed ones are used again, so the time of its birth counts where it is known.
fn folder_id(dir: &Path) -> Option<(u64, u64, Option<SystemTime>)> {
    std::fs::metadata(dir).ok().map(|about| (about.dev(), about.ino(), about.created().ok()))
}

fn watch(dir: &Path, trigger: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let trigger = trigger.clone();
    let on_event = move |event: notify::Result<notify::Event>| {
        // Our own reading is not news.
        let read = |kind: EventKind| matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
        if !event.is_ok_and(|event| read(event.kind)) {
            trigger.notify_one();
        }
    };
    let config = Config::default().with_follow_symlinks(false);
    let watcher = RecommendedWatcher::new(on_event, config).and_then(|mut watcher| {
        // The folder itself may be a link; those in it are not followed.
        watcher.watch(&dir.canonicalize()?, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::debug!("the system does not tell of changes in {}: {error}; looking every second", dir.display());
            None
        }
    }
}
