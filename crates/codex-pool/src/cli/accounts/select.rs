//! Which account somebody means: by name, id or file.

use pool_core::Account;

use super::folder::Entry;
use crate::problem::{Failure, Problem};

/// The one entry that `wanted` names. Files with a fault can be named by their file only.
pub(super) fn entry<'a>(entries: &'a [Entry], wanted: &str) -> Result<&'a Entry, Failure> {
    let exact: Vec<&Entry> = entries
        .iter()
        .filter(|entry| {
            let rel = entry.file.rel.as_str();
            let by_file = rel == wanted || rel.strip_suffix(".json") == Some(wanted);
            let by_account = |account: &Account| account.name == wanted || &*account.id.0 == wanted;
            by_file || entry.account.as_ref().is_ok_and(|found| by_account(&found.account))
        })
        .collect();
    match exact.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::wrong_use(unknown(entries, wanted))),
        many => {
            let list: Vec<String> = many.iter().map(|entry| label(entry)).collect();
            Err(Failure::wrong_use(Problem::new(
                format!("{wanted} is not one account but {}", many.len()),
                list.join("\n"),
                "Name it by its file or id",
            )))
        }
    }
}

/// The same, for what only a sound account can do.
pub(super) fn account<'a>(entries: &'a [Entry], wanted: &str) -> Result<(&'a Entry, &'a Account), Failure> {
    let entry = entry(entries, wanted)?;
    match &entry.account {
        Ok(found) => Ok((entry, &found.account)),
        Err(fault) => Err(Problem::new(format!("{} is no account", entry.file.rel), fault.clone(), "").into()),
    }
}

fn label(entry: &Entry) -> String {
    match &entry.account {
        Ok(found) => format!("{} ({})", entry.file.rel, found.account.id),
        Err(_) => format!("{} (no account)", entry.file.rel),
    }
}

fn unknown(entries: &[Entry], wanted: &str) -> Problem {
    let names = entries.iter().filter_map(|entry| Some(entry.account.as_ref().ok()?.account.name.as_str()));
    let nearest = names
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3));
    let mend = match nearest {
        Some((_, name)) => format!("Did you mean {name}?"),
        None => "See which there are: codex-pool accounts list".to_owned(),
    };
    Problem::new(format!("there is no account {wanted}"), "", mend)
}
