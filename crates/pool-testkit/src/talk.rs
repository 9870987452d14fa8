//! What the simulated models say: a tool call first, where tools are offered, then a text with the marker.

use serde_json::{Map, Value, json};

use crate::answer::Credit;
use crate::books::TokenCounts;
use crate::exchange::ABSURD;
use crate::faults::Fault;
use crate::state::State;
use crate::weight;

/// What an answer consists of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Say {
    Text(Vec<String>),
    Tool { name: String, arguments: Value },
}

impl Say {
    /// The text as a whole, or the arguments.
    pub(crate) fn chars(&self) -> usize {
        match self {
            Self::Text(parts) => parts.iter().map(String::len).sum(),
            Self::Tool { arguments, .. } => arguments.to_string().len(),
        }
    }
}

/// A tool as a request offers it.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// Tools that run a command: called first if they are offered.
const SHELLS: [&str; 6] = ["Bash", "run_shell_command", "exec_command", "shell", "shell_command", "local_shell"];

/// A tool call if tools are offered and none has answered yet, else text.
pub(crate) fn decide(state: &State, tools: &[Tool], tool_answered: bool) -> Say {
    let style = &state.style;
    let shell = tools.iter().find(|tool| SHELLS.contains(&tool.name.as_str()));
    match shell.or(tools.first()) {
        Some(tool) if style.tool_calls && !tool_answered => {
            Say::Tool { name: tool.name.clone(), arguments: example(&tool.schema) }
        }
        _ => text(state, tool_answered),
    }
}

/// The final text, in the pieces in which it is streamed.
pub(crate) fn text(state: &State, tool_answered: bool) -> Say {
    let style = &state.style;
    let filler: String =
        "the quick brown fox jumps over the lazy dog ".chars().cycle().take(style.event_chars).collect();
    let mut parts = vec![filler; style.extra_events];
    let last = format!("{} (tool result seen: {tool_answered})", style.marker);
    parts.extend(last.as_bytes().chunks(6).map(|part| String::from_utf8_lossy(part).into_owned()));
    Say::Text(parts)
}

/// A value that a JSON schema allows: what it requires, and a harmless command where one is asked for.
pub(crate) fn example(schema: &Value) -> Value {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.first().cloned().unwrap_or(Value::Null);
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    for either in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[either].as_array().and_then(|choices| choices.first()) {
            return example(first);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    };
    match kind.to_ascii_lowercase().as_str() {
        "integer" | "number" => schema["minimum"].as_i64().unwrap_or(1).into(),
        "boolean" => false.into(),
        "array" => json!([example(&schema["items"])]),
        "null" => Value::Null,
        "string" => "x".into(),
        _ => example_object(schema),
    }
}

fn example_object(schema: &Value) -> Value {
    let mut object = Map::new();
    let Some(properties) = schema["properties"].as_object() else { return Value::Object(object) };
    let required: Option<Vec<&str>> =
        schema["required"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect());
    for (name, property) in properties {
        let wanted = required.as_ref().is_none_or(|required| required.contains(&name.as_str()));
        if name == "description" && properties.contains_key("command") {
            object.insert(name.clone(), "say hi".into());
        } else if wanted {
            let is_text = property["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("string"));
            let is_command = ["command", "cmd"].contains(&name.as_str());
            let value = match (is_command, is_text) {
                (true, true) => "echo hi".into(),
                (true, false) => json!(["echo", "hi"]),
                _ => example(property),
            };
            object.insert(name.clone(), value);
        }
    }
    Value::Object(object)
}

/// The pieces of a prompt in the order in which a provider caches them: text only, so that moving cache marks or block
/// wrappers do not count as a change.
pub(crate) fn pieces(parts: &[&Value]) -> Vec<String> {
    let mut found = Vec::new();
    for part in parts {
        let items: &[Value] = match part {
            Value::Array(items) => items,
            Value::Null => &[],
            other => std::slice::from_ref(other),
        };
        for item in items {
            let mut text = String::new();
            strings(item, &mut text);
            found.push(text);
        }
    }
    found
}

fn strings(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(fields) => {
            for (name, field) in fields {
                if name != "cache_control" && name != "type" && name != "id" {
                    strings(field, out);
                }
            }
        }
        _ => {}
    }
}

/// The size of a prompt and of what is said to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) said: u64,
    pub(crate) reasoning: u64,
}

/// Measures a prompt against the account's cache, and the answer. Both depend on the request alone and on what the account
/// has seen before.
pub(crate) fn measure(state: &mut State, account: usize, pieces: &[String], say: &Say, thinks: bool) -> Measured {
    let (prompt, cached) = state.accounts[account].prompt(pieces);
    let reasoning = if thinks { 16 + prompt % 83 } else { 0 };
    let said = weight::answer(pieces).unwrap_or(say.chars() as u64 / 4 + 7);
    Measured { prompt, cached, said, reasoning }
}

/// What the books take, and what the wire tells: the same but for absurd usage.
pub(crate) fn credit(account: usize, honest: TokenCounts, fault: &Fault) -> (Credit, TokenCounts) {
    let told = if *fault == Fault::AbsurdUsage { ABSURD } else { honest };
    (Credit { account, tokens: honest }, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_meet_their_schemas() {
        let schema = json!({
            "type": "OBJECT",
            "properties": {
                "command": { "type": "string" },
                "description": { "type": "string" },
                "timeout": { "type": "number" },
                "score": { "type": "INTEGER", "minimum": 3 },
                "mode": { "enum": ["fast", "slow"] },
            },
            "required": ["command", "score", "mode"],
        });
        let value = example(&schema);
        assert_eq!(value, json!({ "command": "echo hi", "description": "say hi", "score": 3, "mode": "fast" }));
    }

    #[test]
    fn cache_marks_and_wrappers_do_not_change_a_piece() {
        let first = json!([{ "role": "user", "content": [{ "type": "text", "text": "hi", "cache_control": { "type": "ephemeral" } }] }]);
        let later = json!([{ "role": "user", "content": "hi" }]);
        assert_eq!(pieces(&[&first]), pieces(&[&later]));
    }
}
