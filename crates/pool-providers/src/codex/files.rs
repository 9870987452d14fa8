//! Credential files: Codex CLI's `auth.json`, and a bare API key.
//!
//! Shapes: `codex-rs/login/src/auth/storage.rs`. All its keys are optional. `auth_mode` says which credential counts; without
//! it an `OPENAI_API_KEY` goes before tokens, as in the CLI. `{"api_key": "…"}` is taken too, so that one shape works for
//! every provider.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use jiff::Timestamp;
use pool_core::scan::json::{self, InsertAt, Matches, Paths};
use pool_core::scan::splice;
use pool_core::{AccountKind, Credentials, Secret, Settings, Span, UnixMs};
use serde_json::{Map, Value};

use super::claims::Claims;
use crate::file::{fault, parse, settings, without_bom};
use crate::provider::{FileContent, FileFault};

/// Key of [`Credentials::bound`]: the workspace, sent as `chatgpt-account-id`.
pub(super) const WORKSPACE: &str = "workspace";
/// Key of [`Credentials::bound`]: the account lives on the government cloud; sent as `x-openai-fedramp: true`.
pub(super) const FEDRAMP: &str = "fedramp";
/// Key of [`Credentials::bound`]: the id token, if there is one. Never sent; renewed with the others, it goes into the file.
pub(super) const ID_TOKEN: &str = "id_token";

/// An access token that does not tell its end is renewed this long after the last time
/// (`codex-rs/login/src/auth/manager.rs`).
pub(super) const LIFE_WITHOUT_EXP: Span = Span::from_hours(8 * 24);

const SIGN_IN: &str = "run `codex login` and copy ~/.codex/auth.json here once more";
const EITHER: &str = "put in what `codex login` wrote to ~/.codex/auth.json, or {\"OPENAI_API_KEY\": \"…\"}";

pub(super) fn read(text: &[u8]) -> Result<FileContent, FileFault> {
    let file = parse(text, EITHER)?;
    let settings = settings(&file)?;
    if let Some((kind, mend)) = stranger(&file) {
        return Err(fault(format!("this is {kind}, not a Codex credential"), mend));
    }
    match mode(&file)? {
        Mode::ApiKey => api_key(&file, settings),
        Mode::Tokens => tokens(&file, settings),
    }
}

/// The file with renewed tokens: only their values differ; everything else stays as it was, to the byte.
pub(super) fn write_back(text: &[u8], credentials: &Credentials, now: UnixMs) -> Result<Vec<u8>, FileFault> {
    let text = without_bom(text);
    if !parse(text, EITHER)?.get("tokens").is_some_and(Value::is_object) {
        return Err(fault(
            "the file no longer holds the tokens that were renewed",
            "nothing, if it was replaced on purpose: the new content counts",
        ));
    }
    let tokens = [
        ("access_token", Some(credentials.access.expose())),
        ("refresh_token", credentials.refresh.as_ref().map(Secret::expose)),
        ("id_token", credentials.bound.get(ID_TOKEN).map(String::as_str)),
    ];
    let last_refresh = Timestamp::from_millisecond(now.0).ok().map(|time| time.to_string());
    let found = json::find(text, &PATHS);
    let mut edits = put(text, &found, found.object_start(TOKENS), 0, &tokens);
    edits.extend(put(text, &found, found.root_start(), LAST_REFRESH, &[("last_refresh", last_refresh.as_deref())]));
    edits.sort_by_key(|(range, _)| range.start);
    splice::apply(text, edits.iter().map(|(range, with)| (range.clone(), &with[..])))
        .map_err(|_| fault("the file cannot be edited", "report this as a bug"))
}

/// Where the renewed values stand: the tokens in the order of [`write_back`], then the rest.
static PATHS: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&["tokens.access_token", "tokens.refresh_token", "tokens.id_token", "last_refresh", "tokens"])
});
const LAST_REFRESH: usize = 3;
const TOKENS: usize = 4;

/// The edits that set these members of one object. Members that it lacks go behind its opening brace, each on a line of its
/// own if that is how the object is laid out.
fn put(
    text: &[u8],
    found: &Matches<'_>,
    object: Option<InsertAt>,
    first: usize,
    members: &[(&str, Option<&str>)],
) -> Vec<(Range<usize>, Vec<u8>)> {
    let (mut edits, mut missing) = (Vec::new(), Vec::new());
    for (path, (key, value)) in (first..).zip(members) {
        let Some(value) = value.map(|value| Value::from(value).to_string()) else { continue };
        match found.range(path) {
            Some(range) => edits.push((range, value.into_bytes())),
            None => missing.push((key, value)),
        }
    }
    let Some(InsertAt { at, empty }) = object.filter(|_| !missing.is_empty()) else { return edits };
    let layout: String =
        text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).map(|byte| char::from(*byte)).collect();
    let space = if layout.is_empty() { "" } else { " " };
    let members: Vec<_> = missing.iter().map(|(key, value)| format!("{layout}\"{key}\":{space}{value}")).collect();
    let comma = if empty { "" } else { "," };
    edits.push((at..at, format!("{}{comma}", members.join(",")).into_bytes()));
    edits
}

pub(super) fn api_key_file(key: &Secret) -> Result<Vec<u8>, FileFault> {
    let key = usable(key.expose(), "the API key")?;
    if let Some((kind, mend)) = stranger_key(key) {
        return Err(fault(format!("this is {kind}, not an OpenAI API key"), mend));
    }
    let key = Value::from(key);
    Ok(format!("{{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": {key}\n}}\n").into_bytes())
}

/// Another provider's file, by what only that one has: what it is, and where it belongs.
fn stranger(file: &Map<String, Value>) -> Option<(&'static str, &'static str)> {
    if file.contains_key("claudeAiOauth") {
        return Some((CLAUDE.0, CLAUDE.2));
    }
    let google = ["expiry_date", "token_uri", "client_email", "quota_project_id"];
    if google.iter().any(|key| file.contains_key(*key)) && !file.contains_key("tokens") {
        return Some((GEMINI.0, GEMINI.2));
    }
    stranger_key(file.get("api_key")?.as_str()?)
}

fn stranger_key(key: &str) -> Option<(&'static str, &'static str)> {
    if key.starts_with("sk-ant-") {
        Some((CLAUDE.1, CLAUDE.2))
    } else if key.starts_with("AIza") {
        Some((GEMINI.1, GEMINI.2))
    } else {
        None
    }
}

/// Its login file, its key, and where they go.
const CLAUDE: (&str, &str, &str) = (
    "a login of Claude Code",
    "an Anthropic API key",
    "move the file to claude/<name>.json, or name it claude_<name>.json",
);
const GEMINI: (&str, &str, &str) =
    ("a Google login", "a Gemini API key", "move the file to gemini/<name>.json, or name it gemini_<name>.json");

enum Mode {
    ApiKey,
    Tokens,
}

fn mode(file: &Map<String, Value>) -> Result<Mode, FileFault> {
    let has = |key: &str| file.get(key).is_some_and(|value| !value.is_null());
    let unserved = |what: &str| {
        fault(
            format!("it holds {what}, which a pool cannot use"),
            "sign in with `codex login` and a ChatGPT account, or use an API key",
        )
    };
    if let Some(mode) = file.get("auth_mode").filter(|mode| !mode.is_null()) {
        return match mode.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("apikey") => Ok(Mode::ApiKey),
            Some("chatgpt" | "chatgptauthtokens") => Ok(Mode::Tokens),
            Some("agentidentity") => Err(unserved("an agent identity")),
            Some("personalaccesstoken") => Err(unserved("a personal access token")),
            Some("bedrockapikey") => Err(unserved("a Bedrock key")),
            Some("headers") => Err(unserved("a set of headers")),
            _ => Err(fault("its `auth_mode` is not one that we know", SIGN_IN)),
        };
    }
    if has("OPENAI_API_KEY") || has("api_key") {
        Ok(Mode::ApiKey)
    } else if has("tokens") {
        Ok(Mode::Tokens)
    } else if has("personal_access_token") {
        Err(unserved("a personal access token"))
    } else if has("agent_identity") {
        Err(unserved("an agent identity"))
    } else if has("bedrock_api_key") {
        Err(unserved("a Bedrock key"))
    } else {
        Err(fault("it holds neither `tokens` nor `OPENAI_API_KEY`", EITHER))
    }
}

/// A token that can stand in a header.
fn usable<'a>(token: &'a str, what: &str) -> Result<&'a str, FileFault> {
    let token = token.trim();
    if token.is_empty() {
        return Err(fault(format!("{what} is empty"), EITHER));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fault(
            format!("{what} has characters that no credential has"),
            "copy it again, without line breaks",
        ));
    }
    Ok(token)
}

fn api_key(file: &Map<String, Value>, settings: Settings) -> Result<FileContent, FileFault> {
    let (name, value) = ["OPENAI_API_KEY", "api_key"]
        .into_iter()
        .find_map(|name| file.get(name).filter(|value| !value.is_null()).map(|value| (name, value)))
        .ok_or_else(|| fault("its `auth_mode` is apikey, but there is no `OPENAI_API_KEY`", EITHER))?;
    let key = value.as_str().ok_or_else(|| fault(format!("`{name}` is not a text"), EITHER))?;
    let key = usable(key, &format!("`{name}`"))?;
    if let Some((kind, mend)) = stranger_key(key) {
        return Err(fault(format!("`{name}` is {kind}"), mend));
    }
    if Claims::of(key).of_a_pool {
        return Err(of_a_pool());
    }
    Ok(FileContent::lasting(AccountKind::ApiKey, Secret::new(key), settings))
}

fn of_a_pool() -> FileFault {
    fault(
        "it is a credential that a pool gave out, not an account",
        "sign in to the provider itself with `codex login`, in a home that does not use the pool",
    )
}

fn tokens(file: &Map<String, Value>, settings: Settings) -> Result<FileContent, FileFault> {
    let tokens = file
        .get("tokens")
        .and_then(Value::as_object)
        .ok_or_else(|| fault("`tokens` is missing or not an object", SIGN_IN))?;
    let text = |key: &str| match tokens.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        Some(_) => Err(fault(format!("`tokens.{key}` is not a text"), SIGN_IN)),
    };
    let access = text("access_token")?.ok_or_else(|| fault("`tokens.access_token` is missing", SIGN_IN))?;
    let access = usable(access, "`tokens.access_token`")?;
    let refresh = text("refresh_token")?;
    let id_token = text("id_token")?;
    let claims = Claims::of(access).or(id_token.map(Claims::of).unwrap_or_default());
    if claims.of_a_pool || refresh.is_some_and(|token| token.starts_with("poolrt_")) {
        return Err(of_a_pool());
    }
    let workspace = match text("account_id")? {
        Some(id) => Some(usable(id, "`tokens.account_id`")?.to_owned()),
        None => claims.workspace,
    };
    let refreshed_at = file
        .get("last_refresh")
        .and_then(Value::as_str)
        .and_then(|text| text.parse::<Timestamp>().ok())
        .map(|time| UnixMs(time.as_millisecond()));

    let mut bound = BTreeMap::new();
    if claims.fedramp {
        bound.insert(FEDRAMP, "true".to_owned());
    }
    if let Some(id_token) = id_token {
        bound.insert(ID_TOKEN, id_token.to_owned());
    }
    if let Some(workspace) = &workspace {
        bound.insert(WORKSPACE, workspace.clone());
    }
    Ok(FileContent {
        kind: AccountKind::Subscription,
        // A workspace has many members: without a user it says nothing of whose tokens these are.
        identity: claims.user.map(|user| (user, workspace.unwrap_or_default())),
        plan: claims.plan,
        email: claims.email,
        settings,
        credentials: Credentials {
            access: Secret::new(access),
            refresh: refresh.map(Secret::new),
            expires_at: claims.expires_at.or_else(|| refreshed_at.map(|at| at + LIFE_WITHOUT_EXP)),
            refreshed_at,
            bound,
        },
        warning: refresh
            .is_none()
            .then(|| "it has no `refresh_token`: when its access token ends, somebody has to sign in again".to_owned()),
    })
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
