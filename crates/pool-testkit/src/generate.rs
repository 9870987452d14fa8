//! What Gemini models answer: the same for Code Assist, which wraps it once, and for the public API.

use serde_json::{Value, json};

use crate::answer::{Answer, Event, Part, Stream};
use crate::books::TokenCounts;
use crate::checks::gate;
use crate::exchange::{Call, Verdict};
use crate::faults::Fault;
use crate::google::{error, refusal};
use crate::state::{State, Target};
use crate::talk::{self, Say, Tool};
use crate::tokens;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapped {
    Yes,
    No,
}

#[allow(clippy::too_many_arguments, reason = "one call each for the two services, which differ in just these")]
pub(crate) fn infer(
    state: &mut State,
    call: &Call,
    index: usize,
    request: &Value,
    model: &str,
    method: &str,
    wrapped: Wrapped,
    check: Result<(), Answer>,
) -> Verdict {
    let check = check.and_then(|()| match request["contents"].as_array() {
        Some(contents) if !contents.is_empty() => Ok(()),
        _ => Err(error(400, "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified\n", &[])),
    });
    let gated = check
        .map_err(|answer| (answer, Fault::Fine))
        .and_then(|()| gate(state, index, Target::Inference, model, refusal));
    let (answer, fault) = match gated {
        Ok(fault) => (generate(state, call, index, request, model, method, wrapped, &fault), fault),
        Err(refused) => refused,
    };
    let session = request["session_id"].as_str().map(str::to_owned);
    // Keys carry no conversation id: it is told apart by what the user said first.
    let conversation =
        session.or_else(|| talk::pieces(&[&request["contents"]]).first().map(|text| tokens::short_hash(text)));
    Verdict { answer, fault, account: Some(index), inference: true, model: Some(model.to_owned()), conversation }
}

#[allow(clippy::too_many_arguments, reason = "see infer")]
fn generate(
    state: &mut State,
    call: &Call,
    index: usize,
    request: &Value,
    model: &str,
    method: &str,
    wrapped: Wrapped,
    fault: &Fault,
) -> Answer {
    let say = decide(state, request);
    let pieces = talk::pieces(&[&request["systemInstruction"], &request["tools"], &request["contents"]]);
    let thinks = !request["generationConfig"]["thinkingConfig"].is_null();
    let measured = talk::measure(state, index, &pieces, &say, thinks);
    let counts = TokenCounts {
        input: measured.prompt - measured.cached,
        cache_read: measured.cached,
        output: measured.said,
        reasoning: measured.reasoning,
        ..TokenCounts::default()
    };
    let (credit, told) = talk::credit(index, counts, fault);
    let chunk = |parts: Value, last: bool| {
        let mut candidate = json!({ "index": 0, "content": { "role": "model", "parts": parts } });
        if last {
            candidate["finishReason"] = "STOP".into();
        }
        let reply = json!({
            "candidates": [candidate], "usageMetadata": usage(told), "modelVersion": model,
            "responseId": format!("fake-{}", call.id),
        });
        match wrapped {
            Wrapped::Yes => json!({ "response": reply, "traceId": format!("fake-trace-{}", call.id) }),
            Wrapped::No => reply,
        }
    };
    let whole = match &say {
        Say::Text(parts) => json!([{ "text": parts.concat() }]),
        Say::Tool { name, arguments } => {
            json!([{ "functionCall": { "name": name, "args": arguments }, "thoughtSignature": "ZmFrZQ==" }])
        }
    };
    let streams = method.starts_with("stream");
    let answer = if streams && call.query.split('&').any(|pair| pair == "alt=sse") {
        let mut events = Vec::new();
        if let Say::Text(parts) = &say {
            let (last, first) = parts.split_last().map_or(("", &[][..]), |(last, first)| (last.as_str(), first));
            events
                .extend(first.iter().map(|part| Event::bare(Part::Content, &chunk(json!([{ "text": part }]), false))));
            events.push(Event::bare(Part::Terminal, &chunk(json!([{ "text": last }]), true)));
        } else {
            events.push(Event::bare(Part::Terminal, &chunk(whole, true)));
        }
        let broken = json!({ "error": { "code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE" } });
        let mut stream = Stream::new(events, Event::bare(Part::Terminal, &broken));
        stream.crlf = true;
        Answer::stream(stream)
    } else if streams {
        Answer::json(200, &json!([chunk(whole, true)]))
    } else {
        Answer::json(200, &chunk(whole, true))
    };
    answer.credit(credit.account, credit.tokens)
}

fn decide(state: &State, request: &Value) -> Say {
    let config = &request["generationConfig"];
    let schema =
        [&config["responseJsonSchema"], &config["responseSchema"]].into_iter().find(|schema| schema.is_object());
    if let Some(schema) = schema {
        return Say::Text(vec![talk::example(schema).to_string()]);
    }
    let declared = request["tools"].as_array().into_iter().flatten().flat_map(|tool| {
        let list = ["functionDeclarations", "function_declarations"].iter().find_map(|name| tool[*name].as_array());
        list.into_iter().flatten()
    });
    let tools: Vec<Tool> = declared
        .filter_map(|tool| {
            let schema = ["parametersJsonSchema", "parameters"].iter().find_map(|name| tool.get(*name));
            Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: schema.cloned().unwrap_or_default() })
        })
        .collect();
    let last = request["contents"].as_array().and_then(|contents| contents.last());
    let answered = last.and_then(|last| last["parts"].as_array()).is_some_and(|parts| {
        parts.iter().any(|part| part.get("functionResponse").or_else(|| part.get("function_response")).is_some())
    });
    talk::decide(state, &tools, answered)
}

/// The prompt includes what came from the cache; candidates exclude thoughts.
fn usage(told: TokenCounts) -> Value {
    let prompt = told.input.saturating_add(told.cache_read).saturating_add(told.cache_write_5m);
    let mut usage = json!({
        "promptTokenCount": prompt,
        "candidatesTokenCount": told.output,
        "totalTokenCount": prompt.saturating_add(told.output).saturating_add(told.reasoning),
    });
    if told.cache_read > 0 {
        usage["cachedContentTokenCount"] = told.cache_read.into();
    }
    if told.reasoning > 0 {
        usage["thoughtsTokenCount"] = told.reasoning.into();
    }
    usage
}
