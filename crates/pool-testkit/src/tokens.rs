//! Made-up credentials: well-formed, visibly fake, and with the providers' own rules for renewing them.
//!
//! A refresh token of OpenAI or Anthropic is used up by its first use. Whoever presents it again kills the whole family:
//! every access token is revoked and only a new sign-in helps. Google's refresh tokens do not rotate.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{self, FakeAccount, Kind};

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(seconds: u64) -> String {
    jiff::Timestamp::from_second(seconds as i64).map_or_else(|_| String::new(), |time| time.to_string())
}

fn digest_hex(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn made_up_uuid(seed: &str) -> String {
    let hex = digest_hex(&["uuid", seed]);
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

pub(crate) fn short_hash(text: &str) -> String {
    digest_hex(&["text", text])[..16].to_owned()
}

/// The short text that marks what an account minted (encrypted reasoning, turn state, response ids).
pub(crate) fn tag(account: &FakeAccount) -> String {
    digest_hex(&["tag", account.kind.provider(), &account.name])[..10].to_owned()
}

/// Why a refresh was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Used before: the family is dead now.
    Reused,
    /// Ran out.
    Expired,
    /// Taken back by the owner or the provider.
    Invalidated,
    /// Never issued.
    Unknown,
}

/// What a successful refresh hands out.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) access: String,
    /// `None`: the old one stays good.
    pub(crate) refresh: Option<String>,
    pub(crate) id_token: Option<String>,
    pub(crate) lifetime: Duration,
}

/// How a presented access token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Good,
    Expired,
    Revoked,
    Unknown,
}

/// The tokens of one account, past and present.
#[derive(Debug)]
pub(crate) struct Tokens {
    kind: Kind,
    /// Every access token ever issued and when it ends; `None`: it has been revoked.
    access: HashMap<String, Option<u64>>,
    pub(crate) current_access: String,
    pub(crate) expires_at: u64,
    pub(crate) current_refresh: Option<String>,
    spent: HashSet<String>,
    dead: Option<Refusal>,
    generation: u64,
}

impl Tokens {
    /// The state in which the account's credential file was written.
    pub(crate) fn first(account: &FakeAccount) -> Self {
        let mut tokens = Self {
            kind: account.kind,
            access: HashMap::new(),
            current_access: String::new(),
            expires_at: 0,
            current_refresh: None,
            spent: HashSet::new(),
            dead: None,
            generation: 0,
        };
        tokens.issue(account, account.first_token_left.unwrap_or(account.token_lifetime));
        tokens
    }

    pub(crate) fn access(&self, token: &str) -> Access {
        match self.access.get(token) {
            None => Access::Unknown,
            Some(None) => Access::Revoked,
            Some(Some(end)) if *end <= now() => Access::Expired,
            Some(Some(_)) => Access::Good,
        }
    }

    /// Was this refresh token ever this account's?
    pub(crate) fn knows_refresh(&self, token: &str) -> bool {
        self.current_refresh.as_deref() == Some(token) || self.spent.contains(token)
    }

    pub(crate) fn refresh(&mut self, account: &FakeAccount, token: &str) -> Result<Issued, Refusal> {
        if self.spent.contains(token) {
            self.revoke_access();
            self.dead = Some(Refusal::Reused);
            return Err(Refusal::Reused);
        }
        if let Some(why) = self.dead {
            return Err(why);
        }
        if self.current_refresh.as_deref() != Some(token) {
            return Err(Refusal::Unknown);
        }
        let rotates = self.kind != Kind::GeminiOAuth;
        if rotates {
            self.spent.insert(token.to_owned());
        }
        self.issue(account, account.token_lifetime);
        Ok(Issued {
            access: self.current_access.clone(),
            refresh: self.current_refresh.clone().filter(|_| rotates),
            id_token: (self.kind == Kind::ChatGpt).then(|| id_token(account)),
            lifetime: account.token_lifetime,
        })
    }

    fn issue(&mut self, account: &FakeAccount, lifetime: Duration) {
        self.generation += 1;
        let (name, n) = (&account.name, self.generation);
        let nonce = &digest_hex(&["token", name, &n.to_string(), &format!("{:?}", SystemTime::now())])[..12];
        let nonce = if n == 1 { "first" } else { nonce };
        let from = if n == 1 { account.born } else { now() };
        let end = if account.kind.is_key() { u64::MAX } else { from + lifetime.as_secs() };
        let long = "x".repeat(24);
        self.current_access = match account.kind {
            Kind::ChatGpt => jwt(&access_claims(account, from, end, &format!("{n}-{nonce}"))),
            Kind::OpenAiKey => format!("sk-proj-fake-{name}-{nonce}-{long}"),
            Kind::ClaudeOAuth | Kind::ClaudeSetupToken => format!("sk-ant-oat01-fake-{name}-{n}-{nonce}-{long}"),
            Kind::AnthropicKey => format!("sk-ant-api03-fake-{name}-{nonce}-{long}"),
            Kind::GeminiOAuth => format!("ya29.fake-{name}-{n}-{nonce}-{long}"),
            Kind::GeminiKey => format!("AIzaFake-{name}-{nonce}-{long}"),
        };
        self.current_refresh = match account.kind {
            Kind::ChatGpt => Some(format!("rt_fake_{name}_{n}_{nonce}")),
            Kind::ClaudeOAuth => Some(format!("sk-ant-ort01-fake-{name}-{n}-{nonce}-{long}")),
            Kind::GeminiOAuth => Some(format!("1//fake-{name}")),
            _ => None,
        };
        self.expires_at = end;
        self.access.insert(self.current_access.clone(), Some(end));
    }

    /// Has this refresh token been used up?
    pub(crate) fn is_spent(&self, token: &str) -> bool {
        self.spent.contains(token)
    }

    /// Takes a rotation back: this refresh token stays the one that is good.
    pub(crate) fn unspend(&mut self, token: &str) {
        self.spent.remove(token);
        self.current_refresh = Some(token.to_owned());
    }

    pub(crate) fn revoke_access(&mut self) {
        self.access.values_mut().for_each(|end| *end = None);
    }

    pub(crate) fn expire_access(&mut self) {
        let past = now().saturating_sub(1);
        self.access.values_mut().flatten().for_each(|end| *end = (*end).min(past));
    }

    /// From now on every refresh is refused with `why`.
    pub(crate) fn kill(&mut self, why: Refusal) {
        self.dead = Some(why);
    }

    /// As after a new sign-in: a fresh pair, the past forgiven.
    pub(crate) fn sign_in(&mut self, account: &FakeAccount) {
        self.dead = None;
        self.issue(account, account.token_lifetime);
    }
}

fn access_claims(account: &FakeAccount, from: u64, end: u64, nonce: &str) -> Value {
    json!({
        "iss": "https://auth.openai.com",
        "aud": ["https://api.openai.com/v1"],
        "sub": format!("auth0|{}", account.user),
        "jti": nonce,
        "iat": from,
        "exp": end,
        "https://api.openai.com/profile": { "email": account.email, "email_verified": true },
        "https://api.openai.com/auth": auth_claim(account),
    })
}

fn auth_claim(account: &FakeAccount) -> Value {
    json!({
        "chatgpt_account_id": account.workspace,
        "chatgpt_plan_type": account.plan,
        "chatgpt_user_id": account.user,
        "user_id": account.user,
        "chatgpt_account_is_fedramp": false,
    })
}

/// Lives for one hour whatever the access token does, as the real one.
fn id_token(account: &FakeAccount) -> String {
    jwt(&json!({
        "iss": "https://auth.openai.com",
        "aud": ["app_EMoamEEZ73f0CkXaXp7hrann"],
        "sub": format!("auth0|{}", account.user),
        "email": account.email,
        "email_verified": true,
        "iat": now(),
        "exp": now() + 3600,
        "https://api.openai.com/auth": auth_claim(account),
    }))
}

fn jwt(claims: &Value) -> String {
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "fake" });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&header), part(claims), URL_SAFE_NO_PAD.encode("made-up-signature"))
}

/// Path below `pool/` and text of the account's credential file.
pub(crate) fn credential_file(account: &FakeAccount, tokens: &Tokens) -> (String, String) {
    let access = &tokens.current_access;
    let refresh = &tokens.current_refresh;
    let file = match account.kind {
        Kind::ChatGpt => json!({
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": null,
            "tokens": {
                "id_token": id_token(account),
                "access_token": access,
                "refresh_token": refresh,
                "account_id": account.workspace,
            },
            "last_refresh": rfc3339(now()),
        }),
        Kind::OpenAiKey => json!({ "auth_mode": "apikey", "OPENAI_API_KEY": access }),
        Kind::ClaudeOAuth => json!({ "claudeAiOauth": {
            "accessToken": access,
            "refreshToken": refresh,
            "expiresAt": tokens.expires_at * 1000,
            "scopes": ["user:inference", "user:profile", "user:sessions:claude_code"],
            "subscriptionType": "max",
            "rateLimitTier": account.plan,
            "accountUuid": made_up_uuid(&account.user),
            "organizationUuid": account.workspace,
        }}),
        Kind::ClaudeSetupToken => json!({ "claudeAiOauth": {
            "accessToken": access,
            "expiresAt": tokens.expires_at * 1000,
            "scopes": ["user:inference"],
            "subscriptionType": account.plan,
        }}),
        Kind::GeminiOAuth => json!({
            "access_token": access,
            "refresh_token": refresh,
            "scope": "https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/userinfo.email",
            "token_type": "Bearer",
            "id_token": jwt(&json!({
                "iss": "https://accounts.google.com", "sub": account.user, "email": account.email,
                "iat": now(), "exp": now() + 3600,
            })),
            "expiry_date": tokens.expires_at * 1000,
        }),
        Kind::AnthropicKey | Kind::GeminiKey => world::api_key_file(access),
    };
    (format!("{}/{}.json", account.kind.provider(), account.name), account.with_settings(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_is_good_once_and_its_reuse_kills_the_family() {
        let account = FakeAccount::chatgpt("anna");
        let mut tokens = Tokens::first(&account);
        let first = tokens.current_refresh.clone().expect("it has one");
        let issued = tokens.refresh(&account, &first).expect("first use");
        assert_eq!(tokens.access(&issued.access), Access::Good);
        assert_eq!(tokens.refresh(&account, &first).expect_err("second use"), Refusal::Reused);
        assert_eq!(tokens.access(&issued.access), Access::Revoked);
        let newest = issued.refresh.expect("rotated");
        assert_eq!(tokens.refresh(&account, &newest).expect_err("family is dead"), Refusal::Reused);
        tokens.sign_in(&account);
        assert_eq!(tokens.access(&tokens.current_access), Access::Good);
    }

    #[test]
    fn google_keeps_its_refresh_token() {
        let account = FakeAccount::gemini("gina");
        let mut tokens = Tokens::first(&account);
        let refresh = tokens.current_refresh.clone().expect("it has one");
        for _ in 0..3 {
            assert!(tokens.refresh(&account, &refresh).expect("good again").refresh.is_none());
        }
    }

    #[test]
    fn every_kind_writes_a_file_that_parses() {
        for kind in Kind::ALL {
            let (path, text) = FakeAccount::new(kind, "x").setting("priority", 3).credential_file();
            assert!(path.starts_with(kind.provider()), "{path}");
            let file: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(file["priority"], 3);
        }
    }

    #[test]
    fn a_first_token_may_have_ended() {
        let account = FakeAccount::claude("c").first_token_left(Duration::ZERO);
        let tokens = Tokens::first(&account);
        assert_eq!(tokens.access(&tokens.current_access), Access::Expired);
    }
}
