use std::time::Duration;

use pool_core::AccountId;

use super::super::CLAUDE;
use super::super::testing::NOW;
use super::*;

fn refusal(why: RefusalWhy) -> Failure {
    let considered = vec![
        (AccountId("claude-1".into()), Ineligible::NeedsLogin { why: "expired".into() }),
        (AccountId("claude-2".into()), Ineligible::NeedsLogin { why: "expired".into() }),
        (AccountId("claude-3".into()), Ineligible::Paused),
        (AccountId("claude-5".into()), Ineligible::ModelNotAllowed),
    ];
    Failure::Refused(Refusal { provider: CLAUDE, model: Some("claude-opus-5-5".into()), why, considered })
}

fn spent(resets_in: Option<u64>, window: Option<&str>) -> Failure {
    let resets_at = resets_in.map(|secs| NOW + Span::from_secs(secs));
    refusal(RefusalWhy::AllSpent { resets_at, window: window.map(str::to_owned), span: None })
}

fn trouble(cause: Cause) -> Failure {
    refusal(RefusalWhy::Trouble { until: Some(NOW + Span::from_secs(20)), cause })
}

/// `status kind x-should-retry retry-after`
fn short(reply: &Reply) -> String {
    let header = |name| reply.headers.get(name).map_or("-", |value| value.to_str().expect("text"));
    let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(body["type"], "error");
    assert_eq!(header("content-type"), "application/json");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    let kind = body["error"]["type"].as_str().expect("a type");
    format!("{} {kind} {} {}", reply.status.as_u16(), header("x-should-retry"), header("retry-after"))
}

fn message(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
    body["error"]["message"].as_str().expect("a message").to_owned()
}

#[test]
fn each_failure_is_told_in_the_api_s_words() {
    let bad = |status| Failure::BadRequest { status, message: "why".into() };
    for (failure, wanted) in [
        (spent(Some(2400), Some("5h")), "429 rate_limit_error false 2400"),
        (spent(None, None), "429 rate_limit_error false -"),
        (refusal(RefusalWhy::NoAccounts), "403 permission_error false -"),
        (refusal(RefusalWhy::NoneOfThisKind), "403 permission_error false -"),
        (refusal(RefusalWhy::NeedsPerson), "403 permission_error false -"),
        (refusal(RefusalWhy::Busy), "429 rate_limit_error - 5"),
        (trouble(Cause::ModelOverloaded), "529 overloaded_error - 20"),
        (trouble(Cause::UpstreamFailing), "529 overloaded_error - 20"),
        (trouble(Cause::EgressBlocked), "529 overloaded_error - 20"),
        (trouble(Cause::Throttled), "429 rate_limit_error - 20"),
        (trouble(Cause::QuotaSpent), "429 rate_limit_error false 20"),
        (trouble(Cause::OutOfCredit), "402 billing_error false -"),
        (trouble(Cause::ModelRefused), "403 permission_error false -"),
        (refusal(RefusalWhy::Trouble { until: None, cause: Cause::UpstreamFailing }), "529 overloaded_error - 30"),
        (Failure::BadCredential { message: "why".into() }, "401 authentication_error false -"),
        (bad(StatusCode::BAD_REQUEST), "400 invalid_request_error false -"),
        (bad(StatusCode::PAYLOAD_TOO_LARGE), "413 request_too_large false -"),
        (
            Failure::UpstreamDown { message: "why".into(), retry_after: Duration::from_millis(10) },
            "529 overloaded_error - 1",
        ),
        (Failure::Timeout { message: "why".into() }, "504 timeout_error - -"),
        (Failure::NotServed { message: "why".into() }, "404 not_found_error false -"),
    ] {
        assert_eq!(short(&reply(&failure, NOW)), wanted, "{failure:?}");
    }
}

#[test]
fn a_limit_tells_when_it_ends() {
    let limit = reply(&spent(Some(2400), Some("5h")), NOW);
    assert_eq!(message(&limit), "All pooled Claude accounts are at their limit · resets 12:40 AM UTC (in 40 min)");
    let header = |name: &str| limit.headers[name].to_str().expect("text").to_owned();
    assert_eq!(header("anthropic-ratelimit-unified-status"), "rejected");
    assert_eq!(header("anthropic-ratelimit-unified-reset"), "1786149600");
    assert_eq!(header("anthropic-ratelimit-unified-representative-claim"), "five_hour");
    assert_eq!(header("anthropic-ratelimit-unified-5h-reset"), "1786149600");

    for (resets_in, wanted) in [
        (Some(56_390), " · resets 3:40 PM UTC (in 15 h 40 min)"),
        (Some(2 * 86_400), " · resets Aug 10, 12:00 AM UTC (in 2 d)"),
        (Some(0), ""),
        (None, ""),
    ] {
        let message = message(&reply(&spent(resets_in, Some("week")), NOW));
        assert_eq!(message.strip_prefix("All pooled Claude accounts are at their limit"), Some(wanted));
    }
}

#[test]
fn a_claim_is_told_only_where_it_is_true() {
    for (window, claim) in [(Some("week"), Some("seven_day")), (Some("requests"), None), (None, None)] {
        let limit = reply(&spent(Some(60), window), NOW);
        let told = limit.headers.get("anthropic-ratelimit-unified-representative-claim");
        assert_eq!(told.map(|told| told.to_str().expect("text")), claim, "{window:?}");
        assert_eq!(limit.headers["anthropic-ratelimit-unified-status"], "rejected");
    }
}

#[test]
fn a_model_s_own_limit_is_claimed_as_such() {
    let until = NOW + Span::from_secs(60);
    let cooling = Ineligible::Cooling { cause: Cause::QuotaSpent, scope: Scope::Family("opus".into()), until };
    let Failure::Refused(mut refusal) = spent(Some(60), None) else { panic!("a refusal") };
    refusal.considered.push((AccountId("claude-4".into()), cooling));
    let limit = reply(&Failure::Refused(refusal), NOW);
    assert_eq!(limit.headers["anthropic-ratelimit-unified-representative-claim"], "seven_day_opus");
}

#[test]
fn people_read_what_is_to_be_done() {
    let message = message(&reply(&refusal(RefusalWhy::NeedsPerson), NOW));
    assert!(
        message.contains("after them: 2 need signing in, 1 is paused, 1 is kept for other models. Whoever runs"),
        "{message}"
    );
}

#[test]
fn the_last_event_of_a_stream_is_an_error_event() {
    let text = |failure: &Failure| String::from_utf8(event(failure, NOW).to_vec()).expect("text");
    let down = Failure::UpstreamDown { message: "two\nlines".into(), retry_after: Duration::ZERO };
    assert_eq!(
        text(&down),
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"two\\nlines\"}}\n\n"
    );
    assert!(text(&spent(None, None)).contains("\"rate_limit_error\""));
}

#[test]
fn ones_own_limit_is_told_as_a_gateways_cap() {
    use pool_core::limits::{Amount, Budget};
    let budget = Budget { period: Period::Week, amount: Amount::MicroDollars(5_000_000) };
    let until = NOW + Span::from_secs(3600);
    let over = |over| reply(&refusal(RefusalWhy::OwnLimit(over)), NOW);
    let capped = over(Over::Budget { budget, until });
    assert_eq!(short(&capped), "429 billing_error false 3600");
    assert!(message(&capped).starts_with("You have used up your own limit in this pool, $5.00 a week; it resets "));
    let unified = |name: &str| {
        let value = capped.headers.get(format!("anthropic-ratelimit-unified-{name}"));
        value.and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    let reset = until.as_secs_ceil().to_string();
    for (name, value) in [
        ("status", "rejected"),
        ("reset", &reset),
        ("overage-reset", &reset),
        ("overage-utilization", "1"),
        ("overage-period", "weekly"),
        ("overage-disabled-reason", "org_spend_cap_reached"),
        // With these the client has its own words.
        ("representative-claim", "-"),
        ("overage-status", "-"),
    ] {
        assert_eq!(unified(name), value, "{name}");
    }
    let pace = Over::Pace { limit: 3, until: NOW + Span::from_secs(20) };
    assert_eq!(short(&over(pace)), "429 rate_limit_error - 20");
    assert_eq!(short(&over(Over::Streams { limit: 1 })), "429 rate_limit_error - 5");
    assert_eq!(short(&over(Over::Model { allowed: vec!["a".into()] })), "403 permission_error false -");
    assert_eq!(short(&over(Over::Provider { allowed: vec!["a".into()] })), "403 permission_error false -");
}
