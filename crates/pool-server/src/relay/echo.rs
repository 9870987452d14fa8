//! Error bodies that repeat the credential they were sent with: it is taken out before anybody reads them.

use bytes::Bytes;

const MASK: &[u8] = b"[credential]";

/// The text without the secret; `None`: it is not in there.
pub fn masked(text: &Bytes, secret: &str) -> Option<Bytes> {
    let secret = secret.as_bytes();
    // What is so short is no credential, and would be found everywhere.
    if secret.len() < 8 {
        return None;
    }
    let mut kept = Vec::new();
    let mut rest = &text[..];
    while let Some(at) = memchr::memmem::find(rest, secret) {
        kept.extend_from_slice(&rest[..at]);
        kept.extend_from_slice(MASK);
        rest = &rest[at + secret.len()..];
    }
    (rest.len() < text.len()).then(|| {
        kept.extend_from_slice(rest);
        kept.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_echo_is_taken_out_and_nothing_else() {
        let secret = "made-up-token";
        for (text, expected) in [
            ("bad key made-up-token, made-up-token!", Some("bad key [credential], [credential]!")),
            ("made-up-token", Some("[credential]")),
            ("bad key made-up-toke", None),
            ("", None),
        ] {
            let masked = masked(&Bytes::from_static(text.as_bytes()), secret);
            assert_eq!(masked.as_deref(), expected.map(str::as_bytes), "{text}");
        }
        assert_eq!(masked(&Bytes::from_static(b"aaaa"), "a"), None);
    }
}
