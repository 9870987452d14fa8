//! Settings as people write them.

use std::time::Duration;

use pool_server::config::OutboundProxy;
use tempfile::TempDir;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn inputs(file: &str, env: &[(&str, &str)], listen: Option<&str>) -> (TempDir, Inputs) {
    let folder = TempDir::new().expect("a folder");
    if !file.is_empty() {
        std::fs::write(folder.path().join("config.toml"), file).expect("writes");
    }
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags = Flags { listen: listen.map(str::to_owned), ..Flags::default() };
    let inputs = Inputs { flags, env, folder: folder.path().to_owned(), inherited: None };
    (folder, inputs)
}

fn settings(file: &str, env: &[(&str, &str)]) -> Settings {
    let (_folder, inputs) = inputs(file, env, None);
    load(&inputs).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"
}

fn problems(file: &str, env: &[(&str, &str)], listen: Option<&str>) -> String {
    let (_folder, inputs) = inputs(file, env, listen);
    let problems = load(&inputs).expect_err("refused");
    told(&problems)
}

#[test]
fn without_a_word_everything_has_its_default() {
    let settings = settings("", &[]);
    let told = settings.server.settings.clone();
    assert!(told.settings.iter().all(|setting| !setting.said && setting.origin == "the default"), "{told:?}");
    let expected = Config {
        db_path: "./data/proxy.db".into(),
        old_users: Some("./data/pool_users.json".into()),
        settings: told,
        ..Config::default()
    };
    assert_eq!(format!("{:?}", settings.server), format!("{expected:?}"));
    assert_eq!((settings.warnings, settings.file), (vec![], None));
}

#[test]
fn a_friend_code_is_not_easily_guessed() {
    for (code, wrong) in [("abc", true), ("admin", true), ("1234567", true), ("come-in-5521", false)] {
        let file = format!("friend_code = \"{code}\"\n");
        let loopback = settings(&file, &[]);
        assert_eq!(loopback.warnings.iter().any(|warning| warning.what.contains("friend_code")), wrong, "{code}");
        assert_eq!(loopback.server.friends.code.as_ref().map(pool_core::Secret::expose), Some(code));
        let beyond = format!("operator_token = \"{TOKEN}\"\n{file}");
        let (_folder, beyond) = inputs(&beyond, &[], Some("0.0.0.0:8989"));
        assert_eq!(load(&beyond).is_err(), wrong, "{code}");
    }
    let said = settings("[friends]\nshare_subscriptions = false\nleaderboard = true\n", &[]);
    assert_eq!((said.server.share_subscriptions, said.server.friends.leaderboard), (Some(false), true));
    assert_eq!(settings("", &[("POOL_FRIENDS_SHARE_SUBSCRIPTIONS", "yes")]).server.share_subscriptions, Some(true));
}

#[test]
fn settings_are_told_with_their_origin_and_without_secrets() {
    let file = "max_attempts = 5\ndatabase_url = \"postgres://pool:made-up-word@127.0.0.1/pool\"\n";
    let settings = settings(file, &[("POOL_OPERATOR_TOKEN", TOKEN), ("PROXY_DEBUG", "")]);
    let told = serde_json::to_string(&*settings.server.settings).expect("serialises");
    assert!(!told.contains(TOKEN) && !told.contains("made-up-word"), "{told}");
    let of = |key: &str| {
        let found = settings.server.settings.settings.iter().find(|setting| setting.key == key);
        let setting = found.unwrap_or_else(|| panic!("{key} is not told"));
        (setting.value.as_deref(), setting.said, setting.secret, setting.origin.as_str())
    };
    let (value, said, secret, origin) = of("max_attempts");
    assert_eq!((value, said, secret), (Some("5"), true, false));
    assert!(origin.ends_with("line 1, column 1") || origin.contains("line 1"), "{origin}");
    assert_eq!(of("operator_token"), (None, true, true, "the environment variable POOL_OPERATOR_TOKEN"));
    assert_eq!(of("listen_addr"), (Some("127.0.0.1:8989"), false, false, "the default"));
}

#[test]
fn the_go_originals_settings_work_as_they_are() {
    let file = "listen_addr = \"127.0.0.1:9000\"\npool_dir = \"accounts\"\nmax_attempts = 5\ndebug = true\n\
        friend_code = \"come-in-5521\"\n[pool_users]\nadmin_password = \"admin\"\njwt_secret = \"32-char-secret-for-jwt-tokens!!\"\n";
    let settings = settings(file, &[("PROXY_FLUSH_INTERVAL_MS", "100")]);
    assert_eq!(settings.server.listen.port(), 9000);
    assert_eq!(settings.server.pool_dir, PathBuf::from("accounts"));
    assert_eq!(settings.server.max_attempts, 5);
    assert!(settings.log.filter.contains("pool_server=debug"));
    let unused: Vec<_> = settings.without_effect.iter().map(|(key, ..)| *key).collect();
    assert_eq!(unused, ["pool_users.jwt_secret", "flush_interval_ms"]);
    let warned: Vec<_> = settings.warnings.iter().map(|warning| warning.what.as_str()).collect();
    assert_eq!(warned.iter().filter(|what| what.contains("sample value")).count(), 2, "{warned:?}");
    let beyond = format!("operator_token = \"{TOKEN}\"\n{file}");
    let refused = problems(&beyond, &[], Some("0.0.0.0:8989"));
    assert_eq!(refused.matches("sample value").count(), 2, "{refused}");
}

#[test]
fn beyond_loopback_somebody_must_be_able_to_show_who_they_are() {
    let password = "[pool_users]\nadmin_password = \"a-long-made-up-one\"\n";
    let short = "[pool_users]\nadmin_password = \"a-short1\"\n";
    assert!(problems("", &[], Some("0.0.0.0:8989")).contains("refusing to listen"));
    assert!(problems(short, &[], Some("0.0.0.0:8989")).contains("short enough to be guessed"));
    let (_folder, with_password) = inputs(password, &[], Some("0.0.0.0:8989"));
    assert!(load(&with_password).expect("settings").server.admin_password.is_some());
    // Whether a database knows somebody, the server sees.
    let (folder, mut with_users) = inputs("", &[], Some("0.0.0.0:8989"));
    let database = folder.path().join("proxy.db");
    std::fs::write(&database, "").expect("writes");
    with_users.flags.db_path = Some(database.display().to_string());
    assert!(load(&with_users).is_ok());
    assert!(settings(short, &[]).warnings.iter().any(|warning| warning.what.contains("short")));
}

#[test]
fn trusted_proxies_are_addresses() {
    let trusted = |text: &str| settings("", &[("POOL_TRUSTED_PROXIES", text)]).server.trusted_proxies.len();
    assert_eq!((trusted(""), trusted("::1"), trusted("10.0.0.0/8, 192.0.2.7")), (0, 1, 2));
    assert!(problems("", &[("POOL_TRUSTED_PROXIES", "proxy.example")], None).contains("\"proxy.example\" is neither"));
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let file = "listen_addr = \"127.0.0.1:1\"\nmax_attempts = 4\ndb_path = \"a.db\"";
    let (_folder, mut all) = inputs(file, &[("PROXY_LISTEN_ADDR", "127.0.0.1:2"), ("PROXY_MAX_ATTEMPTS", "6")], None);
    assert_eq!(load(&all).expect("settings").server.listen.port(), 2);
    all.flags.listen = Some("127.0.0.1:3".into());
    let settings = load(&all).expect("settings").server;
    assert_eq!((settings.listen.port(), settings.max_attempts), (3, 6));
    assert_eq!(settings.db_path, PathBuf::from("a.db"));
}

#[test]
fn values_are_taken_as_they_are_written() {
    for (file, env, check) in [
        ("listen_addr = \":7\"", ("POOL_OPERATOR_TOKEN", TOKEN), "listen: 0.0.0.0:7"),
        ("listen_addr = \"localhost:7\"", ("", ""), "listen: 127.0.0.1:7"),
        ("listen_addr = \"[::1]:7\"", ("", ""), "listen: [::1]:7"),
        ("disable_refresh = true", ("", ""), "disable_refresh: true"),
        ("", ("PROXY_DISABLE_REFRESH", "1"), "disable_refresh: true"),
        ("local_access = true", ("POOL_OPERATOR_TOKEN", TOKEN), "operator_token: Some(Secret(32 bytes))"),
        ("", ("ADMIN_TOKEN", TOKEN), "operator_token: Some(Secret(32 bytes))"),
        ("max_inmem_body_bytes = 0x100000", ("", ""), "replay_cap: 1048576"),
        ("[upstream]\nclaude_base = \"http://127.0.0.1:5/x/\"", ("", ""), "claude: \"http://127.0.0.1:5/x\""),
        ("", ("UPSTREAM_GEMINI_API_BASE", "https://example.com"), "gemini_api: \"https://example.com\""),
        ("[timeouts]\nupstream_idle_seconds = 900", ("", ""), "upstream_idle: 900s"),
        ("", ("STREAM_IDLE_TIMEOUT_SECONDS", "700"), "upstream_idle: 700s"),
        ("", ("PUBLIC_URL", ""), "public_url: None"),
    ] {
        let shown = format!("{:?}", settings(file, &[env]).server);
        assert!(shown.contains(check), "{file} {env:?}: {shown}");
    }
    assert_eq!(settings("", &[("PROXY_USAGE_REFRESH_SECONDS", "60")]).server.probe_every, Duration::from_mins(1));
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let file = "max_attempts = \"three\"\nlisten_addr = 8989\n\n[timeouts]\nconnect_seconds = 0\n";
    let told = problems(file, &[("PROXY_DISABLE_REFRESH", "perhaps")], None);
    for part in [
        "max_attempts must be a whole number, not a text",
        "config.toml, line 1, column 16",
        "Write it as: max_attempts = 3",
        "listen_addr must be a text, not a number",
        "line 2, column 15",
        "timeouts.connect_seconds is not a whole number from 1 to 86400",
        "line 5, column 19",
        "disable_refresh is neither true nor false\n  from the environment variable PROXY_DISABLE_REFRESH",
    ] {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }
}

#[test]
fn unknown_settings_are_warned_of_with_the_nearest_known_one() {
    let settings =
        settings("poll_dir = \"x\"\n[timeout]\nconnect_seconds = 3\n[upstream]\nclaud_base = \"x\"\nzebra = 1\n", &[]);
    let told = told(&settings.warnings);
    for part in [
        "unknown setting poll_dir",
        "line 1, column 1; it is ignored",
        "Did you mean pool_dir?",
        "Did you mean timeouts?",
        "Did you mean upstream.claude_base?",
        "unknown setting upstream.zebra",
    ] {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }
}

#[test]
fn a_broken_file_is_told_without_its_content() {
    let told = problems("pool_dir = \"x\"\noperator_token = \"my-secret-value\n", &[], None);
    assert!(told.contains("config.toml is not valid TOML") && told.contains("line 2"), "{told}");
    assert!(!told.contains("my-secret-value"), "{told}");
    let (_folder, mut inputs) = inputs("", &[], None);
    inputs.flags.config = Some("missing.toml".into());
    let told = load(&inputs).expect_err("refused")[0].to_string();
    assert!(told.contains("missing.toml") && told.contains("--config"), "{told}");
}

#[test]
fn tokens_never_go_out_unencrypted() {
    for (base, why) in [
        ("http://example.com", "unencrypted"),
        ("http://localhost.example.com", "unencrypted"),
        ("https://me:hunter2@example.com", "user or password"),
        ("https://example.com/?a=b", "query"),
        ("https://example.com/#x", "fragment"),
        ("ftp://example.com", "neither https nor http"),
        ("example.com", "web address"),
    ] {
        let told = problems("", &[("UPSTREAM_CLAUDE_BASE", base)], None);
        assert!(told.contains("upstream.claude_base") && told.contains(why), "{base}: {told}");
        assert!(!told.contains("hunter2"));
    }
    for base in ["http://127.0.0.1:80", "http://[::1]:8080/v1", "http://localhost:1", "https://example.com/v1/"] {
        assert!(!settings("", &[("UPSTREAM_OPENAI_BASE", base)]).server.bases.openai.ends_with('/'));
    }
}

#[test]
fn numbers_that_the_original_took_start_us_too() {
    for (name, value, used) in [
        ("STREAM_IDLE_TIMEOUT_SECONDS", "0", "upstream_idle: 600s"),
        ("PROXY_USAGE_REFRESH_SECONDS", "10", "probe_every: 30s"),
        ("PROXY_MAX_ATTEMPTS", "0", "max_attempts: 3"),
        ("PROXY_USAGE_RETENTION_DAYS", "0", "max_attempts: 3"),
    ] {
        let settings = settings("", &[(name, value)]);
        assert!(format!("{:?}", settings.server).contains(used), "{name}={value}: {:?}", settings.server);
        let warned = told(&settings.warnings);
        assert!(warned.contains(&format!("cannot be {value}")) && warned.contains(name), "{name}: {warned}");
    }
    assert!(problems("", &[("POOL_TIMEOUT_CONNECT_SECONDS", "0")], None).contains("not a whole number from 1"));
    assert!(problems("", &[("PROXY_MAX_ATTEMPTS", "-1")], None).contains("not a whole number from 1"));
}

#[test]
fn a_misspelt_key_is_told_beside_what_is_wrong() {
    let told = problems("operator_tokn = \"x\"\n", &[], Some("0.0.0.0:8989"));
    assert!(told.contains("refusing to listen") && told.contains("Did you mean operator_token?"), "{told}");
}

#[test]
fn models_have_other_names_as_the_operator_says() {
    let file = "[model_aliases]\nfast = \"gpt-5.4-mini\"\nbest = \"gpt-5.4\"\n[models]\nbest = [\"claude-opus-5-5\", \"claude-sonnet-5-5\"]\n\
        \"claude-opus-5\" = [\"claude-opus-5\", \"house-model\"]\n";
    let aliases = settings(file, &[]).server.aliases;
    let all: Vec<_> = aliases.iter().map(|(alias, models)| (alias, models.join(" "))).collect();
    assert_eq!(
        all,
        [
            ("best", "claude-opus-5-5 claude-sonnet-5-5".to_owned()),
            ("claude-opus-5", "claude-opus-5 house-model".into()),
            ("fast", "gpt-5.4-mini".into())
        ]
    );
    let told = problems(
        "models = 1\n[model_aliases]\na = 3\nb = []\nc = [\"gpt-5.5\", 1]\nd = [\"gpt-5.5\", \"claude-opus-5\"]\ne = \"a b\"\n\"f g\" = \"gpt-5.5\"\n",
        &[],
        None,
    );
    for part in [
        "models must be a section",
        "model_aliases.a must be a list of models, not a number\n  from",
        "line 3, column 5",
        "model_aliases.b must be a list of 1 to 16 models",
        "model_aliases.c must be a list of models, not a number",
        "model_aliases.d has models of Codex and of Claude",
        "model_aliases.e has \"a b\", which is no model's name",
        "model_aliases.f g has \"f g\", which is no model's name",
    ] {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }
}

#[test]
fn kinds_and_prices_are_as_the_operator_says() {
    use pool_core::wishes::KindOrder;
    for (word, kinds) in [
        ("subscriptions-first", KindOrder::SubscriptionsFirst),
        ("api-keys-first", KindOrder::ApiKeysFirst),
        ("together", KindOrder::Together),
    ] {
        assert_eq!(settings(&format!("[routing]\nkinds = \"{word}\""), &[]).server.kinds, kinds);
    }
    assert!(problems("[routing]\nkinds = \"keys\"", &[], None).contains("routing.kinds cannot be \"keys\""));
    let (folder, inputs) = inputs("prices_file = \"prices.json\"", &[], None);
    let told = told(&load(&inputs).expect_err("there is none"));
    assert!(told.contains("prices_file prices.json cannot be read: No such file"), "{told}");
    let prices = folder.path().join("prices.json");
    std::fs::write(&prices, r#"{"models": {"house-model": {"input": 1, "output": 2}}}"#).expect("writes");
    let known = load(&inputs).expect("settings").server.prices;
    assert!(known.find("house-model").is_some() && known.find("gpt-5.5").is_some());
    std::fs::write(&prices, r#"{"models": {"house-model": {"input": 1}}}"#).expect("writes");
    assert!(load(&inputs).expect_err("incomplete")[0].to_string().contains("missing field `output`"));
}

#[test]
fn one_outbound_proxy() {
    let proxy = |text: &str| settings("", &[("UPSTREAM_PROXY", text)]).server.proxy;
    assert!(matches!(proxy("http://10.0.0.1:3128"), Some(OutboundProxy::Http(_))));
    assert!(matches!(proxy("socks5://proxy.lan:1080/"), Some(OutboundProxy::Socks5(_))));
    for wrong in ["ftp://a:1", "socks5://a", "http://a:1/path", "a:1"] {
        assert!(problems("", &[("UPSTREAM_PROXY", wrong)], None).contains("upstream.proxy"), "{wrong}");
    }
    let told = problems("", &[("UPSTREAM_PROXY", "http://user:hunter2@10.0.0.1:3128")], None);
    assert!(told.contains("upstream.proxy must not hold a user") && !told.contains("hunter2"), "{told}");
}

#[test]
fn nothing_listens_beyond_loopback_without_a_credential() {
    for listen in ["0.0.0.0:8989", ":8989", "192.168.1.5:80", "[::]:8989"] {
        let told = problems("", &[], Some(listen));
        assert!(told.contains("refusing to listen") && told.contains("openssl rand -hex 32"), "{told}");
    }
    for weak in ["short", "admin", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let told = problems("", &[("POOL_OPERATOR_TOKEN", weak)], Some("0.0.0.0:8989"));
        assert!(told.contains("operator_token can be guessed"), "{told}");
        assert!(!told.contains(&format!("{weak}\n")), "{told}");
    }
    let (_folder, all) = inputs("", &[("POOL_OPERATOR_TOKEN", TOKEN)], Some("0.0.0.0:8989"));
    assert!(load(&all).expect("settings").server.operator_token.is_some());
    for shut in ["public_url = \"https://pool.example.com\"", "local_access = false"] {
        assert!(problems(shut, &[], None).contains("nobody could use this pool"), "{shut}");
    }
    let (_folder, client) = inputs("", &[], Some("0.0.0.0:8989"));
    assert!(load_for_client(&client).is_ok(), "a client of such a server may still ask it");
}

#[test]
fn the_settings_are_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = root.join("docs/SETTINGS.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(root.join("docs")).expect("makes docs");
        std::fs::write(&document, reference::markdown()).expect("writes");
    }
    let written = std::fs::read_to_string(&document).unwrap_or_default();
    assert!(written == reference::markdown(), "docs/SETTINGS.md is stale: UPDATE=1 cargo test -p codex-pool settings");

    let example = std::fs::read_to_string(root.join("config.example.toml")).expect("config.example.toml");
    let mut section = String::new();
    let mut named = Vec::new();
    let mut bare = String::new();
    for line in example.lines() {
        // A setting that stands there as an example has one # and no space before it.
        let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        bare += line;
        bare.push('\n');
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
            named.push(name.to_owned());
        } else if let Some((key, _)) = line.split_once(" = ") {
            named.push(format!("{section}{key}"));
        }
    }
    for setting in table::SETTINGS {
        assert!(named.iter().any(|key| key == setting.key), "config.example.toml does not show {}", setting.key);
    }
    let (_folder, inputs) = inputs(&bare, &[("POOL_OPERATOR_TOKEN", TOKEN)], None);
    let settings = load(&inputs).unwrap_or_else(|problems| panic!("the example does not load: {problems:?}"));
    let unknown: Vec<_> = settings.warnings.iter().filter(|warning| warning.what.contains("unknown")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_database_url_is_never_shown_with_its_password() {
    let said = |url: &str| {
        let env = BTreeMap::from([("CODEX_POOL_DATABASE_URL".to_owned(), url.to_owned())]);
        load(&Inputs { env, ..Inputs::default() })
    };
    let settings = said("postgres://pool:canary@db.example/usage").expect("an address");
    assert_eq!(settings.server.database().to_string(), "postgres://pool@db.example:5432/usage");
    assert!(!format!("{settings:?}").contains("canary"));
    for wrong in ["pool:canary@db.example", "postgres://pool:canary@db.example:port/usage"] {
        let problems = said(wrong).expect_err(wrong);
        let text: String = problems.iter().map(ToString::to_string).collect();
        assert!(text.contains("database_url") && !text.contains("canary"), "{text}");
    }
}
