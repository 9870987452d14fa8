//! One piece of work per account at a time, however many ask for it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use pool_core::AccountId;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// The work under way. It runs in a task of its own: whoever waits may go away, it is finished all the same.
#[derive(Debug)]
pub(super) struct Flights<T> {
    running: Mutex<HashMap<AccountId, watch::Receiver<Option<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { running: Mutex::new(HashMap::new()) }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn is_under_way(&self, id: &AccountId) -> bool {
        self.running.lock().contains_key(id)
    }

    /// Joins the work under way, or starts it. `start` is asked only if there is none, and may answer at once instead.
    /// `None`: the work came to no end (it panicked).
    pub(super) async fn join<F>(
        self: &Arc<Self>,
        id: &AccountId,
        tasks: &TaskTracker,
        start: impl FnOnce() -> Result<F, T>,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut result = {
            let mut running = self.running.lock();
            if let Some(result) = running.get(id) {
                result.clone()
            } else {
                let work = match start() {
                    Ok(work) => work,
                    Err(answer) => return Some(answer),
                };
                let (tell, result) = watch::channel(None);
                running.insert(id.clone(), result.clone());
                let landing = Landing { flights: self.clone(), id: id.clone() };
                tasks.spawn(async move {
                    // Off the list first: who comes after the answer must see what the work has changed, or start anew.
                    let answer = {
                        let _landing = landing;
                        work.await
                    };
                    tell.send_replace(Some(answer));
                });
                result
            }
        };
        let answer = result.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }
}

/// Takes the flight off the list, also when its work panics.
struct Landing<T> {
    flights: Arc<Flights<T>>,
    id: AccountId,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.flights.running.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_told_and_does_not_stay_on_the_list() {
        let (flights, tasks, id) = (Arc::<Flights<u8>>::default(), TaskTracker::new(), AccountId("a".into()));
        let fails = || Ok(async { panic!("on purpose") });
        assert_eq!(flights.join(&id, &tasks, fails).await, None);
        assert_eq!(flights.join(&id, &tasks, || Ok(async { 7 })).await, Some(7));
        assert_eq!(flights.join(&id, &tasks, || Err::<std::future::Ready<u8>, _>(9)).await, Some(9));
    }

    #[tokio::test]
    async fn those_who_come_meanwhile_join() {
        let (flights, tasks, id) = (Arc::<Flights<u8>>::default(), TaskTracker::new(), AccountId("a".into()));
        let slow = || {
            Ok(async {
                tokio::task::yield_now().await;
                1
            })
        };
        let never = || -> Result<std::future::Ready<u8>, u8> { panic!("it must join") };
        let (first, second) = tokio::join!(flights.join(&id, &tasks, slow), flights.join(&id, &tasks, never));
        assert_eq!((first, second), (Some(1), Some(1)));
    }
}
