//! Does an answer fit its schema? As much of JSON Schema as our document uses, and stricter: what is not described may not be there.

use std::collections::BTreeSet;

use serde_json::Value;

/// The properties of an object that a schema speaks of. `None`: any.
type Spoken = Option<BTreeSet<String>>;

/// Says where an answer does not fit.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    closed(document, schema, value, "$")
}

/// The schema that a reference stands for.
pub fn resolve<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    document.pointer(reference.strip_prefix('#')?)
}

fn closed(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let spoken = fits(document, schema, value, at)?;
    let unspoken = spoken.and_then(|spoken| value.as_object()?.keys().find(|name| !spoken.contains(*name)));
    unspoken.map_or(Ok(()), |name| Err(format!("{at}.{name} is not described")))
}

fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<Spoken, String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = resolve(document, reference).ok_or_else(|| format!("{reference} leads nowhere"))?;
        return fits(document, target, value, at);
    }
    let mut spoken = Some(BTreeSet::new());
    for part in schema["allOf"].as_array().into_iter().flatten() {
        spoken = both(spoken, fits(document, part, value, at)?);
    }
    if let Some(parts) = schema["oneOf"].as_array() {
        let mut fitting = parts.iter().filter_map(|part| fits(document, part, value, at).ok());
        let first = fitting.next().ok_or_else(|| format!("{at}: {value} is none of {}", schema["oneOf"]))?;
        spoken = both(spoken, first);
    }
    if let Some(values) = schema["enum"].as_array() {
        values.contains(value).then_some(()).ok_or_else(|| format!("{at}: {value} is not in the list"))?;
    }
    is_of_type(&schema["type"], value, at)?;
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            object.contains_key(name).then_some(()).ok_or_else(|| format!("{at}.{name} is missing"))?;
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = object.get(name) {
                closed(document, schema, value, &format!("{at}.{name}"))?;
            }
            spoken = both(spoken, Some(BTreeSet::from([name.clone()])));
        }
        if schema["additionalProperties"].is_object() {
            for (name, value) in object {
                closed(document, &schema["additionalProperties"], value, &format!("{at}.{name}"))?;
            }
            spoken = None;
        }
        let is_bare = schema["properties"].is_null() && schema["allOf"].is_null() && schema["oneOf"].is_null();
        if is_bare {
            spoken = None;
        }
    }
    if let Some(items) = value.as_array() {
        let firsts = schema["prefixItems"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            closed(document, firsts.get(index).unwrap_or(&schema["items"]), item, &format!("{at}[{index}]"))?;
        }
    }
    Ok(spoken)
}

fn both(one: Spoken, other: Spoken) -> Spoken {
    Some(one?.into_iter().chain(other?).collect())
}

fn is_of_type(wanted: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fits = |wanted: &str| match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{at}: what is {other}?"),
    };
    let good = match wanted {
        Value::String(one) => fits(one),
        Value::Array(several) => several.iter().filter_map(Value::as_str).any(fits),
        _ => true,
    };
    good.then_some(()).ok_or_else(|| format!("{at}: {value} is not {wanted}"))
}

#[test]
fn what_does_not_fit_is_found() {
    let document = serde_json::json!({ "components": {
        "Base": { "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } },
        "Whole": { "allOf": [
            { "$ref": "#/components/Base" },
            { "type": "object", "properties": {
                "count": { "type": ["integer", "null"] },
                "state": { "oneOf": [{ "type": "null" }, { "type": "string", "enum": ["a", "b"] }] },
                "names": { "type": "object", "additionalProperties": { "type": "string" } },
                "list": { "type": "array", "items": { "$ref": "#/components/Base" } },
            } },
        ] },
    } });
    for (value, wrong) in [
        (r#"{"id":"x","count":null,"state":"a","names":{"n":"v"},"list":[{"id":"y"}]}"#, None),
        (r#"{"count":1}"#, Some("$.id is missing")),
        (r#"{"id":1}"#, Some("$.id: 1 is not \"string\"")),
        (r#"{"id":"x","other":1}"#, Some("$.other is not described")),
        (r#"{"id":"x","count":1.5}"#, Some("$.count: 1.5 is not")),
        (r#"{"id":"x","state":"c"}"#, Some("$.state: \"c\" is none of")),
        (r#"{"id":"x","names":{"n":1}}"#, Some("$.names.n: 1 is not")),
        (r#"{"id":"x","list":[{"id":"y","more":1}]}"#, Some("$.list[0].more is not described")),
        ("[]", Some("is not \"object\"")),
    ] {
        let schema = serde_json::json!({ "$ref": "#/components/Whole" });
        let found = check(&document, &schema, &serde_json::from_str(value).expect(value)).err();
        assert_eq!(found.is_some(), wrong.is_some(), "{value}: {found:?}");
        assert!(
            wrong.is_none_or(|wrong| found.as_deref().is_some_and(|found| found.contains(wrong))),
            "{value}: {found:?}"
        );
    }
}
