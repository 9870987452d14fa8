//! An account is exhausted, revoked, overloaded or cut off, between turns and within them: the frames that are exchanged, against
//! the record in `transcripts/`.

use pool_testkit::request::Request;
use pool_testkit::{FakeAccount, Fault, Refusal, Target, World};

use crate::play::Play;
use crate::support::{Rig, until};

/// Two subscriptions: conversations begin on `one`, which has more left.
async fn play() -> Play {
    let two = FakeAccount::chatgpt("two").used("5h", 0.5).used("week", 0.5);
    Play::new(Rig::with(World::new().account(FakeAccount::chatgpt("one")).account(two), |_| {}).await)
}

/// What happens to the account.
struct Trouble {
    name: &'static str,
    about: &'static str,
    strike: fn(&Rig),
}

const WITHIN: [Trouble; 6] = [
    Trouble {
        name: "exhausted",
        about: "its limit is reached",
        strike: |rig| rig.fake.account("one").fault_next(1, Fault::Limit),
    },
    Trouble {
        name: "renewed",
        about: "its access token is refused; a renewed one is good",
        strike: |rig| {
            rig.fake.account("one").revoke_access();
            rig.fake.account("one").fault_next(1, Fault::Revoked);
        },
    },
    Trouble {
        name: "revoked",
        about: "its sign-in is revoked",
        strike: |rig| {
            rig.fake.account("one").revoke_all(Refusal::Invalidated);
            rig.fake.account("one").fault_next(1, Fault::Revoked);
        },
    },
    Trouble {
        name: "overloaded",
        about: "it is overloaded, after response.created",
        strike: |rig| {
            rig.fake.account("one").fault_next(1, Fault::OverloadFirst);
        },
    },
    Trouble {
        name: "cut",
        about: "its connection breaks, after response.created",
        strike: |rig| {
            rig.fake.account("one").fault_next(1, Fault::CutFirst);
        },
    },
    Trouble {
        name: "closed",
        about: "it closes instead of answering",
        strike: |rig| {
            rig.fake.account("one").fault_next(1, Fault::CloseBeforeHead);
        },
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn within_a_turn_that_stands_alone_another_account_takes_over() {
    for Trouble { name, about, strike } in WITHIN {
        let mut play = play().await;
        play.connects().await;
        strike(&play.rig);
        play.note(&format!("one: {about}"));
        play.says("hello").await;
        play.says("go on").await;
        play.compare(&format!("{name}-alone"), "A turn that stands by itself.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_turn_that_builds_on_another_the_client_starts_over() {
    for Trouble { name, about, strike } in WITHIN {
        let mut play = play().await;
        play.says("hello").await;
        strike(&play.rig);
        play.note(&format!("one: {about}"));
        play.says("go on").await;
        play.says("and on").await;
        play.compare(&format!("{name}-building"), "A turn that builds on the answer before it.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn between_turns_an_account_that_cannot_go_on_is_left() {
    let mut play = play().await;
    play.rig.fake.account("one").fault_next(1, Fault::LimitEvent);
    play.note("one: its limit is reached with this turn");
    play.says("hello").await;
    play.says("go on").await;
    play.compare("exhausted-between", "An account that has told its limit before the next turn.");

    let mut play = self::play().await;
    play.says("hello").await;
    play.rig.fake.account("one").revoke_all(Refusal::Invalidated);
    play.rig.send(&Request::codex("another conversation")).await;
    until("it is known", || play.rig.health("one") == "parked").await;
    play.rig.fake.take_frames();
    play.note("one: its sign-in is revoked; somebody else's request has found out");
    play.says("go on").await;
    play.compare("revoked-between", "An account that is revoked between turns.");

    let mut play = self::play().await;
    play.says("hello").await;
    play.rig.fake.hang_up();
    play.note("one: it closes the connection");
    play.is_closed().await;
    play.says("go on").await;
    play.compare("closed-between", "A connection that upstream ends between turns, as it does after an hour.");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_no_sockets_any_more_http_goes_on() {
    let mut play = play().await;
    play.says("hello").await;
    play.rig.fake.account("one").fault_next(1, Fault::Limit);
    play.rig.fake.account("two").plan(Target::Handshake, None, Fault::Status(404));
    play.note("one: its limit is reached. two: has no sockets");
    play.says("go on").await;
    play.says("and on").await;
    play.compare("exhausted-then-no-socket", "The next account has no sockets.");

    let mut play = self::play().await;
    play.connects().await;
    play.rig.fake.account("one").fault_next(1, Fault::Limit);
    play.rig.fake.account("two").plan(Target::Handshake, None, Fault::Status(426));
    play.note("one: its limit is reached. two: has no sockets");
    play.says("hello").await;
    play.compare("exhausted-then-no-socket-alone", "The next account has no sockets, and the turn stands by itself.");

    let mut play = self::play().await;
    play.says("hello").await;
    play.rig.fake.hang_up();
    play.rig.fake.account("one").plan(Target::Handshake, None, Fault::Status(404));
    play.note("one: it closes the connection, and has no sockets any more");
    play.is_closed().await;
    play.says("go on").await;
    play.compare(
        "closed-then-no-socket",
        "The same account has no sockets any more: the conversation stays on it, over HTTP.",
    );
}
