//! JSON, with comments or without: values are put into the text, which is never written anew.
//!
//! One pass notes where everything is; an edit is one splice, after which the text is read again. Files are small.

use std::collections::BTreeMap;

use super::{Action, Filled, Uneditable, fault, line_end};

/// Where a member's value stands; for an object also where something can be put into it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: usize,
    end: usize,
    object: Option<Inside>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Inside {
    /// The first key, the last value's end, and the end of the last thing at all (value, comma or comment).
    first: usize,
    value_end: usize,
    last: usize,
    members: usize,
    trailing_comma: bool,
    /// The last thing is a comment that ends with its line.
    line_comment: bool,
}

/// Places by path; keys are joined by a character that no key of ours has.
type Places = BTreeMap<String, Place>;

const JOINT: &str = "\u{1}";

pub(super) fn edit(text: &str, edits: &[Filled<'_>]) -> Result<String, Uneditable> {
    let end = line_end(text);
    let mut text = text.to_owned();
    if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
        text = format!("{{}}{end}");
    }
    for (action, path, value) in edits {
        let wanted: String = path.iter().flat_map(|key| [JOINT, *key]).collect();
        let places = Scanner::read(&text)?;
        if let Some(place) = places.get(&wanted) {
            if place.object.is_some() || *action == Action::Drop {
                return fault(format!("{} is not a plain value", path.join(".")));
            }
            text.replace_range(place.start..place.end, value);
        } else if *action == Action::Set {
            text = insert(text, path, value, end)?;
        }
    }
    Ok(text)
}

/// Puts a value in, and the objects around it that are not there yet.
fn insert(mut text: String, path: &[&str], value: &str, end: &str) -> Result<String, Uneditable> {
    let mut inside = String::new();
    for (depth, key) in path.iter().enumerate() {
        let last = depth + 1 == path.len();
        let child = format!("{inside}{JOINT}{key}");
        let places = Scanner::read(&text)?;
        if !places.contains_key(&child) {
            let outer = places.get(&inside).and_then(|place| place.object);
            let Some(outer) = outer else {
                return fault(format!("{} is not an object", path[..depth].join(".")));
            };
            let opening = places.get(&inside).map_or(0, |place| place.start);
            let value = if last { value } else { "{}" };
            add(&mut text, opening, outer, &format!("\"{key}\": {value}"), end);
        }
        inside = child;
    }
    Ok(text)
}

fn add(text: &mut String, opening: usize, inside: Inside, member: &str, end: &str) {
    if inside.members == 0 {
        let line = &text[text[..opening].rfind('\n').map_or(0, |at| at + 1)..];
        let indent = line[..line.len() - line.trim_start_matches([' ', '\t']).len()].to_owned();
        let unit = if indent.starts_with('\t') { "\t" } else { "  " };
        let rest = &text[inside.last..];
        let gap = &rest[..rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len()];
        let close = if gap.contains('\n') { String::new() } else { format!("{end}{indent}") };
        text.insert_str(inside.last, &format!("{end}{indent}{unit}{member}{close}"));
        return;
    }
    let before = &text[opening + 1..inside.first];
    let own_line = before.rfind('\n').map(|at| &before[at + 1..]);
    let indent = own_line.filter(|indent| indent.trim_matches([' ', '\t']).is_empty());
    let space = match indent {
        Some(indent) => format!("{end}{indent}"),
        None if inside.line_comment => end.to_owned(),
        None => " ".to_owned(),
    };
    text.insert_str(inside.last, &format!("{space}{member}"));
    if !inside.trailing_comma {
        text.insert(inside.value_end, ',');
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the last comment ended, and whether its line ended it.
    comment: Option<(usize, bool)>,
    /// How many arrays are open.
    arrays: usize,
    places: Places,
}

impl<'a> Scanner<'a> {
    fn read(text: &'a str) -> Result<Places, Uneditable> {
        let mut scanner = Scanner { text: text.as_bytes(), at: 0, comment: None, arrays: 0, places: Places::new() };
        scanner.skip()?;
        if scanner.peek() != Some(b'{') {
            return scanner.wrong("an object");
        }
        scanner.value("", 0)?;
        scanner.skip()?;
        if scanner.at < scanner.text.len() {
            return scanner.wrong("nothing more");
        }
        Ok(scanner.places)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, Uneditable> {
        let line = self.text[..self.at.min(self.text.len())].split(|byte| *byte == b'\n').count();
        fault(format!("line {line} cannot be read: expected {expected}"))
    }

    /// Over spaces and comments.
    fn skip(&mut self) -> Result<(), Uneditable> {
        self.comment = None;
        loop {
            match &self.text[self.at..] {
                [b' ' | b'\t' | b'\r' | b'\n', ..] => self.at += 1,
                [b'/', b'/', rest @ ..] => {
                    let len = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                    let return_ = usize::from(rest[..len].ends_with(b"\r"));
                    self.at += 2 + len - return_;
                    self.comment = Some((self.at, true));
                }
                [b'/', b'*', rest @ ..] => {
                    let Some(len) = rest.windows(2).position(|two| two == b"*/") else {
                        return self.wrong("the end of a comment");
                    };
                    self.at += 2 + len + 2;
                    self.comment = Some((self.at, false));
                }
                _ => return Ok(()),
            }
        }
    }

    fn value(&mut self, path: &str, depth: usize) -> Result<(), Uneditable> {
        let start = self.at;
        let mut object = None;
        match self.peek() {
            Some(b'{' | b'[') if depth >= 64 => return self.wrong("less depth"),
            Some(b'{') => object = Some(self.object(path, depth)?),
            Some(b'[') => self.array(depth)?,
            Some(b'"') => drop(self.string()?),
            _ => {
                let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let len = self.text[start..].iter().take_while(|byte| plain(byte)).count();
                if len == 0 {
                    return self.wrong("a value");
                }
                self.at += len;
            }
        }
        // What lies in arrays has no path.
        let place = Place { start, end: self.at, object };
        if self.arrays == 0 && self.places.insert(path.to_owned(), place).is_some() {
            return fault(format!("{} is written twice", path.trim_start_matches(JOINT).replace(JOINT, ".")));
        }
        Ok(())
    }

    fn object(&mut self, path: &str, depth: usize) -> Result<Inside, Uneditable> {
        self.at += 1;
        let mut inside = Inside { last: self.at, ..Inside::default() };
        loop {
            self.skip()?;
            self.note_comment(&mut inside);
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(inside);
            }
            if inside.members > 0 && !inside.trailing_comma {
                return self.wrong("a comma");
            }
            let start = self.at;
            if self.peek() != Some(b'"') {
                return self.wrong("a key");
            }
            let child = format!("{path}{JOINT}{}", self.string()?);
            self.skip()?;
            if self.peek() != Some(b':') {
                return self.wrong("a colon");
            }
            self.at += 1;
            self.skip()?;
            self.value(&child, depth + 1)?;
            if inside.members == 0 {
                inside.first = start;
            }
            inside.members += 1;
            (inside.value_end, inside.last) = (self.at, self.at);
            (inside.trailing_comma, inside.line_comment) = (false, false);
            self.skip()?;
            self.note_comment(&mut inside);
            if self.peek() == Some(b',') {
                self.at += 1;
                (inside.last, inside.trailing_comma, inside.line_comment) = (self.at, true, false);
            }
        }
    }

    fn note_comment(&self, inside: &mut Inside) {
        if let Some((end, to_line_end)) = self.comment {
            (inside.last, inside.line_comment) = (end, to_line_end);
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Uneditable> {
        self.at += 1;
        self.arrays += 1;
        let mut comma = true;
        loop {
            self.skip()?;
            if self.peek() == Some(b']') {
                self.at += 1;
                self.arrays -= 1;
                return Ok(());
            }
            if !comma {
                return self.wrong("a comma");
            }
            self.value("", depth + 1)?;
            self.skip()?;
            comma = self.peek() == Some(b',');
            self.at += usize::from(comma);
        }
    }

    /// What stands between the quotes, as written.
    fn string(&mut self) -> Result<&'a str, Uneditable> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.text.get(at) {
                Some(b'\\') => at += 2,
                Some(b'"') => break,
                None | Some(b'\n') => return self.wrong("the end of a string"),
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok(std::str::from_utf8(&self.text[start..at]).unwrap_or_default())
    }
}
