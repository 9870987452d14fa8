//! What a ChatGPT token tells of its owner.
//!
//! The tokens are JWTs. Their signature is the provider's to check; we read the claims that Codex CLI reads
//! (`codex-rs/login/src/token_data.rs`). An opaque or broken token tells nothing, which is no error.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pool_core::UnixMs;
use serde_json::Value;

const AUTH: &str = "https://api.openai.com/auth";
const PROFILE: &str = "https://api.openai.com/profile";

/// The claims of one token, or of several read together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// The person: `chatgpt_user_id`, `user_id` or `sub`.
    pub(super) user: Option<String>,
    /// The workspace: `chatgpt_account_id`.
    pub(super) workspace: Option<String>,
    pub(super) plan: Option<String>,
    /// Masked.
    pub(super) email: Option<String>,
    pub(super) fedramp: bool,
    /// `exp`. The id token's is short and means nothing for requests: ask only an access token for it.
    pub(super) expires_at: Option<UnixMs>,
    /// Issued by a pool like this one (`sub` = `pool|…`), so not an account.
    pub(super) of_a_pool: bool,
}

impl Claims {
    pub(super) fn of(token: &str) -> Self {
        payload(token).map(|payload| Self::read(&payload)).unwrap_or_default()
    }

    fn read(payload: &Value) -> Self {
        let auth = &payload[AUTH];
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let sub = text(&payload["sub"]);
        Self {
            of_a_pool: sub.as_deref().is_some_and(|sub| sub.starts_with("pool|")),
            user: text(&auth["chatgpt_user_id"]).or_else(|| text(&auth["user_id"])).or(sub),
            workspace: text(&auth["chatgpt_account_id"]),
            plan: text(&auth["chatgpt_plan_type"]),
            email: text(&payload["email"]).or_else(|| text(&payload[PROFILE]["email"])).map(|email| mask(&email)),
            fedramp: auth["chatgpt_account_is_fedramp"].as_bool().unwrap_or(false),
            expires_at: payload["exp"].as_f64().filter(|secs| (1.0..1e11).contains(secs)).map(secs),
        }
    }

    /// What `self` does not tell is taken from `other` (never the end of life, which is each token's own).
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            user: self.user.or(other.user),
            workspace: self.workspace.or(other.workspace),
            plan: self.plan.or(other.plan),
            email: self.email.or(other.email),
            fedramp: self.fedramp || other.fedramp,
            expires_at: self.expires_at,
            of_a_pool: self.of_a_pool || other.of_a_pool,
        }
    }
}

fn secs(secs: f64) -> UnixMs {
    UnixMs::from_secs(secs as i64)
}

fn payload(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let payload = parts.nth(1)?;
    let signature = parts.next()?;
    if signature.is_empty() || parts.next().is_some() {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// `maria@example.com` becomes `m…@example.com`.
fn mask(email: &str) -> String {
    match (email.chars().next(), email.rsplit_once('@')) {
        (Some(first), Some((name, domain))) if !name.is_empty() => format!("{first}…@{domain}"),
        _ => "…".into(),
    }
}

/// A token with these claims, for tests.
#[cfg(test)]
pub(super) fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_read_from_both_places() {
        let claims = Claims::of(&token(&json!({
            "sub": "auth0|x", "exp": 1_786_147_200,
            AUTH: {"chatgpt_user_id": "user-1", "chatgpt_account_id": "ws-1", "chatgpt_plan_type": "plus",
                   "chatgpt_account_is_fedramp": true},
            PROFILE: {"email": "maria@example.com"},
        })));
        assert_eq!(
            claims,
            Claims {
                user: Some("user-1".into()),
                workspace: Some("ws-1".into()),
                plan: Some("plus".into()),
                email: Some("m…@example.com".into()),
                fedramp: true,
                expires_at: Some(UnixMs(1_786_147_200_000)),
                of_a_pool: false,
            }
        );
        assert_eq!(Claims::of(&token(&json!({"sub": "s", AUTH: {"user_id": "u"}}))).user.as_deref(), Some("u"));
        assert_eq!(Claims::of(&token(&json!({"sub": "s"}))).user.as_deref(), Some("s"));
        assert!(Claims::of(&token(&json!({"sub": "pool|7f"}))).of_a_pool);
    }

    #[test]
    fn what_is_no_jwt_tells_nothing() {
        for token in ["", "opaque", "a.b", "a..c", "a.!!!.c", "a.bm90IGpzb24.c", "a.e30.", "a.e30.c.d"] {
            assert_eq!(Claims::of(token), Claims::default(), "{token}");
        }
        for exp in [json!(-1), json!("soon"), json!(1e300), json!(0)] {
            assert_eq!(Claims::of(&token(&json!({ "exp": exp }))).expires_at, None);
        }
    }

    #[test]
    fn a_masked_address_tells_its_domain_only() {
        for (email, masked) in [("a@b.c", "a…@b.c"), ("é@b.c", "é…@b.c"), ("@b.c", "…"), ("nobody", "…")] {
            assert_eq!(mask(email), masked);
        }
    }
}
