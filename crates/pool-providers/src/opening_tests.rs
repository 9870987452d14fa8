use serde_json::{Value, json};

use super::*;

fn name(system: &Value, turns: &Value) -> Option<String> {
    named(system, turns.to_string().as_bytes())
}

fn named(system: &Value, turns: &[u8]) -> Option<String> {
    let mut opening = Opening::default();
    opening.system(system.to_string().as_bytes());
    opening.turns(turns, Roleless::Nobody);
    opening.name()
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

#[test]
fn what_moves_does_not_count() {
    let marker = json!({"type": "ephemeral"});
    let reply = json!({"role": "assistant", "content": "hello"});
    let plain = name(&json!("be kind"), &json!([user("hi")]));
    assert!(plain.is_some());
    let blocks = |text: &str, id: &str| json!([{"type": "text", "text": text, "id": id, "cache_control": marker}]);
    for (what, system, turns) in [
        ("a later turn", json!("be kind"), json!([user("hi"), reply, user("more")])),
        ("the short form", json!("be kind"), json!("hi")),
        ("markers and ids", blocks("be kind", "b1"), json!([user(blocks("hi", "b2")), reply])),
        ("numbers in the system text", json!("be 10:59 kind"), json!([user("hi")])),
        (
            "a system text among the turns",
            Value::Null,
            json!([{"role": "developer", "content": "be kind"}, user("hi")]),
        ),
        ("what the system says later", json!("be kind"), json!([user("hi"), {"role": "system", "content": "now"}])),
        ("what is no content", json!("be kind"), json!([{"type": "additional_tools", "tools": ["x"]}, user("hi")])),
    ] {
        // A space stays where a number was, and a bracket of words is another text.
        let expected =
            if what.starts_with("numbers") { name(&json!("be : kind"), &json!([user("hi")])) } else { plain.clone() };
        assert_eq!(name(&system, &turns), expected, "{what}");
    }
    let clock = |time: &str| name(&json!(format!("The time is {time}.")), &json!([user("hi")]));
    assert_eq!(clock("2026-11-22T09:59:01Z"), clock("2026-11-22T10:00:12Z"));
}

#[test]
fn what_the_user_says_first_counts_to_its_end() {
    let image =
        |data: &str| json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]);
    let greeting = json!({"role": "assistant", "content": "What is it?"});
    let long = |middle: &str, end: &str| format!("{}{middle}{}{end}", "a".repeat(40_000), "b".repeat(40_000));
    let openings = [
        json!([user("hi")]),
        json!([user("hi 1")]),
        json!([user("ho")]),
        json!([user("context"), user("one question")]),
        json!([user("context"), user("another question")]),
        json!([user(json!([{"text": "context"}, {"text": "a third question"}]))]),
        json!([greeting, user("hi")]),
        json!([user(image("AAAA"))]),
        json!([user(image("BBBB"))]),
        json!([user(long("", "x"))]),
        json!([user(long("", "y"))]),
        json!([user(long("longer", "y"))]),
    ];
    let names: std::collections::HashSet<_> =
        openings.iter().map(|turns| name(&json!("be kind"), turns).expect("somebody spoke")).collect();
    assert_eq!(names.len(), openings.len());
    let (system, said) =
        (name(&json!("a"), &json!([user("b")])), name(&Value::Null, &json!([user(json!(["a", "b"]))])));
    assert_ne!(system, said, "what the system says is not what the user says");
    for silent in [json!([]), json!([user("")]), json!([greeting]), json!([5]), json!({}), json!(5), Value::Null] {
        assert_eq!(name(&json!("be kind"), &silent), None, "{silent}");
    }
}

#[test]
fn a_list_that_is_cut_off_behind_its_opening_is_the_same_conversation() {
    let turns = json!([user("hi"), {"role": "assistant", "content": "x".repeat(100)}, user("more")]).to_string();
    let whole = named(&json!("be kind"), turns.as_bytes());
    let opening_ends = json!([user("hi")]).to_string().len() - 1;
    for end in 0..turns.len() {
        let cut = named(&json!("be kind"), &turns.as_bytes()[..end]);
        match cut {
            None => assert!(end < opening_ends, "{end}"),
            some => assert_eq!(some, whole, "{end}"),
        }
    }
}

#[test]
fn the_work_ends_with_the_opening() {
    // Beyond the opening lies what no reader would survive: it is never read.
    let mut turns = json!([user("hi"), {"role": "assistant", "content": "x"}]).to_string().into_bytes();
    turns.pop();
    let whole = named(&Value::Null, &turns);
    turns.push(b',');
    turns.resize(1 << 20, b'[');
    assert_eq!(named(&Value::Null, &turns), whole);
    let tool = json!({"role": "tool", "content": "x"});
    let late: Vec<Value> = vec![tool; 1000].into_iter().chain([user("hi")]).collect();
    assert_eq!(name(&Value::Null, &late.into()), None, "nobody speaks for long");
    let deep = [b"[{\"role\":\"user\",\"content\":", &vec![b'['; 1 << 20][..]].concat();
    assert_eq!(named(&Value::Null, &deep), None, "nor does a deep one break it");
}

#[test]
fn texts_are_told_by_their_quotes() {
    for (body, found) in [
        (r#"{"signature": "x"}"#, true),
        (r#"{"signature" : "x"}"#, true),
        (r#"{"signature":""}"#, false),
        (r#"{"signature":null}"#, false),
        (r#"{"text":"\"signature\":\"x\""}"#, false),
        (r#"{"signature""#, false),
    ] {
        assert_eq!(has_text(body.as_bytes(), "signature", ""), found, "{body}");
    }
    assert!(has_text(br#"{"ttl":"1h"}"#, "ttl", "1h"));
    assert!(!has_text(br#"{"ttl":"5m"}"#, "ttl", "1h"));
}
