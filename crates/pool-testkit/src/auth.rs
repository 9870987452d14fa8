//! The three token endpoints.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::exchange::{Call, Shared, Site, Verdict};
use crate::state::TokenFault;
use crate::tokens::{Issued, Refusal};
use crate::world::Kind;
use crate::{anthropic, google, openai, tokens};

/// `None`: the answer is lost, the connection just closes.
pub(crate) async fn answer(shared: &Shared, site: Site, call: &Call) -> Option<Verdict> {
    let (path, kind) = match site {
        Site::OpenAiAuth => ("/oauth/token", Kind::ChatGpt),
        Site::AnthropicAuth => ("/v1/oauth/token", Kind::ClaudeOAuth),
        _ => ("/token", Kind::GeminiOAuth),
    };
    if !call.post(path) {
        return Some(Verdict::plain(openai::not_found(&call.method, &call.path)));
    }
    let fields = fields(call, kind);
    if let Err(answer) = sound(shared, kind, &fields) {
        return Some(Verdict::plain(answer));
    }
    let presented = fields.get("refresh_token").cloned().unwrap_or_default();
    let (index, fault) = {
        let mut state = shared.state.lock();
        let known =
            |account: &crate::state::Account| account.spec.kind == kind && account.tokens.knows_refresh(&presented);
        let Some(index) = state.accounts.iter().position(known) else {
            return Some(Verdict::plain(refused(kind, Refusal::Unknown)));
        };
        state.accounts[index].books.refresh_calls += 1;
        (index, state.accounts[index].take_token_fault())
    };
    if let Some(TokenFault::Delay(time)) = fault {
        tokio::time::sleep(time).await;
    }
    let answer = match fault {
        Some(TokenFault::ServerError) => openai::error(500, "server_error", None, "Internal error"),
        Some(TokenFault::Code(status, code)) => coded(kind, status, code),
        Some(TokenFault::Close) => return None,
        fault => {
            let mut state = shared.state.lock();
            let account = &mut state.accounts[index];
            let kept =
                (fault == Some(TokenFault::NoRotation)).then(|| account.tokens.current_refresh.clone()).flatten();
            account.books.refresh_reused += u64::from(account.tokens.is_spent(&presented));
            match account.tokens.refresh(&account.spec, &presented) {
                Ok(mut issued) => {
                    if let Some(kept) = kept {
                        account.tokens.unspend(&kept);
                        issued.refresh = None;
                    }
                    if fault == Some(TokenFault::Lost) {
                        return None;
                    }
                    Answer::json(200, &body(&account.spec, &issued))
                }
                Err(why) => refused(kind, why),
            }
        }
    };
    Some(Verdict::plain(answer).on(index))
}

/// JSON (OpenAI and Anthropic) or a form (Google; OpenAI takes it too).
fn fields(call: &Call, kind: Kind) -> HashMap<String, String> {
    if let Some(object) = call.json.as_object().filter(|_| kind != Kind::GeminiOAuth) {
        let texts = object.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        return texts.collect();
    }
    let text = String::from_utf8_lossy(&call.body).into_owned();
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'+' => b' ',
            b'%' => {
                let pair: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&pair, 16).unwrap_or(b'?')
            }
            other => other,
        };
        out.push(decoded);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn sound(shared: &Shared, kind: Kind, fields: &HashMap<String, String>) -> Result<(), Answer> {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != "refresh_token" || field("refresh_token").is_empty() {
        return Err(coded(kind, 400, "invalid_request"));
    }
    let known = match kind {
        Kind::ChatGpt => field("client_id") == "app_EMoamEEZ73f0CkXaXp7hrann",
        Kind::ClaudeOAuth => field("client_id") == "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
        _ => {
            let secret = shared.state.lock().world.google_client_secret.clone();
            !field("client_id").is_empty() && secret.is_none_or(|secret| field("client_secret") == secret)
        }
    };
    if known { Ok(()) } else { Err(coded(kind, 401, "invalid_client")) }
}

fn body(account: &crate::FakeAccount, issued: &Issued) -> Value {
    let mut body = json!({
        "token_type": "Bearer",
        "access_token": issued.access,
        "expires_in": issued.lifetime.as_secs(),
    });
    if let Some(refresh) = &issued.refresh {
        body["refresh_token"] = refresh.as_str().into();
    }
    if let Some(id_token) = &issued.id_token {
        body["id_token"] = id_token.as_str().into();
    }
    match account.kind {
        Kind::ClaudeOAuth => {
            body["scope"] = "user:inference user:profile user:sessions:claude_code".into();
            body["account"] = json!({ "uuid": tokens::made_up_uuid(&account.user), "email_address": account.email });
            body["organization"] = json!({ "uuid": account.workspace, "name": "fake" });
        }
        Kind::GeminiOAuth => body["scope"] = "https://www.googleapis.com/auth/cloud-platform".into(),
        _ => {}
    }
    body
}

fn refused(kind: Kind, why: Refusal) -> Answer {
    if kind == Kind::ChatGpt {
        let (code, message) = match why {
            Refusal::Reused => (
                "refresh_token_reused",
                "Your refresh token has already been used to generate a new access token. Please try signing in again.",
            ),
            Refusal::Expired => {
                ("refresh_token_expired", "Your refresh token has expired. Please try signing in again.")
            }
            Refusal::Invalidated | Refusal::Unknown => {
                ("refresh_token_invalidated", "Your refresh token has been invalidated. Please try signing in again.")
            }
        };
        return openai::error(401, "invalid_request_error", Some(code), message);
    }
    let description = match (kind, why) {
        (Kind::GeminiOAuth, _) => "Token has been expired or revoked.",
        (_, Refusal::Expired) => "Refresh token expired",
        _ => "Refresh token not found or invalid",
    };
    Answer::json(400, &json!({ "error": "invalid_grant", "error_description": description }))
}

fn coded(kind: Kind, status: u16, code: &str) -> Answer {
    match kind {
        Kind::ChatGpt => openai::error(status, "invalid_request_error", Some(code), code),
        Kind::ClaudeOAuth if status >= 500 => anthropic::error(status, "api_error", code),
        Kind::GeminiOAuth if status >= 500 => google::error(status, "INTERNAL", code, &[]),
        _ => Answer::json(status, &json!({ "error": code, "error_description": code })),
    }
}
