//! A slow start, and requests too large to be sent twice.

use std::time::{Duration, Instant};

use pool_testkit::{Fault, Style, World};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::clients::{CLAUDE, CODEX, Client};
use crate::support::{Rig, send_only};

/// Events are 250 ms apart, and heads are held for 150 ms.
async fn slow(client: &Client, spare: bool) -> Rig {
    let mut world = World::new().account((client.account)("first").setting("priority", 5));
    if spare {
        world = world.account((client.account)("second"));
    }
    let rig = Rig::with(world, |config| config.timeouts.hold = Duration::from_millis(150)).await;
    rig.fake.set_style(Style { pace: Some(Duration::from_millis(250)), ..Style::default() });
    rig
}

/// The time until the first byte of the answer.
async fn first_byte(rig: &Rig, client: &Client) -> (Duration, TcpStream) {
    let begun = Instant::now();
    let mut stream = send_only(&(client.request)("one"), rig.addr).await;
    stream.read_u8().await.expect("readable");
    (begun.elapsed(), stream)
}

async fn moves_on_behind_an_open_stream(client: Client) {
    let rig = slow(&client, true).await;
    // Some events of preamble, and then the trouble.
    rig.fake.account("first").fault(Fault::OverloadFirst);
    let (waited, _stream) = first_byte(&rig, &client).await;
    assert!(waited < Duration::from_millis(1500), "{}: {waited:?}", client.name);

    let rig = slow(&client, true).await;
    rig.fake.account("first").fault(Fault::OverloadFirst);
    let seen = rig.send(&(client.request)("one")).await;
    let what = format!("{}: {}", client.name, seen.text());
    assert_eq!((seen.status, seen.whole), (Some(200), true), "{what}");
    assert!(seen.text().contains(client.terminal) && !seen.text().contains("verloaded"), "{what}");
    assert_eq!(seen.header("x-codex-turn-state"), None, "nobody knew then whose it would be");
    let accounts: Vec<_> = rig.fake.books().inference().map(|entry| entry.account.clone()).collect();
    assert_eq!(accounts, [Some("first".to_owned()), Some("second".to_owned())], "{what}");
    let kept = rig.record_of(&seen).await;
    assert_eq!((kept.ending.as_str(), kept.attempts), ("complete", 2), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_stream_says_nothing_the_client_waits_on_an_open_one() {
    tokio::join!(moves_on_behind_an_open_stream(CODEX), moves_on_behind_an_open_stream(CLAUDE));
}

/// `words`: what the client reads then.
async fn waits_in_vain(client: Client, words: &str) {
    let rig = slow(&client, false).await;
    rig.fake.fault(Fault::OverloadFirst);
    let seen = rig.send(&(client.request)("one")).await;
    let what = format!("{}: {}", client.name, seen.text());
    assert_eq!((seen.status, seen.whole), (Some(200), true), "{what}");
    assert!(seen.text().contains(words) && !seen.text().contains(client.terminal), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_wait_was_in_vain_the_stream_ends_with_the_dialects_own_error() {
    tokio::join!(waits_in_vain(CODEX, "response.failed"), waits_in_vain(CLAUDE, "event: error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_be_kept_is_sent_once_and_says_so() {
    // Too large for one request, and too large for what the process has left.
    for (cap, budget) in [(1 << 20, 256 << 20), (16 << 20, 1 << 20)] {
        for client in [CODEX, CLAUDE] {
            let what = format!("{}, cap {cap}, budget {budget}", client.name);
            let world = World::new()
                .account((client.account)("first").setting("priority", 5))
                .account((client.account)("second"));
            let rig = Rig::with(world, |config| {
                config.replay_cap = cap;
                config.replay_budget = budget;
            })
            .await;
            let mut request = (client.request)("one");
            let body = String::from_utf8(request.body.clone()).expect("text");
            request.body = body.replace("say hi", &"say hi ".repeat(400_000)).into_bytes();
            let seen = rig.send(&request).await;
            assert_eq!((seen.status, seen.whole), (Some(200), true), "{what}: {}", seen.text());
            let books = rig.fake.books();
            let arrived = books.inference().last().expect("a request");
            assert!(arrived.body_len >= request.body.len() - 64, "{what}: {} arrived", arrived.body_len);

            rig.fake.account("first").fault(Fault::Overloaded);
            let before = rig.fake.books().inference().count();
            let seen = rig.send(&request).await;
            assert_eq!(seen.status, Some(client.down), "{what}: {}", seen.text());
            assert_eq!(rig.fake.books().inference().count() - before, 1, "{what}");
            let seen = rig.send(&(client.request)("small")).await;
            assert_eq!(seen.status, Some(200), "{what}: the budget was given back: {}", seen.text());
        }
    }
}
