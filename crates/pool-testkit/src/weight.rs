//! Texts that say how many tokens they are: long conversations for a few bytes.
//!
//! A test that plays a trace needs prompts and answers of given sizes, not their words. The account's cache goes by the
//! texts as they are, so the same text at the same place is read from it.

const WEIGHS: &str = "[weighs ";
const ANSWERED: &str = ", answered in ";

/// A text that the fake counts as so many tokens. Texts that differ in `what` are not the same to a cache.
pub fn weighing(tokens: u64, what: &str) -> String {
    format!("{WEIGHS}{tokens}] {what}")
}

/// The same at the end of a prompt: the answer to it is counted as `answer` tokens, whatever is said.
pub fn asking(tokens: u64, answer: u64, what: &str) -> String {
    format!("{WEIGHS}{tokens}{ANSWERED}{answer}] {what}")
}

/// What a piece of a prompt is counted as: what it says, or by its length.
pub(crate) fn tokens(piece: &str) -> u64 {
    number_after(piece, WEIGHS).unwrap_or(piece.len() as u64 / 4 + 1)
}

/// What the answer to a prompt is counted as, if its end says that.
pub(crate) fn answer(pieces: &[String]) -> Option<u64> {
    number_after(pieces.last()?, ANSWERED)
}

/// Does a request say what its texts weigh?
pub(crate) fn is_told(body: &[u8]) -> bool {
    memchr::memmem::find(body, WEIGHS.as_bytes()).is_some()
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let (_, rest) = text.split_once(mark)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_weighs_what_it_says_or_by_its_length() {
        for (text, weight, answered) in [
            (weighing(1200, "a"), 1200, None),
            (asking(70_000, 210, "b"), 70_000, Some(210)),
            ("0123456789".into(), 3, None),
            ("[weighs much]".into(), 4, None),
            (String::new(), 1, None),
        ] {
            assert_eq!((tokens(&text), answer(std::slice::from_ref(&text))), (weight, answered), "{text}");
        }
        assert_eq!(answer(&[]), None);
    }
}
