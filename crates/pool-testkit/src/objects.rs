//! What accounts keep: stored responses, files, batches, caches. Each lives on one account; to every other it is not there.

mod anthropic;
mod google;
mod openai;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::answer::Answer;
use crate::checks::{Refusal, gate};
use crate::exchange::{Call, Verdict};
use crate::state::{State, Target};

pub(crate) use anthropic::answer as of_anthropic;
pub(crate) use google::answer as of_google;
pub(crate) use openai::{answer as of_openai, not_found as openai_not_found, remember_response};

/// Something that lives on an account.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) account: usize,
    /// As its read shows it.
    pub(crate) shown: Value,
    /// Of a file: what is in it.
    pub(crate) content: Bytes,
}

/// By the one name that the provider gives it.
pub(crate) type Objects = BTreeMap<String, Object>;

impl State {
    /// A name for something new, which tells whose it is.
    fn new_name(&self, prefix: &str, call: &Call, index: usize) -> String {
        format!("{prefix}fake{}x{}", self.accounts[index].tag, call.id)
    }

    fn keep(&mut self, name: &str, account: usize, shown: &Value, content: Bytes) {
        self.objects.insert(name.to_owned(), Object { account, shown: shown.clone(), content });
    }

    fn kept(&self, name: &str, account: usize) -> Option<&Object> {
        self.objects.get(name).filter(|object| object.account == account)
    }

    /// The first name in a body that is one of those (`is_name`) and that the account does not have.
    pub(crate) fn missing(&self, body: &Value, account: usize, is_name: fn(&str) -> bool) -> Option<String> {
        match body {
            Value::String(text) if is_name(text) && self.kept(text, account).is_none() => Some(text.clone()),
            Value::Array(items) => items.iter().find_map(|item| self.missing(item, account, is_name)),
            Value::Object(members) => members.values().find_map(|member| self.missing(member, account, is_name)),
            _ => None,
        }
    }
}

/// An answer about what an account keeps, unless the account is due for a refusal. Making something new counts as work.
pub(crate) fn gated(state: &mut State, call: &Call, index: usize, answer: Answer, refusal: Refusal) -> Verdict {
    let target = if call.method == http::Method::POST { Target::Inference } else { Target::Probe };
    let (answer, fault) = match gate(state, index, target, "", refusal) {
        Ok(fault) => (answer, fault),
        Err(refused) => refused,
    };
    Verdict { fault, ..Verdict::plain(answer) }.on(index)
}

/// The file in a form: what follows the head of the part that names one.
fn form_file(call: &Call) -> Bytes {
    let boundary = call.header("content-type").and_then(|kind| kind.split_once("boundary=")).map(|(_, text)| text);
    let body = &call.body;
    let part = memchr::memmem::find(body, b"filename=").unwrap_or(0);
    let start = memchr::memmem::find(&body[part..], b"\r\n\r\n").map_or(part, |at| part + at + 4);
    let end = boundary.and_then(|boundary| {
        memchr::memmem::find(&body[start..], format!("\r\n--{}", boundary.trim_matches('"')).as_bytes())
    });
    body.slice(start..end.map_or(body.len(), |end| start + end))
}
