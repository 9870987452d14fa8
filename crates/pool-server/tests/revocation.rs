//! A credential that is revoked opens nothing within a second, under load: not what comes, and not what is under way.

mod support;

use std::time::{Duration, Instant};

use pool_server::people::Issued;
use pool_testkit::request::Request;
use pool_testkit::socket_client::{Came, SocketClient, create};
use pool_testkit::{FakeAccount, Fault, Style, World};
use support::clients::{CLAUDE, CODEX};
use support::people::{as_somebody, somebody};
use support::{Rig, until};
use tokio::task::JoinHandle;

/// The promise.
const WITHIN: Duration = Duration::from_secs(1);
/// Of each kind, for each person.
const STREAMS: usize = 20;

/// A request that tells whether its answer came whole, and when it ended.
fn send(rig: &Rig, request: Request) -> JoinHandle<(Option<u16>, bool, Instant)> {
    let addr = rig.addr;
    tokio::spawn(async move {
        let seen = request.send(addr, Duration::from_mins(1)).await.expect("connected");
        (seen.status, seen.whole, Instant::now())
    })
}

/// Streams that last some seconds.
async fn busy() -> Rig {
    let world = World::new()
        .account(FakeAccount::chatgpt("anna"))
        .account(FakeAccount::chatgpt("bert"))
        .account(FakeAccount::claude("carl"));
    let rig = Rig::start(world).await;
    rig.fake.fault(Fault::Paced(Duration::from_millis(100)));
    rig.fake.set_style(Style { extra_events: 50, ..Style::default() });
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_and_others_go_on() {
    let rig = busy().await;
    let (mira, nadia) = (somebody(&rig, "Mira").await, somebody(&rig, "Nadia").await);
    let streams = |issued: &Issued| -> Vec<_> {
        let request = |n: usize| {
            let client = if n.is_multiple_of(2) { CODEX } else { CLAUDE };
            as_somebody((client.request)(&format!("{} {n}", issued.credential.id)), issued)
        };
        (0..STREAMS).map(|n| send(&rig, request(n))).collect()
    };
    let (of_mira, of_nadia) = (streams(&mira), streams(&nadia));
    until("all streams flow", || rig.app.in_flight.count() == 2 * STREAMS).await;
    // Most of them speak by then.
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let revoked = Instant::now();
    rig.app.people.revoke(&mira.credential.id).await.expect("revoked");
    let refused = rig.send(&as_somebody((CODEX.request)("new"), &mira)).await;
    assert!(matches!(refused.status, Some(400 | 401)), "{}", refused.text());
    for stream in of_mira {
        let (status, whole, ended) = stream.await.expect("no panic");
        // Cut, so that nobody takes it for whole; or refused, if nothing had been answered yet.
        assert!(!whole || matches!(status, Some(400 | 401)), "{status:?}");
        assert!(ended - revoked < WITHIN, "after {:?}", ended - revoked);
    }
    until("what was upstream has ended too", || rig.app.in_flight.count() <= STREAMS).await;
    for stream in of_nadia {
        let (status, whole, _) = stream.await.expect("no panic");
        assert_eq!((status, whole), (Some(200), true));
    }
    // What was refused before it was answered leaves no record; all that came to their end do.
    let mut counts = (0, 0);
    for _ in 0..200 {
        let records = rig.records().await;
        let count = |ending: &str| records.iter().filter(|record| record.ending == ending).count();
        counts = (count("complete"), count("aborted"));
        if counts.0 == STREAMS && counts.1 > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(counts.0 == STREAMS && counts.1 > 0, "complete and aborted: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_still_waits_for_an_answer_is_refused() {
    let rig = Rig::start(World::new().account(FakeAccount::claude("carl"))).await;
    rig.fake.fault(Fault::Silent);
    let mira = somebody(&rig, "Mira").await;
    let waiting = send(&rig, as_somebody((CLAUDE.request)("one"), &mira));
    until("it waits", || rig.app.in_flight.count() == 1).await;
    let paused = Instant::now();
    rig.app.people.edit(&mira.credential.user, false, |user| user.paused = true).await.expect("changed");
    let (status, _, ended) = waiting.await.expect("no panic");
    assert_eq!(status, Some(401));
    assert!(ended - paused < WITHIN, "after {:?}", ended - paused);
    until("nothing is left", || rig.app.in_flight.count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_close_between_turns_and_within_one() {
    let rig = busy().await;
    let (mira, nadia) = (somebody(&rig, "Mira").await, somebody(&rig, "Nadia").await);
    let mut idle = open(&rig, &mira, "idle").await;
    let mut talking = open(&rig, &mira, "talking").await;
    let mut others = open(&rig, &nadia, "others").await;
    talking.send(create("talking", None, "say hi")).await;
    others.send(create("others", None, "say hi")).await;
    assert!(matches!(talking.next().await, Came::Event(_)));

    let revoked = Instant::now();
    rig.app.people.remove(&mira.credential.user, false).await.expect("removed");
    for socket in [&mut idle, &mut talking] {
        let end = loop {
            match socket.next().await {
                Came::Event(_) => {}
                end => break end,
            }
        };
        assert_eq!(end, Came::Closed(Some(1008)));
        assert!(revoked.elapsed() < WITHIN, "after {:?}", revoked.elapsed());
    }
    let end = loop {
        match others.next().await {
            Came::Event(event) if event["type"] == "response.completed" => break true,
            Came::Event(_) => {}
            _ => break false,
        }
    };
    assert!(end, "another's turn goes on");
}

async fn open(rig: &Rig, issued: &Issued, conversation: &str) -> SocketClient {
    let bearer = format!("Bearer {}", issued.secret.expose());
    let headers = [
        ("authorization", &*bearer),
        ("user-agent", "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.169.0)"),
        ("originator", "codex_exec"),
        ("openai-beta", "responses_websockets=2026-02-06"),
        ("session-id", conversation),
        ("thread-id", conversation),
    ];
    SocketClient::connect(rig.addr, "/v1/responses", &headers).await.expect("granted")
}
