//! Sealing: XChaCha20-Poly1305 with a random nonce. The seal covers the row's name and version too, so that whoever can write to the
//! database can neither swap two rows nor put an old content back under a new number.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use pool_core::Secret;
use zeroize::Zeroizing;

use super::key::VaultKey;

const NONCE: usize = 24;

/// Sealing failed for want of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct CannotSeal;

impl VaultKey {
    /// Nonce and sealed text in one.
    pub(super) fn seal(&self, name: &str, version: i64, text: &Secret) -> Result<Vec<u8>, CannotSeal> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| CannotSeal)?;
        let about = about(name, version);
        let payload = Payload { msg: text.expose().as_bytes(), aad: &about };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| CannotSeal)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// `None`: another key has sealed it, or it is not what was sealed.
    pub(super) fn open(&self, name: &str, version: i64, sealed: &[u8]) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let about = about(name, version);
        let text = self.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &about }).ok()?;
        let text = Zeroizing::new(text);
        Some(Secret::new(std::str::from_utf8(&text).ok()?))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

/// What the seal says of its row.
fn about(name: &str, version: i64) -> Vec<u8> {
    [b"codex-pool vault 1\0", name.as_bytes(), b"\0", &version.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_name_and_version_open_it() {
        let (key, other) = (VaultKey::make().expect("random"), VaultKey::make().expect("random"));
        let text = Secret::new(r#"{"refresh":"canary"}"#);
        let sealed = key.seal("claude/work.json", 7, &text).expect("sealed");
        assert_eq!(key.open("claude/work.json", 7, &sealed), Some(text.clone()));
        assert_ne!(key.seal("claude/work.json", 7, &text), Ok(sealed.clone()), "a nonce is used once");
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        let mut bent = sealed.clone();
        bent[30] ^= 1;
        for (what, key, name, version, sealed) in [
            ("another key", &other, "claude/work.json", 7, &sealed[..]),
            ("another row", &key, "claude/home.json", 7, &sealed),
            ("an older version", &key, "claude/work.json", 8, &sealed),
            ("a bent bit", &key, "claude/work.json", 7, &bent),
            ("cut short", &key, "claude/work.json", 7, &sealed[..20]),
            ("nothing", &key, "claude/work.json", 7, &[]),
        ] {
            assert_eq!(key.open(name, version, sealed), None, "{what}");
        }
    }
}
