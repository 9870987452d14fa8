//! `accounts test`: one probe through the running server, which alone may use and renew the credential.

use std::fmt::Write as _;
use std::time::Duration;

use http::Method;
use pool_providers::Registry;
use pool_server::status::TestResult;

use super::{folder, select};
use crate::cli::{Output, client};
use crate::problem::{Exit, Failure};

pub(super) fn run(
    server: &pool_server::Config,
    registry: &Registry,
    wanted: &str,
    json: bool,
) -> Result<Output, Failure> {
    let entries = folder::read(&server.pool_dir, registry)?;
    let (_, account) = select::account(&entries, wanted)?;
    let path = format!("/api/accounts/{}/test", account.id);
    let result: TestResult = client::ask(server, Method::POST, &path, Duration::from_secs(90))?;
    let exit = if result.ok { Exit::Fine } else { Exit::Problem };
    if json {
        return Ok(Output::json(&result, exit));
    }
    let word = if result.ok { "ok" } else { "fail" };
    let mut text = format!("{word:<4}  {}: {}\n", account.name, result.message);
    for window in result.account.iter().flat_map(|account| &account.windows) {
        let family = window.family.as_deref().map(|family| format!(" {family}")).unwrap_or_default();
        let _ = writeln!(text, "      {}{family}: {:.0}% left", window.name, window.left.get() * 100.0);
    }
    Ok(Output { text, exit })
}

#[cfg(test)]
mod tests {
    use crate::cli::accounts::{Command, fruit};
    use crate::cli::client::fake;
    use crate::problem::Exit;

    #[test]
    fn the_servers_word_is_passed_on() {
        let folder = tempfile::TempDir::new().expect("a folder");
        std::fs::create_dir(folder.path().join("apple")).expect("makes folders");
        std::fs::write(folder.path().join("apple/work.json"), r#"{"apple":"t"}"#).expect("writes");
        for (body, exit, part) in [
            (r#"{"ok":true,"message":"it works","account":null}"#, Exit::Fine, "ok    work: it works"),
            (r#"{"ok":false,"message":"signed out","account":null}"#, Exit::Problem, "fail  work: signed out"),
        ] {
            let (mut inputs, asked) = fake::answering(fake::http("200 OK", body));
            inputs.flags.pool_dir = Some(folder.path().display().to_string());
            let command = Command::Test { account: "work".into(), json: false };
            let output = crate::cli::accounts::run(&inputs, &fruit::registry(), command).expect("an answer");
            assert_eq!(output.exit, exit);
            assert!(output.text.starts_with(part), "{}", output.text);
            assert!(asked.join().expect("asked").starts_with("POST /api/accounts/apple-"));
        }
    }
}
