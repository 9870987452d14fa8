//! A name for a conversation whose client sends none: the hash of its opening, which every later turn repeats.
//!
//! The opening is the system text and everything up to the end of what the user says first. The user's words have to be in
//! it: all conversations of one agent share a long system text. Only words are hashed, so that what moves from turn to turn
//! does not count: cache markers, ids, the form (a text, or a list with one text). Of system text the digits do not count
//! either: that is where clocks write.
//!
//! Two conversations with the same opening, say two runs of one script, share a name and so a pin. That is harmless: they
//! share the cached prefix too.
//!
//! The work is bounded: nothing behind the opening is read, and of a long word only its two ends are hashed.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Members that hold what is said or shown, in all three dialects. Everything else of a block may move.
const CONTENT: [&str; 18] = [
    "text",
    "content",
    "parts",
    "source",
    "data",
    "url",
    "image_url",
    "input_audio",
    "file",
    "file_id",
    "file_data",
    "file_url",
    "file_uri",
    "fileData",
    "fileUri",
    "inline_data",
    "inlineData",
    "input_image",
];

/// An opening has no more turns than these.
const MOST_TURNS: usize = 64;

/// Of a longer word, half of this from each end.
const LONG: usize = 64 << 10;

/// Hashes an opening, part by part in the order of the dialect.
#[derive(Default)]
pub(crate) struct Opening {
    hash: Sha256,
    user_spoke: bool,
}

/// Who says a turn that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Roleless {
    User,
    Nobody,
}

impl Opening {
    /// The instructions: a text, or blocks.
    pub(crate) fn system(&mut self, raw: &[u8]) {
        self.words(raw, Part::System);
    }

    /// The turns: a list, or one text. May be cut off behind the opening.
    pub(crate) fn turns(&mut self, raw: &[u8], roleless: Roleless) {
        match raw.first() {
            Some(b'[') => {
                // Stopping early leaves the list unread, which serde reports as an error: what was seen is in `self`.
                let turns = Turns { opening: self, roleless };
                let _ = serde_json::Deserializer::from_slice(raw).deserialize_seq(turns);
            }
            // The short form of a list with one thing said: the same conversation if it goes on as a list.
            Some(b'"') => self.said(raw),
            _ => {}
        }
    }

    /// `None`: the user has said nothing that could tell the conversation from others.
    pub(crate) fn name(self) -> Option<String> {
        let name = || format!("opening-{}", URL_SAFE_NO_PAD.encode(&self.hash.finalize()[..16]));
        self.user_spoke.then(name)
    }

    fn said(&mut self, raw: &[u8]) {
        if !self.user_spoke {
            // What was the system's and what the user's must not meet.
            self.hash.update([SPEAKER]);
        }
        self.user_spoke |= self.words(raw, Part::Said);
    }

    /// `false`: there are none.
    fn words(&mut self, raw: &[u8], part: Part) -> bool {
        let mut any = false;
        let words = Words { hash: &mut self.hash, part, any: &mut any };
        let _ = words.deserialize(&mut serde_json::Deserializer::from_slice(raw));
        any
    }
}

const SPEAKER: u8 = 0xfe;
const END: u8 = 0xff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    System,
    Said,
}

/// Walks the list until the user has spoken.
struct Turns<'a> {
    opening: &'a mut Opening,
    roleless: Roleless,
}

#[derive(Default, Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
}

impl<'de> Visitor<'de> for Turns<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of turns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<(), A::Error> {
        let Self { opening, roleless } = self;
        for _ in 0..MOST_TURNS {
            let Some(raw) = turns.next_element::<&RawValue>()? else { break };
            let turn: Turn<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
            let raw = raw.get().as_bytes();
            match turn.role.as_deref() {
                Some("user") => opening.said(raw),
                None if roleless == Roleless::User => opening.said(raw),
                // What the user says first ends here. (Agents put it in several turns: their context, then the question.)
                _ if opening.user_spoke => return Ok(()),
                Some("system" | "developer") => opening.system(raw),
                _ => drop(opening.words(raw, Part::Said)),
            }
        }
        Ok(())
    }
}

/// Hashes every text that stands where content stands, in order, whatever the nesting.
struct Words<'a> {
    hash: &'a mut Sha256,
    part: Part,
    any: &'a mut bool,
}

impl Words<'_> {
    fn again(&mut self) -> Words<'_> {
        Words { hash: self.hash, part: self.part, any: self.any }
    }

    fn word(&mut self, word: &[u8]) {
        if word.is_empty() {
            return;
        }
        *self.any = true;
        let (head, tail) = match word.len() {
            0..=LONG => (word, &word[..0]),
            len => (&word[..LONG / 2], &word[len - LONG / 2..]),
        };
        match self.part {
            Part::Said => {
                self.hash.update((word.len() as u64).to_be_bytes());
                self.hash.update(head);
                self.hash.update(tail);
            }
            // Neither the length nor the end stands still if a clock writes.
            Part::System => head.split(u8::is_ascii_digit).for_each(|piece| self.hash.update(piece)),
        }
        self.hash.update([END]);
    }
}

impl<'de> DeserializeSeed<'de> for Words<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Words<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("content")
    }

    fn visit_str<E>(mut self, word: &str) -> Result<(), E> {
        self.word(word.as_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            if CONTENT.contains(&&*key) {
                members.next_value_seed(self.again())?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Does the body have a member `key` whose value is a text that begins with `start` and goes on? Told by its bytes: inside of
/// a text the quotes would be escaped, so that does not match.
pub(crate) fn has_text(body: &[u8], key: &str, start: &str) -> bool {
    let quoted = format!("\"{key}\"");
    memchr::memmem::find_iter(body, &quoted).any(|at| {
        let after = body[at + quoted.len()..].trim_ascii_start();
        let value = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let text = value.and_then(|value| value.strip_prefix(b"\"")?.strip_prefix(start.as_bytes()));
        text.and_then(<[u8]>::first).is_some_and(|next| *next != b'"' || !start.is_empty())
    })
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
