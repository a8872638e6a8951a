//! JSON documents as people give them: one `{…}`, or NAME=VALUE words.
//!
//! Promises: a document goes out with the bytes it was given in, so that a price never passes through binary
//! floating point; a value is an integer, true, false, null, or JSON where it reads as such, else text (and
//! `NAME='"17"'` is text for certain).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::failure::Failure;

/// What was given.
#[derive(Debug)]
pub enum Document {
    /// A whole document, as JSON text of an object.
    Whole(String),
    /// Members to set.
    Members(Members),
}

/// The members of an object, each as JSON text.
pub type Members = BTreeMap<String, Box<RawValue>>;

/// Understands the words of a document.
///
/// # Errors
/// Neither a JSON object nor NAME=VALUE words.
pub fn of_words(words: &[String]) -> Result<Document, Failure> {
    match words {
        [one] if one.trim_start().starts_with('{') => {
            members_of(one)?;
            Ok(Document::Whole(one.trim().to_owned()))
        }
        [first, ..] if first.trim_start().starts_with('{') => {
            Err(Failure::usage("a JSON document must be one word")
                .next("put it in single quotes: '{\"name\": \"Ana\"}'"))
        }
        words => {
            let mut members = Members::new();
            for word in words {
                let (name, value) = pair(word)?;
                if members.contains_key(&name) {
                    return Err(twice(&name));
                }
                members.insert(name, value);
            }
            Ok(Document::Members(members))
        }
    }
}

impl Document {
    /// Its members.
    ///
    /// # Errors
    /// Not an object: cannot be, since [`of_words`] checked it.
    pub fn members(&self) -> Result<Members, Failure> {
        match self {
            Document::Whole(text) => members_of(text),
            Document::Members(members) => Ok(members.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
        }
    }

    /// The same with a decimal point in this member, where a person typed `NAME=1,99`. Whole documents keep their bytes.
    #[must_use]
    pub fn with_point(mut self, name: &str) -> Document {
        if let Document::Members(members) = &mut self
            && let Some(text) = text_member(members, name)
            && let Some(number) = with_point(&text)
        {
            members.insert(name.to_owned(), value(&number.into()));
        }
        self
    }

    /// The text to send.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Document::Whole(text) => text.clone(),
            Document::Members(members) => text_of(members),
        }
    }
}

/// A name comes twice: nobody can say which of the two is meant.
#[must_use]
pub fn twice(name: &str) -> Failure {
    Failure::usage(format!("{name:?} is given twice")).next("leave one of the two")
}

/// The members of a JSON object.
///
/// # Errors
/// It is not one.
pub fn members_of(text: &str) -> Result<Members, Failure> {
    serde_json::from_str(text).map_err(|e| {
        Failure::usage(format!("the data is not a JSON object: {e}"))
            .next("write '{\"name\": \"Ana\"}' or name=Ana")
    })
}

/// JSON text of these members.
#[must_use]
pub fn text_of(members: &Members) -> String {
    serde_json::to_string(members).expect("members are JSON already")
}

/// A JSON value as a member.
#[must_use]
pub fn value(json: &serde_json::Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(json).expect("a value is JSON")
}

/// A member that is text.
#[must_use]
pub fn text_member(members: &Members, name: &str) -> Option<String> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// `1,99` as `1.99`: a comma before one or two digits is a decimal comma. `None`: it is no such number; before three
/// digits a comma may stand between thousands, and is not guessed at.
#[must_use]
pub fn with_point(text: &str) -> Option<String> {
    let (whole, decimals) = text.split_once(',')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(decimals) && decimals.len() <= 2).then(|| format!("{whole}.{decimals}"))
}

/// What a person typed as a value.
#[must_use]
pub fn typed(text: &str) -> Box<RawValue> {
    let integer = text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    let json = integer || ["true", "false", "null"].contains(&text) || text.starts_with(['{', '[', '"']);
    if json && let Ok(raw) = RawValue::from_string(text.to_owned()) {
        return raw;
    }
    value(&serde_json::Value::from(text))
}

fn pair(word: &str) -> Result<(String, Box<RawValue>), Failure> {
    match word.split_once('=') {
        Some((name, text)) if !name.is_empty() && !name.trim_start().starts_with('{') => {
            Ok((name.to_owned(), typed(text)))
        }
        _ => Err(Failure::usage(format!("{word:?} is not NAME=VALUE"))
            .next("write name='Maria Silva' city=Recife, or a JSON object in single quotes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Document, Failure> {
        of_words(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn pairs_become_members_with_the_types_they_read_as() {
        let given =
            ["name=Ana", "age=41", "zip=01310", "vip=true", "tags=[1,2]", "n=\"7\"", "price=2.50", "x="];
        let text = words(&given).unwrap().text();
        assert_eq!(
            text,
            r#"{"age":41,"n":"7","name":"Ana","price":"2.50","tags":[1,2],"vip":true,"x":"","zip":"01310"}"#
        );
    }

    #[test]
    fn a_whole_document_keeps_its_bytes() {
        let text = r#"{"price": 2.5000, "b":1}"#;
        assert_eq!(words(&[text]).unwrap().text(), text);
    }

    #[test]
    fn a_decimal_comma_becomes_a_point_where_it_is_certain() {
        let price = |words: &[&str]| self::words(words).unwrap().with_point("price").text();
        assert_eq!(price(&["price=1,99", "note=1,99"]), r#"{"note":"1,99","price":"1.99"}"#);
        assert_eq!(price(&["price=12,5"]), r#"{"price":"12.5"}"#);
        for kept in ["1,999", "1.000,50", ",5", "5,", "1,2,3", "1.99"] {
            assert_eq!(price(&[&format!("price={kept}")]), format!(r#"{{"price":"{kept}"}}"#));
        }
        assert_eq!(price(&[r#"{"price":"1,99"}"#]), r#"{"price":"1,99"}"#);
    }

    #[test]
    fn what_is_no_document_is_explained() {
        assert!(words(&["{\"a\":", "1}"]).unwrap_err().to_string().contains("single quotes"));
        assert!(words(&["{\"a\":1"]).unwrap_err().to_string().contains("not a JSON object"));
        assert!(words(&["name"]).unwrap_err().to_string().contains("NAME=VALUE"));
        assert!(words(&["=x"]).is_err());
    }

    #[test]
    fn a_name_that_is_given_twice_is_refused_as_in_json() {
        let failure = words(&["price=1", "name=x", "price=9"]).unwrap_err();
        assert!(failure.to_string().contains("\"price\" is given twice"), "{failure}");
        assert!(words(&["a=1", "{\"b\":\"x=y\"}"]).is_err(), "a document is no name");
    }
}
