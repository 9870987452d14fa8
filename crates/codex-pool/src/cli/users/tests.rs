//! Commands on people against a real server.

use clap::Parser;
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_server::Server;

use super::*;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// A server in a thread of its own, and inputs that lead to it.
struct Running {
    inputs: Inputs,
    _folder: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::TempDir::new().expect("a folder");
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            pool_dir: folder.path().join("pool"),
            db_path: folder.path().join("data/proxy.db"),
            ..Config::default()
        };
        let mut inputs = Inputs::default();
        inputs.flags.db_path = Some(config.db_path.display().to_string());
        inputs.flags.pool_dir = Some(config.pool_dir.display().to_string());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (told, tell) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = crate::cli::serve::runtime().expect("a runtime");
            runtime.block_on(async {
                let server = Server::start(config, Registry::new(OauthClient::default())).await.expect("starts");
                told.send(server.address().expect("bound")).expect("heard");
                let order = async move {
                    let _ = stopped.await;
                };
                server.run(order, std::future::pending()).await;
            });
        });
        inputs.flags.listen = Some(tell.recv().expect("an address").to_string());
        Self { inputs, _folder: folder, stop: Some(stop), thread: Some(thread) }
    }

    fn ask(&self, line: &str) -> Result<String, Failure> {
        let words = std::iter::once("users").chain(line.split(' '));
        let arguments = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        run(&self.inputs, arguments.command).map(|output| output.text)
    }

    fn json(&self, line: &str) -> Value {
        let text = self.ask(&format!("{line} --json")).unwrap_or_else(|failure| panic!("{line}: {failure}"));
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{line}: {text}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn people_come_and_go() {
    let pool = Running::start();
    assert!(pool.ask("list").expect("listed").starts_with("Nobody yet"));
    let text = pool.ask("add Mira --label laptop --tokens 2000000/day --streams 2").expect("added");
    assert!(text.contains("Credential of Mira") && text.contains("Yours, the operator's"), "{text}");
    // Nobody is locked out: the terminal goes on by the key file.
    let text = pool.ask("list").expect("listed");
    assert!(
        text.contains("Mira (user): 2 at once, 2000000 tokens/day") && text.contains("operator (operator)"),
        "{text}"
    );

    let text = pool.ask("limit mira --tokens none --dollars 5/week").expect("limited");
    assert!(text.contains("Mira (user): 2 at once, $5.00/week"), "{text}");
    assert!(pool.ask("pause MIRA").expect("paused").contains("(user, paused)"));
    assert!(!pool.ask("resume Mira").expect("resumed").contains("paused"));

    let made = pool.json("key Mira --label phone --days 7");
    let text = pool.ask(&format!("revoke Mira {}", made["id"].as_str().expect("an id"))).expect("revoked");
    assert!(text.contains("what runs on it ends now"), "{text}");
    assert!(pool.ask("list").expect("listed").contains("phone, revoked"));
    assert_eq!(pool.json("revoke Mira --all")["revoked"].as_array().map(Vec::len), Some(1));

    let made = pool.json("invite --name Nadia --hours 5");
    assert!(
        made["path"].as_str().is_some_and(|path| path.starts_with("/join/")) && made["operator"].is_null(),
        "{made}"
    );
    assert!(pool.ask("list").expect("listed").contains("invitation for Nadia as friend, open for 5 h"));
    assert!(pool.ask("sign-in").expect("a link").contains("/sign-in/"));

    assert!(pool.ask("remove Mira").expect("removed").contains("stays on record"));
    let roster = pool.json("list");
    assert_eq!(roster["people"].as_array().map(Vec::len), Some(1), "{roster}");
    assert!(!roster.to_string().contains("hash"), "{roster}");
}

#[test]
fn who_gave_and_used_what_is_told_of_the_running_pool() {
    let pool = Running::start();
    pool.ask("add Mira").expect("added");
    let told = pool.ask("contributions --days 7").expect("told");
    assert!(told.starts_with("NAME") && told.contains("\nMira ") && told.contains("the last 7 days"), "{told}");
    let json = pool.json("contributions");
    assert_eq!(
        (json["people"].as_array().map(Vec::len), &json["people"][0]["given"]["tokens"]),
        (Some(3), &Value::from(0))
    );
    let failure = pool.ask("contributions --days 0").expect_err("no days");
    assert_eq!(failure.exit, Exit::WrongUse);
}

#[test]
fn what_is_wrong_is_told_and_how_to_mend_it() {
    let pool = Running::start();
    pool.ask("add Mira").expect("added");
    for (line, part) in [
        ("add mira", "the name is taken"),
        ("add <b>", "cannot be a name"),
        ("add Nadia --account nowhere", "no account is called \"nowhere\""),
        ("limit Nadia --streams 1", "nobody is called \"Nadia\""),
        ("limit Mira", "say which limit"),
        ("limit Mira --tokens many", "\"many\" is no limit"),
        ("revoke Mira c-1", "has no credential c-1"),
        ("remove operator", "no operator could come in any more"),
    ] {
        let failure = pool.ask(line).expect_err(line);
        assert!(failure.to_string().contains(part), "{line}: {failure}");
    }
    let mut elsewhere = pool.inputs.clone();
    elsewhere.flags.db_path = Some("elsewhere/proxy.db".into());
    let failure = run(&elsewhere, Command::List { json: false }).expect_err("a stranger");
    assert!(failure.to_string().contains("elsewhere/operator.key"), "{failure}");
    elsewhere.flags.listen = Some("127.0.0.1:1".into());
    assert_eq!(run(&elsewhere, Command::List { json: false }).expect_err("nobody there").exit, Exit::NotRunning);
}
