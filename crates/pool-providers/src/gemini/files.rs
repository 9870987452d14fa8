//! Gemini's credential files: `oauth_creds.json` as Gemini CLI writes it, and `{"api_key": "…"}`.

use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pool_core::scan::json::{Paths, find};
use pool_core::scan::splice::apply;
use pool_core::{AccountKind, Credentials, Secret, Settings, UnixMs};
use serde_json::{Map, Value};

use super::PROJECT;
use crate::file::{fault, parse, settings, without_bom};
use crate::provider::{FileContent, FileFault};

/// The names under which an API key is taken.
const KEY_NAMES: [&str; 3] = ["api_key", "GEMINI_API_KEY", "GOOGLE_API_KEY"];

/// What mends a file that is not a Gemini credential.
const MEND: &str = r#"put Gemini CLI's own ~/.gemini/oauth_creds.json here, or a file that holds {"api_key": "<your Gemini API key>"}"#;

/// Reads a credential file. `can_renew`: a secret for the OAuth client is configured.
pub(super) fn read(text: &[u8], can_renew: bool) -> Result<FileContent, FileFault> {
    if text.trim_ascii_start().starts_with(b"AIza") {
        return Err(fault("the file holds a bare API key", r#"write it as {"api_key": "<the key>"}"#));
    }
    let file = parse(text, MEND)?;
    let settings = settings(&file)?;
    let project = match string(&file, "project")? {
        Some(project) => Some(project),
        None => string(&file, "project_id")?,
    };
    let mut key = None;
    for name in KEY_NAMES {
        key = key.or(string(&file, name)?);
    }
    let access = string(&file, "access_token")?;
    let refresh = string(&file, "refresh_token")?;
    match (key, access.is_some() || refresh.is_some()) {
        (Some(_), true) => {
            Err(fault("the file holds an API key and a Google login", "make two files of it: each account has its own"))
        }
        (Some(key), false) => read_key(key, settings),
        (None, true) => read_login(&file, access, refresh, project, settings, can_renew),
        (None, false) => Err(stranger(&file)),
    }
}

/// A text of the file; empty is the same as absent.
fn string(file: &Map<String, Value>, key: &str) -> Result<Option<String>, FileFault> {
    match file.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(fault(format!("`{key}` must be a text"), format!("correct or remove `{key}`"))),
    }
}

/// Can it stand in a header?
fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read_key(key: String, settings: Settings) -> Result<FileContent, FileFault> {
    let stranger = [
        ("sk-ant-", "this is an Anthropic API key", "move the file to pool/claude/"),
        ("sk-", "this is an OpenAI API key", "move the file to pool/codex/"),
    ];
    if let Some((_, what, mend)) = stranger.into_iter().find(|(prefix, ..)| key.starts_with(prefix)) {
        return Err(fault(what, mend));
    }
    if !is_token(&key) {
        return Err(fault("the API key holds spaces or other characters that no key has", "copy the key again"));
    }
    Ok(FileContent::lasting(AccountKind::ApiKey, Secret::new(key), settings))
}

fn read_login(
    file: &Map<String, Value>,
    access: Option<String>,
    refresh: Option<String>,
    project: Option<String>,
    settings: Settings,
    can_renew: bool,
) -> Result<FileContent, FileFault> {
    for token in [&access, &refresh].into_iter().flatten() {
        if !is_token(token) {
            return Err(fault("a token holds spaces or other characters that no token has", "copy the file again"));
        }
        // What the Go original handed out to its users looks like a login.
        if token.starts_with("ya29.pool-") || token.starts_with("1//pool_") {
            return Err(fault(
                "this is a credential that a codex-pool handed out to one of its users, not a Google login",
                MEND,
            ));
        }
    }
    let expires_at = match file.get("expiry_date") {
        None | Some(Value::Null) => None,
        Some(value) => Some(UnixMs(value.as_f64().map(|ms| ms as i64).ok_or_else(|| {
            fault(
                "`expiry_date` must be a number (milliseconds since 1970)",
                "remove `expiry_date`: the token is then renewed when Google refuses it",
            )
        })?)),
    };
    let claims = file.get("id_token").and_then(Value::as_str).and_then(claims);
    let claim = |key: &str| claims.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let warning = match &refresh {
        None => Some("there is no refresh_token: the account works until its access token ends".into()),
        Some(_) if !can_renew => Some(super::auth::NO_SECRET.into()),
        Some(_) => None,
    };
    let workspace = project.clone().unwrap_or_default();
    Ok(FileContent {
        kind: AccountKind::Subscription,
        identity: claim("sub").filter(|sub| !sub.is_empty()).map(|sub| (sub, workspace)),
        plan: None,
        email: claim("email").map(|email| mask(&email)),
        settings,
        credentials: Credentials {
            // Without an access token the first use has to renew it.
            expires_at: if access.is_none() { Some(UnixMs(0)) } else { expires_at },
            access: Secret::new(access.unwrap_or_default()),
            refresh: refresh.map(Secret::new),
            refreshed_at: None,
            bound: project.into_iter().map(|project| (PROJECT, project)).collect(),
        },
        warning,
    })
}

/// The payload of a JWT. Its signature is nobody's business here: the file is the operator's own.
fn claims(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// `m…@example.com`
fn mask(email: &str) -> String {
    match email.split_once('@') {
        Some((user, host)) => format!("{}…@{host}", user.chars().next().map(String::from).unwrap_or_default()),
        None => "…".into(),
    }
}

/// Whose file is this, if not ours?
fn stranger(file: &Map<String, Value>) -> FileFault {
    let has = |key: &str| file.contains_key(key);
    let kind = file.get("type").and_then(Value::as_str).unwrap_or_default();
    if has("tokens") || has("OPENAI_API_KEY") {
        fault("this looks like Codex's auth.json", "move it to pool/codex/")
    } else if has("claudeAiOauth") {
        fault("this looks like Claude Code's .credentials.json", "move it to pool/claude/")
    } else if kind == "service_account" {
        fault("this is a Google service account's key, which Gemini CLI's services do not take", MEND)
    } else if has("installed") || has("web") {
        fault("this describes an OAuth client, it is not a login", MEND)
    } else if has("security") || has("selectedAuthType") {
        fault("this looks like Gemini CLI's settings.json", MEND)
    } else {
        fault("there is neither a login (`refresh_token`, `access_token`) nor an `api_key`", MEND)
    }
}

/// A new file that holds an API key.
pub(super) fn of_key(key: &Secret) -> Result<Vec<u8>, FileFault> {
    read_key(key.expose().trim().to_owned(), Settings::default())?;
    let key = Value::from(key.expose().trim());
    Ok(format!("{{\n  \"api_key\": {key}\n}}\n").into_bytes())
}

/// The file with renewed tokens: only their values differ, everything else stays to the byte.
pub(super) fn write_back(text: &[u8], credentials: &Credentials) -> Result<Vec<u8>, FileFault> {
    static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["access_token", "refresh_token", "expiry_date"]));
    let text = without_bom(text);
    parse(text, MEND)?;
    let found = find(text, &PATHS);
    let unfit = || fault("the file is not an object of tokens any more", MEND);
    let start = found.root_start().ok_or_else(unfit)?;
    let values = [
        ("access_token", Some(Value::from(credentials.access.expose()))),
        ("refresh_token", credentials.refresh.as_ref().map(|token| Value::from(token.expose()))),
        ("expiry_date", credentials.expires_at.map(|end| Value::from(end.0))),
    ];
    let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for (path, (key, value)) in values.into_iter().enumerate() {
        let Some(value) = value.map(|value| value.to_string().into_bytes()) else { continue };
        edits.push(match found.range(path) {
            Some(range) => (range, value),
            None => (start.at..start.at, start.member(key, &value)),
        });
    }
    edits.sort_by_key(|(range, _)| range.start);
    apply(text, edits.iter().map(|(range, with)| (range.clone(), with.as_slice()))).map_err(|_| unfit())
}
