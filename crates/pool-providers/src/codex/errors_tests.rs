use pool_core::Verdict;
use serde_json::json;

use super::super::fixtures;
use super::*;

const NOW: UnixMs = UnixMs(1_795_341_460_000);
const PLAN: AccountKind = AccountKind::Subscription;
const KEY: AccountKind = AccountKind::ApiKey;

fn asked(kind: AccountKind) -> Asked<'static> {
    Asked { kind: Some(kind), model: Some("gpt-x"), now: NOW }
}

type Pairs = [(&'static str, &'static str)];

fn headers(pairs: &Pairs) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
}

fn read(kind: AccountKind, status: u16, pairs: &Pairs, body: &Value) -> Judgement {
    let status = StatusCode::from_u16(status).expect("a status");
    judge(asked(kind), status, &headers(pairs), body.to_string().as_bytes())
}

/// Verdict, fault, what cools and why, parked.
fn told(judgement: &Judgement) -> (Verdict, Fault, Option<(Scope, Cause)>, bool) {
    let cooled = judgement.penalty.as_ref().map(|penalty| (penalty.scope.clone(), penalty.cause));
    (judgement.verdict, judgement.fault, cooled, judgement.park.is_some())
}

#[test]
fn replies_are_read_by_scope() {
    use Cause::{EgressBlocked, ModelOverloaded, ModelRefused, OutOfCredit, QuotaSpent, Throttled, UpstreamFailing};
    use Verdict::{Elsewhere, Fatal, RefreshThenSame, StripThenSame};
    let model = || Scope::Family("model:gpt-x".into());
    let error = |code: &str| json!({"error": {"type": "t", "code": code, "message": "m"}});
    let kind = |kind: &str| json!({"error": {"type": kind, "message": "m"}});
    let account = Some(Scope::Account);
    let chatgpt_model =
        json!({"detail": "The 'gpt-x' model is not supported when using Codex with a ChatGPT account."});
    let no_access = json!({"error": {"message": "The model `gpt-x` does not exist or you do not have access to it."}});
    let verified = json!({"error": {"message": "Your organization must be verified to use the model `gpt-x`."}});
    let scopes = json!({"error": {"message": "You have insufficient permissions. Missing scopes: model.request"}});
    let newer = json!({"detail": "The 'gpt-x' model requires a newer version of Codex. Please upgrade."});
    #[rustfmt::skip]
    let cases = [
        (PLAN, 401, json!({"detail": "Unauthorized"}),       RefreshThenSame, Fault::Account, None, false),
        (PLAN, 401, error("token_revoked"),                  RefreshThenSame, Fault::Account, None, false),
        (KEY, 401, error("invalid_api_key"),                 Elsewhere, Fault::Account, None, true),
        (KEY, 401, scopes.clone(),                           Elsewhere, Fault::Model, Some((model(), ModelRefused)), false),
        (PLAN, 402, json!({"detail": {"code": "deactivated_workspace"}}), Elsewhere, Fault::Account, None, true),
        (KEY, 402, json!({}),                                Elsewhere, Fault::Account, account.clone().zip(Some(OutOfCredit)), false),
        (PLAN, 403, json!({"detail": {"code": "invalid_workspace_selected"}}), Elsewhere, Fault::Account, None, true),
        (KEY, 403, error("model_not_found"),                 Elsewhere, Fault::Model, Some((model(), ModelRefused)), false),
        (KEY, 403, error("unsupported_country_region_territory"), Elsewhere, Fault::Egress, account.clone().zip(Some(EgressBlocked)), false),
        (PLAN, 403, json!({"detail": "no"}),                 Elsewhere, Fault::Provider, None, false),
        (PLAN, 429, kind("usage_limit_reached"),             Elsewhere, Fault::Account, account.clone().zip(Some(QuotaSpent)), false),
        (PLAN, 429, kind("usage_not_included"),              Elsewhere, Fault::Account, None, true),
        (KEY, 429, error("insufficient_quota"),              Elsewhere, Fault::Account, account.clone().zip(Some(OutOfCredit)), false),
        (PLAN, 429, json!({}),                               Elsewhere, Fault::Account, account.clone().zip(Some(Throttled)), false),
        (KEY, 429, error("rate_limit_exceeded"),             Elsewhere, Fault::Account, Some((model(), Throttled)), false),
        (PLAN, 400, chatgpt_model,                           Elsewhere, Fault::Model, Some((model(), ModelRefused)), false),
        (KEY, 404, error("model_not_found"),                 Elsewhere, Fault::Model, Some((model(), ModelRefused)), false),
        (KEY, 404, no_access,                                Elsewhere, Fault::Model, Some((model(), ModelRefused)), false),
        (KEY, 400, verified,                                 Elsewhere, Fault::Model, Some((model(), ModelRefused)), false),
        (KEY, 400, error("billing_hard_limit_reached"),      Elsewhere, Fault::Account, account.clone().zip(Some(OutOfCredit)), false),
        (PLAN, 400, newer,                                   Fatal, Fault::Request, None, false),
        (PLAN, 400, error("invalid_encrypted_content"),      StripThenSame, Fault::Request, None, false),
        (KEY, 400, error("context_length_exceeded"),         Fatal, Fault::Request, None, false),
        (KEY, 404, error("previous_response_not_found"),     Fatal, Fault::Request, None, false),
        (KEY, 413, json!({}),                                Fatal, Fault::Request, None, false),
        (KEY, 422, json!([]),                                Fatal, Fault::Request, None, false),
        (PLAN, 307, json!({}),                               Elsewhere, Fault::Provider, None, false),
        (PLAN, 500, json!({}),                               Elsewhere, Fault::Provider, account.clone().zip(Some(UpstreamFailing)), false),
        (PLAN, 522, json!("x"),                              Elsewhere, Fault::Provider, account.clone().zip(Some(UpstreamFailing)), false),
        (PLAN, 503, error("server_is_overloaded"),           Elsewhere, Fault::Model, Some((model(), ModelOverloaded)), false),
        (KEY, 503, error("slow_down"),                       Elsewhere, Fault::Model, Some((model(), ModelOverloaded)), false),
    ];
    for (account, status, body, verdict, fault, cooled, parked) in cases {
        let judgement = read(account, status, &[], &body);
        assert_eq!(told(&judgement), (verdict, fault, cooled, parked), "{status} {body}");
        assert!(judgement.reason.starts_with(&status.to_string()), "{}", judgement.reason);
    }
}

#[test]
fn a_page_of_a_cdn_is_not_the_accounts_fault() {
    for (status, kind) in [(403, "text/html; charset=UTF-8"), (429, "text/html"), (401, ""), (400, "application/json")]
    {
        let status = StatusCode::from_u16(status).expect("a status");
        let headers: HeaderMap = [(CONTENT_TYPE, kind.parse().expect("a value"))].into_iter().collect();
        let judgement = judge(asked(PLAN), status, &headers, b"\n<!DOCTYPE html><title>Just a moment...</title>");
        let cooled = Some((Scope::Account, Cause::EgressBlocked));
        assert_eq!(told(&judgement), (Verdict::Elsewhere, Fault::Egress, cooled, false), "{status}");
    }
    let judgement = judge(asked(PLAN), StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>502");
    assert_eq!(judgement.fault, Fault::Provider);
}

fn until(judgement: &Judgement) -> Option<Until> {
    judgement.penalty.as_ref().map(|penalty| penalty.until)
}

#[test]
fn the_recorded_limit_lasts_until_its_reset() {
    let recording = include_str!("../../fixtures/codex_usage_limit.json");
    let body = fixtures::answer_body(recording, 0);
    let headers = fixtures::answer_headers(recording, 0);
    let judgement = judge(asked(PLAN), StatusCode::TOO_MANY_REQUESTS, &headers, body.to_string().as_bytes());
    assert_eq!(until(&judgement), Some(Until::At(UnixMs(1_795_345_227_000))));
    assert_eq!(judgement.reason, "429: usage_limit_reached: The usage limit has been reached");
    // The body cut off: the spent window in the headers knows it too.
    let judgement =
        judge(asked(PLAN), StatusCode::TOO_MANY_REQUESTS, &headers, br#"{"error":{"type":"usage_limit_reached"}}"#);
    assert_eq!(until(&judgement), Some(Until::At(UnixMs(1_795_345_227_000))));
}

#[test]
fn the_recorded_401_asks_for_a_refresh() {
    let body = fixtures::answer_body(include_str!("../../fixtures/codex_401_refresh.json"), 0);
    assert_eq!(read(PLAN, 401, &[], &body).verdict, Verdict::RefreshThenSame);
}

#[test]
fn a_limit_lasts_as_long_as_told() {
    let limit = |extra: Value| {
        let mut error = json!({"type": "usage_limit_reached"});
        error.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        json!({ "error": error })
    };
    let cases = [
        (limit(json!({"resets_at": 1_795_341_520})), Until::At(NOW + Span::from_secs(60))),
        (limit(json!({"resets_at": null, "resets_in_seconds": 60})), Until::At(NOW + Span::from_secs(60))),
        (limit(json!({"resets_at": "soon", "resets_in_seconds": 60})), Until::At(NOW + Span::from_secs(60))),
        (limit(json!({"resets_at": 5, "resets_in_seconds": 60})), Until::At(NOW + Span::from_secs(60))),
        (limit(json!({"resets_at": 1e300, "resets_in_seconds": -5})), Until::BackOff),
    ];
    for (body, expected) in cases {
        assert_eq!(until(&read(PLAN, 429, &[], &body)), Some(expected), "{body}");
    }
}

#[test]
fn a_limit_of_another_family_cools_the_requested_model_only() {
    let body = json!({"error": {"type": "usage_limit_reached"}});
    let pairs = [
        ("x-codex-active-limit", "codex_bengalfox"),
        ("x-codex-bengalfox-primary-used-percent", "100"),
        ("x-codex-bengalfox-primary-window-minutes", "300"),
        ("x-codex-bengalfox-primary-reset-after-seconds", "60"),
        ("x-codex-primary-used-percent", "100"),
        ("x-codex-primary-window-minutes", "300"),
        ("x-codex-primary-reset-after-seconds", "900"),
    ];
    let judgement = read(PLAN, 429, &pairs, &body);
    let penalty = judgement.penalty.expect("a penalty");
    assert_eq!(penalty.scope, Scope::Family("model:gpt-x".into()));
    assert_eq!(penalty.until, Until::At(NOW + Span::from_secs(60)));
}

#[test]
fn a_throttle_lasts_as_long_as_told() {
    let says = |message: &str| json!({"error": {"code": "rate_limit_exceeded", "message": message}});
    let secs = |secs| Until::For(Span::from_secs(secs));
    let plain = json!({});
    let cases: &[(&Pairs, Value, Until)] = &[
        (&[("retry-after", "7")], plain.clone(), secs(7)),
        (&[("retry-after-ms", "1500"), ("retry-after", "9")], plain.clone(), Until::For(Span::from_millis(1500))),
        (&[("retry-after", "Sun, 22 Nov 2026 10:00:00 GMT")], plain.clone(), secs(140)),
        (&[("retry-after", "0")], plain.clone(), Until::BackOff),
        (&[("retry-after", "-3")], plain.clone(), Until::BackOff),
        (&[("retry-after", "soon")], plain.clone(), Until::BackOff),
        (&[], says("Please try again in 3.233s. Visit …"), Until::For(Span::from_millis(3233))),
        (&[], says("Try again in 250ms."), Until::For(Span::from_millis(250))),
        (&[], says("try again in 6m0s"), secs(360)),
        (&[], says("try again in a while"), Until::BackOff),
        (
            &[
                ("x-ratelimit-limit-tokens", "100"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "12s"),
            ],
            plain.clone(),
            Until::At(NOW + Span::from_secs(12)),
        ),
    ];
    for (pairs, body, expected) in cases {
        assert_eq!(until(&read(KEY, 429, pairs, body)), Some(*expected), "{pairs:?} {body}");
    }
}

#[test]
fn a_refused_key_is_not_quoted() {
    let body = json!({"error": {"code": "invalid_api_key", "message": "Incorrect API key provided: sk-abc***xyz."}});
    let judgement = read(KEY, 401, &[], &body);
    assert_eq!(judgement.reason, "401: invalid_api_key");
}

#[test]
fn odd_bodies_are_read_as_far_as_they_go() {
    for body in ["", "null", "[]", "{\"error\":", "{\"error\":null}", "{\"error\":{\"code\":5}}", "{\"error\":\"x\"}"] {
        let judgement = judge(asked(PLAN), StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes());
        assert_eq!(judgement.verdict, Verdict::Fatal, "{body}");
    }
    let long = json!({"error": {"message": "é\n".repeat(5000)}});
    let reason = read(PLAN, 400, &[], &long).reason;
    assert!(reason.chars().count() <= 201 && !reason.contains('\n'));
}

#[test]
fn errors_in_a_stream_go_elsewhere_only_where_that_helps() {
    let event = |code: &str| {
        let told = Told::of_object(json!({"code": code, "message": "try again in 1.5s"}).to_string().as_bytes());
        judge_event(Asked { kind: None, ..asked(PLAN) }, &told)
    };
    let model = || Scope::Family("model:gpt-x".into());
    let cases = [
        ("rate_limit_exceeded", Fault::Account, Some((model(), Cause::Throttled)), false),
        ("insufficient_quota", Fault::Account, Some((Scope::Account, Cause::OutOfCredit)), false),
        ("usage_not_included", Fault::Account, None, true),
        ("usage_limit_reached", Fault::Account, Some((Scope::Account, Cause::QuotaSpent)), false),
        ("server_error", Fault::Provider, Some((Scope::Account, Cause::UpstreamFailing)), false),
        ("server_is_overloaded", Fault::Model, Some((model(), Cause::ModelOverloaded)), false),
        ("slow_down", Fault::Model, Some((model(), Cause::ModelOverloaded)), false),
    ];
    for (code, fault, cooled, parked) in cases {
        assert_eq!(told(&event(code)), (Verdict::Elsewhere, fault, cooled, parked), "{code}");
    }
    assert_eq!(until(&event("slow_down")), Some(Until::For(Span::from_millis(1500))));
    for code in ["context_length_exceeded", "cyber_policy", "bio_policy", "invalid_prompt", "content_filter", "new", ""]
    {
        assert_eq!(event(code).verdict, Verdict::Fatal, "{code}");
    }
}

proptest::proptest! {
    #[test]
    fn no_reply_makes_it_fail(status in 300_u16..600, body: Vec<u8>, code in "[a-z_]{0,12}", message in ".{0,80}") {
        let status = StatusCode::from_u16(status).expect("a status");
        judge(asked(PLAN), status, &HeaderMap::new(), &body);
        let told = json!({"error": {"code": code, "message": format!("try again in {message}")}});
        judge(asked(KEY), status, &HeaderMap::new(), told.to_string().as_bytes());
    }
}
