//! What the terminal can show, and asking for a secret on it.

use std::io::{self, IsTerminal, Read, Write};

use jiff::tz::TimeZone;
use pool_core::Secret;
use pool_server::status::Look;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};

use crate::config::Inputs;
use crate::problem::Problem;

/// How tables are drawn on standard output.
pub(super) fn look(inputs: &Inputs) -> Look {
    let set = |name: &str| inputs.env.get(name).filter(|value| !value.is_empty());
    let out = io::stdout();
    let terminal = out.is_terminal();
    let of_window = terminal.then(|| tcgetwinsize(&out).ok()).flatten().map(|size| usize::from(size.ws_col));
    let width = of_window.filter(|width| *width > 0).or_else(|| set("COLUMNS")?.parse().ok()).unwrap_or(80);
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name));
    let utf8 = locale.is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"));
    Look {
        width: width.clamp(40, 200),
        colour: terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb"),
        ascii: !utf8,
        zone: TimeZone::system(),
    }
}

/// A secret is a line of standard input; on a terminal it is asked for and not shown.
pub(super) fn read_secret(prompt: &str) -> Result<Secret, Problem> {
    let input = io::stdin();
    let failed = |error: &io::Error| Problem::new("cannot read the key", error.to_string(), "Pipe it in: … < key.txt");
    let mut text = String::new();
    if input.is_terminal() {
        let mut err = io::stderr();
        let _ = write!(err, "{prompt}: ").and_then(|()| err.flush());
        let before = tcgetattr(&input).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(&input, OptionalActions::Flush, &silent);
        }
        let read = input.read_line(&mut text);
        if let Some(before) = &before {
            let _ = tcsetattr(&input, OptionalActions::Flush, before);
        }
        let _ = writeln!(err);
        read.map_err(|error| failed(&error))?;
    } else {
        input.take(64 * 1024).read_to_string(&mut text).map_err(|error| failed(&error))?;
    }
    let secret = Secret::new(text.trim());
    if secret.is_empty() || secret.expose().contains(char::is_whitespace) {
        return Err(Problem::new("that is no key", "a key is one word on one line", "Copy it again"));
    }
    Ok(secret)
}
