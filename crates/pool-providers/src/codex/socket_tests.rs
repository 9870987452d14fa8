use pool_core::account::Identity;
use pool_core::verdict::{Cause, Until};
use pool_core::{Fraction, Scope, Settings, Span, Verdict};

use super::super::ID;
use super::super::routes::ROUTES;
use super::*;
use crate::request::{Body, Head};

const NOW: UnixMs = UnixMs(1_795_341_460_000);

fn account(kind: AccountKind) -> Account {
    Account {
        id: Identity::File("a.json".into()).account_id(ID),
        provider: ID,
        kind,
        name: "a".into(),
        file: "a.json".into(),
        plan: None,
        email: None,
        settings: Settings::default(),
    }
}

fn route() -> &'static Route {
    ROUTES.iter().find(|route| route.id == "responses socket").expect("a row")
}

fn demand(message: &Value, headers: &HeaderMap) -> Demand {
    let head = Head { method: &http::Method::GET, path: "/v1/responses", query: None, headers };
    super::super::demand::of(route(), &head, &Body { bytes: message.to_string().into(), whole: true })
}

fn begun(kind: AccountKind) -> Box<dyn SocketTurns> {
    let mut turns = turns(route()).expect("a socket's row");
    let message = json!({ "type": CREATE, "model": "gpt-x" });
    turns.begin(&account(kind), &demand(&message, &HeaderMap::new()), NOW);
    turns
}

fn hear(turns: &mut dyn SocketTurns, message: &Value) -> Heard {
    turns.hear(message.to_string().as_bytes(), NOW)
}

/// The recorded conversations: each message of the client's with the messages that answered it.
fn recorded(recording: &str) -> Vec<(Value, Vec<Value>)> {
    let recording: Value = serde_json::from_str(recording).expect("JSON");
    let exchanges = recording["exchanges"].as_array().expect("exchanges");
    let turns = exchanges.iter().filter(|exchange| exchange["websocket"] == "recv");
    turns.map(|turn| (turn["message"].clone(), turn["server_messages"].as_array().expect("messages").clone())).collect()
}

#[test]
fn recorded_conversations_are_read_turn_by_turn() {
    for recording in
        [include_str!("../../fixtures/codex_ws.json"), include_str!("../../fixtures/codex_builtin_ws.json")]
    {
        let mut turns = turns(route()).expect("a socket's row");
        let recorded = recorded(recording);
        assert_eq!(recorded.len(), 3);
        for (nth, (create, answers)) in recorded.iter().enumerate() {
            assert_eq!(turns.asked(create.to_string().as_bytes()), Asked::Turn);
            let demand = demand(create, &HeaderMap::new());
            assert_eq!(demand.is_bound(), nth > 0, "all but the warming up build on the answer before");
            assert_eq!((demand.model.as_deref(), demand.kinds), (Some("gpt-6.1-sol"), &[][..]));
            assert_eq!(demand.session.as_deref(), create["prompt_cache_key"].as_str());
            turns.begin(&account(AccountKind::Subscription), &demand, NOW);
            for (at, answer) in answers.iter().enumerate() {
                let heard = hear(&mut *turns, answer);
                let fate = if at == 0 { Fate::Hold } else { Fate::Show };
                assert_eq!((heard.fate, heard.failure), (fate, None), "{answer}");
            }
            assert_eq!(turns.stage(), Stage::Ended);
            assert_eq!(turns.usage().map(|usage| usage.total()), Some(1234));
            assert_eq!(turns.model(), Some("gpt-6.1-sol"));
        }
    }
}

#[test]
fn errors_are_judged_by_the_status_they_bring() {
    let limit = json!({ "type": "usage_limit_reached", "message": "m", "resets_at": 1_795_341_520 });
    let headers = json!({ "x-codex-primary-used-percent": "100", "x-codex-primary-window-minutes": 300 });
    let key = AccountKind::ApiKey;
    let plan = AccountKind::Subscription;
    for (kind, message, verdict, shown) in [
        (
            plan,
            json!({ "type": "error", "status": 429, "error": limit, "headers": headers }),
            Verdict::Elsewhere,
            false,
        ),
        (plan, json!({ "type": "error", "status_code": 429, "error": limit }), Verdict::Elsewhere, false),
        (
            plan,
            json!({ "type": "error", "status": 401, "error": { "code": "token_expired" } }),
            Verdict::RefreshThenSame,
            false,
        ),
        (
            key,
            json!({ "type": "error", "status": 401, "error": { "code": "invalid_api_key" } }),
            Verdict::Elsewhere,
            false,
        ),
        (
            plan,
            json!({ "type": "error", "status": 503, "error": { "code": "server_is_overloaded" } }),
            Verdict::Elsewhere,
            false,
        ),
        (
            plan,
            json!({ "type": "error", "status": 400, "error": { "code": "invalid_encrypted_content" } }),
            Verdict::StripThenSame,
            false,
        ),
        (
            plan,
            json!({ "type": "error", "status": 400, "error": { "code": "previous_response_not_found" } }),
            Verdict::Fatal,
            true,
        ),
        (plan, json!({ "type": "error", "code": "server_is_overloaded", "message": "m" }), Verdict::Elsewhere, false),
        (
            plan,
            json!({ "type": "response.failed", "response": { "error": { "code": "context_length_exceeded" } } }),
            Verdict::Fatal,
            true,
        ),
        (
            plan,
            json!({ "type": "response.failed", "response": { "error": { "code": "rate_limit_exceeded" } } }),
            Verdict::Elsewhere,
            false,
        ),
    ] {
        let mut turns = begun(kind);
        let heard = hear(&mut *turns, &message);
        assert_eq!(heard.failure.as_ref().map(|judgement| judgement.verdict), Some(verdict), "{message}");
        assert_eq!(heard.fate == Fate::Show, shown, "{message}");
        assert_eq!(turns.stage() == Stage::Ended, shown, "{message}");
        assert_eq!(heard.windows.len(), usize::from(message["headers"].is_object()), "{message}");

        // After something meaningful the client sees it, whatever it is.
        let mut turns = begun(kind);
        hear(&mut *turns, &json!({ "type": "response.output_text.delta", "delta": "x" }));
        let late = hear(&mut *turns, &message);
        assert!(late.fate == Fate::Show && late.failure.is_some() && turns.stage() == Stage::Ended, "{message}");
    }
    let mut turns = begun(plan);
    let heard = hear(&mut *turns, &json!({ "type": "error", "status": 429, "error": limit }));
    let penalty = heard.failure.and_then(|judgement| judgement.penalty).expect("a penalty");
    assert_eq!((penalty.cause, penalty.until), (Cause::QuotaSpent, Until::At(UnixMs(1_795_341_520_000))));
}

#[test]
fn limits_are_read_and_never_shown_as_they_came() {
    let limits = json!({
        "type": "codex.rate_limits", "plan_type": "plus",
        "rate_limits": { "primary": { "used_percent": 42, "window_minutes": 300, "reset_at": 1_795_345_060 } },
    });
    let mut turns = begun(AccountKind::Subscription);
    let heard = hear(&mut *turns, &limits);
    assert_eq!((heard.fate, heard.windows.len(), turns.stage()), (Fate::Limits, 1, Stage::Preamble));
    hear(&mut *turns, &json!({ "type": "response.completed", "response": {} }));
    let between = hear(&mut *turns, &limits);
    assert_eq!((between.fate, between.windows.len()), (Fate::Limits, 1));

    let window = pool_core::standing::StandingWindow {
        name: "5h".into(),
        scope: Scope::Account,
        span: Some(Span::from_mins(300)),
        used: Fraction::new(0.256).expect("a number"),
        resets_at: Some(NOW + Span::from_secs(60)),
    };
    let standing = Standing { accounts: 1, ready: 1, windows: vec![window], own: None };
    let told = turns.limits(&standing, NOW).expect("known");
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(
        told["rate_limits"],
        json!({ "primary": { "used_percent": 26.0, "window_minutes": 300, "reset_at": 1_795_341_520 }, "secondary": null })
    );
    assert_eq!(turns.limits(&Standing::default(), NOW), None);
}

#[test]
fn a_connection_that_upstream_ends_for_its_age_is_nobodys_failure() {
    let message = json!({
        "type": "error", "status": 400,
        "error": { "type": "invalid_request_error", "code": "websocket_connection_limit_reached", "message": "60 minutes" },
    });
    let mut turns = begun(AccountKind::Subscription);
    let heard = hear(&mut *turns, &message);
    assert_eq!(heard.fate, Fate::Expired);
    assert_eq!(heard.failure.and_then(|judgement| judgement.penalty), None);
    turns.end();
    assert_eq!(hear(&mut *turns, &message).fate, Fate::Expired);
}

#[test]
fn a_refusal_is_the_http_reply_folded_into_a_message() {
    let mut reply = Reply::json(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": { "type": "usage_limit_reached" } }));
    reply.headers.insert("x-codex-primary-used-percent", HeaderValue::from_static("100"));
    let turns = begun(AccountKind::Subscription);
    let message: Value = serde_json::from_slice(&turns.refuse(&reply)).expect("JSON");
    assert_eq!(
        message,
        json!({
            "type": "error", "status": 429, "error": { "type": "usage_limit_reached" },
            "headers": { "content-type": "application/json", "x-codex-primary-used-percent": "100" },
        })
    );
    let again: Value = serde_json::from_slice(&turns.start_over()).expect("JSON");
    assert_eq!(again["error"]["code"], "previous_response_not_found");
}

#[test]
fn what_is_no_turn_is_an_aside_and_odd_messages_pass() {
    let mut turns = begun(AccountKind::Subscription);
    let odd = ["{\"type\":\"response.processed\"}", "[]", "", "{\"type\":7}", "{\"type\":\"response.create"];
    for odd in odd.map(str::as_bytes).into_iter().chain([&b"\xff"[..]]) {
        assert_eq!(turns.asked(odd), Asked::Aside, "{odd:?}");
        let heard = turns.hear(odd, NOW);
        assert_eq!((heard.failure, heard.windows.len()), (None, 0), "{odd:?}");
    }
    let mut turns = begun(AccountKind::Subscription);
    assert_eq!(hear(&mut *turns, &json!({ "type": "fake.unknown" })).fate, Fate::Show);
    assert_eq!(turns.stage(), Stage::Meaningful);
}
