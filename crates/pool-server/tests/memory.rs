//! Memory stays bounded whatever clients and providers do (P-10). Alone in its process, whose memory is what is measured:
//! the simulated provider's share is in it too.

mod support;

use std::time::Duration;

use pool_testkit::{Fault, World};
use support::Rig;
use support::clients::{CLAUDE, CODEX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Resident memory of this process in MiB.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = pages.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096 / (1 << 20)
}

/// Watches memory until dropped; tells the most that it saw above the beginning.
async fn peak(work: impl Future<Output = ()>) -> u64 {
    let base = resident();
    let mut most = base;
    tokio::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => return most.max(resident()) - base,
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(resident()),
        }
    }
}

/// Sends the request and never reads.
async fn never_reads(rig: &Rig, number: usize) -> TcpStream {
    support::send_only(&(CODEX.request)(&format!("reader {number}")), rig.addr).await
}

/// Takes bodies of any size and answers each with a small error: a provider that keeps nothing.
async fn sink(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut buffer, mut head) = (vec![0; 64 << 10], Vec::new());
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
                head.extend_from_slice(&buffer[..read]);
            }
            let end = head.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0) + 4;
            let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            let mut left = length.unwrap_or(0_usize).saturating_sub(head.len() - end);
            while left > 0 {
                let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
                left = left.saturating_sub(read);
            }
            let answer = "HTTP/1.1 418 Teapot\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nothing_kept = format!("http://{}", port.local_addr().expect("bound"));
    tokio::spawn(sink(port));
    let world = World::new().account((CODEX.account)("anna")).account((CLAUDE.account)("clara"));
    let rig = Rig::with(world, |config| {
        config.bases.claude = nothing_kept;
        config.replay_budget = 64 << 20;
    })
    .await;
    assert_eq!(rig.send(&(CODEX.request)("warm")).await.status, Some(200));

    // 100 clients that never read, 32 MiB for each.
    rig.fake.fault(Fault::HugeEvent { mib: 32 });
    let stalled = peak(async {
        let mut streams = Vec::new();
        for number in 0..100 {
            streams.push(never_reads(&rig, number).await);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(streams);
    })
    .await;
    assert!(stalled < 64, "{stalled} MiB for clients that never read");
    support::until("they are gone", || rig.app.in_flight.count() == 0).await;

    // Answers of any shape, read by a client that keeps nothing.
    for fault in [Fault::HugeEvent { mib: 64 }, Fault::EndlessLine { mib: 64 }, Fault::GzipBomb { mib: 256 }] {
        rig.fake.clear_faults();
        rig.fake.fault(fault.clone());
        let grown = peak(async {
            let mut stream = never_reads(&rig, 1000).await;
            let mut buffer = vec![0; 256 << 10];
            let mut last = Vec::new();
            while let Ok(Ok(read @ 1..)) = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await
            {
                last = buffer[..read].to_vec();
                if last.ends_with(b"0\r\n\r\n") {
                    break;
                }
            }
            assert!(last.ends_with(b"0\r\n\r\n"), "{fault:?} did not come to its end");
        })
        .await;
        assert!(grown < 32, "{grown} MiB for {fault:?}");
    }

    // Large bodies, more of them than the budget can hold.
    let piece: std::sync::Arc<[u8]> = vec![b'x'; 1 << 20].into();
    let bodies = peak(async {
        let addr = rig.addr;
        let senders = (0..20).map(|_| {
            let piece = piece.clone();
            async move {
                let mut stream = TcpStream::connect(addr).await.expect("connected");
                let head = format!(
                    "POST /v1/messages HTTP/1.1\r\nhost: {addr}\r\nuser-agent: claude-cli/2.1.330 (external, cli)\r\n\
                     anthropic-version: 2023-06-01\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    32 * piece.len()
                );
                stream.write_all(head.as_bytes()).await.expect("sent");
                for _ in 0..32 {
                    stream.write_all(&piece).await.expect("sent");
                }
                let mut said = String::new();
                stream.read_to_string(&mut said).await.expect("text");
                assert!(said.starts_with("HTTP/1.1 418"), "{said}");
            }
        });
        let _ = futures_util::future::join_all(senders).await;
    })
    .await;
    assert!(bodies < 64 + 64, "{bodies} MiB for 640 MiB of bodies on a budget of 64");
    println!("MiB at most: {stalled} for clients that never read, {bodies} for large bodies");
}
