//! The document of a message, as programs get it.
//!
//! Promise: whatever data of clients are in it, there is one. JSON knows numbers that no program holds and halves of characters; data of
//! that kind stand in the document as the text that they were written in.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Deeper than any document that portals take.
const DEPTH_MAX: usize = 128;

/// The document of a message.
///
/// # Panics
/// If it has no JSON text: our own bug.
#[must_use]
pub fn document<T: Serialize>(message: &T) -> Value {
    let text = serde_json::to_string(message).expect("our messages are JSON");
    serde_json::from_str(&text).unwrap_or_else(|_| as_far_as_it_goes(&text, DEPTH_MAX))
}

/// What of a text can be read as values.
fn as_far_as_it_goes(text: &str, depth: usize) -> Value {
    let as_text = || Value::String(text.to_owned());
    if depth == 0 {
        return as_text();
    }
    match text.as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(read) => Value::Object(read),
            Err(_) => members(text, depth).map_or_else(as_text, Value::Object),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => items.iter().map(|item| as_far_as_it_goes(item.get(), depth - 1)).collect(),
            Err(_) => as_text(),
        },
        _ => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
    }
}

/// The members of an object; `None`: a name cannot be read.
fn members(text: &str, depth: usize) -> Option<Map<String, Value>> {
    let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    Some(members.into_iter().map(|(name, raw)| (name, as_far_as_it_goes(raw.get(), depth - 1))).collect())
}

#[cfg(test)]
mod tests {
    use proto::portal::{Client, Order, OrderLine};
    use serde_json::json;

    use super::*;

    #[test]
    fn data_that_no_program_can_read_are_shown_as_they_were_written() {
        let client =
            |data: &str| document(&Client { cid: "ana".into(), data: data.into(), ..Client::default() });
        assert_eq!(client(r#"{"a":[1,1e400],"b":2}"#)["data"], json!({"a": [1, "1e400"], "b": 2}));
        assert_eq!(
            client(r#"{"a":"\ud800","b":{"c":1}}"#)["data"],
            json!({"a": "\"\\ud800\"", "b": {"c": 1}})
        );
        assert_eq!(client(r#"{"\ud800":1}"#)["data"], json!("{\"\\ud800\":1}"));
        assert_eq!(client(r#"{"\ud800":1}"#)["cid"], "ana");
        let lines = vec![OrderLine { extra: r#"{"n":1e400}"#.into(), ..OrderLine::default() }];
        let order = document(&Order { lines, ..Order::default() });
        assert_eq!(order["lines"][0]["extra"], json!({"n": "1e400"}));
    }
}
