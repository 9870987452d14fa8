//! Claude's credential files: reading them, saying what is wrong with one, writing renewed tokens back.
//!
//! Three shapes are taken:
//! - Claude Code's own `.credentials.json`: `{"claudeAiOauth": {accessToken, refreshToken, expiresAt, …}}`. Without
//!   `refreshToken` it is a token of `claude setup-token`: good for a year, never renewed;
//! - such a token alone: `{"setup_token": "sk-ant-oat…"}` or `{"oauth_token": …}`;
//! - `{"api_key": "sk-ant-api…", "plan_type": …}`.

use std::collections::{BTreeMap, HashMap};

use pool_core::{AccountKind, Credentials, Secret, Settings, UnixMs};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::file::{fault, parse, settings};
use crate::provider::{FileContent, FileFault};

/// Keys of [`Credentials::bound`].
pub(super) mod bound {
    pub(in crate::claude) const ACCOUNT: &str = "account_uuid";
    pub(in crate::claude) const ORGANIZATION: &str = "organization_uuid";
    /// Separated by spaces.
    pub(in crate::claude) const SCOPES: &str = "scopes";
    /// The OAuth client that the login belongs to, where the file names it.
    pub(in crate::claude) const CLIENT: &str = "client_id";
    /// When the refresh token ends, in milliseconds since the epoch.
    pub(in crate::claude) const REFRESH_ENDS: &str = "refresh_expires_at";
}

const LOGIN: &str = "claudeAiOauth";
/// What `claude setup-token` prints may stand under either name.
const SETUP_TOKEN: [&str; 2] = ["setup_token", "oauth_token"];
const API_KEY: &str = "api_key";

const MEND: &str = "put a .credentials.json that Claude Code wrote here, or {\"api_key\": \"sk-ant-api…\"}, \
                    or {\"setup_token\": \"sk-ant-oat…\"}";

pub(super) fn read(text: &[u8]) -> Result<FileContent, FileFault> {
    let file = parse(text, MEND)?;
    let settings = settings(&file)?;
    if let Some(login) = file.get(LOGIN) {
        return read_login(login, &file, settings);
    }
    for key in SETUP_TOKEN {
        if let Some(token) = token(&file, key)? {
            return read_setup_token(key, token, &file, settings);
        }
    }
    match token(&file, API_KEY)? {
        Some(key) => read_api_key(key, &file, settings),
        None => Err(not_ours(&file)),
    }
}

/// A token that can stand in a header: blanks around it are forgiven, an empty or null one counts as absent.
fn token(object: &Map<String, Value>, key: &str) -> Result<Option<Secret>, FileFault> {
    let text = match object.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(fault(format!("`{key}` is not a text"), format!("make `{key}` the token, in quotes"))),
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = format!("`{key}` holds characters that no token has (blanks, line ends or non-ASCII)");
        return Err(fault(what, "copy the token again, on one line"));
    }
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn read_login(login: &Value, file: &Map<String, Value>, settings: Settings) -> Result<FileContent, FileFault> {
    const AGAIN: &str = "sign in again with `claude auth login` and copy the file then";
    let Some(login) = login.as_object() else {
        return Err(fault(format!("`{LOGIN}` is not an object"), AGAIN));
    };
    let refresh = token(login, "refreshToken")?;
    let access = token(login, "accessToken")?;
    let mut expires_at = match login.get("expiresAt") {
        None | Some(Value::Null) => None,
        Some(value) => match whole(value) {
            Some(ms) => Some(UnixMs(ms)),
            None => return Err(fault("`expiresAt` is not a time in milliseconds", AGAIN)),
        },
    };
    let access = match (access, &refresh) {
        (Some(access), _) => access,
        (None, Some(_)) => {
            // Renewed before its first use.
            expires_at = Some(UnixMs(0));
            Secret::new("")
        }
        (None, None) => return Err(fault("Claude Code has signed out: the tokens in the file are blank", AGAIN)),
    };
    let mut bound = BTreeMap::new();
    let pairs = [
        (bound::ACCOUNT, text(login, "accountUuid")),
        (bound::ORGANIZATION, text(login, "organizationUuid")),
        (bound::CLIENT, text(login, "clientId")),
        (bound::SCOPES, scopes(login)),
    ];
    bound.extend(pairs.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let identity = bound.get(bound::ACCOUNT).map(|account| {
        let organization = bound.get(bound::ORGANIZATION).cloned().unwrap_or_default();
        (account.clone(), organization)
    });
    let warning = file.contains_key(API_KEY).then(|| {
        format!("the file holds a login and `{API_KEY}`: the login is used; put the key in a file of its own")
    });
    Ok(FileContent {
        kind: AccountKind::Subscription,
        identity,
        plan: text(login, "rateLimitTier").or_else(|| text(login, "subscriptionType")),
        email: text(login, "emailAddress").or_else(|| text(file, "email")).and_then(|email| mask(&email)),
        settings,
        credentials: Credentials { access, refresh, expires_at, refreshed_at: None, bound },
        warning,
    })
}

fn read_setup_token(
    key: &str,
    token: Secret,
    file: &Map<String, Value>,
    settings: Settings,
) -> Result<FileContent, FileFault> {
    if token.expose().starts_with("sk-ant-api") {
        return Err(fault(format!("`{key}` holds an API key"), format!("name it `{API_KEY}`")));
    }
    Ok(plain(AccountKind::Subscription, token, file, settings))
}

fn read_api_key(key: Secret, file: &Map<String, Value>, settings: Settings) -> Result<FileContent, FileFault> {
    let foreign = [
        ("sk-ant-oat", "a subscription token", "name it `setup_token`"),
        ("sk-ant-ort", "a refresh token", "put the whole .credentials.json here"),
        ("sk-ant-admin", "an Admin API key, which cannot send messages", "make an ordinary API key in the Console"),
        ("sk-proj-", "an OpenAI API key", "move the file to codex/"),
        ("AIza", "a Google API key", "move the file to gemini/, or name it gemini_….json"),
    ];
    match foreign.into_iter().find(|(start, ..)| key.expose().starts_with(start)) {
        Some((_, what, mend)) => Err(fault(format!("`{API_KEY}` holds {what}"), mend)),
        None => Ok(plain(AccountKind::ApiKey, key, file, settings)),
    }
}

/// One token that is never renewed.
fn plain(kind: AccountKind, access: Secret, file: &Map<String, Value>, settings: Settings) -> FileContent {
    FileContent {
        plan: text(file, "plan_type"),
        email: text(file, "email").and_then(|email| mask(&email)),
        ..FileContent::lasting(kind, access, settings)
    }
}

/// What a file without our keys looks like.
fn not_ours(file: &Map<String, Value>) -> FileFault {
    let has = |key: &str| file.contains_key(key);
    if has("tokens") || has("OPENAI_API_KEY") || has("auth_mode") {
        fault("this looks like Codex CLI's auth.json, not a Claude file", "move it to codex/")
    } else if has("access_token") && (has("expiry_date") || has("refresh_token") || has("token_type")) {
        fault(
            "this looks like Gemini CLI's oauth_creds.json, not a Claude file",
            "move it to gemini/, or name it gemini_….json",
        )
    } else if has("private_key") || has("client_email") || has("installed") {
        fault("this looks like a Google client or service account file, not a Claude file", MEND)
    } else if has("accessToken") {
        let what = format!("the tokens stand at the top of the file, not in `{LOGIN}`");
        fault(what, format!("wrap them: {{\"{LOGIN}\": {{…}}}}"))
    } else if has("oauthAccount") || has("numStartups") {
        fault("this is Claude Code's .claude.json, which holds no token", "take ~/.claude/.credentials.json instead")
    } else if has(API_KEY) || SETUP_TOKEN.iter().any(|key| has(key)) {
        fault("the file's key or token is blank", MEND)
    } else {
        let what = format!("the file holds none of `{LOGIN}`, `{API_KEY}`, `{}`", SETUP_TOKEN[0]);
        fault(what, MEND)
    }
}

/// A whole number, also if written as `1.7e12` or `1.0`.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|number| number.is_finite()).map(|number| number as i64))
}

fn scopes(login: &Map<String, Value>) -> Option<String> {
    match login.get("scopes")? {
        Value::Array(scopes) => {
            let scopes: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
            (!scopes.is_empty()).then(|| scopes.join(" "))
        }
        Value::String(scopes) => Some(scopes.clone()),
        _ => None,
    }
}

/// `m…@example.com`
fn mask(email: &str) -> Option<String> {
    let (name, host) = email.split_once('@')?;
    Some(format!("{}…@{host}", name.chars().next()?))
}

/// The file with the renewed tokens in place of the old ones, every other byte as it was.
pub(super) fn write_back(text: &[u8], credentials: &Credentials) -> Result<Vec<u8>, FileFault> {
    let unreadable = || fault("the file changed while its token was renewed and cannot be read now", MEND);
    let Some(refresh) = &credentials.refresh else { return Ok(text.to_vec()) };
    let whole = std::str::from_utf8(text).map_err(|_| unreadable())?;
    let json = whole.trim_start_matches('\u{feff}');
    let file: HashMap<String, &RawValue> = serde_json::from_str(json).map_err(|_| unreadable())?;
    let login = file.get(LOGIN).ok_or_else(unreadable)?.get();
    let fields: HashMap<String, &RawValue> = serde_json::from_str(login).map_err(|_| unreadable())?;

    let mut news = vec![
        ("accessToken", Value::from(credentials.access.expose()).to_string()),
        ("refreshToken", Value::from(refresh.expose()).to_string()),
    ];
    news.extend(credentials.expires_at.map(|end| ("expiresAt", end.0.to_string())));
    let refresh_ends =
        credentials.bound.get(bound::REFRESH_ENDS).filter(|_| fields.contains_key("refreshTokenExpiresAt"));
    news.extend(refresh_ends.map(|end| ("refreshTokenExpiresAt", end.clone())));

    // Where each new value goes, as offsets in `whole`.
    let offset = |part: &str| part.as_ptr() as usize - whole.as_ptr() as usize;
    let start = offset(login) + 1;
    let mut edits = Vec::new();
    for (key, value) in news {
        if let Some(old) = fields.get(key) {
            let at = offset(old.get());
            edits.push((at..at + old.get().len(), value));
        } else {
            // A key that the file lacked goes first, spaced as the one that was first.
            let blank = &login[1..login.len() - login[1..].trim_start().len()];
            let comma = if fields.is_empty() { "" } else { "," };
            edits.push((start..start, format!("{blank}\"{key}\":{value}{comma}")));
        }
    }
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut out = Vec::with_capacity(text.len() + 256);
    let mut done = 0;
    for (range, with) in edits {
        out.extend_from_slice(&text[done..range.start]);
        out.extend_from_slice(with.as_bytes());
        done = range.end;
    }
    out.extend_from_slice(&text[done..]);
    Ok(out)
}

/// A new file that holds a pasted key, or the token that `claude setup-token` printed.
pub(super) fn api_key_file(key: &Secret) -> Result<Vec<u8>, FileFault> {
    let name = if key.expose().trim().starts_with("sk-ant-oat") { SETUP_TOKEN[0] } else { API_KEY };
    let mut file = Map::new();
    file.insert(name.into(), Value::from(key.expose().trim()));
    let mut text = serde_json::to_vec_pretty(&file).map_err(|_| fault("the key cannot be written", MEND))?;
    text.push(b'\n');
    read(&text).map(|_| text)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
