//! The verdict on an error reply: whose trouble it is, and what to do.
//!
//! Google tells no quota in headers: everything stands in the body, a `google.rpc.Status` ([`Status`]). Quotas are per
//! model, so almost every cooldown is of one (account, model).

use http::{HeaderMap, StatusCode, header};
use pool_core::verdict::{Cause, Fault, Until};
use pool_core::{AccountKind, Demand, Fraction, Judgement, QuotaWindow, Scope, Source, Span, UnixMs};

use super::quota::family;
use super::status::{self, Status};
use crate::quote::quote;

/// A throttle that lasts longer is a spent quota: Gemini CLI waits for no more (googleQuotaErrors.ts,
/// `MAX_RETRYABLE_DELAY_SECONDS`).
const LONGEST_THROTTLE: Span = Span::from_secs(300);

/// How long a model stays out of an account whose plan does not have it: until somebody changes the plan, so it is asked
/// again now and then.
const REFUSED_FOR: Span = Span::from_hours(1);

/// A reply on its way to a verdict.
struct Case<'a> {
    /// `None` inside a stream, where the reader does not know the account.
    kind: Option<AccountKind>,
    demand: &'a Demand,
    http: u16,
    status: Status,
    now: UnixMs,
}

pub(super) fn judge(
    kind: Option<AccountKind>,
    demand: &Demand,
    http: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: UnixMs,
) -> Judgement {
    let status = Status::read(body);
    let is_page = || {
        let html = |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"text/html");
        headers.get(header::CONTENT_TYPE).is_some_and(html) || body.trim_ascii_start().starts_with(b"<")
    };
    if status.is_none() && is_page() {
        return page(http);
    }
    let status = status.unwrap_or_default();
    Case { kind, demand, http: http.as_u16(), status, now }.verdict()
}

/// A page for people in place of an answer: a firewall, a captive portal, or Google's front end before any service.
fn page(http: StatusCode) -> Judgement {
    let reason = format!("{} with a web page instead of an answer", http.as_u16());
    match http.as_u16() {
        401..=403 | 407 | 429 | 451 => {
            Judgement::elsewhere(Fault::Egress, reason).cooling(Scope::Account, Cause::EgressBlocked, Until::BackOff)
        }
        300..=399 => Judgement::elsewhere(Fault::Egress, reason),
        500.. => Judgement::elsewhere(Fault::Provider, reason).cooling(
            Scope::Account,
            Cause::UpstreamFailing,
            Until::BackOff,
        ),
        _ => Judgement::fatal(reason),
    }
}

impl Case<'_> {
    fn verdict(&self) -> Judgement {
        match self.http {
            300..=399 => Judgement::elsewhere(Fault::Egress, format!("{} (a redirect, not followed)", self.http)),
            400 | 412 => self.bad_request(),
            401 => self.unauthenticated(),
            402 => self.elsewhere(Fault::Account).cooling(Scope::Account, Cause::OutOfCredit, Until::BackOff),
            403 => self.forbidden(),
            404 => self.not_found(),
            429 => self.limited(),
            503 => self.limit().unwrap_or_else(|| self.overloaded()),
            408 | 499 => self.limit().unwrap_or_else(|| self.elsewhere(Fault::Provider)),
            500.. => self.elsewhere(Fault::Provider).cooling(self.scope(), Cause::UpstreamFailing, Until::BackOff),
            _ => self.fatal(),
        }
    }

    fn line(&self) -> String {
        self.status.line(self.http)
    }

    fn fatal(&self) -> Judgement {
        Judgement::fatal(self.line())
    }

    fn elsewhere(&self, fault: Fault) -> Judgement {
        Judgement::elsewhere(fault, self.line())
    }

    /// Google's own words, and what a person can do.
    fn park(&self, mend: &str) -> Judgement {
        let said = quote(&self.status.message, 240);
        let said = if said.is_empty() { self.line() } else { said };
        let link = self.status.link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
        self.elsewhere(Fault::Account).parked(format!("Google says: {} — {mend}{link}", said.trim_end_matches('.')))
    }

    fn says(&self, parts: &[&str]) -> bool {
        let message = self.status.message.to_ascii_lowercase();
        parts.iter().any(|part| message.contains(part))
    }

    /// What a limit of a model touches: the model that was asked for, whatever the body calls it, since otherwise the same
    /// request would come back to the same limit.
    fn scope(&self) -> Scope {
        let asked = self.demand.families.first().cloned();
        asked.or_else(|| self.status.model.as_deref().map(family)).map_or(Scope::Account, Scope::Family)
    }

    /// Most quotas name the model in their id (`GenerateRequestsPerDayPerProjectPerModel-FreeTier`); one that does not
    /// limits the whole project.
    fn quota_scope(&self) -> Scope {
        let project_wide = !self.status.limits.is_empty() && !self.status.has_limit(&["PerModel"]);
        if project_wide && self.status.model.is_none() { Scope::Account } else { self.scope() }
    }

    fn refused_model(&self) -> Judgement {
        self.elsewhere(Fault::Model).cooling(self.scope(), Cause::ModelRefused, Until::For(REFUSED_FOR))
    }

    fn overloaded(&self) -> Judgement {
        let until = self.status.retry_in.map_or(Until::BackOff, Until::For);
        self.elsewhere(Fault::Model).cooling(self.scope(), Cause::ModelOverloaded, until)
    }

    fn throttled(&self, until: Until) -> Judgement {
        self.elsewhere(Fault::Account).cooling(self.quota_scope(), Cause::Throttled, until)
    }

    /// The quota has nothing left until `resets_at`.
    fn spent(&self, name: &str, resets_at: Option<UnixMs>) -> Judgement {
        let scope = self.quota_scope();
        let window = QuotaWindow {
            name: name.into(),
            scope: scope.clone(),
            used: Fraction::ONE,
            resets_at,
            span: (name == "day").then(|| Span::from_hours(24)),
            source: Source::ErrorBody,
            seen_at: self.now,
        };
        // A spent window without a known end would keep the account out for good: then only the cooldown speaks.
        let windows = if resets_at.is_some() { vec![window] } else { Vec::new() };
        let until = resets_at.map_or(Until::BackOff, Until::At);
        self.elsewhere(Fault::Account).cooling(scope, Cause::QuotaSpent, until).with_windows(windows)
    }

    /// When a spent quota is whole again, as far as the body tells.
    fn reset(&self) -> Option<UnixMs> {
        let named = self.status.resets_at.filter(|reset| *reset > self.now);
        named.or_else(|| self.status.resets_in.or(self.status.retry_in).map(|wait| self.now + wait))
    }

    /// The limits that a body tells in detail; the same under 429, 499 and 503.
    fn limit(&self) -> Option<Judgement> {
        let status = &self.status;
        if status.limit_is_zero {
            return Some(self.refused_model());
        }
        match status.reason.as_str() {
            "MODEL_CAPACITY_EXHAUSTED" | "MODEL_CAPACITY_EXCEEDED" => return Some(self.overloaded()),
            "INSUFFICIENT_G1_CREDITS_BALANCE" => {
                let until = self.reset().map_or(Until::BackOff, Until::At);
                return Some(self.elsewhere(Fault::Account).cooling(self.scope(), Cause::OutOfCredit, until));
            }
            "QUOTA_EXHAUSTED" => return Some(self.spent("requests", self.reset())),
            _ => {}
        }
        // Before RetryInfo: Google sends one of seconds beside a daily quota.
        if status.has_limit(&["PerDay", "Daily"]) {
            return Some(self.spent("day", status::next_pacific_midnight(self.now)));
        }
        if self.says(&["credits are depleted", "spending cap", "spend cap"]) {
            return Some(self.elsewhere(Fault::Account).cooling(Scope::Account, Cause::OutOfCredit, Until::BackOff));
        }
        match status.retry_in {
            Some(wait) if wait > LONGEST_THROTTLE => Some(self.spent("requests", Some(self.now + wait))),
            // A 503 with a delay is the model's trouble.
            Some(wait) if self.http != 503 => Some(self.throttled(Until::For(wait))),
            None if status.has_limit(&["PerMinute"]) => Some(self.throttled(Until::For(Span::from_mins(1)))),
            _ => None,
        }
    }

    fn limited(&self) -> Judgement {
        self.limit().unwrap_or_else(|| self.throttled(Until::BackOff))
    }

    fn bad_request(&self) -> Judgement {
        if self.status.reason == "API_KEY_INVALID" || self.says(&["api key not valid", "api key expired"]) {
            return self.park("put a valid API key into the file");
        }
        if self.says(&["free tier is not available", "please enable billing"]) {
            return self.park("enable billing for the project of this key");
        }
        if self.status.reason == "SUBSCRIPTION_REQUIRED" {
            return self.park("this account needs a Gemini Code Assist licence");
        }
        self.fatal()
    }

    fn unauthenticated(&self) -> Judgement {
        match self.kind {
            Some(AccountKind::Subscription) => Judgement::refresh(self.line()),
            Some(AccountKind::ApiKey) => self.park("put a valid API key into the file"),
            None => self.elsewhere(Fault::Account),
        }
    }

    fn forbidden(&self) -> Judgement {
        let is_login = self.kind == Some(AccountKind::Subscription);
        let mend = match self.status.reason.as_str() {
            "VALIDATION_REQUIRED" => "confirm the account in a browser",
            "SECURITY_POLICY_VIOLATED" => {
                "the organisation's security policy (VPC Service Controls) keeps this account out"
            }
            "SERVICE_DISABLED" => "switch the API on in the account's project",
            "CONSUMER_SUSPENDED" | "CONSUMER_INVALID" => "the account's project is suspended or gone",
            "BILLING_DISABLED" => "enable billing for the account's project",
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => "sign in again with Gemini CLI",
            "SUBSCRIPTION_REQUIRED" => "this account needs a Gemini Code Assist licence",
            reason if reason.starts_with("API_KEY_") => "the key's own restrictions do not let it do this",
            _ if self.is_about_an_object() => return self.fatal(),
            _ if self.says(&["reported as leaked", "has been suspended", "has been denied access", "api key"]) => {
                "put another API key into the file"
            }
            // `//cloudresourcemanager.googleapis.com/projects/x`: somebody else's project, or one without the licence.
            _ if is_login && self.says(&["project", "cloudaicompanion", "licen"]) => {
                "the account may not use this project: correct or remove `project` in the file"
            }
            _ if self.says(&["model"]) => return self.refused_model(),
            _ => {
                return match self.limit() {
                    Some(limit) => limit,
                    None => {
                        self.elsewhere(Fault::Account).cooling(Scope::Account, Cause::UpstreamFailing, Until::BackOff)
                    }
                };
            }
        };
        self.park(mend)
    }

    /// The refusal is of a file or a cached content that another account holds (or that is gone): the client's own matter.
    fn is_about_an_object(&self) -> bool {
        self.says(&["cachedcontent", "cached content", "access the file", "corpus"])
    }

    fn not_found(&self) -> Judgement {
        let account_dependent = self.says(&["no longer available to new users", "not available on your plan"]);
        // Code Assist says no more than "Requested entity was not found." of a model that the account's tier has not.
        let tier = self.kind == Some(AccountKind::Subscription) && self.says(&["requested entity was not found"]);
        if (account_dependent || tier)
            && !self.is_about_an_object()
            && self.demand.model.is_some()
            && !self.demand.is_bound()
        {
            return self.refused_model();
        }
        self.fatal()
    }
}
