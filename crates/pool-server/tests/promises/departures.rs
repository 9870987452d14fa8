//! A client that leaves frees its upstream, and what it has cost is recorded once (P-15).

use std::time::Duration;

use pool_testkit::{Ended, Fault, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::clients::{CLAUDE, CODEX, Client};
use crate::support::{Rig, send_only, until};

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Exit {
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// It closes its sending side only.
    HalfClose,
}

async fn leave(client: &Client, fault: Fault, read_first: bool, exit: Exit, records: usize) {
    let what = format!("{}, {fault:?}, {exit:?}", client.name);
    let rig = Rig::start(World::new().account((client.account)("anna"))).await;
    rig.fake.account("anna").fault(fault);
    let request = (client.request)("one");
    let mut stream = send_only(&request, rig.addr).await;
    until("the request reaches the provider", || rig.fake.books().inference().count() == 1).await;
    if read_first {
        let mut first = [0; 64];
        assert!(stream.read(&mut first).await.expect("readable") > 0, "{what}");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let held = match exit {
        Exit::Close => {
            drop(stream);
            None
        }
        Exit::Reset => {
            stream.set_zero_linger().expect("set");
            drop(stream);
            None
        }
        Exit::HalfClose => {
            stream.shutdown().await.expect("shut");
            Some(stream)
        }
    };
    let left = tokio::time::Instant::now();
    until(&format!("upstream is let go: {what}"), || {
        rig.fake.books().inference().all(|entry| entry.ended == Ended::PeerLeft)
    })
    .await;
    assert!(left.elapsed() < Duration::from_secs(2), "{what}: {:?}", left.elapsed());
    until("the slot is free", || rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.in_flight == 0))).await;
    assert_eq!(rig.app.in_flight.count(), 0, "{what}");
    assert_eq!(rig.health("anna"), "healthy", "{what}");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let kept = rig.records().await;
    assert_eq!(kept.len(), records, "{what}: {kept:?}");
    assert!(kept.iter().all(|kept| kept.ending == "aborted" && kept.attempts == 1), "{what}: {kept:?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_upstream() {
    let slow = || Fault::Paced(Duration::from_millis(400));
    tokio::join!(
        // In the middle of the answer.
        leave(&CODEX, Fault::Stall, true, Exit::Reset, 1),
        leave(&CODEX, Fault::Stall, true, Exit::Close, 1),
        leave(&CLAUDE, Fault::Stall, true, Exit::Close, 1),
        leave(&CLAUDE, Fault::Stall, true, Exit::HalfClose, 1),
        // While its first events are held back: they have cost something already.
        leave(&CODEX, slow(), false, Exit::Close, 1),
        leave(&CLAUDE, slow(), false, Exit::Reset, 1),
        // Before there was an answer: the record is nobody's.
        leave(&CODEX, Fault::Silent, false, Exit::Close, 1),
        leave(&CLAUDE, Fault::Silent, false, Exit::Reset, 1),
    );
}
