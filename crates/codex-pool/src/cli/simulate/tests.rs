//! The command as a stranger uses it: files in, text or JSON out.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use pool_core::usage::Ending;
use pool_core::{AccountId, TokenCounts, UnixMs, UsageRecord};
use pool_store::{Changes, Ledger, Note, ledger};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn simulate(folder: &TempDir, line: &str) -> Result<Output, String> {
    let place = |word: &str| match word.strip_prefix('/') {
        Some(name) => folder.path().join(name).into_os_string(),
        None => OsString::from(word),
    };
    let words = std::iter::once("simulate").chain(line.split(' ')).map(place);
    let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut inputs = Inputs { folder: folder.path().to_owned(), ..Inputs::default() };
    inputs.flags.db_path = Some(folder.path().join("ledger.db").display().to_string());
    run(&inputs, &Registry::new(pool_providers::gemini::OauthClient::default()), &command.arguments)
        .map_err(|failure| failure.to_string())
}

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let made = simulate(&folder, "--generate /t.jsonl --users 3 --days 3 --seed 7").expect("a trace");
    assert!(made.text.starts_with("wrote "), "{}", made.text);
    simulate(&folder, "--trace /t.jsonl --days 3 --generate-pool /p.json --accounts 3 --unlike").expect("a pool");
    folder
}

#[test]
fn the_json_is_what_strangers_were_promised() {
    let folder = folder();
    let line = "--trace /t.jsonl --pool /p.json --policy round-robin earliest-reset --quantise 1 --delay 30s --outside 0.2 \
                --sizes unknown --fail a1@10 a2@20+6 --days 3 --seed 4 --json";
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let output = simulate(&folder, &line).expect("JSON");
    assert_eq!(simulate(&folder, &line).expect("JSON"), output, "two runs differ");
    let json: Value = serde_json::from_str(&output.text).expect("JSON");
    let names: Vec<&str> =
        json["policies"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["ours", "round-robin", "earliest-reset"]);
    assert_eq!(json["reference"]["name"], "one-big-account");
    let keys: Vec<&str> = json["policies"][0].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "name",
            "steps",
            "blocked_steps",
            "blocked_hours",
            "extra_tokens_pct",
            "moves",
            "warm_moves",
            "refused_upstream",
            "wasted_pct"
        ]
    );
}

#[test]
fn the_table_fits_a_terminal_and_says_what_it_means() {
    let folder = folder();
    let text = simulate(&folder, "--trace /t.jsonl --pool /p.json --days 3").expect("a table").text;
    assert!(text.starts_with("Over 3 d with "), "{text}");
    assert!(text.contains("\nours  ") && text.contains("\none-big-account  "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn wrong_input_is_told_with_its_place() {
    let folder = folder();
    std::fs::write(folder.path().join("bad.jsonl"), "\n{\"session\":\"s\",\"start\":0,\"steps\":[]}\n")
        .expect("writes");
    std::fs::write(folder.path().join("bad.json"), "{\"accounts\":[]}").expect("writes");
    std::fs::write(folder.path().join("far.jsonl"), FAR).expect("writes");
    for (line, part) in [
        ("--trace /no.jsonl --pool /p.json", "cannot read the trace"),
        ("--trace /bad.jsonl --pool /p.json", "line 2: it has no steps"),
        ("--trace /t.jsonl --pool /bad.json", "it has no accounts"),
        ("--trace /t.jsonl", "--pool <FILE>"),
        ("--json", "--trace <FILE>"),
        ("--trace /far.jsonl --pool /p.json", "session s needs an account of gemini, and the pool has none"),
        ("--trace /t.jsonl --pool /p.json --fail a9@1", "There are a1, a2, a3"),
        ("--trace /t.jsonl --pool /p.json --fail a1", "ACCOUNT@HOURS"),
        ("--trace /t.jsonl --pool /p.json --delay 3x", "no unit of time"),
        ("--trace /t.jsonl --pool /p.json --policy best", "possible values"),
        ("--from-ledger 7d", "there is no usage ledger"),
    ] {
        let error = simulate(&folder, line).expect_err(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

const FAR: &str = r#"{"session":"s","provider":"gemini","start":0,"steps":[{"gap":0,"new":1,"out":1,"secs":1}]}"#;

/// Two accounts serve a conversation of ten requests each, one a minute, ending now; one answer does not tell its tokens. Of
/// the `known` accounts it is learned how much a week holds.
fn fill_ledger(folder: &TempDir, known: &[&str]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let record = |account: usize, count: u64| UsageRecord {
        user: None,
        request_id: format!("r{account}-{count}"),
        at: UnixMs(i64::try_from(now).expect("a date") - 60_000 * (10 - i64::try_from(count).expect("small"))),
        provider: "claude".into(),
        account: AccountId(format!("claude-{account}").into()),
        model: None,
        client: None,
        session: Some(format!("s{account}")),
        status: 200,
        ending: Ending::Complete,
        tokens: (account + count as usize > 0).then(|| TokenCounts {
            cache_read: 1000 * count,
            cache_write_5m: 900,
            output: 100,
            ..TokenCounts::default()
        }),
        attempts: 1,
        first_byte_ms: 5,
        parts: None,
        total_ms: 2_000,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let opened = Ledger::open(&folder.path().join("ledger.db"), ledger::Options::default()).await.expect("opens");
        let writer = tokio::spawn(opened.writer.run());
        for account in 0..2 {
            assert!((0..10).all(|count| opened.ledger.record(record(account, count))));
        }
        let meter = json!({
            "window": "7d", "scope": "account", "span": 604_800_000, "from": null, "units": 0.0, "moved": 0.0,
            "stretches": [{ "units": 50.0, "moved": 0.05 }],
        });
        let note = |(account, meters): (&str, Value)| Note {
            kind: "sizes",
            name: account.into(),
            text: Some(meters.to_string()),
        };
        let known = known.iter().map(|account| note((account, json!([meter])))).collect();
        opened.ledger.room().await.expect("open").put(Changes { notes: known, ..Changes::default() });
        assert_eq!(opened.ledger.close(Duration::from_mins(1)).await, 0);
        writer.await.expect("ends");
    });
}

#[test]
fn the_past_is_played_again_and_what_is_not_known_is_told() {
    let folder = TempDir::new().expect("a folder");
    fill_ledger(&folder, &[]);
    let text = simulate(&folder, "--from-ledger 1d").expect("a report").text;
    for part in [
        "Replayed: 20 requests that cost ",
        "- how big the accounts are",
        "- the tokens of answers that did not tell them (1)",
        "Over 24 h with 2 conversations (20 steps) on 2 accounts",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    std::fs::write(
        folder.path().join("p.json"),
        r#"{"accounts":[{"name":"a","provider":"claude","weekly_units":1e9}]}"#,
    )
    .expect("writes");
    let line = "--from-ledger 1d --pool /p.json --policy sticky-random --json";
    let json = simulate(&folder, line).expect("JSON").text;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json["replayed"]["requests"].as_u64(), json["policies"][0]["steps"].as_u64()), (Some(20), Some(20)));
    // Every request but the first of each was read from cache; so it is again.
    assert_eq!(json["policies"][1]["extra_tokens_pct"], 0.0);
    let error = simulate(&folder, "--from-ledger 1s").expect_err("nothing is so new");
    assert!(error.contains("the ledger has no request of the last 1 s"), "{error}");
}

#[test]
fn the_past_is_played_on_accounts_as_big_as_they_have_proved_to_be() {
    for (known, told, json_says) in [
        (&["claude-0"][..], "(1 of 2), else as big as its busiest", "learned, else at least what was served"),
        (&["claude-0", "claude-1"], "each counts as big as its readings have taught this pool (2 of 2);", "learned"),
        (&["claude-9"], "each counts as big as its busiest five hours", "at least what was served"),
    ] {
        let folder = TempDir::new().expect("a folder");
        fill_ledger(&folder, known);
        let text = simulate(&folder, "--from-ledger 1d").expect("a report").text;
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(told), "no {told:?} in\n{text}");
        let json = simulate(&folder, "--from-ledger 1d --json").expect("JSON").text;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["replayed"]["sizes"], json_says);
        // What was learned is less than one request takes: who comes next waits to the end, a few minutes later.
        let hours = json["policies"][0]["blocked_hours"].as_f64().expect("hours");
        assert_eq!(hours > 0.1, json_says.starts_with("learned"), "{known:?}: {hours}");
    }
}

#[test]
fn spans_and_failures_are_read() {
    for (text, ms) in [("30s", 30_000), ("0.5", 500), ("250ms", 250), ("7d", 604_800_000), ("2h", 7_200_000)] {
        assert_eq!(span(text), Ok(Span(ms)), "{text}");
    }
    let lasting =
        AccountFailure { account: "a@b".into(), after: Span::from_hours(31), lasts: Some(Span::from_hours(6)) };
    assert_eq!(failure("a@b@31+6h"), Ok(lasting));
}
