//! With every account at its limit each client hears so at once, in its own words, with the reset that comes first; and while
//! there is something left, what clients read of limits is the pool's.

use std::time::{Duration, Instant};

use pool_testkit::World;
use pool_testkit::client::Seen;

use crate::support::Rig;
use crate::support::clients::{CLAUDE, CODE_ASSIST, CODEX, Client};

const SOONER: Duration = Duration::from_mins(40);
const LATER: Duration = Duration::from_mins(90);

/// Two spent accounts: the answer, and the first reset in seconds since 1970.
async fn spent(client: &Client, window: &'static str) -> (Seen, u64) {
    let world = World::new().account((client.account)("sooner")).account((client.account)("later"));
    let limit = |fake: &pool_testkit::FakeUpstream| {
        fake.account("sooner").limit(window, SOONER);
        fake.account("later").limit(window, LATER);
    };
    let rig = Rig::launch(world, limit, |_| {}).await;
    rig.settled().await;
    let resets_at = rig.fake.account("sooner").resets_at(window).expect("a window");
    let begun = Instant::now();
    let seen = rig.send(&(client.request)("one")).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "not at once: {:?}", begun.elapsed());
    assert!(rig.fake.books().inference().count() <= 2, "an account was asked twice");
    assert_eq!((seen.status, seen.whole), (Some(429), true), "{}", seen.text());
    (seen, resets_at)
}

fn header(seen: &Seen, name: &str) -> String {
    seen.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", seen.headers)).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_hears_its_usage_limit() {
    let (seen, resets_at) = spent(&CODEX, "5h").await;
    let error = seen.json()["error"].clone();
    assert_eq!(error["type"], "usage_limit_reached");
    let told = error["resets_at"].as_u64().expect("a time");
    assert!(told.abs_diff(resets_at) <= 1, "{told} instead of {resets_at}");
    assert!(error.get("plan_type").is_none());
    assert_eq!(header(&seen, "x-codex-primary-used-percent"), "100");
    assert_eq!(header(&seen, "x-codex-primary-window-minutes"), "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_hears_its_five_hour_limit() {
    let (seen, resets_at) = spent(&CLAUDE, "5h").await;
    let error = seen.json()["error"].clone();
    assert_eq!(error["type"], "rate_limit_error");
    let message = error["message"].as_str().expect("a text");
    assert!(message.starts_with("All pooled Claude accounts are at their limit · resets "), "{message}");
    assert!(message.contains("UTC (in 40 min)") || message.contains("UTC (in 39 min)"), "{message}");
    assert_eq!(header(&seen, "x-should-retry"), "false");
    let retry_after: u64 = header(&seen, "retry-after").parse().expect("seconds");
    assert!(SOONER.as_secs().abs_diff(retry_after) < 10, "{retry_after}");
    let unified = |name: &str| header(&seen, &format!("anthropic-ratelimit-unified-{name}"));
    assert_eq!(unified("status"), "rejected");
    assert_eq!(unified("representative-claim"), "five_hour");
    assert!(unified("reset").parse::<u64>().expect("seconds").abs_diff(resets_at) <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn gemini_cli_hears_its_quota() {
    let (seen, _) = spent(&CODE_ASSIST, "gemini-3-flash-preview").await;
    let text = seen.text();
    assert!(!text.contains("exhausted your capacity") && !text.contains("PerDay"), "{text}");
    let error = seen.json()["error"].clone();
    let details = error["details"].as_array().expect("details").clone();
    let detail = |kind: &str| {
        let found = details.iter().find(|detail| detail["@type"].as_str().is_some_and(|name| name.ends_with(kind)));
        found.unwrap_or_else(|| panic!("no {kind} in {text}")).clone()
    };
    assert_eq!(detail("ErrorInfo")["reason"], "QUOTA_EXHAUSTED");
    assert_eq!(detail("ErrorInfo")["domain"], "cloudcode-pa.googleapis.com");
    let delay = detail("RetryInfo")["retryDelay"].as_str().expect("a delay").to_owned();
    let seconds: f64 = delay.trim_end_matches('s').parse().expect("seconds");
    assert!((seconds - SOONER.as_secs_f64()).abs() < 10.0, "{delay}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_headers_speak_of_the_pool() {
    for (client, header) in
        [(CODEX, "x-codex-primary-used-percent"), (CLAUDE, "anthropic-ratelimit-unified-5h-utilization")]
    {
        let world = World::new()
            .account((client.account)("full").used("5h", 0.8))
            .account((client.account)("empty").used("5h", 0.2));
        let rig = Rig::start(world).await;
        let seen = rig.send(&(client.request)("one")).await;
        let told: f64 = seen.header(header).and_then(|text| text.parse().ok()).expect("a number");
        let share = if told > 1.0 { told / 100.0 } else { told };
        assert!((share - 0.5).abs() < 0.02, "{}: {told} though the pool is half used", client.name);
    }
}
