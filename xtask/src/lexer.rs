//! Enough of Rust's lexical grammar to tell words from strings and comments, and the program from its tests.

/// A piece of source that rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// A string's without its quotes.
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Text,
    /// One character of punctuation.
    Mark,
}

/// Words, strings and marks; comments and spaces are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &source[at..];
        let (len, token) = match bytes[at] {
            _ if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
            _ if rest.starts_with("/*") => (block_comment(rest), None),
            b'"' => text(rest, 0),
            b'r' | b'b' | b'c' if prefixed_text(rest).is_some() => text(rest, prefixed_text(rest).unwrap_or(0)),
            b'\'' => (char_or_lifetime(rest), None),
            byte if byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80 => {
                let len = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len()).max(1);
                (len, Some((Kind::Word, &rest[..len])))
            }
            byte if byte.is_ascii_whitespace() => (1, None),
            _ => (1, Some((Kind::Mark, &rest[..1]))),
        };
        if let Some((kind, text)) = token {
            found.push(Token { kind, text, line });
        }
        line += rest[..len].matches('\n').count();
        at += len;
    }
    found
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    // Step to the end of a character that was cut.
    (at..=rest.len()).find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len())
}

/// The length of `r`, `b`, `br`, `c` or `cr` before a string that opens with `"` or `#…"`.
fn prefixed_text(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !matches!(c, 'r' | 'b' | 'c'))?;
    let after = rest[prefix..].trim_start_matches('#');
    let raw = rest[..prefix].contains('r');
    let hashes = rest.len() - prefix - after.len();
    (prefix <= 2 && after.starts_with('"') && (raw || hashes == 0)).then_some(prefix)
}

fn text(rest: &str, prefix: usize) -> (usize, Option<(Kind, &str)>) {
    let raw = rest[..prefix].contains('r');
    let hashes = rest[prefix..].len() - rest[prefix..].trim_start_matches('#').len();
    let start = prefix + hashes + 1;
    let end = if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        rest[start..].find(&close).map(|at| (start + at, close.len()))
    } else {
        let mut escaped = false;
        rest[start..].char_indices().find_map(|(at, c)| match c {
            _ if escaped => {
                escaped = false;
                None
            }
            '\\' => {
                escaped = true;
                None
            }
            '"' => Some((start + at, 1)),
            _ => None,
        })
    };
    let (end, close) = end.unwrap_or((rest.len(), 0));
    (end + close, Some((Kind::Text, &rest[start.min(end)..end])))
}

/// `'a'`, `'\n'` or the lifetime `'a`.
fn char_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(rest.len(), |at| at + 4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// The tokens without items under `#[cfg(test)]`.
pub(crate) fn without_tests<'a>(all: &[Token<'a>]) -> Vec<Token<'a>> {
    let cfg_test = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(all.len());
    let mut at = 0;
    while at < all.len() {
        let here = all[at..].iter().map(|token| token.text).take(cfg_test.len());
        if all.len() - at >= cfg_test.len() && here.eq(cfg_test) {
            at = end_of_item(all, at + cfg_test.len());
        } else {
            kept.push(all[at]);
            at += 1;
        }
    }
    kept
}

/// Behind the item's `;` or closing brace.
fn end_of_item(all: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in all.iter().enumerate().skip(start) {
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth <= 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    all.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        let one = |token: &Token<'_>| format!("{}:{} ", token.line, token.text);
        without_tests(&tokens(source)).iter().map(one).collect::<Vec<_>>().concat()
    }

    #[test]
    fn words_strings_and_comments_are_told_apart() {
        for (source, expected) in [
            ("a // b\nc", "1:a 2:c "),
            ("/* a /* b */ é */ c", "1:c "),
            (r#"f("x // \" y", 'z', '\'', b"w")"#, r#"1:f 1:( 1:x // \" y 1:, 1:, 1:, 1:w 1:) "#),
            ("r#\"a \" b\"# r\"\\\" crate", "1:a \" b 1:\\ 1:crate "),
            ("fn f<'a>(x: &'a str)", "1:fn 1:f 1:< 1:a 1:> 1:( 1:x 1:: 1:& 1:a 1:str 1:) "),
            ("\"a\nb\" c", "1:a\nb 2:c "),
            ("\"never closed", "1:never closed "),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }

    #[test]
    fn tests_are_left_out() {
        assert_eq!(shown("a; #[cfg(test)] mod tests { fn x() { y() } } b"), "1:a 1:; 1:b ");
        assert_eq!(shown("#[cfg(test)]\nmod tests;\nb"), "3:b ");
        assert_eq!(shown("#[cfg(test)] fn of(x: [u8; 3]) {} b"), "1:b ");
        assert_eq!(shown("#[cfg(unix)] a"), "1:# 1:[ 1:cfg 1:( 1:unix 1:) 1:] 1:a ");
    }
}
