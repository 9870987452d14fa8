//! The socket, spoken to directly.

use std::net::SocketAddr;

use serde_json::json;

use super::fake;
use crate::socket_client::{Came, NotGranted, SocketClient, create, response_id};
use crate::{FakeUpstream, Fault, Target};

async fn connect(fake: &FakeUpstream, account: &str) -> Result<SocketClient, NotGranted> {
    let handle = fake.account(account);
    let bearer = format!("Bearer {}", handle.access_token());
    let addr: SocketAddr = fake.addr();
    let path = if account == "oak" { "/openai/v1/responses" } else { "/chatgpt/backend-api/codex/responses" };
    SocketClient::connect(addr, path, &[("authorization", &bearer)]).await
}

fn kinds(came: &[Came]) -> Vec<String> {
    let kind = |came: &Came| match came {
        Came::Event(event) => event["type"].as_str().unwrap_or("?").to_owned(),
        other => format!("{other:?}"),
    };
    came.iter().map(kind).collect()
}

#[tokio::test]
async fn a_conversation_goes_on_by_its_last_answer_on_its_own_connection_only() {
    let fake = fake().await;
    for account in ["anna", "oak"] {
        let mut socket = connect(&fake, account).await.expect("granted");
        let mut warm = create("c", None, "");
        warm["generate"] = false.into();
        warm["input"] = json!([]);
        let warmed = socket.turn(warm).await;
        assert_eq!(kinds(&warmed), ["response.created", "response.completed"], "{account}");
        let first = socket.turn(create("c", response_id(&warmed).as_deref(), "one")).await;
        let id = response_id(&first).expect("completed");
        let second = socket.turn(create("c", Some(&id), "two")).await;
        assert!(response_id(&second).is_some(), "{account}: {second:?}");

        let mut other = connect(&fake, account).await.expect("granted");
        let strange = other.turn(create("c", Some(&id), "two")).await;
        let Some(Came::Event(error)) = strange.last() else { panic!("{strange:?}") };
        assert_eq!((error["type"].as_str(), error["status"].as_u64()), (Some("error"), Some(400)));
        assert_eq!(error["error"]["code"], "previous_response_not_found", "{account}");
        let again = other.turn(create("c", None, "one")).await;
        assert!(response_id(&again).is_some(), "the connection is still good");
        assert_eq!(fake.books().account(account).completed, 4, "{account}");
    }
}

#[tokio::test]
async fn handshakes_and_turns_fail_as_planned() {
    let fake = fake().await;
    for (fault, status) in [(Fault::Limit, 429), (Fault::Expired, 401), (Fault::Status(426), 426), (Fault::Reset, 0)] {
        let account = fake.account("anna");
        account.plan(Target::Handshake, Some(1), fault.clone());
        assert_eq!(connect(&fake, "anna").await.expect_err("refused").status, status, "{fault:?}");
    }
    fake.account("anna").set_used("5h", 0.0);
    for (fault, last) in [
        (Fault::Throttle { retry_after: 1 }, "error"),
        (Fault::OverloadFirst, "response.failed"),
        (Fault::ErrMid, "response.failed"),
        (Fault::CloseBeforeHead, "Closed(None)"),
        (Fault::NoTerminal, "Closed(None)"),
        (Fault::CutMid, "Broke"),
        (Fault::Reset, "Broke"),
    ] {
        let mut socket = connect(&fake, "anna").await.expect("granted");
        fake.account("anna").fault_next(1, fault.clone());
        let came = kinds(&socket.turn(create("c", None, "one")).await);
        assert!(came.last().is_some_and(|kind| kind.starts_with(last)), "{fault:?}: {came:?}");
        let began = came.iter().any(|kind| kind == "response.output_item.added");
        assert_eq!(began, matches!(fault, Fault::ErrMid | Fault::NoTerminal | Fault::CutMid), "{fault:?}: {came:?}");
    }
}
