//! One line of a history: its members in memory, and what can be asked of them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It was asked.
    Invoke,
    /// It was answered.
    Ok,
    /// It did not run and never will.
    Fail,
    /// Nobody knows whether it ran or will run.
    Info,
}

/// One line. `Display` writes it, without the end of the line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The process.
    pub p: u64,
    /// What happened.
    pub t: Event,
    /// The function.
    pub f: String,
    /// The key: a string, or an integer, which means its digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<Value>,
    /// The value; null is a value, `None` is no `v` at all.
    #[serde(default, deserialize_with = "if_there", skip_serializing_if = "Option::is_none")]
    pub v: Option<Value>,
    /// The result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<bool>,
    /// A version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The record found; null: there was none.
    #[serde(default, deserialize_with = "if_there", skip_serializing_if = "Option::is_none")]
    pub seen: Option<Option<Seen>>,
}

/// A record as an answer showed it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// What was in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v: Option<Value>,
}

/// Tells a member that is null from one that is not there.
fn if_there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Line {
    /// A line that says nothing more than this. An empty key is left out.
    pub(crate) fn new(process: u64, event: Event, function: &str, key: &str) -> Line {
        let k = (!key.is_empty()).then(|| Value::from(key));
        Line { p: process, t: event, f: function.to_owned(), k, v: None, r: None, n: None, seen: None }
    }

    /// The key as text.
    pub(crate) fn key(&self) -> Result<String, String> {
        match &self.k {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(key)) => Ok(key.clone()),
            Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
            Some(other) => Err(format!("k is {other}: a key is a string or an integer")),
        }
    }

    /// The value that a function needs.
    pub(crate) fn value(&self) -> Result<Value, String> {
        let value = self.v.clone().ok_or_else(|| format!("v is missing: {} has one", self.f))?;
        exact(&value)?;
        Ok(value)
    }

    /// The text that a function needs.
    pub(crate) fn text(&self) -> Result<String, String> {
        match self.value()? {
            Value::String(text) => Ok(text),
            other => Err(format!("v is {other}: {} has a string", self.f)),
        }
    }
}

/// Refuses numbers that are not exact: two that differ could be read as one.
pub(crate) fn exact(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.is_f64() => {
            Err(format!("{number} is no 64-bit integer: write other numbers as strings"))
        }
        Value::Array(values) => values.iter().try_for_each(exact),
        Value::Object(members) => members.values().try_for_each(exact),
        _ => Ok(()),
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}
