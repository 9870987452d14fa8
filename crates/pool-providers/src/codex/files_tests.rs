use serde_json::json;

use super::super::claims::token;
use super::*;

const AUTH: &str = "https://api.openai.com/auth";

fn read_json(file: &Value) -> Result<FileContent, FileFault> {
    read(file.to_string().as_bytes())
}

fn access(exp: i64) -> String {
    token(
        &json!({"exp": exp, AUTH: {"chatgpt_user_id": "user-1", "chatgpt_account_id": "ws-1", "chatgpt_plan_type": "plus"}}),
    )
}

#[test]
fn chatgpt_tokens_without_an_id_token_are_an_account() {
    let file = json!({"tokens": {"access_token": access(1_786_147_200), "refresh_token": "rt", "account_id": "ws-1"}});
    let content = read_json(&file).expect("readable");
    assert_eq!(content.kind, AccountKind::Subscription);
    assert_eq!(content.identity, Some(("user-1".into(), "ws-1".into())));
    assert_eq!(content.plan.as_deref(), Some("plus"));
    assert_eq!(content.credentials.expires_at, Some(UnixMs(1_786_147_200_000)));
    assert_eq!(content.credentials.bound, BTreeMap::from([(WORKSPACE, "ws-1".to_owned())]));
    assert_eq!(content.warning, None);
}

#[test]
fn the_id_token_fills_in_what_an_opaque_access_token_hides() {
    let id = token(&json!({"exp": 5, "email": "maria@example.com",
        AUTH: {"user_id": "user-2", "chatgpt_account_id": "ws-2", "chatgpt_account_is_fedramp": true}}));
    let file = json!({"tokens": {"access_token": "opaque", "id_token": id}, "last_refresh": "2026-08-01T00:00:00Z"});
    let content = read_json(&file).expect("readable");
    assert_eq!(content.identity, Some(("user-2".into(), "ws-2".into())));
    assert_eq!(content.email.as_deref(), Some("m…@example.com"));
    assert_eq!(content.credentials.bound.get(FEDRAMP).map(String::as_str), Some("true"));
    // Eight days after the last renewal, not at the id token's end.
    assert_eq!(content.credentials.expires_at, Some(UnixMs(1_786_233_600_000)));
    assert!(content.warning.is_some_and(|text| text.contains("refresh_token")));
}

#[test]
fn a_workspace_alone_is_no_identity() {
    let file = json!({"tokens": {"access_token": "opaque", "refresh_token": "rt", "account_id": "ws-1"}});
    let content = read_json(&file).expect("readable");
    assert_eq!(content.identity, None);
    assert_eq!(content.credentials.expires_at, None);
}

#[test]
fn api_keys_are_accounts_in_every_shape() {
    for file in [
        json!({"OPENAI_API_KEY": "made-up-key"}),
        json!({"api_key": "made-up-key"}),
        json!({"auth_mode": "apikey", "OPENAI_API_KEY": " made-up-key\n", "tokens": {"access_token": "x"}}),
    ] {
        let content = read_json(&file).expect("readable");
        assert_eq!((content.kind, content.credentials.access.expose()), (AccountKind::ApiKey, "made-up-key"));
        assert_eq!((content.identity, content.credentials.refresh), (None, None));
    }
    // The mode decides over a key that is there too.
    let both = json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": "k", "tokens": {"access_token": access(9)}});
    assert_eq!(read_json(&both).expect("readable").kind, AccountKind::Subscription);
}

#[test]
fn the_pool_keys_are_read() {
    let file = json!({"OPENAI_API_KEY": "k", "name": " Maria ", "disabled": true, "priority": -3, "share": false});
    let expected = Settings {
        name: Some("Maria".into()),
        disabled: true,
        priority: -3,
        share: Some(false),
        ..Settings::default()
    };
    assert_eq!(read_json(&file).expect("readable").settings, expected);
    let file = json!({"OPENAI_API_KEY": "k", "name": null, "disabled": null, "priority": null, "share": null});
    assert_eq!(read_json(&file).expect("readable").settings, Settings::default());
}

#[test]
fn every_fault_says_what_and_how_to_mend_it() {
    let cases: &[(&str, &str, &str)] = &[
        ("", "empty", "codex login"),
        (" \n", "empty", "codex login"),
        ("{\"tokens\": {\"access_token\": \"secret-x", "breaks off", "copy the whole file"),
        ("secret-x", "not JSON", "copy the file again"),
        ("[\"secret-x\"]", "not an object", "codex login"),
        ("{}", "neither", "OPENAI_API_KEY"),
        (r#"{"claudeAiOauth": {"accessToken": "secret-x"}}"#, "Claude Code", "claude_<name>.json"),
        (r#"{"access_token": "secret-x", "expiry_date": 1}"#, "Google", "gemini_<name>.json"),
        (r#"{"api_key": "sk-ant-secret-x"}"#, "Anthropic", "claude/<name>.json"),
        (r#"{"OPENAI_API_KEY": "AIzasecret-x"}"#, "Gemini", "gemini/<name>.json"),
        (r#"{"auth_mode": "agentIdentity"}"#, "agent identity", "codex login"),
        (r#"{"personal_access_token": "at-secret-x"}"#, "personal access token", "codex login"),
        (r#"{"auth_mode": "bedrockApiKey"}"#, "Bedrock", "codex login"),
        (r#"{"auth_mode": "secret-x"}"#, "auth_mode", "codex login"),
        (r#"{"auth_mode": "apikey"}"#, "no `OPENAI_API_KEY`", "OPENAI_API_KEY"),
        (r#"{"OPENAI_API_KEY": ""}"#, "empty", "OPENAI_API_KEY"),
        (r#"{"OPENAI_API_KEY": 7}"#, "not a text", "OPENAI_API_KEY"),
        (r#"{"OPENAI_API_KEY": "secret-x\ny"}"#, "characters", "copy it again"),
        (r#"{"tokens": []}"#, "tokens", "codex login"),
        (r#"{"tokens": {"refresh_token": "secret-x"}}"#, "access_token", "codex login"),
        (r#"{"tokens": {"access_token": 7}}"#, "not a text", "codex login"),
        (r#"{"tokens": {"access_token": "a", "refresh_token": "poolrt_secret-x"}}"#, "pool gave out", "codex login"),
        (r#"{"OPENAI_API_KEY": "k", "name": 7}"#, "`name`", "a text"),
        (r#"{"OPENAI_API_KEY": "k", "disabled": "yes"}"#, "`disabled`", "true or false"),
        (r#"{"OPENAI_API_KEY": "k", "priority": 1.5}"#, "`priority`", "whole number"),
        (r#"{"OPENAI_API_KEY": "k", "share": 1}"#, "`share`", "true or false"),
    ];
    for (text, what, mend) in cases {
        let fault = read(text.as_bytes()).expect_err(text);
        assert!(fault.what.contains(what), "{text}: {fault}");
        assert!(fault.mend.contains(mend), "{text}: {fault}");
        assert!(!fault.to_string().contains("secret-x"), "{fault}");
    }
}

fn renewed() -> Credentials {
    Credentials {
        access: Secret::new("new-access"),
        refresh: Some(Secret::new("new-refresh")),
        expires_at: None,
        refreshed_at: None,
        bound: BTreeMap::from([(ID_TOKEN, "new-id".to_owned())]),
    }
}

#[test]
fn a_write_back_changes_the_tokens_and_nothing_else() {
    let before = "{\n  \"unknown\": {\n    \"b\": 1,\n    \"a\": [\n      true\n    ]\n  },\n  \"tokens\": {\n    \
                  \"refresh_token\": \"old\",\n    \"access_token\": \"old\",\n    \"account_id\": \"ws-1\",\n    \
                  \"extra\": 1.50\n  },\n  \"last_refresh\": \"2026-08-01T00:00:00Z\",\n  \"name\": \"Maria\"\n}\n";
    let after = "{\n  \"unknown\": {\n    \"b\": 1,\n    \"a\": [\n      true\n    ]\n  },\n  \"tokens\": {\n    \
                 \"id_token\": \"new-id\",\n    \"refresh_token\": \"new-refresh\",\n    \"access_token\": \"new-access\",\n    \"account_id\": \"ws-1\",\n    \
                 \"extra\": 1.50\n  },\n  \"last_refresh\": \"2026-08-08T00:00:00Z\",\n  \
                 \"name\": \"Maria\"\n}\n";
    let written = write_back(before.as_bytes(), &renewed(), UnixMs(1_786_147_200_000)).expect("writable");
    assert_eq!(String::from_utf8(written).expect("text"), after);
}

#[test]
fn a_write_back_keeps_a_compact_file_compact_and_never_turns_a_key_into_a_login() {
    let compact = br#"{"tokens":{"access_token":"old"},"auth_mode":"chatgpt"}"#;
    let credentials = Credentials { refresh: None, bound: BTreeMap::new(), ..renewed() };
    let written = write_back(compact, &credentials, UnixMs(1_786_147_200_000)).expect("writable");
    assert_eq!(
        String::from_utf8(written).expect("text"),
        r#"{"last_refresh":"2026-08-08T00:00:00Z","tokens":{"access_token":"new-access"},"auth_mode":"chatgpt"}"#
    );
    // Members that were missing from an empty object are laid out as JSON all the same.
    let written = write_back(b"{\"tokens\": {}}", &renewed(), UnixMs(1_786_147_200_000)).expect("writable");
    let written: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(
        written["tokens"],
        json!({"access_token": "new-access", "refresh_token": "new-refresh", "id_token": "new-id"})
    );
    assert!(write_back(br#"{"OPENAI_API_KEY":"k"}"#, &renewed(), UnixMs(0)).is_err());
    assert!(write_back(b"{\"tokens\":", &renewed(), UnixMs(0)).is_err());
}

#[test]
fn a_new_key_file_reads_back() {
    let file = api_key_file(&Secret::new("made-up-key")).expect("writable");
    let content = read(&file).expect("readable");
    assert_eq!((content.kind, content.credentials.access.expose()), (AccountKind::ApiKey, "made-up-key"));
    for key in ["", "two words", "sk-ant-x", "AIzax"] {
        assert!(api_key_file(&Secret::new(key)).is_err(), "{key}");
    }
}

proptest::proptest! {
    #[test]
    fn a_file_cut_anywhere_is_refused_without_showing_it(cut in 0_usize..200) {
        let whole = r#"{"auth_mode":"chatgpt","tokens":{"access_token":"secret-x","refresh_token":"secret-x"},"name":"é"}"#;
        let cut = cut.min(whole.len() - 1);
        let fault = read(&whole.as_bytes()[..cut]).expect_err("half a file");
        proptest::prop_assert!(!fault.to_string().contains("secret"), "{}", fault);
        proptest::prop_assert!(write_back(&whole.as_bytes()[..cut], &renewed(), UnixMs(0)).is_err());
    }
}
