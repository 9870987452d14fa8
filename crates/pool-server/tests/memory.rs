//! Memory stays bounded whatever clients and providers do (P-10). Alone in its process, whose memory is what is measured:
//! the simulated provider's share is in it too.

mod support;

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use pool_testkit::socket_client::{SocketClient, create};
use pool_testkit::{Fault, World};
use support::Rig;
use support::clients::{CLAUDE, CODEX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Resident memory of this process in MiB.
fn resident() -> u64 {
    support::process::resident_kib() / 1024
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

/// A socket upstream that answers whatever is said to it with a stream of words that does not end, and keeps nothing.
async fn talks_without_end() -> String {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", port.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = port.accept().await {
            tokio::spawn(async move {
                let config = WebSocketConfig::default().read_buffer_size(8 << 10).write_buffer_size(0);
                let mut socket =
                    tokio_tungstenite::accept_async_with_config(stream, Some(config)).await.expect("granted");
                socket.next().await;
                let words = format!(r#"{{"type":"response.output_text.delta","delta":"{}"}}"#, "words ".repeat(10_000));
                while socket.send(Message::text(words.clone())).await.is_ok() {}
            });
        }
    });
    base
}

/// The most that 50 clients take that begin a turn on a socket and never read. They are not waited for for ever.
async fn sockets_that_never_read() -> u64 {
    let base = talks_without_end().await;
    let rig = Rig::with(World::new().account((CODEX.account)("anna")), |config| {
        config.bases.responses = base;
        config.timeouts.client_stall = Duration::from_secs(4);
    })
    .await;
    peak(async {
        let mut sockets = Vec::new();
        for number in 0..50 {
            let name = format!("socket {number}");
            let mut socket = SocketClient::codex(rig.addr, &name).await.expect("granted");
            socket.send(create(&name, None, "go on")).await;
            sockets.push(socket);
        }
        support::until("all turns run", || rig.app.in_flight.count() == 50).await;
        let begun = Instant::now();
        while rig.app.sockets.count() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "a client that reads nothing is kept for ever");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(rig.recorded(50).await, 50);
    })
    .await
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
    let sockets = sockets_that_never_read().await;
    assert!(sockets < 64, "{sockets} MiB for sockets that are never read from");
    println!("MiB at most: {stalled} for clients that never read, {sockets} on sockets, {bodies} for large bodies");
}
