//! Verdicts, answer streams, and our own answers.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pool_core::standing::{Ineligible, Refusal, RefusalWhy, Standing, StandingWindow};
use pool_core::verdict::{Cause, Fault, Until};
use pool_core::{AccountKind, Client, Fraction, Judgement, Scope, Span, TokenCounts, UnixMs, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NOW, account, demand_for, gemini, recorded};
use crate::gemini::ID;
use crate::gemini::routes::ROUTES;
use crate::provider::Provider as _;
use crate::reply::{Failure, Reader, Reply, Stage};
use crate::request::Head;
use crate::routes::Route;

const MODEL: &str = "gemini-3.1-pro-preview";

fn judge(kind: AccountKind, status: u16, body: &str) -> Judgement {
    let status = StatusCode::from_u16(status).expect("a status");
    gemini().judge(&account(kind), &demand_for(Some(MODEL)), status, &HeaderMap::new(), body.as_bytes(), NOW)
}

/// An error body with an `ErrorInfo` and whatever other details.
#[expect(clippy::needless_pass_by_value, reason = "reads better in the tables")]
fn error(code: u16, reason: &str, metadata: Value, mut more: Vec<Value>) -> String {
    if !reason.is_empty() {
        more.insert(
            0,
            json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason, "domain": "cloudcode-pa.googleapis.com", "metadata": metadata,
            }),
        );
    }
    json!({"error": {"code": code, "message": "m", "status": "S", "details": more}}).to_string()
}

fn said(code: u16, message: &str) -> String {
    json!({"error": {"code": code, "message": message, "status": "S"}}).to_string()
}

fn retry(delay: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
}

fn violation(id: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]})
}

fn at(text: &str) -> Until {
    Until::At(super::super::status::time(text).expect("a time"))
}

#[test]
fn limits_cool_the_model_for_as_long_as_the_body_says() {
    let family = || Scope::Family(format!("model:{MODEL}"));
    let secs = |secs: u64| Until::For(Span::from_secs(secs));
    let midnight = at("2026-11-23T08:00:00Z");
    let per_day = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
    let per_minute = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
    let cases: Vec<(u16, String, Scope, Cause, Until)> = vec![
        (
            429,
            error(429, "RATE_LIMIT_EXCEEDED", json!({}), vec![retry("34.5s")]),
            family(),
            Cause::Throttled,
            Until::For(Span(34_500)),
        ),
        (429, error(429, "RATE_LIMIT_EXCEEDED", json!({}), vec![]), family(), Cause::Throttled, Until::BackOff),
        (
            429,
            error(429, "RATE_LIMIT_EXCEEDED", json!({}), vec![retry("900s")]),
            family(),
            Cause::QuotaSpent,
            at("2026-11-22T15:15:00Z"),
        ),
        (
            429,
            error(
                429,
                "QUOTA_EXHAUSTED",
                json!({"model": "another", "quotaResetTimeStamp": "2026-11-23T01:00:00Z", "quotaResetDelay": "9s"}),
                vec![],
            ),
            family(),
            Cause::QuotaSpent,
            at("2026-11-23T01:00:00Z"),
        ),
        (
            429,
            error(429, "QUOTA_EXHAUSTED", json!({"quotaResetDelay": "161h39m41.3s"}), vec![]),
            family(),
            Cause::QuotaSpent,
            Until::At(UnixMs(NOW.0 + 581_981_300)),
        ),
        // A reset that has passed is none.
        (
            429,
            error(429, "QUOTA_EXHAUSTED", json!({"quotaResetTimeStamp": "2020-01-01T00:00:00Z"}), vec![]),
            family(),
            Cause::QuotaSpent,
            Until::BackOff,
        ),
        (
            503,
            error(503, "MODEL_CAPACITY_EXHAUSTED", json!({}), vec![]),
            family(),
            Cause::ModelOverloaded,
            Until::BackOff,
        ),
        (
            429,
            error(429, "MODEL_CAPACITY_EXCEEDED", json!({}), vec![retry("20s")]),
            family(),
            Cause::ModelOverloaded,
            secs(20),
        ),
        (
            429,
            error(429, "INSUFFICIENT_G1_CREDITS_BALANCE", json!({}), vec![]),
            family(),
            Cause::OutOfCredit,
            Until::BackOff,
        ),
        // Google's short RetryInfo beside a daily quota does not shorten the day.
        (429, error(429, "", json!({}), vec![violation(per_day), retry("34s")]), family(), Cause::QuotaSpent, midnight),
        (
            429,
            error(429, "RATE_LIMIT_EXCEEDED", json!({"quota_limit": per_day}), vec![]),
            family(),
            Cause::QuotaSpent,
            midnight,
        ),
        (429, error(429, "", json!({}), vec![violation(per_minute)]), family(), Cause::Throttled, secs(60)),
        (
            429,
            error(429, "", json!({}), vec![violation(per_minute), retry("12s")]),
            family(),
            Cause::Throttled,
            secs(12),
        ),
        (
            429,
            error(429, "", json!({}), vec![violation("RequestsPerDayPerProject")]),
            Scope::Account,
            Cause::QuotaSpent,
            midnight,
        ),
        (
            429,
            said(429, "Quota exceeded for x, limit: 0, model: y. Please retry in 34.07s."),
            family(),
            Cause::ModelRefused,
            Until::For(Span::from_hours(1)),
        ),
        (
            429,
            said(429, "Quota exceeded. Please retry in 34.07s."),
            family(),
            Cause::Throttled,
            Until::For(Span(34_070)),
        ),
        (429, said(429, "Resource has been exhausted (e.g. check quota)."), family(), Cause::Throttled, Until::BackOff),
        (429, "not JSON".into(), family(), Cause::Throttled, Until::BackOff),
        (429, said(429, "Your prepayment credits are depleted."), Scope::Account, Cause::OutOfCredit, Until::BackOff),
        (
            503,
            said(503, "The model is overloaded. Please try again later."),
            family(),
            Cause::ModelOverloaded,
            Until::BackOff,
        ),
        (503, error(503, "", json!({}), vec![retry("7s")]), family(), Cause::ModelOverloaded, secs(7)),
        (500, said(500, "An internal error has occurred."), family(), Cause::UpstreamFailing, Until::BackOff),
        (504, said(504, "Deadline expired"), family(), Cause::UpstreamFailing, Until::BackOff),
        (429, "<!DOCTYPE html><title>Sorry…</title>".into(), Scope::Account, Cause::EgressBlocked, Until::BackOff),
        (403, "<html>".into(), Scope::Account, Cause::EgressBlocked, Until::BackOff),
        (502, "<html>".into(), Scope::Account, Cause::UpstreamFailing, Until::BackOff),
        (
            404,
            said(404, "This model models/x is no longer available to new users."),
            family(),
            Cause::ModelRefused,
            Until::For(Span::from_hours(1)),
        ),
        (
            403,
            said(403, "Permission denied on the model"),
            family(),
            Cause::ModelRefused,
            Until::For(Span::from_hours(1)),
        ),
        (403, said(403, "Something else"), Scope::Account, Cause::UpstreamFailing, Until::BackOff),
    ];
    for (status, body, scope, cause, until) in cases {
        for body in [body.clone(), format!("[{body}]")] {
            if body.starts_with("[<") || body.starts_with("[not") {
                continue;
            }
            let judgement = judge(AccountKind::ApiKey, status, &body);
            assert_eq!(judgement.verdict, Verdict::Elsewhere, "{body}");
            assert_eq!(judgement.park, None, "{body}");
            let penalty = judgement.penalty.expect("a penalty");
            assert_eq!((penalty.scope, penalty.cause, penalty.until), (scope.clone(), cause, until), "{body}");
        }
    }
}

#[test]
fn a_spent_quota_is_a_window_until_its_known_reset() {
    let body = error(429, "QUOTA_EXHAUSTED", json!({"quotaResetDelay": "60s"}), vec![]);
    let windows = judge(AccountKind::Subscription, 429, &body).windows;
    assert_eq!(windows.len(), 1);
    assert!(windows[0].is_exhausted(NOW) && !windows[0].is_exhausted(UnixMs(NOW.0 + 60_000)));
    assert_eq!(windows[0].name, "requests", "the name of the probe's window, so that a later probe replaces it");
    assert!(
        judge(AccountKind::Subscription, 429, &error(429, "QUOTA_EXHAUSTED", json!({}), vec![])).windows.is_empty()
    );
}

#[test]
fn an_accounts_own_trouble_parks_it_with_googles_words() {
    let help =
        json!({"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://example.com/verify"}]});
    let key = AccountKind::ApiKey;
    let login = AccountKind::Subscription;
    let cases = [
        (login, 403, error(403, "VALIDATION_REQUIRED", json!({}), vec![help]), "https://example.com/verify"),
        (
            login,
            403,
            error(403, "VALIDATION_REQUIRED", json!({"validation_url": "https://example.com/v2"}), vec![]),
            "https://example.com/v2",
        ),
        (login, 403, error(403, "SECURITY_POLICY_VIOLATED", json!({}), vec![]), "VPC Service Controls"),
        (
            login,
            403,
            said(403, "Permission 'cloudaicompanion.instances.completeTask' denied on resource '//x/projects/foreign'"),
            "correct or remove `project`",
        ),
        (
            key,
            403,
            error(403, "SERVICE_DISABLED", json!({"activationUrl": "https://example.com/on"}), vec![]),
            "https://example.com/on",
        ),
        (key, 403, error(403, "API_KEY_SERVICE_BLOCKED", json!({}), vec![]), "restrictions"),
        (key, 403, error(403, "CONSUMER_SUSPENDED", json!({}), vec![]), "suspended"),
        (key, 403, said(403, "Your API key was reported as leaked. Please use another API key."), "another API key"),
        (key, 400, error(400, "API_KEY_INVALID", json!({}), vec![]), "valid API key"),
        (key, 400, said(400, "API key not valid. Please pass a valid API key."), "valid API key"),
        (key, 400, said(400, "API key expired. Please renew the API key."), "API key expired"),
        (
            key,
            400,
            said(400, "Gemini API free tier is not available in your country. Please enable billing on your project"),
            "enable billing",
        ),
        (key, 401, said(401, "Request had invalid authentication credentials."), "valid API key"),
    ];
    for (kind, status, body, says) in cases {
        let judgement = judge(kind, status, &body);
        assert_eq!((judgement.verdict, judgement.fault), (Verdict::Elsewhere, Fault::Account), "{body}");
        let park = judgement.park.expect("parked");
        assert!(park.contains(says), "{park}");
    }
    assert_eq!(judge(login, 401, &said(401, "Request had invalid credentials")).verdict, Verdict::RefreshThenSame);
    let suspended = said(403, "Permission denied: Consumer 'api_key:AIzaMade-up_key' has been suspended.");
    let judgement = judge(key, 403, &suspended);
    assert!(!format!("{judgement:?}").contains("Made-up"), "{judgement:?}");
}

#[test]
fn the_requests_own_fault_goes_to_the_client_as_it_is() {
    for (status, body) in [
        (400, said(400, "Invalid JSON payload received. Unknown name \"x\"")),
        (400, said(400, "The input token count exceeds the maximum number of tokens allowed")),
        (400, said(400, "User location is not supported for the API use.")),
        (400, "<html><title>Error 400 (Bad Request)!!1</title>".into()),
        (404, said(404, "models/foo is not found for API version v1beta, or is not supported for generateContent.")),
        (403, said(403, "CachedContent not found (or permission denied)")),
        (403, said(403, "You do not have permission to access the File abc or it may not exist.")),
        (413, said(413, "Request payload size exceeds the limit")),
        (422, String::new()),
    ] {
        let judgement = judge(AccountKind::ApiKey, status, &body);
        assert_eq!(judgement.verdict, Verdict::Fatal, "{body}");
        assert!(judgement.penalty.is_none() && judgement.park.is_none(), "{body}");
    }
    // The tier of a login may lack a model that another account has.
    let body = said(404, "Requested entity was not found.");
    assert_eq!(judge(AccountKind::Subscription, 404, &body).verdict, Verdict::Elsewhere);
    assert_eq!(judge(AccountKind::ApiKey, 404, &body).verdict, Verdict::Fatal);
    assert_eq!(judge(AccountKind::ApiKey, 499, &said(499, "cancelled")).penalty, None);
    assert_eq!(judge(AccountKind::ApiKey, 302, "").verdict, Verdict::Elsewhere);
}

fn route(path: &str) -> &'static Route {
    ROUTES.iter().find(|route| route.path == path).expect("a route")
}

const STREAM: &str = "/v1internal:streamGenerateContent";
const PLAIN: &str = "/v1beta/models/{model}:generateContent";

fn reader(path: &str, stream: bool) -> Box<dyn Reader> {
    gemini().reader(route(path), &demand_for(Some(MODEL)), stream, NOW)
}

/// What an answer came to: stage before its end, stage at its end, tokens, model, number of errors.
type Read = (Stage, Stage, Option<TokenCounts>, Option<String>, usize);

fn read(path: &str, stream: bool, bytes: &[u8], cuts: &[usize]) -> Read {
    let mut reader = reader(path, stream);
    let mut errors = 0;
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        errors += usize::from(reader.feed(&bytes[from..cut]).failure.is_some());
        from = cut;
    }
    let before = reader.stage();
    errors += usize::from(reader.finish().failure.is_some());
    (before, reader.stage(), reader.usage(), reader.model().map(str::to_owned), errors)
}

const RECORDED: TokenCounts =
    TokenCounts { input: 200, cache_read: 1000, cache_write_5m: 0, cache_write_1h: 0, output: 34, reasoning: 0 };

#[test]
fn recorded_streams_are_read_in_any_chunks() {
    let api = include_bytes!("../../../fixtures/gemini_api_final.sse");
    let cut = include_bytes!("../../../fixtures/gemini_api_truncated.sse");
    let assist = include_bytes!("../../../fixtures/gemini_codeassist_final.sse");
    let tool = include_bytes!("../../../fixtures/gemini_codeassist_tool.sse");
    let cases: [(&[u8], &str, Stage); 4] = [
        (api, "gemini-3.8-flash", Stage::Ended),
        (cut, "gemini-3.8-flash", Stage::Meaningful),
        (assist, "gemini-3-flash-preview", Stage::Ended),
        (tool, "gemini-3-flash-preview", Stage::Ended),
    ];
    for (bytes, model, end) in cases {
        let wanted = (Stage::Meaningful, end, Some(RECORDED), Some(model.to_owned()), 0);
        for size in [1, 2, 7, 64, bytes.len()] {
            let cuts: Vec<usize> = (size..bytes.len()).step_by(size).collect();
            assert_eq!(read(STREAM, true, bytes, &cuts), wanted, "{model} in pieces of {size}");
        }
    }
}

proptest! {
    #[test]
    fn no_chunking_changes_what_is_read(
        cuts in prop::collection::vec(0_usize..1000, 0..8),
        which in 0_usize..4,
    ) {
        let blocked = b"data: {\"promptFeedback\": {\"blockReason\": \"SAFETY\"}}\r\n\r\n";
        let failed = b"data: {\"candidates\": []}\n\n{\n  \"error\": {\"code\": 503,\n \"message\": \"x\"}\n}\n";
        let array = br#"[{"candidates":[{"finishReason":"STOP"}]},{"usageMetadata":{"promptTokenCount":3}}]"#;
        let (stream, bytes): (bool, &[u8]) = [
            (true, &include_bytes!("../../../fixtures/gemini_codeassist_final.sse")[..]),
            (true, &blocked[..]),
            (true, &failed[..]),
            (false, &array[..]),
        ][which];
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
        cuts.sort_unstable();
        prop_assert_eq!(read(STREAM, stream, bytes, &cuts), read(STREAM, stream, bytes, &[]));
    }
}

#[test]
fn nothing_counts_before_the_first_candidates() {
    let mut reader = reader(STREAM, true);
    for preamble in [
        "\r\n\r\n",
        ": comment\n\n",
        "data: {\"candidates\": []}\n\n",
        "data: {\"response\": {\"usageMetadata\": {\"promptTokenCount\": 5}}}\n\n",
        "data: {\"response\": {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"\\\"finishReason\\\"\"}",
    ] {
        reader.feed(preamble.as_bytes());
        assert_eq!(reader.stage(), Stage::Preamble, "{preamble}");
    }
    reader.feed(b"]}}]}}\n\n");
    assert_eq!(reader.stage(), Stage::Meaningful);
    reader.finish();
    assert_eq!(reader.stage(), Stage::Meaningful, "the word in a text is no finish reason");
    assert_eq!(reader.usage().map(|usage| usage.input), Some(5));
}

#[test]
fn thoughts_and_tool_prompts_are_counted_apart_and_the_last_chunk_wins() {
    let stream = concat!(
        "data: {\"candidates\":[{}],\"usageMetadata\":{\"promptTokenCount\":100,\"thoughtsTokenCount\":9}}\n\n",
        "data: {\"usageMetadata\":{\"promptTokenCount\":100,\"cachedContentTokenCount\":40,\"candidatesTokenCount\":7,",
        "\"thoughtsTokenCount\":20,\"toolUsePromptTokenCount\":11,\"totalTokenCount\":138}}\n\n",
    );
    let usage = read(STREAM, true, stream.as_bytes(), &[]).2.expect("usage");
    assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (71, 40, 7, 20));
    assert_eq!(usage.total(), 138);
}

#[test]
fn an_error_inside_a_stream_is_judged_like_a_reply() {
    let limit = error(429, "QUOTA_EXHAUSTED", json!({"quotaResetDelay": "60s"}), vec![]);
    for stream in [format!("data: {limit}\n\n"), format!("\r\n{limit}\n"), format!("data: {limit}")] {
        let mut reader = reader(STREAM, true);
        let (fed, finished) = (reader.feed(stream.as_bytes()), reader.finish());
        let failure = fed.failure.or(finished.failure).expect("a failure");
        assert_eq!(failure.verdict, Verdict::Elsewhere, "{stream}");
        assert_eq!(failure.penalty.map(|penalty| penalty.cause), Some(Cause::QuotaSpent));
        assert_eq!(reader.stage(), Stage::Preamble);
    }
    let mut array = reader(STREAM, false);
    assert!(array.feed(format!("[{limit}]").as_bytes()).failure.is_some());
    // Nonsense harms nothing.
    for nonsense in ["data: {\"error\": null}\n\n", "data: {\"error\": \"x\"}\n\n", "data: \u{fffd}{]\n\n{\"a\"", "[{]"]
    {
        for stream in [true, false] {
            assert_eq!(read(STREAM, stream, nonsense.as_bytes(), &[]).4, 0, "{nonsense}");
        }
    }
}

#[test]
fn plain_answers_are_whole_only_at_their_end() {
    let plain = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3},"modelVersion":"m"}"#;
    let read_whole = read(PLAIN, false, plain.as_bytes(), &[]);
    assert_eq!((read_whole.0, read_whole.1), (Stage::Meaningful, Stage::Ended));
    assert_eq!((read_whole.2.map(|usage| usage.input), read_whole.3.as_deref()), (Some(3), Some("m")));
    let cut = read(PLAIN, false, &plain.as_bytes()[..plain.len() - 1], &[]);
    assert_eq!(cut.1, Stage::Meaningful);
    let early = read(PLAIN, false, br#"{"candidates":[{"content""#, &[]);
    assert_eq!(early.1, Stage::Preamble);

    let embedding = r#"{"embedding": {"values": [0.1]}}"#;
    let read_embedding = read("/v1beta/models/{model}:embedContent", false, embedding.as_bytes(), &[5]);
    assert_eq!((read_embedding.0, read_embedding.1, read_embedding.2), (Stage::Meaningful, Stage::Ended, None));
}

#[test]
fn a_huge_chunk_costs_no_memory_and_no_usage() {
    let image = "A".repeat(3 << 20);
    let stream = format!(
        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"inlineData\":{{\"data\":\"{image}\"}}}}]}},\"finishReason\":\"STOP\"}}],\"usageMetadata\":{{\"promptTokenCount\":3}}}}\n\n"
    );
    let cuts: Vec<usize> = (65_536..stream.len()).step_by(65_536).collect();
    let read = read(STREAM, true, stream.as_bytes(), &cuts);
    assert_eq!((read.0, read.1, read.2.map(|usage| usage.input)), (Stage::Meaningful, Stage::Ended, Some(3)));
}

fn refused(why: RefusalWhy) -> Failure {
    let id = account(AccountKind::ApiKey).id;
    let considered = vec![(id.clone(), Ineligible::NeedsLogin { why: "x".into() }), (id, Ineligible::Paused)];
    Failure::Refused(Refusal { provider: ID, model: Some(MODEL.into()), why, considered })
}

fn fail(failure: &Failure) -> Reply {
    let headers = HeaderMap::new();
    let head = Head { method: &Method::POST, path: STREAM, query: None, headers: &headers };
    gemini().failure(Some(route(STREAM)), &head, failure, NOW)
}

#[test]
fn an_exhausted_pool_says_so_in_the_words_that_the_cli_reads() {
    let resets_at = Some(UnixMs(NOW.0 + 2_399_500));
    let reply = fail(&refused(RefusalWhy::AllSpent { resets_at, window: None, span: None }));
    assert_eq!(reply.status, 429);
    assert_eq!(reply.headers["retry-after"], "2400");
    let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
    let message = format!("All pooled Gemini accounts are at their limit for {MODEL} · resets 3:40 PM UTC (in 40 min)");
    assert_eq!(
        body,
        json!({"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "QUOTA_EXHAUSTED", "domain": "cloudcode-pa.googleapis.com",
                "metadata": {"uiMessage": "true", "model": MODEL,
                             "quotaResetTimeStamp": "2026-11-22T15:40:00Z", "quotaResetDelay": "2400s"},
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2400s"},
        ]}})
    );

    // Nobody knows when: then nothing is made up.
    let reply = fail(&refused(RefusalWhy::AllSpent { resets_at: None, window: None, span: None }));
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains("QUOTA_EXHAUSTED") && !text.contains("RetryInfo") && !text.contains("resets"), "{text}");

    let resets_at = Some(UnixMs(NOW.0 + 200_000_000));
    let reply = fail(&refused(RefusalWhy::AllSpent { resets_at, window: None, span: None }));
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains("resets Nov 24, 10:34 PM UTC (in 2 d 7 h)"), "{text}");
}

#[test]
fn ones_own_limit_ends_the_clis_tries_or_is_sat_out() {
    use pool_core::limits::{Amount, Budget, Over, Period};
    let budget = Budget { period: Period::Day, amount: Amount::Tokens(1000) };
    let until = NOW + Span::from_secs(7200);
    for (over, code, reason, delay) in [
        (Over::Budget { budget, until }, 429, "QUOTA_EXHAUSTED", "7200s"),
        (Over::Pace { limit: 3, until: NOW + Span::from_secs(20) }, 429, "RATE_LIMIT_EXCEEDED", "20s"),
        (Over::Streams { limit: 1 }, 429, "RATE_LIMIT_EXCEEDED", "5s"),
        (Over::Model { allowed: vec!["a".into()] }, 403, "", ""),
        (Over::Provider { allowed: vec!["a".into()] }, 403, "", ""),
    ] {
        let reply = fail(&refused(RefusalWhy::OwnLimit(over)));
        let error = serde_json::from_slice::<Value>(&reply.body).expect("JSON")["error"].clone();
        let details = error["details"].as_array().into_iter().flatten();
        let told = |key: &str| details.clone().find_map(|detail: &Value| detail[key].as_str()).unwrap_or_default();
        assert_eq!((reply.status.as_u16(), told("reason"), told("retryDelay")), (code, reason, delay));
        let message = error["message"].as_str().expect("a text");
        assert!(message.starts_with("You") && !message.contains("exhausted your capacity"), "{message}");
    }
}

#[test]
fn every_failure_has_its_status_and_words() {
    let later = Some(UnixMs(NOW.0 + 12_300));
    let bad = |status| Failure::BadRequest { status, message: "m".into() };
    let cases = [
        (refused(RefusalWhy::NoAccounts), 403, "PERMISSION_DENIED", "pool/gemini/", None),
        (refused(RefusalWhy::NoneOfThisKind), 403, "PERMISSION_DENIED", "API key", None),
        (refused(RefusalWhy::NeedsPerson), 403, "PERMISSION_DENIED", "1 need attention, 1 paused", None),
        (refused(RefusalWhy::Busy), 429, "RESOURCE_EXHAUSTED", "busy", Some("5s")),
        (
            refused(RefusalWhy::Trouble { until: later, cause: Cause::Throttled }),
            429,
            "RESOURCE_EXHAUSTED",
            "RATE_LIMIT_EXCEEDED",
            Some("13s"),
        ),
        (
            refused(RefusalWhy::Trouble { until: later, cause: Cause::ModelOverloaded }),
            503,
            "UNAVAILABLE",
            "overloaded",
            Some("13s"),
        ),
        (
            refused(RefusalWhy::Trouble { until: None, cause: Cause::UpstreamFailing }),
            503,
            "UNAVAILABLE",
            "failing",
            Some("5s"),
        ),
        (Failure::BadCredential { message: "m".into() }, 401, "UNAUTHENTICATED", "m", None),
        (bad(StatusCode::BAD_REQUEST), 400, "INVALID_ARGUMENT", "m", None),
        (bad(StatusCode::PAYLOAD_TOO_LARGE), 413, "INVALID_ARGUMENT", "m", None),
        (
            Failure::UpstreamDown { message: "m".into(), retry_after: Duration::from_millis(10) },
            503,
            "UNAVAILABLE",
            "m",
            Some("1s"),
        ),
        (Failure::Timeout { message: "m".into() }, 504, "DEADLINE_EXCEEDED", "m", None),
        (Failure::NotServed { message: "m".into() }, 404, "NOT_FOUND", "m", None),
    ];
    for (failure, status, name, says, delay) in cases {
        let reply = fail(&failure);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let body: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(reply.status, status, "{failure:?}");
        assert_eq!((&body["error"]["code"], &body["error"]["status"]), (&json!(status), &json!(name)), "{failure:?}");
        assert!(text.contains(says), "{text}");
        let details = body["error"]["details"].as_array().cloned().unwrap_or_default();
        let told = details.iter().find_map(|detail| detail["retryDelay"].as_str());
        assert_eq!(told, delay, "{text}");
        // Words that make Gemini CLI sleep for an hour, or drop the delay.
        assert!(!text.contains("exhausted your capacity") && !text.contains("PerDay"), "{text}");
    }
}

#[test]
fn only_public_streams_end_in_words() {
    let failure = Failure::Timeout { message: "m".into() };
    let event = gemini().failure_event(route("/v1/models/{model}:streamGenerateContent"), &failure, NOW);
    let event = event.expect("an event");
    assert!(event.starts_with(b"{\"error\":{"), "no `data:`, and the one line that both SDKs look for");
    // Our own reader finds it too.
    assert_eq!(read(STREAM, true, &event, &[]).4, 1);
    assert_eq!(gemini().failure_event(route(STREAM), &failure, NOW), None);
    assert_eq!(gemini().failure_event(route(PLAIN), &failure, NOW), None);

    assert_eq!(gemini().keep_alive(route(STREAM), Client::OwnCli), Some(&b"\r\n"[..]));
    assert_eq!(gemini().keep_alive(route(PLAIN), Client::OwnCli), None);
}

fn answer(path: &str, standing: &Standing) -> Value {
    let headers = HeaderMap::new();
    let head = Head { method: &Method::POST, path, query: None, headers: &headers };
    let reply = gemini().answer(route(path), &head, b"{}", standing, NOW);
    assert_eq!(
        (reply.status, &reply.headers["content-type"]),
        (StatusCode::OK, &HeaderValue::from_static("application/json"))
    );
    serde_json::from_slice(&reply.body).expect("JSON")
}

/// Every key that the recorded answer has must be in ours, unless the CLI can do without it.
#[test]
fn our_answers_have_the_recorded_shape() {
    let standing = Standing {
        accounts: 2,
        ready: 1,
        windows: vec![
            window("requests", "model:gemini-2.5-pro", 0.25, Some(UnixMs(1_893_456_000_000))),
            window("day", "model:gemini-2.5-pro", 0.75, None),
            window("requests", "model:gemini-2.5-flash", 1.0, None),
        ],
        own: None,
    };
    let mut seen = 0;
    for exchange in recorded(include_str!("../../../fixtures/gemini_gca.json")) {
        let path = exchange["request"]["url"].as_str().expect("a URL");
        let Some(route) = ROUTES.iter().find(|route| route.path == path && route.kind == crate::routes::Kind::Answer)
        else {
            continue;
        };
        seen += 1;
        let ours = answer(route.path, &standing);
        for (key, value) in exchange["response"]["body"].as_object().expect("an object") {
            // A paid tier would have the CLI offer credits.
            if key != "paidTier" {
                let same_kind = std::mem::discriminant(&ours[key]) == std::mem::discriminant(value);
                assert!(same_kind, "{path}: {key}");
            }
        }
    }
    assert!(seen >= 4);
    assert_eq!(
        answer("/v1internal:retrieveUserQuota", &standing),
        json!({"buckets": [
            {"modelId": "gemini-2.5-flash", "remainingFraction": 0.0, "tokenType": "REQUESTS"},
            {"modelId": "gemini-2.5-pro", "remainingFraction": 0.25, "tokenType": "REQUESTS"},
            {"modelId": "gemini-3-pro-preview"},
        ]})
    );
}

#[test]
fn a_limit_of_the_callers_own_holds_for_every_model() {
    let own = window("day", "any", 0.5, Some(UnixMs(1_893_456_000_000)));
    let windows = vec![window("requests", "model:gemini-2.5-flash", 0.25, None)];
    let standing = Standing { accounts: 1, ready: 1, windows, own: Some(own) };
    let bucket = |model: &str| {
        json!({
            "modelId": model, "remainingFraction": 0.5, "tokenType": "REQUESTS", "resetTime": "2030-01-01T00:00:00Z",
        })
    };
    assert_eq!(
        answer("/v1internal:retrieveUserQuota", &standing),
        json!({"buckets": [bucket("gemini-2.5-flash"), bucket("gemini-3-pro-preview")]})
    );
}

fn window(name: &str, family: &str, used: f64, resets_at: Option<UnixMs>) -> StandingWindow {
    StandingWindow {
        name: name.into(),
        scope: Scope::Family(family.into()),
        span: None,
        used: Fraction::new(used).expect("a number"),
        resets_at,
    }
}

#[test]
fn a_pool_without_windows_names_no_fraction() {
    let keys = Standing { accounts: 1, ready: 1, windows: Vec::new(), own: None };
    let body = answer("/v1internal:retrieveUserQuota", &keys);
    assert_eq!(body, json!({"buckets": [{"modelId": "gemini-3-pro-preview"}]}));
    assert_eq!(answer("/v1internal:retrieveUserQuota", &Standing::default()), json!({"buckets": []}));
    let onboard = answer("/v1internal:onboardUser", &keys);
    assert_eq!(
        (&onboard["done"], &onboard["response"]["cloudaicompanionProject"]["id"]),
        (&json!(true), &json!("codex-pool"))
    );
    assert_eq!(answer("/v1internal:fetchAdminControls", &keys), json!({"adminControlsApplicable": false}));
    assert_eq!(answer("/v1internal:recordCodeAssistMetrics", &keys), json!({}));
}

#[test]
fn reply_headers_name_no_project() {
    let mut headers = HeaderMap::new();
    headers.insert("set-cookie", HeaderValue::from_static("x=1"));
    headers.insert("x-goog-user-project", HeaderValue::from_static("p"));
    headers.insert("server-timing", HeaderValue::from_static("gfet4t7; dur=12"));
    gemini().speak_of_pool(&mut headers, &account(AccountKind::ApiKey), &Standing::default(), NOW);
    assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["server-timing"]);
}
