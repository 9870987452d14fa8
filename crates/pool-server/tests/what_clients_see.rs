//! What a client sees of every way in which an upstream can fail (docs/FAILOVER.md), client by client: with another account
//! at hand, alone, and after bytes went out.

mod support;

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use pool_testkit::client::Seen;
use pool_testkit::{Fault, Logged, MARKER, World, payload_sha256};
use support::clients::{CLIENTS, Client, GEMINI, WORLDS};
use support::{Kept, Rig};
use tokio::task::JoinSet;

/// Waits are short here; the fake is quick.
fn impatient(config: &mut pool_server::Config) {
    config.timeouts.response_head = Duration::from_millis(1500);
    config.timeouts.upstream_idle = Duration::from_millis(1500);
}

/// One request of one client, and what came of it.
struct Try {
    client: &'static Client,
    fault: Fault,
    seen: Seen,
    /// How the first account stands afterwards.
    health: String,
    /// What reached the provider for this request.
    upstream: Vec<Logged>,
    kept: Option<Kept>,
}

impl Try {
    fn what(&self) -> String {
        let Self { client, fault, seen, health, upstream, kept } = self;
        let ways: Vec<_> = upstream.iter().map(|entry| (entry.account.clone(), entry.status)).collect();
        let text: String = seen.text().chars().take(300).collect();
        format!(
            "{}, {fault:?}: status {:?}, whole {}, account {health}, upstream {ways:?}, kept {kept:?}\n{:?}\n{text}",
            client.name, seen.status, seen.whole, seen.headers
        )
    }

    fn is_status(&self, status: u16) -> bool {
        self.seen.status == Some(status)
    }

    /// The answer's payload is the provider's, to the byte.
    fn is_unchanged(&self) -> bool {
        self.upstream.last().is_some_and(|entry| {
            entry.payload_sha256.as_deref().is_none_or(|sum| sum == payload_sha256(&self.seen.body))
        })
    }
}

/// Sends one request of each client to a pool whose first account has the fault. `spare`: there is a second account.
async fn tries(fault: Fault, spare: bool, only: Only) -> Vec<Try> {
    let worlds = WORLDS.map(|world| {
        let clients: Vec<&'static Client> =
            world.iter().map(|index| &CLIENTS[*index]).filter(|one| only(one)).collect();
        in_one_world(clients, fault.clone(), spare)
    });
    join_all(worlds).await.into_iter().flatten().collect()
}

async fn in_one_world(clients: Vec<&'static Client>, fault: Fault, spare: bool) -> Vec<Try> {
    let mut accounts = World::new();
    for (number, client) in clients.iter().enumerate() {
        accounts = accounts.account((client.account)(&format!("first-{number}")).setting("priority", 5));
        if spare {
            accounts = accounts.account((client.account)(&format!("second-{number}")));
        }
    }
    let rig = Rig::with(accounts, impatient).await;
    let tries = clients.into_iter().enumerate().map(async |(number, client)| {
        let first = format!("first-{number}");
        rig.fake.account(&first).fault(fault.clone());
        let seen = rig.send(&(client.request)("one")).await;
        let kept = if seen.status.is_some_and(|status| status < 429) {
            tokio::time::timeout(Duration::from_secs(5), rig.record_of(&seen)).await.ok()
        } else {
            None
        };
        let own = |entry: &&Logged| entry.account.as_ref().is_some_and(|name| name.ends_with(&format!("-{number}")));
        let upstream = rig.fake.books().inference().filter(own).cloned().collect();
        Try { client, fault: fault.clone(), seen, health: rig.health(&first), upstream, kept }
    });
    let tries = join_all(tries).await;
    assert_eq!(rig.fake.books().violations, [], "{fault:?}");
    tries
}

/// Runs the cases side by side: they mostly wait.
async fn all<F: Future<Output = ()> + Send + 'static>(cases: impl IntoIterator<Item = F>) {
    let mut running: JoinSet<()> = cases.into_iter().collect();
    while let Some(done) = running.join_next().await {
        if let Err(failed) = done {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

/// Which clients a case is for.
type Only = fn(&Client) -> bool;

fn everybody(_: &Client) -> bool {
    true
}

fn streaming(client: &Client) -> bool {
    client.streams
}

/// The tries that a fault of the first account costs before another takes over.
fn cost(fault: &Fault, client: &Client) -> usize {
    let renewable = client.streams && client.name != GEMINI.name;
    match fault {
        // Refused, renewed, refused again.
        Fault::Expired | Fault::Revoked if renewable => 2,
        _ => 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_any_byte_another_account_takes_over() {
    let faults: Vec<(Fault, Only)> = vec![
        (Fault::CloseBeforeHead, everybody),
        (Fault::Reset, everybody),
        (Fault::Garbage, everybody),
        (Fault::DuplicateContentLength, everybody),
        (Fault::Silent, everybody),
        (Fault::CutFirst, everybody),
        (Fault::Expired, everybody),
        (Fault::Revoked, everybody),
        (Fault::Limit, everybody),
        (Fault::Throttle { retry_after: 30 }, everybody),
        (Fault::Unpaid, everybody),
        (Fault::Forbidden, everybody),
        (Fault::CdnHtml, everybody),
        (Fault::CreditTooLow, everybody),
        // Of Google's words for it nobody can tell that another account would have the model.
        (Fault::ModelNotSupported, |client| !client.name.starts_with("Gemini")),
        (Fault::ServerError, everybody),
        (Fault::Overloaded, everybody),
        (Fault::OverloadFirst, streaming),
        (Fault::Redirect, everybody),
    ];
    all(faults.into_iter().map(|(fault, only)| async move {
        for one in tries(fault, true, only).await {
            let what = one.what();
            assert!(one.is_status(200) && one.seen.whole && one.seen.text().contains(one.client.terminal), "{what}");
            let (failed, served): (Vec<_>, Vec<_>) = one
                .upstream
                .iter()
                .partition(|entry| entry.account.as_ref().is_some_and(|name| name.starts_with("first")));
            assert_eq!((failed.len(), served.len()), (cost(&one.fault, one.client), 1), "{what}");
            let kept = one.kept.as_ref().unwrap_or_else(|| panic!("a record: {what}"));
            assert_eq!((kept.ending.as_str(), kept.status), ("complete", 200), "{what}");
            assert_eq!(kept.attempts, i64::try_from(one.upstream.len()).expect("few"), "{what}");
        }
    }))
    .await;
}

/// What a client without another account gets, and what becomes of the account.
struct Alone {
    fault: Fault,
    only: Only,
    status: fn(&Client) -> u16,
    health: &'static [&'static str],
    /// It may come again soon: the reply says when.
    passing: bool,
}

fn alone(fault: Fault, status: fn(&Client) -> u16, health: &'static [&'static str], passing: bool) -> Alone {
    Alone { fault, only: everybody, status, health, passing }
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_each_failure_is_told_in_the_clients_own_words() {
    const SOFT: &[&str] = &["healthy", "troubled"];
    const SPENT: &[&str] = &["out: QuotaSpent", "out: Throttled"];
    let cases = vec![
        alone(Fault::CloseBeforeHead, |_| 502, &["troubled"], true),
        alone(Fault::Reset, |_| 502, &["troubled"], true),
        alone(Fault::Garbage, |_| 502, &["troubled"], true),
        alone(Fault::DuplicateContentLength, |_| 502, &["troubled"], true),
        alone(Fault::CutFirst, |_| 502, &["troubled"], true),
        alone(Fault::Redirect, |_| 502, SOFT, true),
        alone(Fault::Silent, |_| 504, &["troubled"], false),
        alone(Fault::Expired, |client| client.person, &["parked"], false),
        alone(Fault::Revoked, |client| client.person, &["parked"], false),
        alone(Fault::Forbidden, forbidden, &["parked", "healthy", "troubled"], false),
        alone(Fault::CdnHtml, |_| 403, SOFT, true),
        alone(Fault::ServerError, |_| 500, SOFT, true),
        alone(Fault::Overloaded, |client| client.down, SOFT, true),
        Alone { only: streaming, ..alone(Fault::OverloadFirst, |client| client.down, SOFT, true) },
        alone(Fault::Limit, limited, SPENT, true),
        alone(Fault::Throttle { retry_after: 30 }, throttled, &["out: Throttled"], true),
        Alone {
            only: |client| !client.name.starts_with("Gemini"),
            ..alone(Fault::ModelNotSupported, |client| client.person, &["out: ModelRefused"], false)
        },
    ];
    all(cases.into_iter().map(|case| async move {
        for one in tries(case.fault.clone(), false, case.only).await {
            let what = one.what();
            assert!(one.is_status((case.status)(one.client)) && one.seen.whole, "{what}");
            assert_eq!(one.seen.header("content-type"), Some("application/json"), "{what}");
            assert!((one.client.is_error)(&one.seen.json()), "not this client's kind of error: {what}");
            assert!(case.health.contains(&one.health.as_str()), "{what}");
            assert!(one.upstream.len() <= 3, "{what}");
            assert!(!case.passing || one.seen.header("retry-after").is_some(), "no word of when to come again: {what}");
            assert!(!one.seen.text().contains('<'), "{what}");
            // An account's own trouble is nobody else's business.
            assert!(!one.seen.text().contains("fake-project"), "{what}");
        }
    }))
    .await;
}

/// What nobody knows may be the request's own; the others park the account.
fn forbidden(client: &Client) -> u16 {
    match client.name {
        name if name.starts_with("OpenAI") || name.starts_with("Anthropic") => client.down,
        _ => client.person,
    }
}

/// A minute's limit of an API key is no plan limit: OpenAI's clients are told to come again.
fn limited(client: &Client) -> u16 {
    if client.name.starts_with("OpenAI") { 503 } else { 429 }
}

fn throttled(client: &Client) -> u16 {
    if client.name.starts_with("OpenAI") || client.name.starts_with("Codex") { 503 } else { 429 }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_requests_own_fault_is_passed_on_verbatim_and_costs_no_account() {
    let faults = [404, 413, 422, 418].map(Fault::Status).into_iter().chain([Fault::BadRequest]);
    all(faults.map(|fault| async move {
        for one in tries(fault, true, everybody).await {
            let what = one.what();
            let status = if let Fault::Status(status) = one.fault { status } else { 400 };
            assert!(one.is_status(status) && one.seen.whole, "{what}");
            assert_eq!((one.upstream.len(), one.health.as_str()), (1, "healthy"), "{what}");
            assert!(one.is_unchanged(), "{what}");
            let kept = one.kept.as_ref().unwrap_or_else(|| panic!("a record: {what}"));
            assert_eq!((kept.ending.as_str(), kept.status), ("failed", i64::from(status)), "{what}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_bytes_went_out_a_break_is_seen_as_one_and_nothing_is_tried_again() {
    let faults = [Fault::CutMid, Fault::RstMid, Fault::Stall, Fault::BadChunk, Fault::LongContentLength];
    all(faults.map(|fault| async move {
        let in_content_length = fault == Fault::LongContentLength;
        for one in tries(fault, true, everybody).await {
            if !one.client.streams && one.upstream.len() == 2 {
                // Of a plain answer nothing goes out before it is whole, so another account could still serve.
                assert!(one.is_status(200) && one.seen.whole, "{}", one.what());
                continue;
            }
            let what = one.what();
            assert!(one.is_status(200) && !one.seen.whole, "a clean end: {what}");
            assert_eq!(one.upstream.len(), 1, "{what}");
            let told = in_content_length || !one.client.streams;
            assert!(told || !one.seen.text().contains(one.client.terminal), "{what}");
            let kept = one.kept.as_ref().unwrap_or_else(|| panic!("a record: {what}"));
            assert_eq!((kept.ending.as_str(), kept.attempts), ("incomplete", 1), "{what}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_cleanly_or_with_an_error_event_is_passed_on_and_nothing_is_invented() {
    let cases = [
        (Fault::NoTerminal, "incomplete"),
        (Fault::ErrMid, "failed"),
        (Fault::ShortGzip, "incomplete"),
        (Fault::EndlessLine { mib: 1 }, "incomplete"),
    ];
    all(cases.map(|(fault, ending)| async move {
        for one in tries(fault, true, streaming).await {
            let what = one.what();
            assert!(one.is_status(200) && one.seen.whole, "{what}");
            assert_eq!(one.upstream.len(), 1, "{what}");
            assert!(one.is_unchanged() || matches!(one.fault, Fault::ShortGzip | Fault::EndlessLine { .. }), "{what}");
            assert!(!one.seen.text().contains(one.client.terminal), "{what}");
            let kept = one.kept.as_ref().unwrap_or_else(|| panic!("a record: {what}"));
            assert_eq!(kept.ending, ending, "{what}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_but_proper_arrives_as_it_was_sent() {
    let faults = [
        Fault::Http10,
        Fault::Trailers,
        Fault::ChunkExtensions,
        Fault::EarlyHints,
        Fault::HugeEvent { mib: 4 },
        Fault::GzipBomb { mib: 4 },
        Fault::InvalidUtf8,
        Fault::Crlf,
        Fault::Comments,
        Fault::MultiData,
        Fault::Tiny,
        Fault::LeakyHeaders,
        Fault::AbsurdUsage,
        Fault::SlowHead(Duration::from_millis(300)),
        Fault::Paced(Duration::from_millis(5)),
    ];
    all(faults.map(|fault| async move {
        for one in tries(fault, false, everybody).await {
            let what = one.what();
            assert!(one.is_status(200) && one.seen.whole, "{what}");
            assert!(one.is_unchanged(), "{what}");
            let encoded = matches!(one.fault, Fault::GzipBomb { .. });
            assert_eq!(one.seen.header("content-encoding"), encoded.then_some("gzip"), "{what}");
            let words = one.seen.text().contains(one.client.terminal);
            assert!(encoded || words, "{what}");
            let kept = one.kept.as_ref().unwrap_or_else(|| panic!("a record: {what}"));
            assert_eq!(kept.ending, "complete", "{what}");
            if let Some(told) = one.upstream[0].tokens.filter(|_| one.fault != Fault::AbsurdUsage) {
                let kept = kept.tokens.unwrap_or_else(|| panic!("no usage: {what}"));
                assert_eq!(kept.total(), told.total(), "{what}");
            }
            for name in ["set-cookie", "alt-svc", "strict-transport-security", one.client.owner_header] {
                assert_eq!(one.seen.header(name), None, "{name}: {what}");
            }
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_upstream() {
    for client in [&CLIENTS[0], &CLIENTS[1], &CLIENTS[3], &CLIENTS[4], &CLIENTS[5]] {
        let rig = Rig::with(World::new().account((client.account)("only")), |config| {
            let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
            let nowhere = format!("http://{closed}");
            config.bases.responses.clone_from(&nowhere);
            config.bases.openai.clone_from(&nowhere);
            config.bases.claude.clone_from(&nowhere);
            config.bases.gemini_api = nowhere;
        })
        .await;
        let seen = rig.send(&(client.request)("one")).await;
        assert_eq!(seen.status, Some(502), "{}: {}", client.name, seen.text());
        assert!((client.is_error)(&seen.json()), "{}: {}", client.name, seen.text());
        assert_eq!(rig.health("only"), "troubled", "{}", client.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_at_the_limit_in_a_good_stream_does_not_end_it() {
    let rig = Rig::start(World::new().account(pool_testkit::FakeAccount::chatgpt("anna"))).await;
    // Used up between the last reading and this request, which is served all the same.
    rig.fake.account("anna").set_used("5h", 0.999_999_9);
    let seen = rig.send(&pool_testkit::request::Request::codex("one")).await;
    assert_eq!((seen.status, seen.whole), (Some(200), true), "{}", seen.text());
    assert!(seen.text().contains(MARKER) && seen.text().contains("response.completed"));
    assert!(!seen.text().contains("codex.rate_limits"), "it speaks of one account");
}
