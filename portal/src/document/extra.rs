//! Data of staff and shops on an order and on its lines: one JSON object each, such as a delivery note.
//!
//! Promises: what people send is checked as clients' data are (one object, no member twice at any depth), and is small and flat. It is kept
//! digit for digit and in its order, without the blanks between its parts: equal texts have equal bytes, and what was exported is
//! what is imported. Programs can read all of its numbers and texts. An object without members is none.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Members, depth};
use crate::error::Error;
use crate::limits::{EXTRA_DEPTH_MAX, EXTRA_LINE_BYTES_MAX, EXTRA_ORDER_BYTES_MAX};

/// The data: an object with members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extra(String);

impl Extra {
    /// Reads what a person sent in `field`; `None`: an object without members.
    fn parse(field: &str, text: &str, bytes_max: usize) -> Result<Option<Extra>, Error> {
        let is_empty = Members::parse(field, text)?.iter().next().is_none();
        if is_empty {
            return Ok(None);
        }
        if depth(text) > EXTRA_DEPTH_MAX {
            return Err(Error::invalid(
                field,
                format!("nested too deeply; at most {EXTRA_DEPTH_MAX} levels"),
            ));
        }
        // A number that no program holds, or half a character: whoever reads it as a value could not.
        serde_json::from_str::<serde_json::Value>(text)
            .map_err(|error| Error::invalid(field, format!("programs cannot read all of it: {error}")))?;
        let compact = compact(text);
        if compact.len() > bytes_max {
            let why = format!("{} bytes without blanks; it has at most {bytes_max}", compact.len());
            return Err(Error::invalid(field, why));
        }
        Ok(Some(Extra(compact)))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As messages have it; empty: there is none.
#[must_use]
pub fn text_of(extra: Option<&Extra>) -> String {
    extra.map(|extra| extra.0.clone()).unwrap_or_default()
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Extra, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        if raw.get().starts_with('{') {
            return Ok(Extra(raw.get().to_owned()));
        }
        Err(serde::de::Error::custom("extra is no object"))
    }
}

/// What a request says of such data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ExtraChange {
    /// Nothing: it stays.
    #[default]
    Keep,
    /// It is this from now on; `None`: there is none any more.
    Set(Option<Extra>),
}

impl ExtraChange {
    /// That of an order, as its request says in the field `extra`; empty: nothing.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it is no such object, or too large.
    pub fn of_order(text: &str) -> Result<ExtraChange, Error> {
        ExtraChange::parse("extra", text, EXTRA_ORDER_BYTES_MAX)
    }

    /// That of a line, in this field.
    ///
    /// # Errors
    /// As [`ExtraChange::of_order`].
    pub fn of_line(field: &str, text: &str) -> Result<ExtraChange, Error> {
        ExtraChange::parse(field, text, EXTRA_LINE_BYTES_MAX)
    }

    fn parse(field: &str, text: &str, bytes_max: usize) -> Result<ExtraChange, Error> {
        if text.is_empty() {
            return Ok(ExtraChange::Keep);
        }
        Extra::parse(field, text, bytes_max).map(ExtraChange::Set)
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        *self == ExtraChange::Keep
    }

    /// What is there after it.
    #[must_use]
    pub fn over(&self, before: Option<Extra>) -> Option<Extra> {
        match self {
            ExtraChange::Keep => before,
            ExtraChange::Set(extra) => extra.clone(),
        }
    }
}

/// JSON text without blanks outside its strings.
fn compact(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    text.chars()
        .filter(|c| {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = quoted,
                '"' => quoted = !quoted,
                _ => {}
            }
            quoted || !matches!(c, ' ' | '\t' | '\n' | '\r')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Option<Extra> {
        match ExtraChange::of_order(text).expect(text) {
            ExtraChange::Set(extra) => extra,
            ExtraChange::Keep => panic!("{text}: nothing is said"),
        }
    }

    #[test]
    fn data_are_kept_digit_for_digit_without_blanks_between_their_parts() {
        let text =
            "{ \"b\" : 1.10,\n\"a\":[ 1e300, \"é \\\" { } \\\\\" ],\t\"note\":\"leave it  at the door\"}";
        let kept = r#"{"b":1.10,"a":[1e300,"é \" { } \\"],"note":"leave it  at the door"}"#;
        let extra = set(text).expect("members");
        assert_eq!(extra.as_str(), kept);
        assert_eq!(set(kept), Some(extra.clone()));
        let stored = serde_json::to_string(&extra).expect("JSON");
        assert_eq!(stored, kept);
        assert_eq!(serde_json::from_str::<Extra>(&stored).expect("an object"), extra);
        assert!(serde_json::from_str::<Extra>("[1]").is_err());
    }

    #[test]
    fn an_object_without_members_is_none_and_an_empty_text_says_nothing() {
        let before = set(r#"{"a":1}"#);
        assert_eq!(set(" { } "), None);
        assert_eq!(ExtraChange::of_order("").expect("nothing").over(before.clone()), before);
        assert_eq!(ExtraChange::of_order("{}").expect("none").over(before), None);
    }

    #[test]
    fn what_is_no_small_flat_object_is_refused_with_its_field() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(9), "}".repeat(9));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(EXTRA_LINE_BYTES_MAX - 7));
        for bad in [
            "[]",
            "null",
            "7",
            "{\"a\":1",
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[1e400]}"#,
            r#"{"a":"\ud800"}"#,
            deep.as_str(),
            long.as_str(),
        ] {
            let refused = ExtraChange::of_line("lines[3].extra", bad);
            let Err(Error::Invalid { field, .. }) = &refused else { panic!("{bad}: {refused:?}") };
            assert!(field.starts_with("lines[3].extra"), "{bad}: {field}");
        }
        let fits = format!(r#"{{"a":"{}"  }}"#, "x".repeat(EXTRA_LINE_BYTES_MAX - 8));
        assert!(ExtraChange::of_line("lines[3].extra", &fits).is_ok(), "blanks do not count");
        assert!(ExtraChange::of_order(&long).is_ok());
    }
}
