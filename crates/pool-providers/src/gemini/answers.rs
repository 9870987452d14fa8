//! Our own answers: to what Gemini CLI asks of its account, and when a request failed.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use pool_core::limits::Over;
use pool_core::standing::{Ineligible, Refusal, RefusalWhy, Standing, StandingWindow};
use pool_core::verdict::Cause;
use pool_core::{Span, UnixMs};
use serde_json::{Value, json};

use super::quota::model_of;
use super::routes::Surface;
use crate::own;
use crate::reply::{Failure, Reply};
use crate::routes::Route;

/// What the CLI believes to be its Google Cloud project. Never sent upstream: each account's own takes its place.
const POOL_PROJECT: &str = "codex-pool";

/// The domain by which Gemini CLI knows the details that it reads (`CLOUDCODE_DOMAINS` in googleQuotaErrors.ts).
const DOMAIN: &str = "cloudcode-pa.googleapis.com";

/// A bucket for a preview model of which nobody has told the quota (API keys tell none before they are spent). It has no
/// fraction, so the CLI counts nothing by it; but without a preview model among the buckets the CLI leaves its preview models
/// for old ones, which with an API key it never does (`refreshUserQuota` in `packages/core/src/config/config.ts`; measured on
/// 0.61.0: `gemini-2.5-pro` without this bucket, `gemini-3-flash-preview` with it).
const UNTOLD: &str = "gemini-3-pro-preview";

/// What Gemini CLI asks of its account, answered for the pool (shapes measured on 0.61.0).
pub(super) fn answer(route: &Route, standing: &Standing) -> Reply {
    let tier = json!({
        "id": "standard-tier", "name": "codex-pool", "description": "Accounts of this pool",
        "userDefinedCloudaicompanionProject": false, "isDefault": true,
    });
    let body = match route.path {
        "/v1internal:loadCodeAssist" => json!({
            "currentTier": tier, "allowedTiers": [tier],
            "cloudaicompanionProject": POOL_PROJECT, "gcpManaged": false,
        }),
        "/v1internal:onboardUser" | "/v1internal/{*operation}" => json!({
            "name": "operations/codex-pool", "done": true,
            "response": {"cloudaicompanionProject": {"id": POOL_PROJECT, "name": POOL_PROJECT}},
        }),
        "/v1internal:retrieveUserQuota" => json!({ "buckets": buckets(standing) }),
        "/v1internal:listExperiments" => json!({"experimentIds": [], "flags": []}),
        "/v1internal:fetchAdminControls" => json!({"adminControlsApplicable": false}),
        "/v1internal:getCodeAssistGlobalUserSetting" | "/v1internal:setCodeAssistGlobalUserSetting" => {
            json!({"cloudaicompanionProject": POOL_PROJECT, "freeTierDataCollectionOptin": false})
        }
        _ => json!({}),
    };
    Reply::json(StatusCode::OK, &body)
}

/// One bucket a model: of several windows the one with the least left.
fn buckets(standing: &Standing) -> Vec<Value> {
    let mut tightest: BTreeMap<&str, &StandingWindow> = BTreeMap::new();
    for window in &standing.windows {
        let Some(model) = model_of(&window.scope) else { continue };
        let known = tightest.entry(model).or_insert(window);
        if window.used > known.used {
            *known = window;
        }
    }
    // A limit of the caller's own holds for every model.
    if let Some(own) = &standing.own {
        for known in tightest.values_mut().filter(|known| known.used < own.used) {
            *known = own;
        }
    }
    let untold = standing.accounts > 0 && !tightest.keys().any(|model| model.contains("preview"));
    let bucket = |(model, window): (&str, &StandingWindow)| {
        let mut bucket =
            json!({"modelId": model, "remainingFraction": window.used.rest().get(), "tokenType": "REQUESTS"});
        if let Some(reset) = window.resets_at.and_then(stamp) {
            bucket["resetTime"] = reset.into();
        }
        bucket
    };
    let untold = untold.then(|| match &standing.own {
        Some(own) => bucket((UNTOLD, own)),
        None => json!({"modelId": UNTOLD}),
    });
    let told: Vec<Value> = tightest.into_iter().map(bucket).collect();
    told.into_iter().chain(untold).collect()
}

/// RFC 3339, whole seconds, rounded up.
fn stamp(at: UnixMs) -> Option<String> {
    Timestamp::from_second(at.as_secs_ceil()).ok().map(|stamp| stamp.to_string())
}

/// A failure as a `google.rpc.Status`.
pub(super) fn failure(failure: &Failure, now: UnixMs) -> Reply {
    let told = Told::of(failure, now);
    let mut reply = Reply::json(told.status, &json!({ "error": told.error() }));
    if let Some(wait) = told.retry_in {
        reply.headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs_ceil()));
    }
    if told.status == StatusCode::UNAUTHORIZED {
        reply.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"codex-pool\""));
    }
    reply
}

/// The error as a chunk of its own in a stream of the public API, without `data:`: so Google writes it, and so both official
/// SDKs find it and raise it (measured: Gemini CLI 0.61.0 shows the message and tries a 503 again, while a cut is fatal with
/// "terminated"; read: `request_streamed` of google-genai 3.4.0). Code Assist's reader knows no error inside a stream; it
/// retries a connection that is cut.
pub(super) fn failure_event(route: &Route, failure: &Failure, now: UnixMs) -> Option<Bytes> {
    let is_public_stream = super::is_stream(route) && Surface::of(route) != Surface::CodeAssist;
    let body = || Bytes::from(format!("{}\n\n", json!({ "error": Told::of(failure, now).error() })));
    is_public_stream.then(body)
}

/// The wait that a client is told when nobody knows a better one.
const SOON: Span = Span::from_secs(5);

/// A failure in Google's words.
struct Told {
    status: StatusCode,
    name: &'static str,
    message: String,
    /// Of the `ErrorInfo` that Gemini CLI reads.
    reason: Option<&'static str>,
    retry_in: Option<Span>,
    model: Option<String>,
    resets_at: Option<UnixMs>,
}

impl Told {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let name = match status.as_u16() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            400..=499 => "INVALID_ARGUMENT",
            _ => "INTERNAL",
        };
        Self { status, name, message: message.into(), reason: None, retry_in: None, model: None, resets_at: None }
    }

    fn of(failure: &Failure, now: UnixMs) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::refused(refusal, now),
            Failure::BadCredential { message } => Self::new(StatusCode::UNAUTHORIZED, message),
            Failure::BadRequest { status, message } => Self::new(*status, message),
            Failure::UpstreamDown { message, retry_after } => {
                let wait = Span::from_millis(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX));
                Self { retry_in: Some(wait), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
            }
            Failure::Timeout { message } => Self::new(StatusCode::GATEWAY_TIMEOUT, message),
            Failure::NotThere { .. } => Self::new(StatusCode::NOT_FOUND, "Requested entity was not found."),
            Failure::NotServed { message } => Self::new(StatusCode::NOT_FOUND, message),
        }
    }

    fn refused(refusal: &Refusal, now: UnixMs) -> Self {
        let model = refusal.model.clone();
        let of_model = model.as_ref().map(|model| format!(" for {model}")).unwrap_or_default();
        let denied = |message: String| Self::new(StatusCode::FORBIDDEN, message);
        match &refusal.why {
            RefusalWhy::NoAccounts => denied(
                "This pool has no Gemini account: put a file with {\"api_key\": \"…\"} into pool/gemini/.".into(),
            ),
            RefusalWhy::NoneOfThisKind => denied(
                "None of the pool's Gemini accounts may serve this client: a Google login serves Gemini CLI's own Code \
                 Assist requests only, everything else needs a Gemini API key in pool/gemini/."
                    .into(),
            ),
            RefusalWhy::NeedsPerson => denied(format!(
                "No pooled Gemini account can serve{of_model} until the operator acts ({}): `codex-pool status` says why.",
                waiting(refusal)
            )),
            RefusalWhy::AllSpent { resets_at, .. } => {
                let when = resets_at.filter(|reset| *reset > now);
                let said = when.map(|reset| format!(" · resets {}", own::moment(reset, now))).unwrap_or_default();
                let message = format!("All pooled Gemini accounts are at their limit{of_model}{said}");
                Self {
                    reason: Some("QUOTA_EXHAUSTED"),
                    retry_in: when.map(|reset| reset.since(now)),
                    resets_at: when,
                    model,
                    ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
                }
            }
            RefusalWhy::Busy => {
                let message = format!("All pooled Gemini accounts are busy{of_model}; try again in {SOON}");
                let told = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
                Self { reason: Some("RATE_LIMIT_EXCEEDED"), retry_in: Some(SOON), model, ..told }
            }
            RefusalWhy::OwnLimit(over) => Self::own_limit(over, model, now),
            RefusalWhy::Trouble { until, cause } => {
                let wait = until.filter(|until| *until > now).map_or(SOON, |until| until.since(now));
                if *cause == Cause::Throttled {
                    let message = format!("All pooled Gemini accounts are being throttled{of_model}; try again in {wait}");
                    let told = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
                    return Self { reason: Some("RATE_LIMIT_EXCEEDED"), retry_in: Some(wait), model, ..told };
                }
                let message = format!("No pooled Gemini account can serve{of_model} right now ({}); try again in {wait}", plain(*cause));
                Self { retry_in: Some(wait), model, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
            }
        }
    }

    fn own_limit(over: &Over, model: Option<String>, now: UnixMs) -> Self {
        let message = own::words(over, model.as_deref(), now);
        let limited = |reason, retry_in| Self {
            reason: Some(reason),
            retry_in: Some(retry_in),
            model,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message.clone())
        };
        match (over, own::wait(over, now)) {
            (Over::Budget { until, .. }, _) => {
                Self { resets_at: Some(*until), ..limited("QUOTA_EXHAUSTED", until.since(now)) }
            }
            (_, Some(wait)) => limited("RATE_LIMIT_EXCEEDED", wait),
            (_, None) => Self::new(StatusCode::FORBIDDEN, message),
        }
    }

    /// The `google.rpc.Status`. A `QuotaFailure` is left out on purpose: the CLI would drop the delay for it.
    fn error(&self) -> Value {
        let mut details = Vec::new();
        let delay = self.retry_in.map(|wait| format!("{}s", wait.as_secs_ceil().max(1)));
        if let Some(reason) = self.reason {
            let mut metadata = json!({"uiMessage": "true"});
            if let Some(model) = &self.model {
                metadata["model"] = model.as_str().into();
            }
            if let (Some(reset), Some(delay)) = (self.resets_at.and_then(stamp), &delay) {
                metadata["quotaResetTimeStamp"] = reset.into();
                metadata["quotaResetDelay"] = delay.as_str().into();
            }
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason, "domain": DOMAIN, "metadata": metadata,
            }));
        }
        if let Some(delay) = delay {
            details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
        }
        let mut error = json!({"code": self.status.as_u16(), "message": self.message, "status": self.name});
        if !details.is_empty() {
            error["details"] = details.into();
        }
        error
    }
}

/// How many accounts wait for what: `2 need sign-in, 1 paused`.
fn waiting(refusal: &Refusal) -> String {
    let count = |is: fn(&Ineligible) -> bool| refusal.considered.iter().filter(|(_, why)| is(why)).count();
    let parts = [
        (count(|why| matches!(why, Ineligible::NeedsLogin { .. })), "need attention"),
        (count(|why| matches!(why, Ineligible::Paused)), "paused"),
        (
            count(|why| matches!(why, Ineligible::Cooling { cause: Cause::ModelRefused, .. })),
            "without this model in their plan",
        ),
        (count(|why| matches!(why, Ineligible::ModelNotAllowed)), "kept for other models"),
        (count(|why| matches!(why, Ineligible::NotForCaller)), "not open to this user"),
        (count(|why| matches!(why, Ineligible::Kind)), "of a kind that may not serve this client"),
    ];
    let said: Vec<String> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() { "none is ready".into() } else { said.join(", ") }
}

fn plain(cause: Cause) -> &'static str {
    match cause {
        Cause::QuotaSpent => "limits reached",
        Cause::Throttled => "throttled",
        Cause::ModelOverloaded => "the model is overloaded",
        Cause::ModelRefused => "not in their plans",
        Cause::UpstreamFailing => "Google's service is failing",
        Cause::EgressBlocked => "this server's way to Google is blocked",
        Cause::OutOfCredit => "out of credit",
    }
}
