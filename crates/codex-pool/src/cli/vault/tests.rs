use pool_core::Secret;
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_testkit::PgServer;
use tempfile::TempDir;

use super::*;
use crate::cli::accounts;

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    command: accounts::Command,
}

fn inputs(folder: &TempDir, url: &str) -> Inputs {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let env = [
        ("CODEX_POOL_DATABASE_URL", url.to_owned()),
        ("CODEX_POOL_VAULT_KEY_FILE", at("vault.key")),
        ("POOL_DIR", at("pool")),
        ("PROXY_DB_PATH", at("data/proxy.db")),
        // Nobody listens there.
        ("PROXY_LISTEN_ADDR", "127.0.0.1:9".to_owned()),
    ];
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Inputs { env, folder: folder.path().to_owned(), ..Inputs::default() }
}

#[test]
fn a_key_is_made_once_and_never_shown() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("vault.key");
    let made = init(&file).expect("made");
    let text = std::fs::read_to_string(&file).expect("there");
    assert!(!made.text.contains(text.trim()), "{}", made.text);
    assert!(made.text.contains(VaultKey::read(&file).expect("a key").id()));
    assert!(init(&file).expect_err("it is there").to_string().contains("cannot be written"));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), text);
}

#[test]
fn without_a_server_or_with_two_keys_it_says_so() {
    let folder = TempDir::new().expect("a folder");
    let mut inputs = inputs(&folder, "");
    init(&folder.path().join("vault.key")).expect("made");
    let problem = run(&inputs, &Command::Status { json: false }).expect_err("no server").to_string();
    assert!(problem.contains("database_url"), "{problem}");
    inputs.env.insert("CODEX_POOL_DATABASE_URL".into(), "postgres://a@127.0.0.1:9/b".into());
    inputs.env.insert("CODEX_POOL_VAULT_KEY".into(), "canary".into());
    let problem = run(&inputs, &Command::Status { json: false }).expect_err("two keys").to_string();
    assert!(problem.contains("Set one of them") && !problem.contains("canary"), "{problem}");
    inputs.env.remove("CODEX_POOL_VAULT_KEY_FILE");
    let problem = run(&inputs, &Command::Status { json: false }).expect_err("no key").to_string();
    assert!(problem.contains("64 hexadecimal digits") && !problem.contains("canary"), "{problem}");
}

#[test]
fn accounts_in_the_vault_are_added_changed_and_removed_like_files_and_outlive_a_new_key() {
    let Some(postgres) = PgServer::shared() else { return };
    let folder = TempDir::new().expect("a folder");
    let inputs = inputs(&folder, &postgres.database());
    let registry = Registry::new(OauthClient::default());
    let key = folder.path().join("vault.key");
    init(&key).expect("made");
    let file = folder.path().join("work.json");
    let provider = registry.named("claude").expect("a provider");
    let text = provider.api_key_file(&Secret::new(format!("sk-ant-api03-{}", "x1".repeat(40)))).expect("a file");
    pool_server::pool::files::write_new(&file, &text).expect("written");
    let accounts = |words: &str| {
        let words = words.replace("FILE", &file.display().to_string());
        let line: Line = clap::Parser::try_parse_from(words.split(' ')).expect("a command");
        accounts::run(&inputs, &registry, line.command).map(|output| output.text).map_err(|error| error.to_string())
    };
    accounts("accounts add FILE --provider claude --name work").expect("added");
    let listed = accounts("accounts list").expect("listed");
    assert!(listed.contains("work"), "{listed}");
    let pool = folder.path().join("pool");
    let lies_there = || std::fs::read_dir(&pool).expect("there").count();
    assert_eq!(lies_there(), 0, "in the vault only");
    let paused = accounts("accounts pause work").expect("paused");
    assert!(paused.contains("Undo: codex-pool accounts resume"), "{paused}");
    accounts("accounts set work priority=3").expect("set");
    let shown = accounts("accounts show work").expect("shown");
    assert!(shown.contains("aused"), "{shown}");

    let next = folder.path().join("next.key");
    run(&inputs, &Command::Rekey { file: next.clone() }).expect("sealed anew");
    let seen = run(&inputs, &Command::Status { json: false }).expect("told");
    assert!(seen.exit == Exit::Problem && seen.text.contains("copy the right one here"), "{}", seen.text);
    assert!(accounts("accounts list").expect_err("the old key").contains("sealed with the key"));
    std::fs::rename(&next, &key).expect("the new key in the old one's place");
    let seen = run(&inputs, &Command::Status { json: true }).expect("told");
    assert!(seen.exit == Exit::Fine && seen.text.contains("\"files\": 1"), "{}", seen.text);
    let removed = accounts("accounts remove work").expect("removed");
    assert!(removed.contains(&format!("mv {}/.archive/", pool.display())), "{removed}");
    assert_eq!(std::fs::read_dir(pool.join(".archive")).expect("there").count(), 1);
    assert!(!accounts("accounts list").expect("listed").contains("work"));
}
