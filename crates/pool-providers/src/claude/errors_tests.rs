use pool_core::Verdict;

use super::super::testing::{NOW, account, demand, exchanges, headers, recorded_headers};
use super::*;

const PLAN: AccountKind = AccountKind::Subscription;
const KEY: AccountKind = AccountKind::ApiKey;

fn error(kind: &str, message: &str) -> String {
    serde_json::json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
}

fn read(kind: AccountKind, status: u16, pairs: &[(&str, &str)], body: &str) -> Judgement {
    let status = StatusCode::from_u16(status).expect("a status");
    judge(&account(kind), Some(&demand("claude-opus-5-5")), status, &headers(pairs), body.as_bytes(), NOW)
}

/// `verdict fault cause scope until`, in short.
fn short(judgement: &Judgement) -> String {
    let penalty = judgement.penalty.as_ref().map_or(String::new(), |penalty| {
        let scope = match &penalty.scope {
            Scope::Account => "all",
            Scope::Family(family) => family,
        };
        let until = match penalty.until {
            Until::At(at) => format!("at {}", (at.0 - NOW.0) / 1000),
            Until::For(span) => format!("for {}", span.as_secs_ceil()),
            Until::BackOff => "back-off".into(),
        };
        format!(" {:?} {scope} {until}", penalty.cause)
    });
    let parked = if judgement.park.is_some() { " parked" } else { "" };
    match judgement.verdict {
        Verdict::Fatal => format!("fatal{penalty}{parked}"),
        verdict => format!("{verdict:?} {:?}{penalty}{parked}", judgement.fault),
    }
}

#[test]
fn each_error_is_read_for_what_it_is() {
    let model = "model: claude-opus-5-5";
    for (kind, status, body, wanted) in [
        (PLAN, 400, error("invalid_request_error", "messages: at least one message is required"), "fatal"),
        (PLAN, 400, error("invalid_request_error", "`signature` in thinking block is invalid"), "fatal"),
        (
            KEY,
            400,
            error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            "Elsewhere Account OutOfCredit all back-off",
        ),
        (
            KEY,
            400,
            error(
                "invalid_request_error",
                "You have reached your specified API usage limits. You will regain access on 2026-08-09 at 00:00 UTC.",
            ),
            "Elsewhere Account OutOfCredit all at 86400",
        ),
        (
            KEY,
            400,
            error("invalid_request_error", "You have reached your specified API usage limits."),
            "Elsewhere Account OutOfCredit all back-off",
        ),
        (
            PLAN,
            400,
            error("invalid_request_error", "This organization has been disabled."),
            "Elsewhere Account parked",
        ),
        (
            PLAN,
            400,
            error("invalid_request_error", "The model claude-opus-5-5 is not available on your plan."),
            "Elsewhere Account ModelRefused model:claude-opus-5-5 back-off",
        ),
        (PLAN, 400, error("invalid_request_error", "adaptive thinking is not supported on this model"), "fatal"),
        (
            PLAN,
            400,
            error("invalid_request_error", "The long context beta is not yet available for this subscription."),
            "fatal",
        ),
        (PLAN, 401, error("authentication_error", "OAuth token has expired."), "RefreshThenSame Account"),
        (PLAN, 401, String::new(), "RefreshThenSame Account"),
        (PLAN, 403, error("permission_error", "OAuth token has been revoked."), "RefreshThenSame Account"),
        (PLAN, 401, error("authentication_error", "OAuth access token has been revoked"), "RefreshThenSame Account"),
        (
            PLAN,
            401,
            error("x", "OAuth authentication is currently not allowed for this organization."),
            "Elsewhere Account parked",
        ),
        (KEY, 401, error("authentication_error", "invalid x-api-key"), "Elsewhere Account parked"),
        (KEY, 402, error("billing_error", "pay"), "Elsewhere Account OutOfCredit all back-off"),
        (
            KEY,
            403,
            error("permission_error", "Your API key may not use the model."),
            "Elsewhere Account ModelRefused model:claude-opus-5-5 back-off",
        ),
        (KEY, 403, error("permission_error", "no"), "Elsewhere Account UpstreamFailing all back-off"),
        (PLAN, 403, error("forbidden", "Request not allowed"), "Elsewhere Egress"),
        (PLAN, 403, "<!DOCTYPE html><title>Just a moment...</title>".into(), "Elsewhere Egress"),
        (PLAN, 429, "<html>".into(), "Elsewhere Egress"),
        (
            PLAN,
            404,
            error("not_found_error", model),
            "Elsewhere Account ModelRefused model:claude-opus-5-5 back-off",
        ),
        (PLAN, 404, error("not_found_error", "Not found"), "fatal"),
        (PLAN, 413, error("request_too_large", "too large"), "fatal"),
        (PLAN, 413, "<html>".into(), "fatal"),
        (PLAN, 422, error("invalid_request_error", "no"), "fatal"),
        (PLAN, 409, error("conflict_error", "no"), "fatal"),
        (PLAN, 501, error("not_supported", "no"), "fatal"),
        (PLAN, 302, String::new(), "Elsewhere Provider"),
        (PLAN, 408, String::new(), "Elsewhere Provider"),
        (PLAN, 500, error("api_error", "Internal server error"), "Elsewhere Provider"),
        (PLAN, 502, "<html>bad gateway</html>".into(), "Elsewhere Provider"),
        (PLAN, 504, error("timeout_error", "no"), "Elsewhere Provider"),
        (PLAN, 522, "error code: 522".into(), "Elsewhere Provider"),
        (
            PLAN,
            529,
            error("overloaded_error", "Overloaded"),
            "Elsewhere Model ModelOverloaded model:claude-opus-5-5 back-off",
        ),
        (
            PLAN,
            503,
            error("overloaded_error", "Overloaded"),
            "Elsewhere Model ModelOverloaded model:claude-opus-5-5 back-off",
        ),
        (PLAN, 529, "\u{0}[[[".into(), "Elsewhere Model ModelOverloaded model:claude-opus-5-5 back-off"),
        (
            KEY,
            429,
            r#"{"error":{"type":"rate_limit_error","message":"no","details":{"error_code":"enforced_spend_limit_reached"}}}"#
                .into(),
            "Elsewhere Account OutOfCredit all back-off",
        ),
        (
            PLAN,
            429,
            error("rate_limit_error", "Extra usage is required for long context requests."),
            "Elsewhere Account",
        ),
    ] {
        assert_eq!(short(&read(kind, status, &[], &body)), wanted, "{status} {body}");
    }
}

/// Kind, headers, what they mean.
type Case<'a> = (AccountKind, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn a_limit_is_told_from_a_throttle() {
    let body = error("rate_limit_error", "This request would exceed your account's rate limit.");
    let rejected = ("anthropic-ratelimit-unified-status", "rejected");
    let reset = ("anthropic-ratelimit-unified-reset", "1786148200");
    let claim = |claim| ("anthropic-ratelimit-unified-representative-claim", claim);
    let cases: [Case<'_>; 16] = [
        (PLAN, &[], "Throttled all back-off"),
        (PLAN, &[("retry-after", "7")], "Throttled all for 7"),
        (PLAN, &[("retry-after", "0")], "Throttled all back-off"),
        (PLAN, &[("retry-after", "Sat, 08 Aug 2026 00:00:30 GMT")], "Throttled all for 30"),
        (PLAN, &[("retry-after", "-1")], "Throttled all back-off"),
        (PLAN, &[("anthropic-ratelimit-unified-status", "allowed"), ("retry-after", "7")], "Throttled all for 7"),
        (PLAN, &[rejected, reset, claim("five_hour")], "QuotaSpent all at 1000"),
        (PLAN, &[rejected, ("retry-after", "60")], "QuotaSpent all for 60"),
        (PLAN, &[rejected, ("anthropic-ratelimit-unified-reset", "1786140000")], "QuotaSpent all back-off"),
        (PLAN, &[rejected, reset, claim("seven_day_opus")], "QuotaSpent opus at 1000"),
        (PLAN, &[rejected, reset, claim("seven_day_overage_included")], "QuotaSpent opus at 1000"),
        // Two windows are spent: the later reset counts.
        (
            PLAN,
            &[
                rejected,
                reset,
                claim("five_hour"),
                ("anthropic-ratelimit-unified-5h-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-reset", "1786148200"),
                ("anthropic-ratelimit-unified-7d-status", "rejected"),
                ("anthropic-ratelimit-unified-7d-reset", "1786249200"),
            ],
            "QuotaSpent all at 102000",
        ),
        // A model's limit beside a spent session: the session keeps every model out.
        (
            PLAN,
            &[
                rejected,
                reset,
                claim("seven_day_opus"),
                ("anthropic-ratelimit-unified-5h-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-reset", "1786147300"),
            ],
            "QuotaSpent all at 100",
        ),
        (KEY, &[("retry-after", "7")], "Throttled opus for 7"),
        (
            KEY,
            &[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-08-08T00:00:05Z"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-08-08T00:00:50Z"),
                ("anthropic-ratelimit-output-tokens-remaining", "10"),
                ("anthropic-ratelimit-output-tokens-reset", "2026-08-08T09:00:00Z"),
            ],
            "Throttled opus at 50",
        ),
        (KEY, &[], "Throttled opus back-off"),
    ];
    for (kind, pairs, wanted) in cases {
        assert_eq!(short(&read(kind, 429, pairs, &body)), format!("Elsewhere Account {wanted}"), "{pairs:?}");
    }
}

#[test]
fn the_recorded_limit_keeps_the_account_out_until_its_reset() {
    let response = &exchanges(include_str!("../../fixtures/claude_usage_limit.json"))[0]["response"];
    let body = response["body"].to_string();
    let now = UnixMs::from_secs(1_795_341_666);
    let judgement = judge(
        &account(PLAN),
        Some(&demand("claude-sonnet-5-5")),
        StatusCode::TOO_MANY_REQUESTS,
        &recorded_headers(response),
        body.as_bytes(),
        now,
    );
    let penalty = judgement.penalty.expect("a cooldown");
    assert_eq!(penalty.until, Until::At(UnixMs::from_secs(1_795_345_266)));
    assert_eq!((penalty.scope, penalty.cause), (Scope::Account, Cause::QuotaSpent));
    assert!(judgement.reason.starts_with("429 rate_limit_error: This request would exceed"));
}

#[test]
fn errors_inside_a_stream_are_read_like_replies() {
    for (kind, wanted) in [
        ("overloaded_error", "Elsewhere Model ModelOverloaded model:claude-opus-5-5 back-off"),
        ("api_error", "Elsewhere Provider"),
        ("rate_limit_error", "Elsewhere Account Throttled opus back-off"),
        ("invalid_request_error", "fatal"),
        ("", "fatal"),
    ] {
        assert_eq!(short(&judge_event(kind, "why", &demand("claude-opus-5-5"))), wanted, "{kind}");
    }
}
