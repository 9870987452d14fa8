use super::*;

const FULL: &str = r#"{
  "claudeAiOauth": {
    "accessToken": "sk-ant-oat01-old",
    "refreshToken": "sk-ant-ort01-old",
    "expiresAt": 1786147200000,
    "refreshTokenExpiresAt": 1,
    "scopes": ["user:inference", "user:profile"],
    "subscriptionType": "max",
    "rateLimitTier": "default_claude_max_20x",
    "accountUuid": "acc-1",
    "organizationUuid": "org-1",
    "newThing": {"b": 1.50, "a": 1e3}
  },
  "mcpOAuth": {"x": []},
  "name": "team max", "disabled": true, "priority": -3, "share": false
}
"#;

fn renewed() -> Credentials {
    Credentials {
        access: Secret::new("sk-ant-oat01-new"),
        refresh: Some(Secret::new("sk-ant-ort01-new")),
        expires_at: Some(UnixMs(1_786_150_000_000)),
        refreshed_at: None,
        bound: BTreeMap::from([(bound::REFRESH_ENDS, "2".to_owned()), (bound::ACCOUNT, "acc-2".to_owned())]),
    }
}

#[test]
fn a_whole_login_is_read() {
    let content = read(FULL.as_bytes()).expect("reads");
    assert_eq!(content.kind, AccountKind::Subscription);
    assert_eq!(content.identity, Some(("acc-1".into(), "org-1".into())));
    assert_eq!(content.plan.as_deref(), Some("default_claude_max_20x"));
    assert_eq!(
        content.settings,
        Settings {
            name: Some("team max".into()),
            disabled: true,
            priority: -3,
            share: Some(false),
            ..Settings::default()
        }
    );
    let credentials = content.credentials;
    assert_eq!(credentials.access.expose(), "sk-ant-oat01-old");
    assert_eq!(credentials.refresh.expect("renewable").expose(), "sk-ant-ort01-old");
    assert_eq!(credentials.expires_at, Some(UnixMs(1_786_147_200_000)));
    assert_eq!(credentials.bound[bound::SCOPES], "user:inference user:profile");
    assert_eq!(content.warning, None);
}

#[test]
fn the_short_shapes_are_read() {
    for (file, kind, access, renewable) in [
        (r#"{"api_key":"sk-ant-api03-x","plan_type":"build"}"#, AccountKind::ApiKey, "sk-ant-api03-x", false),
        (r#"{"api_key":" sk-ant-api03-x\n"}"#, AccountKind::ApiKey, "sk-ant-api03-x", false),
        (r#"{"setup_token":"sk-ant-oat01-x"}"#, AccountKind::Subscription, "sk-ant-oat01-x", false),
        (r#"{"oauth_token":"sk-ant-oat01-x"}"#, AccountKind::Subscription, "sk-ant-oat01-x", false),
        (
            r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-x","scopes":["user:inference"]}}"#,
            AccountKind::Subscription,
            "sk-ant-oat01-x",
            false,
        ),
        (
            r#"{"claudeAiOauth":{"accessToken":"a","refreshToken":"r","expiresAt":5}}"#,
            AccountKind::Subscription,
            "a",
            true,
        ),
    ] {
        let content = read(file.as_bytes()).expect(file);
        assert_eq!(content.kind, kind, "{file}");
        assert_eq!(content.credentials.access.expose(), access, "{file}");
        assert_eq!(content.credentials.refresh.is_some(), renewable, "{file}");
        assert_eq!(content.identity, None, "{file}");
    }
}

#[test]
fn a_login_without_access_token_is_renewed_before_use() {
    let content = read(br#"{"claudeAiOauth":{"accessToken":"","refreshToken":"r"}}"#).expect("reads");
    assert!(content.credentials.is_expired(UnixMs(1)));
}

#[test]
fn a_bad_file_names_its_fault_and_none_of_its_content() {
    for (file, what) in [
        ("", "empty"),
        (" \n", "empty"),
        (r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-se"#, "breaks off"),
        ("secret", "not JSON (line 1"),
        ("[1]", "not an object"),
        (r#"{"tokens":{"access_token":"secret"}}"#, "Codex CLI's auth.json"),
        (r#"{"OPENAI_API_KEY":"secret"}"#, "Codex CLI's auth.json"),
        (r#"{"access_token":"secret","refresh_token":"secret","expiry_date":1}"#, "Gemini CLI's oauth_creds.json"),
        (r#"{"type":"service_account","private_key":"secret"}"#, "Google client or service account"),
        (r#"{"accessToken":"secret"}"#, "at the top of the file"),
        (r#"{"oauthAccount":{}}"#, ".claude.json"),
        (r#"{"api_key":"AIzaSecret"}"#, "Google API key"),
        (r#"{"api_key":"sk-proj-secret"}"#, "OpenAI API key"),
        (r#"{"api_key":"sk-ant-oat01-secret"}"#, "subscription token"),
        (r#"{"setup_token":"sk-ant-api03-secret"}"#, "API key"),
        (r#"{"api_key":""}"#, "blank"),
        (r#"{"api_key":5}"#, "`api_key` is not a text"),
        (r#"{"api_key":"sk-ant-api secret"}"#, "characters that no token has"),
        (r#"{"claudeAiOauth":{"accessToken":"","refreshToken":""}}"#, "signed out"),
        (r#"{"claudeAiOauth":"secret"}"#, "`claudeAiOauth` is not an object"),
        (r#"{"claudeAiOauth":{"accessToken":"secret","expiresAt":"soon"}}"#, "`expiresAt`"),
        (r#"{"api_key":"secret","disabled":"yes"}"#, "`disabled` is not true or false"),
        (r#"{"api_key":"secret","share":1}"#, "`share` is not true or false"),
        (r#"{"api_key":"secret","priority":"high"}"#, "`priority` is not a whole number"),
        (r#"{"api_key":"secret","priority":99999999999}"#, "`priority`"),
        (r#"{"api_key":"secret","name":5}"#, "`name` is not a text"),
        (r#"{"other":"secret"}"#, "none of `claudeAiOauth`"),
    ] {
        let fault = read(file.as_bytes()).expect_err(file);
        assert!(fault.what.contains(what), "{file}: {fault}");
        assert!(!fault.mend.is_empty(), "{file}");
        assert!(!fault.to_string().to_lowercase().contains("secret"), "{fault}");
    }
}

#[test]
fn two_credentials_in_one_file_are_pointed_out() {
    let content = read(br#"{"claudeAiOauth":{"accessToken":"a"},"api_key":"sk-ant-api03-x"}"#).expect("reads");
    assert!(content.warning.expect("a warning").contains("the login is used"));
}

#[test]
fn only_the_renewed_values_differ_after_a_write_back() {
    let expected = FULL
        .replace("oat01-old", "oat01-new")
        .replace("ort01-old", "ort01-new")
        .replace("1786147200000", "1786150000000")
        .replace("\"refreshTokenExpiresAt\": 1", "\"refreshTokenExpiresAt\": 2");
    let written = write_back(FULL.as_bytes(), &renewed()).expect("writes");
    assert_eq!(String::from_utf8(written).expect("text"), expected);
}

#[test]
fn a_key_that_the_file_lacked_is_added_in_its_own_style() {
    for (before, after) in [
        (
            r#"{"claudeAiOauth":{"refreshToken":"r"}}"#,
            r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-new","expiresAt":1786150000000,"refreshToken":"sk-ant-ort01-new"}}"#,
        ),
        (
            "{\"claudeAiOauth\": {\n  \"refreshToken\": \"r\", \"accessToken\": \"a\"}}",
            "{\"claudeAiOauth\": {\n  \"expiresAt\":1786150000000,\n  \"refreshToken\": \"sk-ant-ort01-new\", \
             \"accessToken\": \"sk-ant-oat01-new\"}}",
        ),
    ] {
        let written = write_back(before.as_bytes(), &renewed()).expect("writes");
        assert_eq!(String::from_utf8(written).expect("text"), after);
        assert!(read(after.as_bytes()).is_ok());
    }
}

#[test]
fn what_cannot_be_renewed_is_left_as_it_is() {
    let file = br#"{ "api_key" : "sk-ant-api03-x" }"#;
    let key = Credentials { refresh: None, ..renewed() };
    assert_eq!(write_back(file, &key).expect("writes"), file);
    assert!(write_back(file, &renewed()).is_err(), "another kind of file now");
    assert!(write_back(b"{", &renewed()).is_err());
}

#[test]
fn a_pasted_key_becomes_a_file_that_reads() {
    let file = |key: &str| api_key_file(&Secret::new(key)).map(|text| String::from_utf8(text).expect("text"));
    assert_eq!(file(" sk-ant-api03-x\n").expect("writes"), "{\n  \"api_key\": \"sk-ant-api03-x\"\n}\n");
    assert_eq!(file("sk-ant-oat01-x").expect("writes"), "{\n  \"setup_token\": \"sk-ant-oat01-x\"\n}\n");
    assert!(file("").is_err());
    assert!(file("AIzaX").is_err());
}
