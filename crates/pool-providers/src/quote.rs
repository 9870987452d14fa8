//! A provider's words in a log, a status page or an error of ours: one line, short, and nothing that looks like a credential.
//!
//! Providers do repeat credentials in their errors (`Consumer 'api_key:AIza…' has been suspended`, `Incorrect API key
//! provided: sk-…`), and something on the way to them may repeat whole headers.

/// How the credentials of the known providers begin, and every JWT.
const PREFIXES: [&str; 6] = ["sk-", "eyJ", "AIza", "ya29.", "AQ.", "GOCSPX-"];
/// A run of letters and digits of this length is no word of any language.
const LONG: usize = 40;

/// The text on one line, at most `longest` characters of it.
pub(crate) fn quote(text: &str, longest: usize) -> String {
    let mut line = String::new();
    let mut after_bearer = false;
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()).filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        if after_bearer {
            line.push('…');
        } else {
            masked(word, &mut line);
        }
        after_bearer = word.to_ascii_lowercase().ends_with("bearer");
        if line.chars().count() > longest {
            return line.chars().take(longest).chain(['…']).collect();
        }
    }
    line
}

/// A word, with what looks like a credential in it replaced.
fn masked(word: &str, line: &mut String) {
    let of_token = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    for part in word.split_inclusive(|letter| !of_token(letter)) {
        let token = part.trim_end_matches(|letter| !of_token(letter) || letter == '.');
        let random = token.len() >= LONG && token.contains(|letter: char| letter.is_ascii_digit());
        if random || PREFIXES.iter().any(|prefix| token.len() > prefix.len() && token.starts_with(prefix)) {
            line.push('…');
            line.push_str(&part[token.len()..]);
        } else {
            line.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_and_credentials_go() {
        let jwt = format!("eyJ{}.{}", "a1".repeat(40), "b2".repeat(20));
        for (said, quoted) in [
            ("a\n b\tkey sk-ant-api03-abc, c", "a b key …, c"),
            ("Incorrect API key provided: sk-proj-made-up. See", "Incorrect API key provided: …. See"),
            ("Consumer 'api_key:AIzaSyMadeUp-0_1' has", "Consumer 'api_key:…' has"),
            ("token ya29.a0AfMadeUp.", "token …."),
            ("authorization=Bearer madeUp; x", "authorization=Bearer … x"),
            (&format!("the token {jwt} is bad"), "the token … is bad"),
            (&"0a".repeat(20), "…"),
            ("a task-list asks for gpt-6.1-sol-2026-10-21 of gemini-3.1-flash-lite-preview", ""),
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", ""),
            ("", ""),
        ] {
            let expected = if quoted.is_empty() { said } else { quoted };
            assert_eq!(quote(said, 200), expected);
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(quote("abcdef", 3), "abc…");
        let long = quote(&"word ".repeat(1000), 200);
        assert!(long.chars().count() == 201 && long.ends_with('…'), "{long}");
    }
}
