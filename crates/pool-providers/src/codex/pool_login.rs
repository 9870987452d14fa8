//! A login of the pool's own in the shape of Codex CLI's `auth.json`, for set-ups that replace that file.
//!
//! What the client wants (measured on Codex CLI 0.169.0): an id token that parses as a JWT (its signature is not looked at), else it
//! sends no `Authorization` at all; the access token may be any text and is then renewed by the age of `last_refresh` alone, at a fixed
//! host that is not ours. So that time lies far ahead.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use pool_core::{Secret, UnixMs};
use serde_json::{Value, json};

use crate::provider::PoolLogin;
use crate::reply::Reply;

const TEN_YEARS_SECONDS: i64 = 10 * 365 * 86_400;

/// Marks a refresh token of the pool's. What follows is the credential: a renewal proves that one and prolongs nothing.
const REFRESH: &str = "poolrt_";

pub(super) fn login(key: &Secret, user: &str, now: UnixMs) -> PoolLogin {
    let (id, access, refresh) = (id_token(user, now), key.expose(), format!("{REFRESH}{}", key.expose()));
    let tokens = json!({ "id_token": id, "access_token": access, "refresh_token": refresh, "account_id": user });
    let file = json!({ "auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": tokens, "last_refresh": "2100-01-01T00:00:00Z" });
    let renewed = json!({
        "id_token": id, "access_token": access, "refresh_token": refresh,
        "token_type": "Bearer", "expires_in": TEN_YEARS_SECONDS,
    });
    PoolLogin { file: format!("{file:#}\n"), renewed: Reply::json(StatusCode::OK, &renewed) }
}

/// The credential that a renewal call shows: JSON, as Codex sends it, or a form.
pub(super) fn shown(body: &[u8]) -> Option<Secret> {
    let of_json = || serde_json::from_slice::<Value>(body).ok()?.get("refresh_token")?.as_str().map(str::to_owned);
    let of_form = || {
        let text = std::str::from_utf8(body).ok()?;
        let value = text.split('&').find_map(|pair| pair.strip_prefix("refresh_token="))?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8().ok()?.into_owned())
    };
    let token = of_json().or_else(of_form)?;
    token.strip_prefix(REFRESH).filter(|key| !key.is_empty()).map(Secret::new)
}

/// The answer after which Codex asks no more: `refresh_token_expired` (`codex-rs/login/src/auth/manager.rs`).
pub(super) fn refused() -> Reply {
    let message =
        "this pool credential is unknown, was revoked or has ended: ask the pool's operator for a new set-up line";
    Reply::json(
        StatusCode::UNAUTHORIZED,
        &json!({ "error": { "code": "refresh_token_expired", "type": "invalid_request_error", "message": message } }),
    )
}

fn id_token(user: &str, now: UnixMs) -> String {
    let seconds = now.0 / 1000;
    let claims = json!({
        "iss": "https://auth.openai.com", "sub": format!("pool|{user}"), "email": format!("{user}@pool.invalid"),
        "iat": seconds, "exp": seconds + TEN_YEARS_SECONDS,
        "https://api.openai.com/auth": {
            "chatgpt_account_id": user, "chatgpt_user_id": user, "chatgpt_plan_type": "pro",
        },
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(&json!({ "alg": "none", "typ": "JWT" })),
        part(&claims),
        URL_SAFE_NO_PAD.encode("unsigned")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pools_refresh_token_is_read() {
        for (body, key) in [
            (r#"{"grant_type":"refresh_token","refresh_token":"poolrt_pool-abc"}"#, Some("pool-abc")),
            ("grant_type=refresh_token&refresh_token=poolrt_pool-abc", Some("pool-abc")),
            ("refresh_token=poolrt%5Fpool-abc", Some("pool-abc")),
            (r#"{"refresh_token":"rt_of_somebody"}"#, None),
            (r#"{"refresh_token":"poolrt_"}"#, None),
            (r#"{"refresh_token":7}"#, None),
            ("", None),
        ] {
            assert_eq!(shown(body.as_bytes()).as_ref().map(Secret::expose), key, "{body}");
        }
    }

    #[test]
    fn the_login_is_one_that_codex_reads() {
        let login = login(&Secret::new("pool-abc"), "u-1", UnixMs(1_800_000_000_000));
        let file: Value = serde_json::from_str(&login.file).expect("json");
        let id = file["tokens"]["id_token"].as_str().expect("a text");
        assert_eq!(id.split('.').count(), 3);
        let claims = URL_SAFE_NO_PAD.decode(id.split('.').nth(1).expect("claims")).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("json");
        assert_eq!(claims["https://api.openai.com/auth"]["chatgpt_account_id"], file["tokens"]["account_id"]);
        assert_eq!(claims["exp"], 1_800_000_000 + TEN_YEARS_SECONDS);
        assert_eq!(
            shown(format!("refresh_token={}", file["tokens"]["refresh_token"].as_str().expect("a text")).as_bytes())
                .as_ref()
                .map(Secret::expose),
            Some("pool-abc")
        );
    }
}
