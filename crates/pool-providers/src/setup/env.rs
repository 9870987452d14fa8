//! `NAME=value`, a line each, as dotenv reads it.

use super::{Action, Filled, Uneditable, fault, line_end};

pub(super) fn edit(text: &str, edits: &[Filled<'_>]) -> Result<String, Uneditable> {
    let end = line_end(text);
    let mut found = vec![false; edits.len()];
    let mut out = String::with_capacity(text.len() + 128);
    for line in text.split_inclusive('\n') {
        let mine = edits.iter().position(|(action, path, _)| *action == Action::Set && name(line) == Some(path[0]));
        let Some(at) = mine else {
            out.push_str(line);
            continue;
        };
        if is_open(line) {
            return fault(format!("{} has a value of several lines", edits[at].1[0]));
        }
        found[at] = true;
        let content = line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).unwrap_or(line);
        let ending = &line[content.len()..];
        out.extend([edits[at].1[0], "=", edits[at].2.as_str(), ending]);
    }
    for ((_, path, value), _) in edits.iter().zip(found).filter(|(_, found)| !found) {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push_str(end);
        }
        out.extend([path[0], "=", value.as_str(), end]);
    }
    Ok(out)
}

/// Whose line is it?
fn name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim_matches([' ', '\t']);
    Some(name.strip_prefix("export ").map_or(name, |name| name.trim_start_matches([' ', '\t'])))
}

/// A quote that its own line does not close.
fn is_open(line: &str) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value).trim_start_matches([' ', '\t']);
    ['"', '\'', '`'].into_iter().any(|quote| value.starts_with(quote) && value.matches(quote).count() < 2)
}
