//! Asking an account how it is, at no cost: `/wham/usage` for a subscription, the list of models for an API key.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pool_core::verdict::{Cause, Fault, Until};
use pool_core::{Account, AccountKind, Credentials, Judgement, Scope, UnixMs};

use super::auth::credential_headers;
use super::errors::{self, Asked, looks_like_html};
use super::quota::Usage;
use crate::provider::Probed;
use crate::request::{Bases, Call};

pub(super) fn call(account: &Account, credentials: &Credentials, bases: &Bases) -> Call {
    let url = match account.kind {
        AccountKind::Subscription => format!("{}/wham/usage", bases.wham),
        AccountKind::ApiKey => format!("{}/models", bases.openai),
    };
    let mut headers: HeaderMap = credential_headers(credentials).into_iter().collect();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Call { method: Method::GET, url, headers, body: bytes::Bytes::new() }
}

pub(super) fn read(account: &Account, status: StatusCode, headers: &HeaderMap, body: &[u8], now: UnixMs) -> Probed {
    if !status.is_success() {
        let asked = Asked { kind: Some(account.kind), model: None, now };
        return Probed { judgement: worth_knowing(asked, status, headers, body), ..Probed::default() };
    }
    if account.kind == AccountKind::ApiKey {
        return Probed::default();
    }
    let Ok(usage) = serde_json::from_slice::<Usage>(body) else { return Probed::default() };
    let windows = usage.windows(now);
    let told_spent = usage.rate_limit.as_ref().is_some_and(|limit| limit.limit_reached == Some(true));
    let seen_spent = windows.iter().any(|window| window.scope == Scope::Account && window.is_exhausted(now));
    // A limit that no window shows: the credits of a workspace, a limit that its owner set.
    let judgement = (told_spent && !seen_spent && !usage.has_credit()).then(|| {
        Judgement::elsewhere(Fault::Account, "the usage answer says that a limit is reached").cooling(
            Scope::Account,
            Cause::OutOfCredit,
            Until::BackOff,
        )
    });
    Probed { windows, plan: usage.plan_type.filter(|plan| !plan.is_empty()), bound: Vec::new(), judgement }
}

/// A probe that fails tells little: its own limit (429) and trouble of its endpoint (404, 5xx) say nothing of inference. A
/// key without the right to list models may still serve.
fn worth_knowing(asked: Asked<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Judgement> {
    let tells = match status.as_u16() {
        401 | 402 => true,
        403 => asked.kind == Some(AccountKind::Subscription) || looks_like_html(headers, body),
        _ => false,
    };
    let judgement = tells.then(|| errors::judge(asked, status, headers, body))?;
    // Without a park, a cooldown or a refresh there is nothing to do about it.
    let acts = judgement.park.is_some()
        || judgement.penalty.is_some()
        || judgement.verdict == pool_core::Verdict::RefreshThenSame;
    acts.then_some(judgement)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pool_core::account::Identity;
    use pool_core::{ProviderId, Secret, Settings, Verdict};
    use serde_json::{Value, json};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_341_460_000);

    fn account(kind: AccountKind) -> Account {
        let provider = ProviderId("codex");
        Account {
            id: Identity::File("a.json".into()).account_id(provider),
            provider,
            kind,
            name: "a".into(),
            file: "a.json".into(),
            plan: None,
            email: None,
            settings: Settings::default(),
        }
    }

    fn probe(kind: AccountKind, status: u16, body: &Value) -> Probed {
        let status = StatusCode::from_u16(status).expect("a status");
        read(&account(kind), status, &HeaderMap::new(), body.to_string().as_bytes(), NOW)
    }

    #[test]
    fn each_kind_is_asked_where_it_costs_nothing() {
        let credentials = Credentials {
            access: Secret::new("t"),
            refresh: None,
            expires_at: None,
            refreshed_at: None,
            bound: BTreeMap::from([(super::super::files::WORKSPACE, "ws-1".to_owned())]),
        };
        let call_of = |kind| call(&account(kind), &credentials, &Bases::default());
        let plan = call_of(AccountKind::Subscription);
        assert_eq!(plan.url, "https://chatgpt.com/backend-api/wham/usage");
        assert_eq!(plan.headers["chatgpt-account-id"], "ws-1");
        assert!(plan.headers["authorization"].is_sensitive());
        assert_eq!(call_of(AccountKind::ApiKey).url, "https://api.openai.com/v1/models");
    }

    #[test]
    fn a_usage_answer_tells_plan_and_windows() {
        let window = json!({"used_percent": 100, "limit_window_seconds": 18_000, "reset_after_seconds": 60});
        let body = json!({"plan_type": "plus", "rate_limit": {"limit_reached": true, "primary_window": window}});
        let probed = probe(AccountKind::Subscription, 200, &body);
        assert_eq!((probed.plan.as_deref(), probed.windows.len()), (Some("plus"), 1));
        assert_eq!(probed.judgement, None);
    }

    #[test]
    fn a_limit_that_no_window_shows_keeps_the_account_out() {
        let body = json!({"plan_type": "team", "rate_limit": {"limit_reached": true, "primary_window": null}});
        let judgement = probe(AccountKind::Subscription, 200, &body).judgement.expect("a judgement");
        assert_eq!(judgement.penalty.map(|penalty| penalty.cause), Some(Cause::OutOfCredit));
        let body = json!({"rate_limit": {"limit_reached": true}, "credits": {"has_credits": true}});
        assert_eq!(probe(AccountKind::Subscription, 200, &body).judgement, None);
    }

    #[test]
    fn a_failed_probe_tells_only_of_credentials() {
        use AccountKind::{ApiKey, Subscription};
        let verdict = |kind, status, body| probe(kind, status, &body).judgement.map(|judgement| judgement.verdict);
        assert_eq!(verdict(Subscription, 401, json!({})), Some(Verdict::RefreshThenSame));
        assert_eq!(
            verdict(Subscription, 403, json!({"detail": {"code": "invalid_workspace_selected"}})),
            Some(Verdict::Elsewhere)
        );
        assert!(
            probe(ApiKey, 401, &json!({"error": {"code": "invalid_api_key"}}))
                .judgement
                .is_some_and(|j| j.park.is_some())
        );
        let restricted = json!({"error": {"message": "Missing scopes: api.model.read"}});
        for (kind, status, body) in [
            (Subscription, 429, json!({})),
            (Subscription, 503, json!({})),
            (Subscription, 404, json!({})),
            (Subscription, 403, json!({})),
            (ApiKey, 403, restricted.clone()),
            (ApiKey, 401, restricted),
            (ApiKey, 429, json!({"error": {"code": "insufficient_quota"}})),
            (Subscription, 200, json!([])),
        ] {
            assert_eq!(verdict(kind, status, body.clone()), None, "{status} {body}");
        }
    }
}
