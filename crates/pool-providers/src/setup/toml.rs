//! TOML, line by line: enough of the grammar to know where a statement begins and ends, so that nothing inside a string of
//! several lines or an array is taken for one.

use std::collections::BTreeMap;

use super::{Action, Filled, Uneditable, fault, line_end};

pub(super) fn edit(text: &str, edits: &[Filled<'_>]) -> Result<String, Uneditable> {
    let end = line_end(text);
    let mut editor = Editor { edits, done: vec![false; edits.len()], ..Editor::default() };
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let content = line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).unwrap_or(line);
        let ending = &line[content.len()..];
        editor.line(content, ending).map_err(|Uneditable(what)| Uneditable(format!("line {}: {what}", number + 1)))?;
    }
    if editor.lexer.is_open() {
        return fault("a string or an array does not end");
    }
    editor.put_what_is_missing(end)
}

#[derive(Default)]
struct Editor<'a> {
    edits: &'a [Filled<'a>],
    done: Vec<bool>,
    out: Vec<String>,
    lexer: Lexer,
    /// The rest of a statement that was replaced or taken out.
    dropping: bool,
    table: Vec<String>,
    /// Behind which line of `out` a table's header stands.
    headers: BTreeMap<Vec<String>, usize>,
    /// Tables that get keys from elsewhere, as `a.b.c = 1` does.
    dotted: Vec<Vec<String>>,
}

impl Editor<'_> {
    fn line(&mut self, line: &str, ending: &str) -> Result<(), Uneditable> {
        if self.lexer.is_open() {
            self.lexer.read(line)?;
            if !self.dropping {
                self.out.push(format!("{line}{ending}"));
            }
            return Ok(());
        }
        self.dropping = false;
        let start = line.trim_start_matches([' ', '\t']);
        if start.starts_with('[') {
            self.header(start)?;
        } else if !start.is_empty() && !start.starts_with('#') {
            return self.statement(line, ending);
        }
        self.out.push(format!("{line}{ending}"));
        Ok(())
    }

    fn header(&mut self, start: &str) -> Result<(), Uneditable> {
        let array = start.starts_with("[[");
        let (mut path, rest) = key(start.trim_start_matches('['))?;
        if !rest.starts_with(']') {
            return fault("a table's name does not end");
        }
        if array {
            // Nothing of ours lies in an array of tables.
            path.insert(0, "[[".to_owned());
        } else {
            self.headers.insert(path.clone(), self.out.len() + 1);
        }
        self.table = path;
        Ok(())
    }

    fn statement(&mut self, line: &str, ending: &str) -> Result<(), Uneditable> {
        let (own, rest) = key(line.trim_start_matches([' ', '\t']))?;
        let Some(value) = rest.strip_prefix('=') else { return fault("neither a table nor `key = value`") };
        let left = &line[..line.len() - value.len()];
        let comment = self.lexer.read(value)?;
        let path: Vec<String> = self.table.iter().cloned().chain(own).collect();
        for (_, wanted, _) in self.edits {
            let table = &wanted[..wanted.len() - 1];
            let inside = path.len() > table.len() && path.iter().zip(table).all(|(one, two)| one == two);
            if inside && self.table.len() < table.len() {
                self.dotted.push(path[..table.len()].to_vec());
            }
        }
        if let Some(at) = self.edits.iter().position(|(_, wanted, _)| *wanted == path) {
            self.done[at] = true;
            self.dropping = true;
            if self.edits[at].0 != Action::Drop {
                let comment = comment.map_or(String::new(), |at| format!(" {}", &value[at..]));
                self.out.push(format!("{left} {}{comment}{ending}", self.edits[at].2));
            }
            return Ok(());
        }
        for (_, wanted, _) in self.edits {
            if wanted.len() > path.len() && path.iter().zip(wanted).all(|(one, two)| one == two) {
                return fault(format!("{} is written as one value; write it as a table", path.join(".")));
            }
        }
        self.out.push(format!("{line}{ending}"));
        Ok(())
    }

    fn put_what_is_missing(mut self, end: &str) -> Result<String, Uneditable> {
        let mut missing: Vec<(Vec<String>, String)> = Vec::new();
        for ((action, path, value), done) in self.edits.iter().zip(&self.done) {
            if *done || *action != Action::Set {
                continue;
            }
            let (name, table) = path.split_last().unwrap_or((&"", &[]));
            let table: Vec<String> = table.iter().map(|key| (*key).to_owned()).collect();
            let line = format!("{name} = {value}{end}");
            match missing.iter_mut().find(|(other, _)| *other == table) {
                Some((_, lines)) => lines.push_str(&line),
                None => missing.push((table, line)),
            }
        }
        let mut insertions: Vec<(usize, String)> = Vec::new();
        let mut tail = String::new();
        for (table, lines) in missing {
            if table.is_empty() {
                let blank = if self.out.first().is_none_or(|line| line.trim().is_empty()) { "" } else { end };
                insertions.push((0, format!("{lines}{blank}")));
            } else if let Some(at) = self.headers.get(&table) {
                if let Some(header) = self.out.get_mut(at - 1).filter(|header| !header.ends_with('\n')) {
                    header.push_str(end);
                }
                insertions.push((*at, lines));
            } else if self.dotted.contains(&table) {
                return fault(format!("{} has keys but no table; write it as a table", table.join(".")));
            } else {
                tail.extend([end, "[", table.join(".").as_str(), "]", end, lines.as_str()]);
            }
        }
        // From the end, so that the places before stay where they are.
        insertions.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, lines) in insertions {
            self.out.insert(at, lines);
        }
        let mut text = self.out.concat();
        if !tail.is_empty() {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push_str(end);
            }
            text.push_str(if text.is_empty() { tail.trim_start_matches(['\r', '\n']) } else { &tail });
        }
        Ok(text)
    }
}

/// A key with dots, as its parts, and what comes after it.
fn key(text: &str) -> Result<(Vec<String>, &str), Uneditable> {
    let mut path = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
        let (part, after) = if let Some(quote) = quote {
            let Some(len) = rest[1..].find(quote) else { return fault("a key does not end") };
            (&rest[1..=len], &rest[len + 2..])
        } else {
            let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
            rest.split_at(rest.find(|letter| !bare(letter)).unwrap_or(rest.len()))
        };
        if part.is_empty() && quote.is_none() {
            return fault("this is no key");
        }
        path.push(part.to_owned());
        rest = after.trim_start_matches([' ', '\t']);
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None => return Ok((path, rest)),
        }
    }
}

/// What is open at the end of a line.
#[derive(Default)]
struct Lexer {
    /// `"""` or `'''`.
    string: Option<&'static str>,
    brackets: usize,
}

impl Lexer {
    fn is_open(&self) -> bool {
        self.string.is_some() || self.brackets > 0
    }

    /// Reads on; tells where the line's comment begins.
    fn read(&mut self, text: &str) -> Result<Option<usize>, Uneditable> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match (self.string, rest) {
                (Some("\"\"\""), [b'\\', ..]) => at += 2,
                (Some(quotes), _) if rest.starts_with(quotes.as_bytes()) => {
                    // One or two quotes more belong to the string.
                    at += rest.iter().take_while(|byte| **byte == quotes.as_bytes()[0]).take(5).count();
                    self.string = None;
                }
                (Some(_), _) => at += 1,
                (None, [b'#', ..]) => return Ok(Some(at)),
                (None, [b'"', b'"', b'"', ..]) => (at, self.string) = (at + 3, Some("\"\"\"")),
                (None, [b'\'', b'\'', b'\'', ..]) => (at, self.string) = (at + 3, Some("'''")),
                (None, [quote @ (b'"' | b'\''), ..]) => at += closed(rest, *quote)?,
                (None, [byte, ..]) => {
                    match byte {
                        b'[' | b'{' => self.brackets += 1,
                        b']' | b'}' => self.brackets = self.brackets.saturating_sub(1),
                        _ => {}
                    }
                    at += 1;
                }
                (None, []) => break,
            }
        }
        Ok(None)
    }
}

/// The length of a string of one line.
fn closed(rest: &[u8], quote: u8) -> Result<usize, Uneditable> {
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some(b'\\') if quote == b'"' => at += 2,
            Some(byte) if *byte == quote => return Ok(at + 1),
            Some(_) => at += 1,
            None => return fault("a string does not end"),
        }
    }
}
