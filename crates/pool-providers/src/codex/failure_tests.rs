use http::{HeaderMap, Method};
use pool_core::account::Identity;

use super::super::ID;
use super::super::routes::ROUTES;
use super::*;

/// 2026-11-22 09:57:40 UTC
const NOW: UnixMs = UnixMs(1_795_341_460_000);

fn headers(agent: &'static str) -> HeaderMap {
    [(http::header::USER_AGENT, HeaderValue::from_static(agent))].into_iter().collect()
}

fn reply_to(agent: &'static str, failure: &Failure) -> (u16, HeaderMap, Value) {
    let headers = headers(agent);
    let head = Head { method: &Method::POST, path: "/v1/responses", query: None, headers: &headers };
    let reply = reply(None, &head, failure, NOW);
    (reply.status.as_u16(), reply.headers, serde_json::from_slice(&reply.body).expect("JSON"))
}

fn refusal(why: RefusalWhy) -> Failure {
    Failure::Refused(Refusal { provider: ID, model: Some("gpt-x".into()), why, considered: Vec::new() })
}

fn spent(resets_in: Option<u64>) -> Failure {
    refusal(RefusalWhy::AllSpent {
        resets_at: resets_in.map(|secs| NOW + Span::from_secs(secs)),
        window: Some("5h".into()),
        span: Some(Span::from_hours(5)),
    })
}

const CLI: &str = "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm";
const SDK: &str = "OpenAI/Python 3.54.0";

#[test]
fn a_spent_pool_is_codexs_own_limit() {
    let (status, headers, body) = reply_to(CLI, &spent(Some(2540)));
    assert_eq!(status, 429);
    assert_eq!(
        body,
        json!({"error": {
            "message": "All pooled Codex accounts are at their limit for gpt-x · resets 10:40 AM UTC (in 43 min) (5h window)",
            "type": "usage_limit_reached", "param": null, "code": "usage_limit_reached",
            "resets_at": 1_795_344_000, "resets_in_seconds": 2540,
        }})
    );
    for (name, value) in [
        ("x-codex-primary-used-percent", "100"),
        ("x-codex-primary-window-minutes", "300"),
        ("x-codex-primary-reset-at", "1795344000"),
        ("retry-after", "2540"),
        ("x-should-retry", "false"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    // Nothing known, nothing told.
    let (_, headers, body) = reply_to(SDK, &spent(None));
    assert_eq!(body["error"].get("resets_at"), None);
    assert!(!headers.contains_key("retry-after") && !headers.contains_key("x-codex-primary-reset-at"));
}

#[test]
fn each_client_gets_the_status_that_it_understands() {
    let text = || "made-up reason".to_owned();
    let cases = [
        (Failure::BadCredential { message: text() }, 400, 401),
        (Failure::BadRequest { status: StatusCode::PAYLOAD_TOO_LARGE, message: text() }, 413, 413),
        (Failure::UpstreamDown { message: text(), retry_after: Duration::from_millis(1500) }, 503, 503),
        (Failure::Timeout { message: text() }, 504, 504),
        (Failure::NotServed { message: text() }, 404, 404),
        (refusal(RefusalWhy::NoAccounts), 400, 403),
        (refusal(RefusalWhy::NoneOfThisKind), 400, 403),
        (refusal(RefusalWhy::NeedsPerson), 400, 403),
        (refusal(RefusalWhy::Trouble { until: None, cause: Cause::Throttled }), 503, 503),
        (refusal(RefusalWhy::Busy), 503, 429),
        (spent(Some(60)), 429, 429),
    ];
    for (failure, cli, sdk) in cases {
        for (agent, expected) in [(CLI, cli), (SDK, sdk)] {
            let (status, headers, body) = reply_to(agent, &failure);
            assert_eq!(status, expected, "{agent} {failure:?}");
            assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
            // What may pass says when; what may not says that it will not.
            let passes =
                status >= 500 || matches!(&failure, Failure::Refused(refusal) if refusal.why == RefusalWhy::Busy);
            assert_eq!(headers.contains_key("x-should-retry"), !passes, "{failure:?}");
            assert_eq!(headers.contains_key("retry-after"), status >= 500 || status == 429, "{failure:?}");
        }
    }
}

#[test]
fn trouble_of_seconds_has_no_code_that_stops_codex() {
    let until = Some(NOW + Span::from_secs(7));
    let (_, headers, body) = reply_to(CLI, &refusal(RefusalWhy::Trouble { until, cause: Cause::ModelOverloaded }));
    assert_eq!(body["error"]["code"], Value::Null);
    assert_eq!(headers["retry-after"], "7");
}

#[test]
fn a_limit_of_seconds_is_sat_out_and_a_long_throttle_is_a_limit() {
    let status = |agent, failure: &Failure| reply_to(agent, failure).0;
    let throttled = |secs| {
        let until = Some(NOW + Span::from_secs(secs));
        refusal(RefusalWhy::Trouble { until, cause: Cause::Throttled })
    };
    assert_eq!((status(CLI, &spent(Some(6))), status(SDK, &spent(Some(6)))), (503, 429));
    assert_eq!((status(CLI, &throttled(6)), status(CLI, &throttled(3600))), (503, 429));
    let (_, headers, body) = reply_to(SDK, &spent(Some(6)));
    assert_eq!((headers["retry-after"].to_str().ok(), headers.get("x-should-retry")), (Some("6"), None));
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(reply_to(CLI, &throttled(3600)).2["error"]["resets_in_seconds"], 3600);
}

#[test]
fn a_codex_without_credential_learns_why() {
    let failure = Failure::BadCredential { message: "This pool needs a credential".into() };
    let message = |agent| reply_to(agent, &failure).2["error"]["message"].as_str().map(str::to_owned);
    assert!(message(CLI).is_some_and(|text| text.contains("id_token")));
    assert_eq!(message(SDK).as_deref(), Some("This pool needs a credential"));
}

#[test]
fn what_needs_a_person_is_counted() {
    let id = |name: &str| Identity::File(name.into()).account_id(ID);
    let cooling = |cause| Ineligible::Cooling { cause, scope: pool_core::Scope::Account, until: NOW };
    let considered = vec![
        (id("a"), Ineligible::NeedsLogin { why: "secret-ish detail".into() }),
        (id("b"), Ineligible::Paused),
        (id("c"), Ineligible::NeedsLogin { why: "x".into() }),
        (id("d"), cooling(Cause::ModelRefused)),
        (id("e"), Ineligible::ModelNotAllowed),
        (id("f"), Ineligible::NotForCaller),
    ];
    let why = RefusalWhy::NeedsPerson;
    let failure = Failure::Refused(Refusal { provider: ID, model: None, why, considered });
    let (_, _, body) = reply_to(CLI, &failure);
    assert_eq!(
        body["error"]["message"],
        "No pooled Codex account can serve this: 2 waiting for a new sign-in or another remedy, 1 paused, 1 on a plan \
         without this model, 1 kept for other models, 1 not open to this user. See `codex-pool status`"
    );
}

#[test]
fn a_refused_route_says_its_own_reason() {
    let route = ROUTES.iter().find(|route| route.id == "redeeming").expect("a row");
    let headers = headers(CLI);
    let head = Head { method: &Method::POST, path: route.path, query: None, headers: &headers };
    let reply = reply(Some(route), &head, &Failure::NotServed { message: "no".into() }, NOW);
    assert!(String::from_utf8_lossy(&reply.body).contains("reset credits"));
}

fn event_of(id: &str, failure: &Failure) -> Option<String> {
    let route = ROUTES.iter().find(|route| route.id == id).expect("a row");
    event(route, failure, NOW).map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
}

#[test]
fn last_words_in_a_stream_are_an_event_of_the_dialect() {
    let down = Failure::UpstreamDown { message: "Upstream failed".into(), retry_after: Duration::from_hours(1) };
    let event = event_of("responses at root", &down).expect("an event");
    let data = event.strip_prefix("event: response.failed\ndata: ").and_then(|rest| rest.strip_suffix("\n\n"));
    let data: Value = serde_json::from_str(data.expect("one event")).expect("JSON");
    assert_eq!(data["type"], "response.failed");
    let error = &data["response"]["error"];
    assert_eq!(error, &json!({"code": "rate_limit_exceeded", "message": "Upstream failed. Please try again in 60s."}));

    let event = event_of("responses", &spent(Some(60))).expect("an event");
    assert!(event.contains("\"code\":\"usage_limit_reached\""), "{event}");

    let event = event_of("chat completions", &spent(Some(60))).expect("an event");
    assert!(event.starts_with("data: {\"error\":{\"message\":\"All pooled") && event.ends_with("}}\n\n"), "{event}");
    assert_eq!(event_of("speech", &down), None);
}

#[test]
fn moments_are_said_as_a_person_says_them() {
    for (secs, said) in [
        (60, "9:59 AM UTC (in 60 s)"),
        (86_399, "9:58 AM UTC (in 24 h)"),
        (200_000, "Nov 24, 5:31 PM UTC (in 2 d 7 h)"),
    ] {
        assert_eq!(own::moment(NOW + Span::from_secs(secs), NOW), said);
    }
}

#[test]
fn ones_own_limit_says_so_where_codex_shows_it() {
    use pool_core::limits::{Amount, Period};
    let own = |over| refusal(RefusalWhy::OwnLimit(over));
    let budget = Budget { period: Period::Day, amount: Amount::Tokens(2_000_000) };
    let until = Period::Day.around(NOW).1;
    let (status, headers, body) = reply_to(CLI, &own(Over::Budget { budget, until }));
    assert_eq!((status, &body["error"]["type"]), (429, &json!("usage_limit_reached")));
    assert_eq!(body["error"]["resets_at"], until.as_secs_ceil());
    assert_eq!(
        body["error"]["message"],
        "You have used up your own limit in this pool, 2,000,000 tokens a day; it resets 12:00 AM UTC (in 14 h 3 min)"
    );
    assert_eq!(
        headers["x-codex-promo-message"],
        "It is your own limit in this pool, 2,000,000 tokens a day: ask the pool's operator for more"
    );
    assert_eq!(headers["x-codex-primary-window-minutes"], "1440");
    let pace = || own(Over::Pace { limit: 3, until: NOW + Span::from_secs(20) });
    let model = || own(Over::Model { allowed: vec!["a".into()] });
    // Codex repeats a 503 for long enough, and shows a 400 at once.
    for (agent, failure, status, kind, wait) in [
        (CLI, pace(), 503, "rate_limit_error", "20"),
        (SDK, pace(), 429, "rate_limit_error", "20"),
        (CLI, own(Over::Streams { limit: 2 }), 503, "rate_limit_error", "5"),
        (CLI, model(), 400, "permission_error", "-"),
        (SDK, model(), 403, "permission_error", "-"),
        (CLI, own(Over::Provider { allowed: vec!["a".into()] }), 400, "permission_error", "-"),
    ] {
        let (told, headers, body) = reply_to(agent, &failure);
        let retry = headers.get("retry-after").map_or("-", |value| value.to_str().expect("text"));
        assert_eq!((told, body["error"]["type"].as_str(), retry), (status, Some(kind), wait), "{failure:?}");
    }
}
