//! People as the terminal shows them.

use std::fmt::Write as _;

use pool_core::UnixMs;
use pool_server::roster::{Key, NewInvitation, NewKey, NewPerson, Person, Roster};

use super::limits;

pub(super) fn roster(roster: &Roster, now: UnixMs) -> String {
    if roster.people.is_empty() {
        return "Nobody yet: local requests need no credential. Add somebody: codex-pool users add NAME\n".into();
    }
    let mut text: String = roster.people.iter().map(|one| person(one, now)).collect();
    for invitation in &roster.invitations {
        let whom = invitation.name.as_deref().unwrap_or("somebody");
        let left = UnixMs(invitation.expires_at_ms).since(now);
        let _ =
            writeln!(text, "{}  invitation for {whom} as {}, open for {left}", invitation.id, invitation.role.word());
    }
    text
}

pub(super) fn person(person: &Person, now: UnixMs) -> String {
    let paused = if person.paused { ", paused" } else { "" };
    let mut text = format!("{}  {} ({}{paused})", person.id, person.name, person.role.word());
    let _ = write!(text, ": {}", limits::told(&person.limits));
    if let Some(accounts) = &person.accounts {
        let _ = write!(text, ", accounts {}", accounts.join(", "));
    }
    text.push('\n');
    for key in &person.credentials {
        let _ = writeln!(text, "    {}  {}  {}{}", key.id, key.hint, key.label, state(key, now));
    }
    text
}

fn state(key: &Key, now: UnixMs) -> String {
    match (key.revoked_at_ms, key.expires_at_ms) {
        (Some(_), _) => ", revoked".into(),
        (None, Some(end)) if end <= now.0 => ", ended".into(),
        (None, Some(end)) => format!(", ends in {}", UnixMs(end).since(now)),
        (None, None) => String::new(),
    }
}

pub(super) fn added(added: &NewPerson) -> String {
    key(&added.person.name, &added.credential) + &added.operator.as_ref().map(operators).unwrap_or_default()
}

pub(super) fn key(name: &str, made: &NewKey) -> String {
    format!("Credential of {name}, shown only now:\n  {}\nTheir clients send it as their API key.\n", made.secret)
}

pub(super) fn invited(made: &NewInvitation, address: &str) -> String {
    let operator = made.operator.as_ref().map(operators).unwrap_or_default();
    format!("Works once, while the invitation is open (codex-pool users list):\n  {address}{}\n", made.path) + &operator
}

/// From the first user on, this machine's requests need a credential too.
fn operators(made: &NewKey) -> String {
    format!(
        "\nThe pool has users now, so every request needs a credential, on this machine too. Yours, the operator's, shown only \
         now:\n  {}\nKeep it: put it into your own clients in the place of the word that stood there, and sign in with it from \
         elsewhere. Commands here go on working without it: they read the server's key file.\n",
        made.secret
    )
}
