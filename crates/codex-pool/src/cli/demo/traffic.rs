//! Five conversations that talk to the pool as clients would, and a line for each of their turns.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pool_testkit::Logged;
use pool_testkit::request::Request;

use super::Stage;

/// A conversation of one client.
struct Talk {
    client: &'static str,
    name: &'static str,
    /// Between two turns.
    think: Duration,
}

const TALKS: [Talk; 5] = [
    Talk { client: "codex", name: "refactor", think: Duration::from_millis(1700) },
    Talk { client: "codex", name: "fix-tests", think: Duration::from_millis(2300) },
    Talk { client: "claude", name: "review", think: Duration::from_millis(1900) },
    Talk { client: "claude", name: "docs", think: Duration::from_millis(2600) },
    Talk { client: "gemini", name: "summary", think: Duration::from_millis(3100) },
];

/// Marks a turn, so that its tries can be found in the simulated providers' books.
const MARK: &str = "x-demo-turn";
const PATIENCE: Duration = Duration::from_secs(30);

/// Talks until dropped.
pub(super) async fn run(stage: &Stage) {
    join_all(TALKS.iter().map(|talk| converse(stage, talk))).await;
}

async fn converse(stage: &Stage, talk: &Talk) {
    for turn in 0_u64.. {
        tokio::time::sleep(talk.think).await;
        let mark = format!("{}-{turn}", talk.name);
        let request = match talk.client {
            "codex" => Request::codex(talk.name),
            "claude" => Request::claude(talk.name),
            _ => Request::gemini(),
        };
        let begun = Instant::now();
        let status = match request.header(MARK, &mark).send(stage.address, PATIENCE).await {
            Ok(seen) => seen.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string()),
            Err(error) => error.to_string(),
        };
        let tries = stage.fake.tries_of(MARK, &mark);
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        println!(
            "{time}  {:<6}  {:<12}  {:<29}  {status:>6}  {:.1} s",
            talk.client,
            talk.name,
            route(&tries),
            begun.elapsed().as_secs_f64()
        );
    }
}

/// `anna`, or `mia (401) > leo`: who was asked, and why it was not the first.
fn route(tries: &[Logged]) -> String {
    let each = tries.iter().map(|tried| {
        let account = tried.account.as_deref().unwrap_or("?");
        match tried.status {
            Some(status) if status >= 400 => format!("{account} ({status})"),
            _ => account.to_owned(),
        }
    });
    let all = each.collect::<Vec<_>>().join(" > ");
    if all.is_empty() { "nobody could serve".into() } else { all }
}
