//! `codex-pool status`: the running pool as a table, or as the JSON that the server sent.

use std::time::Duration;

use http::Method;
use pool_core::UnixMs;
use pool_server::status::{State, StatusPage, render};

use super::{Output, client, terminal};
use crate::config::{self, Inputs};
use crate::problem::{Exit, Failure};

pub(super) fn run(inputs: &Inputs, json: bool) -> Result<Output, Failure> {
    let settings = config::load_for_client(inputs)?;
    let page = fetch(&settings.server)?;
    let trouble = page.files_with_faults.iter().any(|fault| !fault.usable)
        || page.ledger.degraded.is_some()
        || page.accounts.iter().any(|account| account.state == State::NeedsLogin);
    let exit = if trouble { Exit::Problem } else { Exit::Fine };
    if json {
        return Ok(Output::json(&page, exit));
    }
    Ok(Output { text: render(&page, &terminal::look(inputs), UnixMs(page.now_ms)), exit })
}

pub(super) fn fetch(config: &pool_server::Config) -> Result<StatusPage, Failure> {
    client::ask(config, Method::GET, "/api/status", Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use pool_server::status::{FaultyFile, LedgerStatus};

    use super::*;
    use crate::cli::client::fake::{answering, http};

    #[test]
    fn the_running_server_is_asked_and_its_page_is_shown() {
        let mut page = StatusPage {
            version: "9".into(),
            now_ms: 5,
            forecast: pool_server::forecast::ForecastPage::default(),
            accounts: vec![],
            files_with_faults: vec![],
            requests_in_flight: 0,
            ledger: LedgerStatus::default(),
        };
        let answer = |page: &StatusPage| http("200 OK", &serde_json::to_string(page).expect("serialises"));
        let (inputs, asked) = answering(answer(&page));
        let output = run(&inputs, false).expect("a table");
        assert!(output.text.contains("No accounts yet") && output.exit == Exit::Fine, "{output:?}");
        let asked = asked.join().expect("asked").to_lowercase();
        assert!(asked.starts_with("get /api/status http/1.1"), "{asked}");
        assert!(asked.contains("authorization: bearer 0123456789abcdef"), "{asked}");

        page.files_with_faults.push(FaultyFile { file: "x.json".into(), fault: "not JSON".into(), usable: false });
        let (inputs, _) = answering(answer(&page));
        let output = run(&inputs, true).expect("JSON");
        assert_eq!(output.exit, Exit::Problem);
        assert_eq!(serde_json::from_str::<StatusPage>(&output.text).expect("the page"), page);
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        for (answer, exit, part) in [
            (http("401 Unauthorized", "{}"), Exit::Problem, "asks for a credential"),
            (http("404 Not Found", "<html>"), Exit::Problem, "does not answer as codex-pool should\n  404 Not Found"),
            (http("200 OK", "hello"), Exit::Problem, "another program listens there"),
            ("SSH-2.0-x\r\n".into(), Exit::Problem, "another program listens there"),
        ] {
            let (inputs, _) = answering(answer);
            let failure = run(&inputs, false).expect_err(part);
            assert_eq!(failure.exit, exit);
            assert!(failure.to_string().contains(part), "{failure}");
        }
        let mut inputs = Inputs::default();
        inputs.flags.listen = Some("127.0.0.1:1".into());
        let failure = run(&inputs, false).expect_err("nobody there");
        assert_eq!(failure.exit, Exit::NotRunning);
        assert!(failure.to_string().contains("codex-pool serve"), "{failure}");
    }
}
