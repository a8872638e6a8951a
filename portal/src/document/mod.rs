//! The records as JSON (docs/SCHEMA.md, "Records"): as people send them, as they are stored, as they are shown.
//!
//! Promises: what people send is checked with errors that name the field; members that we do not know are kept,
//! byte for byte; what is stored is read strictly, since only portals write it, and anything else is reported as
//! damage and never guessed. Numbers are read from their digits, never through an `f64`.
//! Leaves out: the transactions that move records (`change` and the portals' files).

pub mod client;
pub mod event;
pub mod extra;
pub mod feed;
pub mod order;
pub mod order_move;
pub mod product;
pub mod rules;
pub mod shop;
pub mod staff_note;
pub mod stock;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX};

/// Where the state of a client or product stands in its record.
pub const STATE: &str = "/state";
/// Where the count of open orders stands in the record of a client or of a stock.
pub const OPEN_ORDERS: &str = "/open_orders";

/// Whether a client or product takes part in orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Active,
    /// It is being deleted with its orders: nothing new.
    Closing,
    /// A client that was removed, and whose orders are kept under its id: nobody else is given it.
    Gone,
}

impl State {
    /// The JSON value.
    #[must_use]
    pub const fn json(self) -> &'static str {
        match self {
            State::Active => "\"active\"",
            State::Closing => "\"closing\"",
            State::Gone => "\"gone\"",
        }
    }
}

/// Reads what is stored under `key`.
///
/// # Errors
/// [`Error::Damaged`]: it is not what portals write.
pub fn read<T: DeserializeOwned>(key: &[u8], data: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(data).map_err(|error| Error::damaged(key, error))
}

/// The bytes to store.
///
/// # Panics
/// If the record cannot be JSON: our own bug.
pub fn write<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("our records are JSON")
}

/// The members of a JSON object, in their order, each as its own text. A name that comes twice is an error.
#[derive(Clone, Debug, Default)]
pub struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// The names of those that are not the same in both.
    #[must_use]
    pub fn differences(&self, other: &Members) -> Vec<String> {
        let lacks = |there: &Members, name: &str, value: &RawValue| {
            !there.0.iter().any(|(named, has)| named == name && has.get() == value.get())
        };
        let mut names: Vec<String> = Vec::new();
        for (one, there) in [(self, other), (other, self)] {
            for (name, value) in &one.0 {
                if lacks(there, name, value) && !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
    }

    /// Reads a JSON object that a person sent in `field`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: too large, or not one JSON object with distinct names.
    pub fn parse(field: &str, text: &str) -> Result<Members, Error> {
        if text.len() > DOCUMENT_BYTES_MAX {
            let why = format!("{} bytes; a document has at most {DOCUMENT_BYTES_MAX}", text.len());
            return Err(Error::invalid(field, why));
        }
        if depth(text) > DOCUMENT_DEPTH_MAX {
            let why = format!("nested too deeply; at most {DOCUMENT_DEPTH_MAX} levels");
            return Err(Error::invalid(field, why));
        }
        let not_json =
            |error: serde_json::Error| Error::invalid(field, format!("not a JSON object: {error}"));
        let value: &RawValue = serde_json::from_str(text).map_err(not_json)?;
        distinct(&mut field.to_owned(), value.get())?;
        serde_json::from_str(text).map_err(not_json)
    }

    /// Takes a member out.
    pub fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(one, _)| one == name)?;
        Some(self.0.remove(at).1)
    }

    /// A member's text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| &**value)
    }

    /// The members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    /// Adds a member at the end.
    pub fn push(&mut self, name: &str, value: Box<RawValue>) {
        self.0.push((name.to_owned(), value));
    }

    /// The JSON object.
    ///
    /// # Panics
    /// Never: each value was JSON already.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("members are JSON")
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Members) -> bool {
        self.to_json() == other.to_json()
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Members, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Members, A::Error> {
                let mut names = std::collections::HashSet::new();
                let mut members = Members::default();
                while let Some((name, value)) = from.next_entry::<String, Box<RawValue>>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("member {name:?} comes twice")));
                    }
                    members.0.push((name, value));
                }
                Ok(members)
            }
        }
        from.deserialize_map(InOrder)
    }
}

/// Refuses a member that comes twice in an object, at any depth: readers do not agree on which of the two counts. The
/// text is JSON, no deeper than [`DOCUMENT_DEPTH_MAX`]; `path` leads to it, and after a refusal to the member.
fn distinct(path: &mut String, text: &str) -> Result<(), Error> {
    use std::fmt::Write as _;

    let length = path.len();
    let within = |path: &mut String, value: &RawValue, step: std::fmt::Arguments<'_>| {
        path.write_fmt(step).expect("a string grows");
        distinct(path, value.get())?;
        path.truncate(length);
        Ok::<_, Error>(())
    };
    let not_json = |error: serde_json::Error| Error::invalid("data", format!("not JSON: {error}"));
    match text.as_bytes().first() {
        Some(b'{') => {
            let Pairs(pairs) = serde_json::from_str(text).map_err(not_json)?;
            let mut names = std::collections::HashSet::with_capacity(pairs.len());
            for (name, value) in &pairs {
                let step = name.escape_debug();
                if !names.insert(name.as_str()) {
                    write!(path, ".{step}").expect("a string grows");
                    return Err(Error::invalid(path.as_str(), "comes twice in its object; leave one"));
                }
                within(path, value, format_args!(".{step}"))?;
            }
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
            for (at, value) in values.iter().enumerate() {
                within(path, value, format_args!("[{at}]"))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The members of an object as they come, names that come twice among them.
struct Pairs<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs<'de>, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = from.next_entry::<String, &'de RawValue>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(All)
    }
}

/// How deeply brackets are nested in a JSON text: values kept as text are not parsed further, here or in the store.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON value of our own.
///
/// # Panics
/// If it cannot be JSON: our own bug.
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("strings and numbers are JSON")
}

/// The string in a member that must be one.
fn string(field: &str, value: &RawValue) -> Result<String, Error> {
    serde_json::from_str(value.get()).map_err(|_| Error::invalid(field, "must be a JSON string"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_bytes_and_order() {
        let text = r#"{"z":1.10,"a":{"b":[1e400, "é"]},"k":123456789012345678901234567890}"#;
        let members = Members::parse("data", text).expect("an object");
        assert_eq!(members.to_json(), text);
    }

    #[test]
    fn depth_is_of_brackets_outside_strings() {
        assert_eq!(depth(r#"{"a":[1,{"b":"}]{[\"{{{"}],"c":{}}"#), 3);
        assert_eq!(depth("7"), 0);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_field() {
        let deep = format!("{}{}", "{\"a\":".repeat(200), "1".to_owned() + &"}".repeat(200));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES_MAX));
        for bad in ["", "[]", "null", "{\"a\":1} x", "{'a':1}", "{\"a\":{\"b\":}}", &deep, &large] {
            let error = Members::parse("data", bad).expect_err(bad);
            assert!(matches!(error, Error::Invalid { field, .. } if field == "data"));
        }
    }

    #[test]
    fn a_member_that_comes_twice_is_refused_at_any_depth_with_its_path() {
        for (bad, field) in [
            (r#"{"a":1,"a":2}"#, "data.a"),
            (r#"{"x":{"y":{"a":1,"b":2,"a":3}}}"#, "data.x.y.a"),
            (r#" {"tags":[{"k":1},{"k":1,"k":1}]} "#, "data.tags[1].k"),
            (r#"{"x":{"a":1,"\u0061":2}}"#, "data.x.a"),
            (r#"{"x":{"\n":1,"\n":2}}"#, "data.x.\\n"),
        ] {
            let error = Members::parse("data", bad).expect_err(bad);
            assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
        }
        for good in [r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#, r#"{"":{"":[[],{},"{"]}}"#] {
            assert!(Members::parse("data", good).is_ok(), "{good}");
        }
    }
}
