//! What the relay promises, under load and under attack, against the simulated providers.

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod departures;
mod failover;
mod fidelity;
mod limits;
mod patience;
mod renewal;
mod silences;
mod streams;
mod wishes;

use std::future::Future;

use pool_testkit::client::Seen;
use pool_testkit::request::Request;
use support::Rig;
use tokio::task::JoinSet;

/// Runs futures side by side and gives their results in no particular order.
async fn together<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    tasks: impl IntoIterator<Item = F>,
) -> Vec<T> {
    tasks.into_iter().collect::<JoinSet<T>>().join_all().await
}

/// Sends all of these at once.
async fn send_all(rig: &Rig, requests: Vec<Request>) -> Vec<Seen> {
    let addr = rig.addr;
    let patience = std::time::Duration::from_secs(20);
    together(requests.into_iter().map(|request| async move { request.send(addr, patience).await.expect("connected") }))
        .await
}
