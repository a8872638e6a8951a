//! The description of a portal's HTTP operations for programs (OpenAPI 3.1), made from the list of operations and the
//! schemas of their messages: their comments are its descriptions.
//!
//! Leaves out: what cannot be said in it, such as that stock never goes below zero (docs/SCHEMA.md).

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use proto::json::state;
use proto::json_fields::{DOCUMENTS, STATES};
use serde_json::{Map, Value, json};

use super::problem::MEDIA_TYPE;
use super::resource::{IDEMPOTENCY_KEY, Of, Resource};
use crate::limits::{
    CURRENCY_LETTERS, DESCRIPTION_BYTES_MAX, ID_BYTES_MAX, REQUEST_ID_BYTES_MAX, STAFF_NAME_BYTES_MAX,
    STAFF_REASON_BYTES_MAX, STOCK_QUANTITY_MAX,
};
use crate::operation::{Effect, Registered};
use crate::session::SESSION_HEADER;

/// Text without control characters. What bounds it counts bytes, which no schema can say: it has no more characters than that.
const PLAIN: &str = "^[^\\u0000-\\u001F\\u007F-\\u009F\\u2028\\u2029]*$";
/// The same, and not only blanks.
const SOME: &str = "^(?=.*\\S)[^\\u0000-\\u001F\\u007F-\\u009F\\u2028\\u2029]*$";
/// A currency (ISO 4217), or none.
const CURRENCY: &str = "^([A-Z]{3})?$";
/// Where the schemas are in the document.
const SCHEMAS: &str = "#/components/schemas";
const PACKAGE: &str = ".feira.portal.v1.";

/// The document of a service's operations.
pub(crate) fn of(service: &str, operations: &[Registered]) -> Vec<u8> {
    document(service, operations).to_string().into_bytes()
}

fn document(service: &str, operations: &[Registered]) -> Value {
    let schemas = schemas();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let Some(method) = schemas.methods.get(&format!("{service}/{}", operation.name)) else { continue };
        let at = paths.entry(operation.resource.path.0).or_default();
        at.insert(operation.resource.method.word().to_owned(), described(operation, method, schemas));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": service,
            "version": env!("CARGO_PKG_VERSION"),
            // A parameter of each operation would say that any text is taken.
            "description": "What changes something is done once for each Idempotency-Key, over whichever transport it comes. \
                The header feira-session of an answer, sent with the next request, keeps that from reading what is older.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": components(schemas) },
    })
}

fn described(operation: &Registered, method: &Method, schemas: &Schemas) -> Value {
    let resource = operation.resource;
    let (success, says) = if resource.made.is_some() { ("201", "made") } else { ("200", "done") };
    let content =
        json!({ "application/json": { "schema": { "$ref": format!("{SCHEMAS}/{}", method.output) } } });
    let mut answer = json!({ "description": says, "content": content, "headers": {
        "ETag": { "description": "the version of the record, for If-Match", "schema": { "type": "string" } },
        SESSION_HEADER: { "description": "what was seen, for the next request", "schema": { "type": "string" } },
    } });
    if resource.made.is_some() {
        answer["headers"]["Location"] = json!({ "schema": { "type": "string", "format": "uri-reference" } });
    }
    let problem = json!({ "description": "not done, or not known to be done (504)", "content": {
        MEDIA_TYPE: { "schema": { "$ref": format!("{SCHEMAS}/Problem") } },
    } });
    let mut document = json!({
        "operationId": operation.name,
        "description": method.says,
        "parameters": parameters(operation),
        "responses": { success: answer, "4XX": problem, "5XX": problem },
    });
    if resource.method.has_body()
        && let Some(body) = body(resource, &schemas.messages[&method.input])
    {
        let content = json!({ "application/json": { "schema": body } });
        let is_required = body["required"].as_array().is_some_and(|members| !members.is_empty());
        document["requestBody"] = json!({ "required": is_required, "content": content });
    }
    document
}

fn parameters(operation: &Registered) -> Value {
    let resource = operation.resource;
    let id = json!({ "type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX, "pattern": PLAIN });
    let in_path = resource
        .path
        .names()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": id }));
    let in_query = resource.query.iter().map(|parameter| {
        let schema = match parameter.of {
            Of::Text => json!({ "type": "string", "pattern": PLAIN }),
            Of::Number => json!({ "type": "integer", "minimum": 0, "maximum": crate::limits::PAGE_MAX }),
            Of::Time => json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX }),
            Of::State => said_or_not(&state::words()),
            Of::Word(words) => said_or_not(words),
            Of::Flag => json!({ "type": "boolean" }),
        };
        json!({ "name": parameter.name, "in": "query", "schema": schema })
    });
    let if_match = resource.matches.then(|| {
        let schema = json!({ "type": "string", "minLength": 1, "pattern": "^(\"[1-9][0-9]{0,17}\"|[*])$" });
        json!({ "name": "If-Match", "in": "header", "description": "the ETag that was seen", "schema": schema })
    });
    let names_itself = operation.effect == Effect::Changes;
    let key = names_itself.then(|| {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": REQUEST_ID_BYTES_MAX + 2, "pattern": "^[ -~]*[!-~][ -~]*$" });
        let says = "repeated, it is answered as it was; without one nobody can repeat the request safely";
        json!({ "name": IDEMPOTENCY_KEY, "in": "header", "description": says, "schema": schema })
    });
    in_path.chain(in_query).chain(if_match).chain(key).collect()
}

/// One of these words, or none: an empty parameter says nothing.
fn said_or_not(words: &[&str]) -> Value {
    let all: Vec<&str> = words.iter().copied().chain([""]).collect();
    json!({ "type": "string", "enum": all })
}

/// What is left for the body: the members that are nowhere else; `None`: there are none.
fn body(resource: Resource, message: &Message) -> Option<Value> {
    let elsewhere = |name: &str| {
        resource.path.names().any(|one| one == name)
            || resource.query.iter().any(|one| one.name == name)
            || (resource.matches && name == "if_match")
    };
    if message.fields.iter().all(|field| elsewhere(&field.name)) {
        return None;
    }
    let mut schema = message.schema(elsewhere);
    schema["additionalProperties"] = false.into();
    schema["required"] = message.required.iter().copied().collect();
    Some(schema)
}

fn components(schemas: &Schemas) -> Map<String, Value> {
    let messages = schemas.messages.iter().filter(|(name, _)| !name.ends_with("Request"));
    let mut all: Map<String, Value> =
        messages.map(|(name, message)| (name.clone(), message.schema(|_| false))).collect();
    // The messages that requests are made of: they take no member that is not known.
    for name in ["ImportedLine", "ImportedNote", "LineChange", "StockRules"] {
        if let (Some(part), Some(schema)) = (schemas.messages.get(name), all.get_mut(name)) {
            schema["additionalProperties"] = false.into();
            schema["required"] = part.required.iter().copied().collect();
        }
    }
    all.insert(
        "Problem".to_owned(),
        json!({
            "type": "object",
            "description": "RFC 9457, with the reason of docs/SCHEMA.md and its members",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
                "detail": { "type": "string" }, "reason": { "type": "string" },
            },
        }),
    );
    all
}

/// A message with its comments.
struct Message {
    says: String,
    fields: Vec<Field>,
    /// Members without which a request says nothing.
    required: &'static [&'static str],
}

struct Field {
    name: String,
    says: String,
    schema: Value,
    /// Its message is another of ours.
    is_message: bool,
}

impl Message {
    fn schema(&self, elsewhere: impl Fn(&str) -> bool) -> Value {
        let fields = self.fields.iter().filter(|field| !elsewhere(&field.name));
        let properties: Map<String, Value> = fields
            .map(|field| {
                let mut schema = field.schema.clone();
                if !field.says.is_empty() && !field.is_message {
                    schema["description"] = field.says.clone().into();
                }
                (field.name.clone(), schema)
            })
            .collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        if !self.says.is_empty() {
            schema["description"] = self.says.clone().into();
        }
        schema
    }
}

struct Method {
    says: String,
    input: String,
    output: String,
}

/// The messages by their short names, and the methods as `feira.portal.v1.Shop/CreateOrder`.
struct Schemas {
    messages: BTreeMap<String, Message>,
    methods: HashMap<String, Method>,
}

fn schemas() -> &'static Schemas {
    static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let set = FileDescriptorSet::decode(proto::DESCRIPTORS)
            .expect("the descriptors were made when this was built");
        let mut schemas = Schemas { messages: BTreeMap::new(), methods: HashMap::new() };
        for file in set.file.iter().filter(|file| format!(".{}.", file.package()) == PACKAGE) {
            take(file, &mut schemas);
        }
        schemas
    })
}

fn take(file: &FileDescriptorProto, schemas: &mut Schemas) {
    let comments = Comments::of(file);
    for (at, message) in (0..).zip(&file.message_type) {
        schemas.messages.insert(message.name().to_owned(), read(message, &comments, at));
    }
    for (at, service) in (0..).zip(&file.service) {
        for (nth, method) in (0..).zip(&service.method) {
            let short = |name: &str| name.trim_start_matches(PACKAGE).to_owned();
            let read = Method {
                says: comments.at(&[6, at, 2, nth]),
                input: short(method.input_type()),
                output: short(method.output_type()),
            };
            schemas.methods.insert(format!("{}.{}/{}", file.package(), service.name(), method.name()), read);
        }
    }
}

fn read(message: &DescriptorProto, comments: &Comments, at: i32) -> Message {
    // A request's id is in no body.
    let fields = (0..).zip(&message.field).filter(|(_, field)| field.name() != "request");
    let fields = fields.map(|(nth, field)| Field {
        name: field.name().to_owned(),
        says: comments.at(&[4, at, 2, nth]),
        schema: schema_of(message.name(), field),
        is_message: field.r#type() == Type::Message,
    });
    let required = match message.name() {
        "ModifyOrderRequest" => &["lines"][..],
        "StaffModifyOrderRequest" => &["lines", "reason"],
        "StaffOrderRequest" | "StaffReturnRequest" => &["reason"],
        "InsertProductRequest" | "UpdateProductRequest" | "InsertClientRequest" | "UpdateClientRequest" => {
            &["data"]
        }
        "AdjustStockRequest" => &["amount"],
        "LineChange" => &["pid"],
        "ImportOrderRequest" => &["cid", "oid", "state", "changed_ms"],
        "ImportedLine" => &["pid", "description", "quantity", "price"],
        "ImportedNote" => &["did"],
        _ => &[],
    };
    Message { says: comments.at(&[4, at]), fields: fields.collect(), required }
}

fn schema_of(message: &str, field: &FieldDescriptorProto) -> Value {
    let name = format!("{message}.{}", field.name());
    let one = match field.r#type() {
        _ if DOCUMENTS.contains(&name.as_str()) => document_schema(&name),
        _ if STATES.contains(&name.as_str()) => {
            let words: Vec<&str> = state::words().into_iter().chain(["unknown"]).collect();
            json!({ "type": "string", "enum": words })
        }
        Type::Message => {
            json!({ "$ref": format!("{SCHEMAS}/{}", field.type_name().trim_start_matches(PACKAGE)) })
        }
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int64 | Type::Int32 => json!({ "type": "integer", "format": "int64" }),
        Type::Uint64 => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
        Type::Uint32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Type::String => text_asked(message, field.name()),
        _ => json!({ "type": "string" }),
    };
    match (field.label(), field.r#type()) {
        (Label::Repeated, _) => json!({ "type": "array", "items": one }),
        (_, Type::Message) => json!({ "anyOf": [one, { "type": "null" }] }),
        _ if field.proto3_optional() => json!({ "anyOf": [one, { "type": "null" }] }),
        _ => one,
    }
}

/// Text that a request has, with its bounds; of answers it is any.
fn text_asked(message: &str, field: &str) -> Value {
    let (least, most, pattern) = match (message, field) {
        // Made from the name if it is empty.
        ("InsertClientRequest", "cid") | ("InsertProductRequest", "pid") => (0, ID_BYTES_MAX, PLAIN),
        ("ImportOrderRequest", "cid" | "oid") | ("ImportedLine" | "LineChange", "pid") => {
            (1, ID_BYTES_MAX, PLAIN)
        }
        ("StaffModifyOrderRequest" | "StaffOrderRequest" | "StaffReturnRequest", "reason") => {
            (1, STAFF_REASON_BYTES_MAX, SOME)
        }
        ("StaffMoveRequest", "reason") => (0, STAFF_REASON_BYTES_MAX, PLAIN),
        (_, "by") if message.ends_with("Request") => (0, STAFF_NAME_BYTES_MAX, PLAIN),
        ("UpdateShopRequest", "currency") => (0, CURRENCY_LETTERS, CURRENCY),
        _ => return json!({ "type": "string" }),
    };
    json!({ "type": "string", "minLength": least, "maxLength": most, "pattern": pattern })
}

/// What is in a document: more than the members that are named, whatever people give.
fn document_schema(name: &str) -> Value {
    let product = |required: &[&str]| {
        json!({ "type": "object", "required": required, "properties": {
            "description": { "type": "string", "pattern": SOME, "maxLength": DESCRIPTION_BYTES_MAX },
            "price": { "type": "string", "pattern": "^[0-9]{1,12}([.][0-9]{1,6})?$" },
            "quantity": { "type": "integer", "minimum": 0, "maximum": STOCK_QUANTITY_MAX },
        } })
    };
    match name {
        "InsertProductRequest.data" => product(&["description", "price", "quantity"]),
        "UpdateProductRequest.data" => product(&["description", "price"]),
        _ if name.ends_with("Request.data") => json!({ "type": "object" }),
        _ => json!({ "type": ["object", "null"] }),
    }
}

/// The comments of a file, by the path of what they are about (`google/protobuf/descriptor.proto`, SourceCodeInfo).
struct Comments(HashMap<Vec<i32>, String>);

impl Comments {
    fn of(file: &FileDescriptorProto) -> Comments {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let told = locations.filter(|location| !location.leading_comments().is_empty());
        Comments(told.map(|location| (location.path.clone(), joined(location.leading_comments()))).collect())
    }

    fn at(&self, path: &[i32]) -> String {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

/// The lines of a comment as one.
fn joined(comment: &str) -> String {
    comment.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
