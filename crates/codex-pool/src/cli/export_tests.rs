//! Exports, backups and checks as a stranger uses them.

use pool_core::usage::Ending;
use pool_core::{AccountId, LatencyParts, TokenCounts};
use pool_providers::gemini::OauthClient;

use super::super::backup as copies;
use super::*;

const NOW: i64 = 1_800_000_000_000;

fn record(number: i64) -> UsageRecord {
    UsageRecord {
        request_id: format!("r{number}"),
        at: UnixMs(NOW + number),
        user: (number == 0).then(|| UserId("u-1".into())),
        provider: "claude".into(),
        account: if number == 1 { AccountId::nobody() } else { AccountId("claude-1".into()) },
        model: Some(["claude-opus-5-5", "=cmd|' /C calc'!A0, \"x\""][number as usize % 2].into()),
        client: None,
        session: None,
        status: if number == 1 { 429 } else { 200 },
        ending: if number == 1 { Ending::Failed } else { Ending::Complete },
        tokens: (number != 1).then_some(TokenCounts { input: 1_000_000, ..TokenCounts::default() }),
        attempts: 1,
        first_byte_ms: 12,
        total_ms: 40,
        parts: (number == 0).then_some(LatencyParts { choose_us: 30, wait_ms: 0, connect_ms: 1, upstream_ms: 11 }),
    }
}

/// A folder with a ledger of three records, and inputs that lead to it.
fn filled() -> (tempfile::TempDir, Inputs) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("proxy.db");
    let runtime = serve::runtime().expect("a runtime");
    runtime.block_on(async {
        let opened = Ledger::open(&path, pool_store::Options::default()).await.expect("opens");
        let writer = tokio::spawn(opened.writer.run());
        (0..3).for_each(|number| assert!(opened.ledger.record(record(number))));
        assert_eq!(opened.ledger.close(std::time::Duration::from_secs(20)).await, 0);
        writer.await.expect("ends");
    });
    let mut inputs = Inputs { folder: folder.path().to_owned(), ..Inputs::default() };
    inputs.flags.db_path = Some(path.display().to_string());
    inputs.flags.pool_dir = Some(folder.path().join("pool").display().to_string());
    (folder, inputs)
}

fn ask(inputs: &Inputs, line: &str) -> Result<Output, Failure> {
    use clap::Parser;
    let words = std::iter::once("codex-pool").chain(line.split(' '));
    let registry = Registry::new(OauthClient::default());
    match super::super::Arguments::try_parse_from(words).expect("read").command.expect("a command") {
        super::super::Command::Export(arguments) => run(inputs, &registry, &arguments),
        super::super::Command::Backup(arguments) => copies::backup(inputs, &arguments),
        super::super::Command::Restore(arguments) => copies::restore(inputs, &arguments),
        super::super::Command::Ledger(command) => copies::ledger(inputs, &command),
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_come_out_as_csv_and_as_json_lines() {
    let (folder, inputs) = filled();
    let file = |name: &str| folder.path().join(name);
    let said = ask(&inputs, &format!("export -o {}", file("a.csv").display())).expect("exported");
    assert!(said.text.starts_with("3 records are in "), "{said:?}");
    let text = std::fs::read_to_string(file("a.csv")).expect("read");
    assert_eq!(
        text,
        "request_id,time,user_id,user,provider,account_id,account,model,client,session,status,ending,attempts,input,cache_read,\
         cache_write_5m,cache_write_1h,output,reasoning,cost_usd,choose_us,wait_ms,connect_ms,upstream_ms,first_byte_ms,total_ms\n\
         r0,2027-01-15T08:00:00.000Z,u-1,,claude,claude-1,,claude-opus-5-5,,,200,complete,1,1000000,0,0,0,0,0,4.0,30,0,1,11,12,40\n\
         r1,2027-01-15T08:00:00.001Z,,,claude,,,\"'=cmd|' /C calc'!A0, \"\"x\"\"\",,,429,failed,1,,,,,,,,,,,,12,40\n\
         r2,2027-01-15T08:00:00.002Z,,,claude,claude-1,,claude-opus-5-5,,,200,complete,1,1000000,0,0,0,0,0,4.0,,,,,12,40\n"
    );
    let line = format!(
        "export --format jsonl --since 2027-01-15T08:00:00.001Z --until 2027-01-15T08:00:00.002Z -o {}",
        file("a.jsonl").display()
    );
    ask(&inputs, &line).expect("exported");
    let text = std::fs::read_to_string(file("a.jsonl")).expect("read");
    let one: Value = serde_json::from_str(&text).expect("one line");
    assert_eq!((&one["request_id"], &one["cost_usd"], &one["status"]), (&"r1".into(), &Value::Null, &429.into()));
    assert!(text.starts_with("{\"request_id\":\"r1\",\"time\":"), "{text}");
    for (line, word) in [
        (format!("export -o {}", file("a.csv").display()), "cannot write"),
        ("export --user Nadia".to_owned(), "nobody is called"),
        ("export --since yesterday".to_owned(), "is no time"),
    ] {
        let refused = ask(&inputs, &line).expect_err(&line).to_string();
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn a_ledger_is_copied_harmed_and_put_back() {
    let (folder, inputs) = filled();
    let file = folder.path().join("copy.db");
    assert!(ask(&inputs, "ledger check").expect("checked").text.contains("are what the records say"));
    let made = ask(&inputs, &format!("backup {}", file.display())).expect("made");
    assert!(made.text.contains("holds 3 records"), "{made:?}");
    let again = ask(&inputs, &format!("backup {}", file.display())).expect_err("there already").to_string();
    assert!(again.contains("is there already"), "{again}");

    std::fs::create_dir(folder.path().join("pool")).expect("a folder");
    let server = PoolLockHeld::take(&folder.path().join("pool"));
    let refused = ask(&inputs, &format!("restore {}", file.display())).expect_err("a server runs").to_string();
    assert!(refused.contains("a server runs"), "{refused}");
    drop(server);
    std::fs::write(folder.path().join("proxy.db"), "harmed").expect("written");
    let restored = ask(&inputs, &format!("restore {} --json", file.display())).expect("restored");
    let page: Value = serde_json::from_str(&restored.text).expect("JSON");
    assert_eq!(page["records"], 3);
    let kept = page["kept"].as_str().expect("kept");
    assert_eq!(std::fs::read_to_string(kept).expect("read"), "harmed");
    let checked = ask(&inputs, "ledger check --json").expect("checked");
    assert_eq!(serde_json::from_str::<Value>(&checked.text).expect("JSON")["agree"], true);
}

/// As a server holds its pool folder.
struct PoolLockHeld(#[expect(dead_code, reason = "held")] pool_server::pool::files::PoolLock);

impl PoolLockHeld {
    fn take(folder: &Path) -> Self {
        Self(pool_server::pool::files::PoolLock::acquire(folder).expect("free"))
    }
}

#[test]
fn times_are_read_as_people_write_them() {
    let now = Timestamp::from_millisecond(NOW).expect("a time");
    for (text, expected) in [
        ("7d", Some(NOW - 7 * 86_400_000)),
        ("90m", Some(NOW - 90 * 60_000)),
        ("2027-01-15T08:00:00Z", Some(NOW)),
        ("yesterday", None),
        ("", None),
    ] {
        assert_eq!(moment(text, now).ok().map(|time| time.0), expected, "{text}");
    }
    assert!(moment("2027-01-15", now).is_ok());
}
