//! The API of a pool at work: a request as who watches sees it, and how fast a hundred thousand of them are filtered.

mod support;

use std::time::{Duration, Instant};

use pool_core::people::UserId;
use pool_core::usage::Ending;
use pool_core::{AccountId, TokenCounts, UnixMs, UsageRecord};
use pool_testkit::client::Seen;
use pool_testkit::request::Request;
use pool_testkit::{FakeAccount, World};
use serde_json::Value;
use support::Rig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get(rig: &Rig, path: &str) -> Seen {
    rig.send(&Request { method: "GET", path: path.into(), headers: vec![], body: vec![] }).await
}

async fn asked(rig: &Rig, path: &str) -> Value {
    let seen = get(rig, path).await;
    assert_eq!(seen.status, Some(200), "{path}: {}", seen.text());
    seen.json()
}

/// The stream of events, as text.
struct Stream {
    tcp: TcpStream,
    text: String,
}

impl Stream {
    async fn open(rig: &Rig) -> Self {
        let mut tcp = TcpStream::connect(rig.addr).await.expect("connected");
        let head = format!("GET /api/events HTTP/1.1\r\nhost: {}\r\n\r\n", rig.addr);
        tcp.write_all(head.as_bytes()).await.expect("sent");
        Self { tcp, text: String::new() }
    }

    /// Reads until it says this much.
    async fn until(&mut self, words: &str) {
        let mut piece = [0; 4096];
        while !self.text.contains(words) {
            let read = tokio::time::timeout(Duration::from_secs(20), self.tcp.read(&mut piece));
            let read = read.await.unwrap_or_else(|_| panic!("{words:?} is not in {}", self.text)).expect("read");
            assert!(read > 0, "it ended before {words:?}: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }
}

#[tokio::test]
async fn a_request_is_seen_while_it_runs_and_told_afterwards() {
    let rig = Rig::start(World::new().account(FakeAccount::claude("work").used("5h", 0.5))).await;
    let mut stream = Stream::open(&rig).await;
    stream.until("event: snapshot").await;
    let seen = rig.send(&Request::claude("hello")).await;
    let id = seen.header("x-pool-request").expect("an id").to_owned();
    stream.until("event: ended").await;
    let phases: Vec<&str> =
        stream.text.split(r#""phase":""#).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(phases, ["choosing", "thinking", "streaming", "streaming"], "{}", stream.text);
    assert!(stream.text.contains(&id) && stream.text.contains(r#""account_name":"work""#), "{}", stream.text);
    stream.until("event: usage").await;
    assert_eq!(asked(&rig, "/api/flights").await["flights"], Value::Array(vec![]));

    rig.record_of(&seen).await;
    let page = asked(&rig, "/api/requests?since=1h&status=ok&account=work&provider=claude").await;
    let row = &page["requests"][0];
    assert_eq!((&row["id"], &row["account_name"], &page["next"]), (&Value::from(&*id), &"work".into(), &Value::Null));
    assert!(row["cost_micro_usd"].is_u64() && row["tokens"]["input"].is_u64(), "{row}");
    let totals = asked(&rig, "/api/usage/totals?by=account").await;
    assert_eq!((&totals["rows"][0]["name"], &totals["rows"][0]["requests"]), (&"work".into(), &1.into()), "{totals}");
    let story = asked(&rig, &format!("/api/requests/{id}")).await;
    assert!(story["sentence"].as_str().is_some_and(|sentence| sentence.contains("work")), "{story}");
    let account = asked(&rig, "/api/accounts/work").await;
    assert_eq!((&account["name"], &account["state"]), (&"work".into(), &"ready".into()), "{account}");

    // The stream does not hold up the end.
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let rig = Rig::start(World::new().account(FakeAccount::claude("work"))).await;
    let tagged = |tag: &str| Request {
        method: "GET",
        path: "/api/requests".into(),
        headers: vec![("if-none-match".into(), tag.to_owned())],
        body: vec![],
    };
    let first = get(&rig, "/api/requests").await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert_eq!(rig.send(&tagged(&tag)).await.status, Some(304));
    let seen = rig.send(&Request::claude("hello")).await;
    rig.record_of(&seen).await;
    let second = rig.send(&tagged(&tag)).await;
    assert_eq!(second.status, Some(200));
    assert_ne!(second.header("etag"), Some(&*tag));
}

/// `cargo test -p pool-server --test api -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement: it writes 100,000 requests"]
async fn a_filtered_page_of_a_hundred_thousand_requests() {
    let rig = Rig::start(World::new().account(FakeAccount::claude("work"))).await;
    let now = pool_server::clock::now();
    for number in 0..100_000_u32 {
        while rig.app.ledger.health().queued > 5000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(rig.app.ledger.record(made_up(number, now)));
    }
    while rig.app.ledger.health().queued > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for path in [
        "/api/requests",
        "/api/requests?person=u-7&status=429",
        "/api/requests?account=claude-3&since=7d&ending=failed",
        "/api/requests?model=model-4&status=5xx&limit=500",
        "/api/requests?client=nobody-has-this",
        "/api/usage?by=model&since=30d",
        "/api/usage/totals?by=person",
    ] {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            asked(&rig, path).await;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!("{:>6} ms  {path}", times[2].as_millis());
        assert!(times[2] < Duration::from_millis(300), "{path}: {times:?}");
    }
}

fn made_up(number: u32, now: UnixMs) -> UsageRecord {
    let failed = number.is_multiple_of(50);
    UsageRecord {
        request_id: format!("{number:032x}"),
        at: UnixMs(now.0 - i64::from(number) * 20_000),
        user: Some(UserId(format!("u-{}", number % 13).into())),
        provider: "claude".into(),
        account: AccountId(format!("claude-{}", number % 7).into()),
        model: Some(format!("model-{}", number % 5)),
        client: Some("claude-cli/2.1.0".into()),
        session: Some(format!("{:012x}", number % 999)),
        status: if failed { 429 + u16::from(number.is_multiple_of(100)) * 71 } else { 200 },
        ending: if failed { Ending::Failed } else { Ending::Complete },
        tokens: (!failed).then(|| TokenCounts { input: 1000, output: 100, ..TokenCounts::default() }),
        attempts: 1,
        first_byte_ms: 800,
        total_ms: 9000,
        parts: None,
    }
}
