//! An error as JSON: problem details (RFC 9457), the body of refusals over HTTP and MQTT; and back.
//!
//! ```text
//!   { "type": "urn:feira:STOCK_SHORT", "title": "not enough stock", "status": 409, "detail": "…", "reason": "STOCK_SHORT",
//!     …the error's own members… }
//! ```
//!
//! Promises: every error of the one table (`error`) goes there and comes back as it was; members that are numbers in it are
//! numbers here; lists are cut as they are for gRPC, and `more` counts the rest.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use tonic_types::PreconditionViolation;

use crate::error::{Error, Repriced, Short};
use crate::status::{Fields, bounded, metadata};

/// The media type.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// What the types of our problems begin with.
const TYPE: &str = "urn:feira:";
/// Members that are numbers.
const NUMBERS: [&str; 13] = [
    "more",
    "etag",
    "attempts",
    "age_ms",
    "created_ms",
    "lines",
    "bytes",
    "most",
    "least",
    "quantity",
    "available",
    "schema",
    "known",
];

/// An error as a document.
#[must_use]
pub fn problem(error: Error) -> Value {
    let error = bounded(error);
    let (_, reason) = error.code_and_reason();
    let mut members = Map::new();
    members.insert("type".to_owned(), format!("{TYPE}{reason}").into());
    members.insert("title".to_owned(), title(reason).into());
    members.insert("status".to_owned(), error.http_status().into());
    members.insert("detail".to_owned(), error.to_string().into());
    members.insert("reason".to_owned(), reason.into());
    for (name, text) in metadata(&error) {
        let number = NUMBERS.contains(&name.as_str()).then(|| text.parse::<i64>().ok()).flatten();
        members.insert(name, number.map_or(Value::String(text), Value::from));
    }
    match &error {
        Error::ShortStock { short, .. } => {
            let short = short.iter().map(|Short { pid, wanted, left, holds }| {
                json!({ "pid": pid, "wanted": wanted, "left": left, "holds": holds })
            });
            members.insert("short".to_owned(), short.collect());
        }
        Error::PriceChanged { changed, .. } => {
            let changed = changed.iter().map(|Repriced { pid, expected, price }| {
                json!({ "pid": pid, "expected": expected, "price": price })
            });
            members.insert("changed".to_owned(), changed.collect());
        }
        Error::Held { by, .. } => {
            members.insert("by".to_owned(), json!(by));
        }
        _ => {}
    }
    Value::Object(members)
}

/// The reason in words.
fn title(reason: &str) -> String {
    reason.to_lowercase().replace('_', " ")
}

impl Error {
    /// The error that a portal sent as a document; `None`: it is none of ours.
    #[must_use]
    pub fn from_problem(problem: &Value) -> Option<Error> {
        let reason = problem.get("reason")?.as_str()?;
        if problem.get("type")?.as_str()? != format!("{TYPE}{reason}") {
            return None;
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let members = problem.as_object()?.iter();
        let metadata: HashMap<String, String> = members
            .filter(|(_, value)| !value.is_array())
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let violation = |subject: &Value, says: String| {
            Some(PreconditionViolation::new(reason, subject.as_str()?.to_owned(), says))
        };
        let short = problem.get("short").and_then(Value::as_array).into_iter().flatten().map(|one| {
            let says = ["left", "wanted", "holds"].map(|name| format!("{name}={}", one[name]));
            violation(&one["pid"], says.join(" "))
        });
        let list = |name: &str| problem.get(name).and_then(Value::as_array).into_iter().flatten();
        let changed = list("changed").map(|one| {
            let says = ["expected", "price"].map(|name| format!("{name}={}", text(&one[name])));
            violation(&one["pid"], says.join(" "))
        });
        let by = list("by").map(|oid| violation(oid, String::new()));
        let violations: Option<Vec<_>> = short.chain(changed).chain(by).collect();
        Fields { metadata, violations: violations? }.error(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::every_error;

    #[test]
    fn every_error_goes_through_a_document_and_comes_back() {
        for error in every_error() {
            let document = problem(error.clone());
            assert_eq!(document["status"], json!(error.http_status()));
            assert_eq!(document["detail"], json!(error.to_string()));
            let text = document.to_string();
            let read: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(Error::from_problem(&read), Some(error), "{text}");
        }
    }

    #[test]
    fn a_document_of_somebody_else_is_none_of_ours() {
        for text in [r#"{"reason":"NOT_FOUND"}"#, r#"{"type":"about:blank","status":404}"#, "[]"] {
            let document: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(Error::from_problem(&document), None, "{text}");
        }
    }
}
