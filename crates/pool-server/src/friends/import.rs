//! The people of the Go original: `pool_users.json`, taken over once.
//!
//! They come as friends, with name and address, paused if they were disabled, and without a credential. The tokens in the file are not
//! taken over: they stood in addresses, and so in logs and shell histories, for as long as the file is old; and what was signed
//! with its `jwt_secret` could be made by anybody who had seen that. A file that cannot be read stops nobody.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use pool_core::UnixMs;
use pool_core::people::{Change, Directory, Role, User};
use serde::Deserialize;

use super::Answered;
use super::welcome::{friend, name_of};
use crate::config::Config;
use crate::people::{ChangeError, People, check_new_name, new_user};
use crate::pool::files;

/// Written down when it was done.
const DONE: &str = "pool-users-imported";

/// A user of the Go original. Secrets in it are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Old {
    id: String,
    email: String,
    created_at: String,
    disabled: bool,
}

/// An array of them, or a map by id; a file may also hold one of these as `users`.
#[derive(Deserialize)]
#[serde(untagged)]
enum OldFile {
    List(Vec<Old>),
    Wrapped { users: Box<OldFile> },
    Map(BTreeMap<String, Old>),
}

/// Takes them over, if that was not done before.
pub async fn run(config: &Config, people: &People, answered: &Answered) {
    let Some(path) = &config.old_users else { return };
    if !path.exists() || !matches!(answered.was_done(DONE).await, Ok(false)) {
        return;
    }
    let shown = path.display();
    let old = match read(path) {
        Ok(old) => old,
        Err(why) => {
            tracing::warn!(
                "the users in {shown} are not taken over: {why}; mend the file and restart, or take it away"
            );
            return;
        }
    };
    let taken = people.decide(|directory| {
        let mut known = directory.clone();
        let mut changes = Vec::new();
        if known.is_empty() {
            let operator = Change::User(new_user("operator", Role::Operator)?);
            known.apply(operator.clone());
            changes.push(operator);
        }
        let users = newcomers(known, old)?;
        let count = users.len();
        changes.extend(users.into_iter().map(Change::User));
        // Nobody came: the pool stays open to whoever sits at it.
        Ok((if count == 0 { Vec::new() } else { changes }, count))
    });
    match taken.await {
        Ok(count) => {
            // Twice does no harm: who is known is passed over.
            answered.is_first(DONE).await;
            if count > 0 {
                tracing::warn!(
                    "{count} users of {shown} were taken over, as friends. Every request needs a credential now, and theirs of before open \
                     nothing: give each a new one (codex-pool users key NAME, or codex-pool setup CLIENT --user NAME --line). Yours: \
                     codex-pool users key operator"
                );
            }
        }
        Err(error) => tracing::warn!("the users in {shown} are not taken over yet: {error}"),
    }
}

fn read(path: &Path) -> Result<Vec<Old>, String> {
    let text = files::read_secret(path).map_err(|error: io::Error| error.to_string())?;
    // Where it is wrong, not what it says there: the file holds secrets.
    let wrong = |error: serde_json::Error| format!("it is no JSON of users (line {})", error.line());
    Ok(serde_json::from_slice::<OldFile>(&text).map_err(wrong)?.list())
}

impl OldFile {
    fn list(self) -> Vec<Old> {
        match self {
            Self::List(list) => list,
            Self::Wrapped { users } => users.list(),
            Self::Map(map) => {
                map.into_iter().map(|(id, old)| if old.id.is_empty() { Old { id, ..old } } else { old }).collect()
            }
        }
    }
}

/// Those whom nobody knows yet, each with a name of their own.
fn newcomers(mut known: Directory, old: Vec<Old>) -> Result<Vec<User>, ChangeError> {
    let mut users = Vec::new();
    for one in old {
        let email = friend(None, Some(&one.email)).ok().and_then(|asked| asked.email);
        let is_hers = |user: &User| {
            email
                .as_deref()
                .is_some_and(|email| user.email.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(email)))
        };
        if known.users().any(|user| is_hers(user)) {
            continue;
        }
        let base = email.as_deref().map_or_else(|| name_of(&format!("user-{}", one.id)), name_of);
        let mut names = std::iter::once(base.clone()).chain((2..100).map(|number| format!("{base}-{number}")));
        let Some(name) = names.find(|name| check_new_name(&known, name).is_ok()) else { continue };
        let created = one.created_at.parse::<jiff::Timestamp>().map(|time| UnixMs(time.as_millisecond()));
        let fresh = new_user(&name, Role::Friend)?;
        let user = User { email, paused: one.disabled, created_at: created.unwrap_or(fresh.created_at), ..fresh };
        known.apply(Change::User(user.clone()));
        users.push(user);
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use pool_store::{Answers, DirectoryStore, Ledger, Options};

    use super::*;

    async fn imported(text: &[&str]) -> Vec<(String, Option<String>, Role, bool)> {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = Ledger::open(&folder.path().join("data.db"), Options::default()).await.expect("opens");
        let people = People::start(DirectoryStore::beside(&opened.ledger), opened.fresh).await.expect("reads");
        let answered = Answered::recall(Answers::beside(&opened.ledger)).await;
        let path = folder.path().join("pool_users.json");
        let config = Config { old_users: Some(path.clone()), ..Config::default() };
        for text in text {
            std::fs::write(&path, text).expect("writes");
            run(&config, &people, &answered).await;
        }
        let told = |user: &std::sync::Arc<User>| (user.name.clone(), user.email.clone(), user.role, user.paused);
        let mut all: Vec<_> = people.read(|people| people.users().map(told).collect());
        assert!(people.read(|people| people.users().all(|user| people.credentials_of(&user.id).next().is_none())));
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    const MIRA: &str = r#"{"id":"0a","token":"canary","email":"mira@x.example","plan_type":"pro","created_at":"2025-12-01T10:00:00Z"}"#;

    #[tokio::test]
    async fn every_shape_of_the_file_is_taken_over_once() {
        let mira = || ("mira".to_owned(), Some("mira@x.example".to_owned()), Role::Friend, false);
        let operator = || ("operator".to_owned(), None, Role::Operator, false);
        let list = format!("[{MIRA}]");
        for text in [&*list, &format!(r#"{{"0a":{MIRA}}}"#), &format!(r#"{{"users":[{MIRA}]}}"#)] {
            assert_eq!(imported(&[text]).await, [mira(), operator()], "{text}");
        }
        let later = r#"[{"id":"0b","email":"nadia@x.example"}]"#;
        assert_eq!(imported(&[&list, later]).await, [mira(), operator()], "only once");
        assert_eq!(imported(&["{", &list]).await, [mira(), operator()], "again when it is mended");
        for nothing in ["[]", "{}", "", "7", r#"[{"email":7}]"#] {
            assert_eq!(imported(&[nothing]).await, [], "{nothing}");
        }
    }

    #[tokio::test]
    async fn names_are_made_that_can_be_and_differ() {
        let text = r#"[{"id":"1","email":"a+b@x"},{"id":"2","email":"a-b@y","disabled":true},{"id":"3","email":"A-B@Y"},
            {"id":"4","email":"<script>"},{"id":"../5"},{"id":"6","email":"operator@x"}]"#;
        let people = imported(&[text]).await;
        let names: Vec<(&str, bool)> = people.iter().map(|(name, _, _, paused)| (name.as_str(), *paused)).collect();
        let expected = ["a-b", "a-b-2", "operator", "operator-2", "user-..-5", "user-4"];
        assert_eq!(names, expected.map(|name| (name, name == "a-b-2")));
    }
}
