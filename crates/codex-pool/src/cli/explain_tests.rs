use clap::Parser;
use http::StatusCode;
use pool_core::trail::Attempt;
use pool_core::usage::Ending;
use pool_core::{Trail, UnixMs, UsageRecord};
use pool_server::explain::{Facts, Subject};
use pool_store::Ledger;

use super::*;
use crate::cli::client::fake::{answering, http};
use crate::config::Flags;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    asked: Asked,
}

fn asked(line: &str) -> Result<Asked, String> {
    let words = std::iter::once("explain").chain(line.split_whitespace());
    Line::try_parse_from(words).map(|line| line.asked).map_err(|error| error.to_string())
}

fn registry() -> Registry {
    Registry::new(pool_providers::gemini::OauthClient::default())
}

fn record() -> UsageRecord {
    UsageRecord {
        user: None,
        request_id: "0193f2c4aa".into(),
        at: UnixMs(1_800_000_000_000),
        provider: "claude".into(),
        account: AccountId("claude-1".into()),
        model: None,
        client: None,
        session: None,
        status: 200,
        ending: Ending::Complete,
        tokens: None,
        attempts: 1,
        first_byte_ms: 10,
        parts: None,
        total_ms: 20,
    }
}

fn trail() -> Trail {
    let attempt = Attempt {
        account: AccountId("claude-1".into()),
        name: "claude-work".into(),
        status: Some(200),
        reason: String::new(),
        at: UnixMs(1_800_000_000_005),
        decision: None,
    };
    Trail { attempts: vec![attempt], ..Trail::default() }
}

#[test]
fn what_is_asked_goes_to_the_server() {
    for (line, path) in [
        ("last", "/api/explain/last"),
        ("0193F2c4", "/api/explain/0193F2c4"),
        ("a/../b?c", "/api/explain/a%2F..%2Fb%3Fc"),
        ("--next --provider claude", "/api/explain?provider=claude"),
        (
            "--next --provider codex --model gpt-6&x --client sdk --session a=b",
            "/api/explain?provider=codex&model=gpt-6%26x&client=sdk&session=a%3Db",
        ),
    ] {
        assert_eq!(asked(line).expect(line).path(), path);
    }
    for wrong in
        ["", "--next", "last --next --provider claude", "last --model x", "--next --provider claude --client curl"]
    {
        assert!(asked(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_servers_page_is_drawn_and_its_refusals_are_told() {
    let subject = Subject::Request { record: Box::new(record()), trail: Some(trail()) };
    let facts = Facts { now_ms: 1_800_000_060_000, subject, names: BTreeMap::new() };
    let page = ExplainPage::new(facts, &jiff::tz::TimeZone::UTC);
    let body = serde_json::to_string(&page).expect("JSON");
    let (inputs, sent) = answering(http("200 OK", &body));
    let output = run(&inputs, &registry(), &asked("0193").expect("asked")).expect("a page");
    assert!(output.text.starts_with("claude-work served it.\n"), "{}", output.text);
    assert!(output.text.contains("model not known") && output.text.contains("tokens not known"), "{}", output.text);
    assert!(sent.join().expect("asked").starts_with("GET /api/explain/0193 HTTP/1.1"));

    let (inputs, _) = answering(http("200 OK", &body));
    let output = run(&inputs, &registry(), &asked("last --json").expect("asked")).expect("JSON");
    assert_eq!(serde_json::from_str::<ExplainPage>(&output.text).expect("the page"), page);

    let said = r#"{"error":{"message":"no request's id begins with 0193"}}"#;
    let (inputs, _) = answering(http(StatusCode::NOT_FOUND.as_str(), said));
    let failure = run(&inputs, &registry(), &asked("0193").expect("asked")).expect_err("unknown");
    assert_eq!(
        (failure.exit, failure.to_string().as_str()),
        (Exit::Problem, "error: no request's id begins with 0193\n")
    );
}

#[test]
fn without_a_server_the_file_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.db");
    let flags = Flags {
        listen: Some("127.0.0.1:1".into()),
        db_path: Some(path.display().to_string()),
        pool_dir: Some(folder.path().join("pool").display().to_string()),
        ..Flags::default()
    };
    let inputs = Inputs { flags, ..Inputs::default() };
    let run = |line: &str| run(&inputs, &registry(), &asked(line).expect("asked"));
    assert_eq!(run("last").expect_err("no file").exit, Exit::NotRunning);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let opened = Ledger::open(&path, pool_store::Options::default()).await.expect("opens");
        let writer = tokio::spawn(opened.writer.run());
        assert!(opened.ledger.keep(record(), trail()));
        opened.ledger.close(Duration::from_secs(10)).await;
        writer.await.expect("the writer ends");
    });
    for line in ["last", "0193"] {
        let text = run(line).expect("found").text;
        assert!(text.starts_with("claude-work served it.\n"), "{text}");
        assert!(text.ends_with("proxy.db.\n") && text.contains("The server is not running; read from "), "{text}");
    }
    let failure = run("0194").expect_err("unknown");
    assert_eq!(failure.exit, Exit::Problem);
    assert!(failure.to_string().contains("no request's id begins with 0194"), "{failure}");
    assert_eq!(run("no-id").expect_err("no id").exit, Exit::WrongUse);
    // What would happen next only a running server knows.
    assert_eq!(run("--next --provider claude").expect_err("no server").exit, Exit::NotRunning);
}
