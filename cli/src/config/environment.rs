//! Values from outside the file: variables (`FEIRA_PORTAL__LEASE_MS=500`) and flags (`--set portal.lease_ms=500`).
//!
//! A variable that begins as ours do and names no key is somebody else's: Kubernetes and docker set `FEIRA_PORT=tcp://…`
//! beside a service of the name feira. Such are left alone and told of once. The key, not the value, decides whether a
//! value is text: a cluster may be called 2026.

use std::collections::BTreeMap;
use std::ffi::OsString;

use figment::value::Value;

use super::shape::Config;
use crate::failure::Failure;

/// How our variables begin.
const PREFIX: &str = "FEIRA_";
/// What stands in a variable's name for the dot of a key.
const DOT: &str = "__";
/// Variables of ours that are no values of the configuration, without their beginning.
const NOT_VALUES: [&str; 3] = ["config", "parent", "history"];

/// What a key's value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Text,
    Other,
}

/// A value for a key.
#[derive(Clone, PartialEq, Debug)]
pub struct Override {
    /// The key, such as `portal.lease_ms`.
    pub key: String,
    /// Where it comes from, for people.
    pub from: String,
    /// The value.
    pub value: Value,
}

/// What the environment says.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Environment {
    /// Values for keys.
    pub overrides: Vec<Override>,
    /// Variables that begin as ours do and name no key.
    pub strangers: Vec<String>,
}

impl Environment {
    /// What this process's environment says.
    ///
    /// # Errors
    /// A value is not UTF-8.
    pub fn read() -> Result<Environment, Failure> {
        Environment::of(std::env::vars_os())
    }

    fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, Failure> {
        let keys = keys();
        let mut environment = Environment::default();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = beginning_cut(name) else { continue };
            let key = rest.to_ascii_lowercase().replace(DOT, ".");
            if NOT_VALUES.contains(&key.as_str()) {
                continue;
            }
            let Some(wanted) = keys.get(&key) else {
                environment.strangers.push(name.to_owned());
                continue;
            };
            let text = value.to_str().ok_or_else(|| {
                Failure::usage(format!("the variable {name} has a value that is not UTF-8"))
            })?;
            let value = valued(*wanted, text);
            environment.overrides.push(Override { key, from: format!("the variable {name}"), value });
        }
        environment.strangers.sort();
        Ok(environment)
    }

    /// The one warning about variables that are somebody else's.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        if self.strangers.is_empty() {
            return None;
        }
        let names = self.strangers.join(", ");
        Some(format!("warning: left alone, because no key of the configuration is called so: {names}"))
    }
}

/// A flag `KEY=VALUE`; `None`: it is none.
#[must_use]
pub fn flag(pair: &str) -> Option<Override> {
    let (key, text) = pair.split_once('=')?;
    let key = key.trim().to_owned();
    let wanted = keys().get(&key).copied().unwrap_or(Wanted::Other);
    let value = valued(wanted, text);
    Some(Override { from: format!("--set {key}"), key, value })
}

/// A variable's name without the beginning that ours have, in whatever case.
fn beginning_cut(name: &str) -> Option<&str> {
    let begins = name.get(..PREFIX.len())?.eq_ignore_ascii_case(PREFIX);
    begins.then(|| &name[PREFIX.len()..])
}

/// A key that wants text gets it as it is, or what stands in quotes; any other whatever it would be in TOML.
///
/// Read by `toml`, as the file is, and not by figment's own `Value::from_str`: that one (0.10.19) counts characters where
/// it cuts bytes, and so loses letters of a quoted text with accents before an escape, or panics.
fn valued(wanted: Wanted, text: &str) -> Value {
    match (wanted, text.parse::<toml::Value>()) {
        (_, Ok(toml::Value::String(quoted))) => Value::from(quoted),
        (Wanted::Text, _) | (Wanted::Other, Err(_) | Ok(toml::Value::Datetime(_))) => Value::from(text),
        (Wanted::Other, Ok(parsed)) => Value::serialize(parsed).unwrap_or_else(|_| Value::from(text)),
    }
}

/// Every key that has a value, and whether that is text. Lists are one value.
fn keys() -> BTreeMap<String, Wanted> {
    let mut keys = BTreeMap::new();
    let all = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut open = vec![(String::new(), all)];
    while let Some((key, value)) = open.pop() {
        match value {
            serde_json::Value::Object(members) => {
                let below = |name: String| if key.is_empty() { name } else { format!("{key}.{name}") };
                open.extend(members.into_iter().map(|(name, value)| (below(name), value)));
            }
            serde_json::Value::String(_) => drop(keys.insert(key, Wanted::Text)),
            _ => drop(keys.insert(key, Wanted::Other)),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Environment::of(owned.collect::<Vec<_>>().into_iter()).unwrap()
    }

    #[test]
    fn variables_of_somebody_else_are_left_alone_and_named_once() {
        let told = environment(&[
            ("FEIRA_PORT", "tcp://10.0.0.1:7411"),
            ("FEIRA_STORE_SERVICE_HOST", "10.0.0.1"),
            ("FEIRA_PORTAL", "x"),
            ("FEIRA_CONFIG", "feira.toml"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(told.overrides, []);
        assert_eq!(told.strangers, ["FEIRA_PORT", "FEIRA_PORTAL", "FEIRA_STORE_SERVICE_HOST"]);
        let warning = told.warning().unwrap();
        assert!(told.strangers.iter().all(|name| warning.contains(name.as_str())), "{warning}");
        assert_eq!(environment(&[("FEIRA_LOG", "info")]).warning(), None);
    }

    #[test]
    fn a_key_that_wants_text_gets_text() {
        for (text, wanted) in [("2026", "2026"), ("true", "true"), ("\"2026\"", "2026"), ("a-b", "a-b")] {
            let value = Value::from(wanted);
            assert_eq!(environment(&[("FEIRA_CLUSTER", text)]).overrides[0].value.as_str(), value.as_str());
            let flag = flag(&format!("cluster={text}")).unwrap();
            assert_eq!((flag.key.as_str(), flag.value.as_str()), ("cluster", value.as_str()));
        }
        for (text, wanted) in [
            (r#""Açaí da praça\t""#, "Açaí da praça\t"),
            (r#""éé\u00e9é""#, "éééé"),
            ("açaí", "açaí"),
            (r"açaí\n", r"açaí\n"),
            ("'açaí'", "açaí"),
            (r#""açaí"#, r#""açaí"#),
        ] {
            for key in ["cluster", "store.map_bytes"] {
                assert_eq!(flag(&format!("{key}={text}")).unwrap().value.as_str(), Some(wanted), "{text}");
            }
        }
        assert_eq!(flag("portal.lease_ms=500").unwrap().value.to_i128(), Some(500));
        assert_eq!(flag("lease"), None);
    }
}
