//! `x-codex-turn-state`: sticky routing inside one account's turn, opaque, handed out with an answer and echoed by the client
//! for the rest of the turn (`codex-rs/core/src/client.rs`).
//!
//! The client keeps the first one that a turn gets, also when the conversation has moved to another account since. So what we
//! hand out bears the mark of its account, and goes back to that account only.

use http::{HeaderMap, HeaderName, HeaderValue};
use pool_core::Account;
use sha2::{Digest, Sha256};

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-codex-turn-state");

/// Tells accounts apart, and clients nothing.
fn mark(account: &Account) -> String {
    let digest = Sha256::new().chain_update("turn state of ").chain_update(account.id.0.as_bytes()).finalize();
    pool_core::hex(&digest[..6])
}

/// Marks what this account hands out.
pub(super) fn hand_out(headers: &mut HeaderMap, account: &Account) {
    let Some(state) = headers.get(HEADER) else { return };
    let marked = [mark(account).as_bytes(), b".", state.as_bytes()].concat();
    if let Ok(marked) = HeaderValue::from_bytes(&marked) {
        headers.insert(HEADER, marked);
    }
}

/// What the client echoes, as this account handed it out. `None`: there is none, or it is another's.
pub(super) fn echoed(headers: &HeaderMap, account: &Account) -> Option<HeaderValue> {
    HeaderValue::from_bytes(own(headers.get(HEADER)?.as_bytes(), account)?).ok()
}

/// The same of a bare value.
pub(super) fn own<'a>(echoed: &'a [u8], account: &Account) -> Option<&'a [u8]> {
    echoed.strip_prefix(mark(account).as_bytes())?.strip_prefix(b".")
}

#[cfg(test)]
mod tests {
    use pool_core::account::Identity;
    use pool_core::{AccountKind, Settings};

    use super::super::ID;
    use super::*;

    fn account(file: &str) -> Account {
        Account {
            id: Identity::File(file.into()).account_id(ID),
            provider: ID,
            kind: AccountKind::Subscription,
            name: "a".into(),
            file: file.into(),
            plan: None,
            email: None,
            settings: Settings::default(),
        }
    }

    #[test]
    fn it_goes_back_to_the_account_that_handed_it_out_and_to_no_other() {
        let (a, b) = (account("a.json"), account("b.json"));
        let mut headers = HeaderMap::new();
        hand_out(&mut headers, &a);
        assert!(headers.is_empty());
        headers.insert(HEADER, HeaderValue::from_static("opaque.x"));
        assert_eq!(echoed(&headers, &a), None, "nobody knows whose it is");
        hand_out(&mut headers, &a);
        assert_eq!(echoed(&headers, &a), Some(HeaderValue::from_static("opaque.x")));
        assert_eq!(echoed(&headers, &b), None);
        assert!(!headers[HEADER].to_str().expect("text").contains(&*a.id.0));
    }
}
