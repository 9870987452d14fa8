//! The description of our API (OpenAPI 3.1), made from the code: paths and needs come from the table of pages, schemas from the
//! types that are answered with. What stands between them, which page takes and answers with which type, is `operations.rs`.
//!
//! `docs/openapi.json` is a copy for those who read or generate (`UPDATE=1 cargo test -p pool-server openapi`).

mod operations;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::reply::{self, Problem};
use super::{Need, PAGES, Page, Visit};
use crate::admit::Caller;
use crate::relay::deliver::ReplyBody;

/// What one page takes and answers with.
struct Operation {
    method: Method,
    path: &'static str,
    query: Option<Shape>,
    takes: Option<Shape>,
    status: u16,
    gives: Content,
    /// What else may be answered, beyond what its need brings with it.
    faults: &'static [u16],
}

/// What a body is.
enum Content {
    Nothing,
    Text,
    Json(Shape),
    List(Shape),
    /// Events with data of these types, by name.
    Events(Vec<(&'static str, Shape)>),
}

/// The schema of a type, and of the types that it is made of.
#[derive(Clone, Copy)]
struct Shape {
    name: fn() -> std::borrow::Cow<'static, str>,
    schema: fn() -> RefOr<Schema>,
    parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: <T as PartialSchema>::schema, parts: T::schemas }
    }

    fn reference(self) -> Value {
        json!({ "$ref": format!("#/components/schemas/{}", (self.name)()) })
    }

    /// The type's own schema and its parts'.
    fn collect(self, into: &mut BTreeMap<String, Value>) {
        let mut parts = vec![((self.name)().into_owned(), (self.schema)())];
        (self.parts)(&mut parts);
        into.extend(parts.into_iter().map(|(name, schema)| (name, json!(schema))));
    }
}

/// The document, as JSON.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(make);
    &DOCUMENT
}

/// Method and path of what `operations.rs` speaks of.
#[cfg(test)]
pub(super) fn written() -> Vec<(String, String)> {
    operations::all().into_iter().map(|operation| (operation.method.to_string(), operation.path.to_owned())).collect()
}

/// `GET /api/openapi.json`.
pub async fn show(_: Visit<Caller>) -> Response<ReplyBody> {
    reply::json_page(StatusCode::OK, document())
}

fn make() -> Value {
    let (mut paths, mut schemas) = (Map::new(), BTreeMap::new());
    Shape::of::<Problem>().collect(&mut schemas);
    for operation in operations::all() {
        let Some(page) = PAGES.iter().find(|page| page.method == operation.method && page.path == operation.path)
        else {
            continue;
        };
        operation.shapes().for_each(|shape| shape.collect(&mut schemas));
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        item[operation.method.as_str().to_ascii_lowercase()] = operation.described(page);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "codex-pool",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
            "description": "The pool's own endpoints; see docs/API.md. Times are milliseconds since the Unix epoch. What is not \
                            known is null or absent, never 0.",
        },
        "security": [{ "bearer": [] }, { "key": [] }, { "session": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "A pool credential, or the operator's token." },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same." },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "pool_session",
                    "description": "Of `POST /api/session` (`__Host-pool_session` over https). What changes something needs the \
                                    header `x-pool-page: 1` beside it.",
                },
            },
            "schemas": schemas,
        },
    })
}

impl Operation {
    fn shapes(&self) -> impl Iterator<Item = Shape> {
        let given = match &self.gives {
            Content::Nothing | Content::Text => Vec::new(),
            Content::Json(shape) | Content::List(shape) => vec![*shape],
            Content::Events(events) => events.iter().map(|(_, shape)| *shape).collect(),
        };
        self.takes.into_iter().chain(given)
    }

    fn described(&self, page: &Page) -> Value {
        let mut told = json!({
            "operationId": self.id(),
            "summary": page.about,
            "x-needs": need(page.needs),
            "parameters": self.parameters(),
            "responses": self.responses(page),
        });
        if let Some(takes) = self.takes {
            told["requestBody"] =
                json!({ "required": true, "content": { "application/json": { "schema": takes.reference() } } });
        }
        told
    }

    fn id(&self) -> String {
        let words = self.path.split(['/', '{', '}', '.', '-']).filter(|word| !word.is_empty());
        let method = self.method.as_str().to_ascii_lowercase();
        if self.path == "/" { method + "_root" } else { words.fold(method, |id, word| format!("{id}_{word}")) }
    }

    fn parameters(&self) -> Vec<Value> {
        let holes = self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let in_path =
            holes.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let query = self.query.map(|shape| json!((shape.schema)())).unwrap_or_default();
        let fields = query["properties"].as_object().cloned().unwrap_or_default();
        let is_required = |name: &str| {
            query["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
        };
        let in_query = fields.into_iter().map(|(name, mut schema)| {
            let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            json!({ "name": name, "in": "query", "required": is_required(&name), "description": about, "schema": schema })
        });
        in_path.chain(in_query).collect()
    }

    fn responses(&self, page: &Page) -> Value {
        let mut responses = Map::new();
        let body = match &self.gives {
            Content::Nothing => json!({}),
            Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
            Content::Json(shape) => json!({ "application/json": { "schema": shape.reference() } }),
            Content::List(shape) => {
                json!({ "application/json": { "schema": { "type": "array", "items": shape.reference() } } })
            }
            Content::Events(events) => {
                let data: Map<String, Value> =
                    events.iter().map(|(name, shape)| ((*name).to_owned(), shape.reference())).collect();
                json!({ "text/event-stream": { "schema": { "type": "string" }, "x-events": data } })
            }
        };
        responses.insert(self.status.to_string(), json!({ "description": page.about, "content": body }));
        let mut faults: Vec<u16> = refusals(page).iter().chain(self.faults).copied().collect();
        faults.sort_unstable();
        faults.dedup();
        for status in faults {
            let content = json!({ "application/json": { "schema": Shape::of::<Problem>().reference() } });
            responses.insert(status.to_string(), json!({ "description": meaning(status), "content": content }));
        }
        if self.faults.contains(&304) {
            responses["304"] = json!({ "description": meaning(304) });
        }
        Value::Object(responses)
    }
}

/// What a need answers those with whom it does not let in.
fn refusals(page: &Page) -> &'static [u16] {
    match page.needs {
        Need::Open(_) => &[],
        Need::Whoever(_) => &[421],
        Need::Visitor(_) if page.method == Method::GET => &[421],
        Need::Visitor(_) => &[403, 421],
        Need::Anyone(_) | Need::Operator(_) => &[401, 403, 421, 429],
        Need::Oneself(_) => &[401, 403, 404, 421, 429],
    }
}

fn need(need: Need) -> &'static str {
    match need {
        Need::Open(_) => "open",
        Need::Whoever(_) => "whoever",
        Need::Visitor(_) => "visitor",
        Need::Anyone(_) => "anyone",
        Need::Oneself(_) => "oneself",
        Need::Operator(_) => "operator",
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        304 => "Nothing has changed since the `if-none-match`.",
        400 => "The question or the body is wrong: it says where.",
        401 => "Nobody is known by this credential, or there is none.",
        403 => "Not by this caller's leave, or asked by another web page.",
        404 => "There is no such thing, or not for this caller.",
        409 => "It contradicts what is there.",
        415 => "The body must be JSON and say so.",
        421 => "The pool is not called by this name.",
        429 => "Too many wrong credentials: see `retry-after`.",
        503 => "The database cannot be asked or written now.",
        _ => "It did not work.",
    }
}
