//! Values inside JSON bytes: found by pointer (RFC 6901), compared, and changed so that no other byte moves.
//!
//! Promises: integers are 64-bit; `5.0` and `5e0` are not integers. Of duplicate members the last one counts.
//! Data is JSON only if all of it is valid (RFC 8259) and UTF-8. Nothing is parsed into a tree: validation and
//! search are one pass a level, and nesting cannot exhaust the stack.
//!
//! Leaves out: array elements beyond the end (`/-`), and removing values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use proto::check::JSON_DEPTH_MAX;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::plain_json;

/// A change of bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Edit<'v> {
    /// What goes.
    pub(crate) range: Range<usize>,
    /// What comes in its place.
    pub(crate) text: Cow<'v, [u8]>,
}

/// The bytes of the value at `pointer`; `None` if the data is not JSON or the pointer leads nowhere.
pub(crate) fn find(data: &[u8], pointer: &str) -> Option<Range<usize>> {
    let text = std::str::from_utf8(data).ok()?;
    let value = value_at(text, pointer)?;
    Some(span(text, value))
}

/// The integer at `pointer` and its bytes; `None` besides if the value is no 64-bit integer.
pub(crate) fn find_integer(data: &[u8], pointer: &str) -> Option<(Range<usize>, i64)> {
    let range = find(data, pointer)?;
    // The grammar is checked: what parses as digits with an optional minus is an integer.
    let value = std::str::from_utf8(&data[range.clone()]).ok()?.parse().ok()?;
    Some((range, value))
}

/// How to set the value at `pointer`: in place of the one there, or as a new last member of the object above.
pub(crate) fn set<'v>(data: &[u8], pointer: &str, value: &'v [u8]) -> Option<Edit<'v>> {
    if let Some(range) = find(data, pointer) {
        return Some(Edit { range, text: value.into() });
    }
    let (above, name) = pointer.rsplit_once('/')?;
    let object = find(data, above)?;
    let inner = data[object.clone()].strip_prefix(b"{")?.strip_suffix(b"}")?;
    let name = serde_json::to_string(&unescaped(name)).ok()?;
    let comma = if inner.iter().all(|byte| byte.is_ascii_whitespace()) { "" } else { "," };
    let text = [comma.as_bytes(), name.as_bytes(), b":", value].concat();
    Some(Edit { range: object.end - 1..object.end - 1, text: text.into() })
}

/// Carries an edit out.
pub(crate) fn edited(data: &[u8], edit: &Edit<'_>) -> Vec<u8> {
    [&data[..edit.range.start], &edit.text, &data[edit.range.end..]].concat()
}

/// Whether two JSON texts say the same: strings byte for byte once unescaped, integers of any size by value,
/// other numbers as 64-bit floats (an integer never equals one of those), objects whatever their order.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    let texts = (std::str::from_utf8(one), std::str::from_utf8(other));
    let (Ok(one), Ok(other)) = texts else { return false };
    if one == other && plain_json::is_string(one) {
        return true;
    }
    let values = (serde_json::from_str::<&RawValue>(one), serde_json::from_str::<&RawValue>(other));
    let (Ok(one), Ok(other)) = values else { return false };
    same(one.get(), other.get(), JSON_DEPTH_MAX)
}

fn same(one: &str, other: &str, depth_left: usize) -> bool {
    match (one.as_bytes()[0], other.as_bytes()[0]) {
        (b'{', b'{') if depth_left > 0 => {
            type Members<'a> = BTreeMap<String, &'a RawValue>;
            let members = (serde_json::from_str::<Members>(one), serde_json::from_str::<Members>(other));
            let (Ok(one), Ok(other)) = members else { return false };
            let mut pairs = one.iter().zip(&other);
            one.len() == other.len()
                && pairs.all(|(a, b)| a.0 == b.0 && same(a.1.get(), b.1.get(), depth_left - 1))
        }
        (b'[', b'[') if depth_left > 0 => {
            type Elements<'a> = Vec<&'a RawValue>;
            let elements = (serde_json::from_str::<Elements>(one), serde_json::from_str::<Elements>(other));
            let (Ok(one), Ok(other)) = elements else { return false };
            let mut pairs = one.iter().zip(&other);
            one.len() == other.len() && pairs.all(|(a, b)| same(a.get(), b.get(), depth_left - 1))
        }
        (b'"', b'"') => {
            let strings = (serde_json::from_str::<String>(one), serde_json::from_str::<String>(other));
            matches!(strings, (Ok(one), Ok(other)) if one == other)
        }
        (b'-' | b'0'..=b'9', b'-' | b'0'..=b'9') => same_number(one, other),
        (b't' | b'f' | b'n', _) => one == other,
        _ => false,
    }
}

fn same_number(one: &str, other: &str) -> bool {
    let is_integer = |number: &str| !number.contains(['.', 'e', 'E']);
    match (is_integer(one), is_integer(other)) {
        // JSON has no leading zeros: but for the two zeros, equal integers are spelled alike.
        (true, true) => {
            one == other || (one.trim_start_matches('-') == "0" && other.trim_start_matches('-') == "0")
        }
        (false, false) => {
            one == other
                || matches!((one.parse::<f64>(), other.parse::<f64>()), (Ok(a), Ok(b)) if a == b && a.is_finite())
        }
        _ => false,
    }
}

/// Whether one of two pointers leads to a value inside that of the other, or to the same.
pub(crate) fn meet(one: &str, other: &str) -> bool {
    let (one, other) = (one.split('/').skip(1), other.split('/').skip(1));
    one.zip(other).all(|(one, other)| unescaped(one) == unescaped(other))
}

/// Whether two pointers lead to the same value of any document.
pub(crate) fn is_same_pointer(one: &str, other: &str) -> bool {
    one.matches('/').count() == other.matches('/').count() && meet(one, other)
}

fn value_at<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    let Some(segments) = pointer.strip_prefix('/') else {
        let whole = || serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get);
        return if pointer.is_empty() { whole() } else { None };
    };
    let mut value = text;
    for segment in segments.split('/') {
        let plain = if segment.contains('~') { None } else { plain_json::member(value, segment) };
        value = match plain {
            Some(found) => &value[found?],
            None => step(value, segment)?,
        };
    }
    Some(value)
}

/// The member or element that one segment names; reads all of `text`, so that what is not JSON shows.
fn step<'a>(text: &'a str, segment: &str) -> Option<&'a str> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = match text.trim_start_matches([' ', '\t', '\n', '\r']).as_bytes().first() {
        Some(b'{') => json.deserialize_map(Member(&unescaped(segment))),
        Some(b'[') => json.deserialize_seq(Element(index(segment)?)),
        _ => return None,
    };
    json.end().ok()?;
    found.ok().flatten().map(RawValue::get)
}

/// A segment as the name it means: `~1` is `/`, `~0` is `~`.
fn unescaped(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') {
        Cow::Owned(segment.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(segment)
    }
}

/// A segment as an index: digits without a leading zero.
fn index(segment: &str) -> Option<usize> {
    let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (segment.len() > 1 && segment.starts_with('0')) {
        return None;
    }
    segment.parse().ok()
}

fn span(text: &str, value: &str) -> Range<usize> {
    let start = value.as_ptr().addr() - text.as_ptr().addr();
    start..start + value.len()
}

/// Looks for the last member of this name.
struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(wanted) = members.next_key_seed(NameIs(self.0))? {
            if wanted {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a member's name is this one, without keeping it.
struct NameIs<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// Looks for the element of this index.
struct Element(usize);

impl<'de> Visitor<'de> for Element {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if elements.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = elements.next_element()?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// JSON, and what is nearly JSON.
    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            3 => "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            3 => "\"[a-e ]{0,20}\"",
            1 => "\"(é|ç|\\\\u00e9|\\\\n|\\\\\"|\t|\u{7f}|[a-z]){0,9}\"",
            1 => "true|false|null",
            1 => "[-+.0-9eE]{1,6}|nul|tru|\"|",
        ];
        let tree = leaf.prop_recursive(5, 40, 6, |inner| {
            let blank = "[ \n\t\r]{0,2}";
            let name = "\"[a-c]{0,2}\"|\"\\\\u0061\"";
            let member = (name, blank, inner.clone()).prop_map(|(name, blank, value)| format!("{blank}{name}:{value}{blank}"));
            prop_oneof![
                2 => proptest::collection::vec(member, 0..5).prop_map(|all| format!("{{{}}}", all.join(","))),
                1 => (proptest::collection::vec(inner, 0..4), blank).prop_map(|(all, blank)| format!("[{blank}{}{blank}]", all.join(","))),
            ]
        });
        let nested = (tree, 0..20usize).prop_map(|(tree, deep)| match deep {
            0..16 => tree,
            _ => format!("{{\"a\":{}{tree}{}}}", "[".repeat(deep - 3), "]".repeat(deep - 3)),
        });
        // One character of some is another.
        (nested, any::<prop::sample::Index>(), prop::option::weighted(0.4, "[]{}\",:0 a\\\\]")).prop_map(
            |(text, at, other)| {
                let mut all: Vec<char> = text.chars().collect();
                if let (Some(other), false) = (other, all.is_empty()) {
                    let at = at.index(all.len());
                    all.splice(at..=at, other.chars());
                }
                all.into_iter().collect()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        /// Or leave it to the parser.
        #[test]
        fn one_pass_over_plain_objects_finds_what_the_parser_finds(text in text(), name in "[a-c]{0,2}") {
            if let Some(found) = plain_json::member(&text, &name) {
                prop_assert_eq!(found, step(&text, &name).map(|value| span(&text, value)));
                prop_assert!(serde_json::from_str::<&RawValue>(&text).is_ok(), "it is JSON");
            }
            if plain_json::is_string(&text) {
                prop_assert!(serde_json::from_str::<String>(&text).is_ok());
            }
        }
    }

    #[test]
    fn records_are_plain_objects() {
        let stock = r#"{"initial":40,"adjusted":-2,"available":31, "held":7,"rules":{"least":0},"notes":["é", null]}"#;
        for name in ["initial", "rules", "notes", "none"] {
            let found = plain_json::member(stock, name).expect("plain");
            assert_eq!(found.map(|range| &stock[range]), step(stock, name), "{name}");
        }
        assert_eq!(plain_json::member(r#"{"a":"\n"}"#, "a"), None, "left to the parser");
    }

    fn at<'a>(data: &'a str, pointer: &str) -> Option<&'a str> {
        find(data.as_bytes(), pointer).map(|range| &data[range])
    }

    fn after_set(data: &str, pointer: &str, value: &str) -> Option<String> {
        let edit = set(data.as_bytes(), pointer, value.as_bytes())?;
        String::from_utf8(edited(data.as_bytes(), &edit)).ok()
    }

    #[test]
    fn pointers_lead_to_the_bytes_of_a_value() {
        let data = " { \"a\" : { \"b\" : [ 1 , {\"c\":\"x y\"} , null ] } , \"é\":\"ç\",\"\":0 } \n";
        assert_eq!(at(data, "/a/b/1/c"), Some("\"x y\""));
        assert_eq!(at(data, "/a/b/1"), Some("{\"c\":\"x y\"}"));
        assert_eq!(at(data, "/a/b/2"), Some("null"));
        assert_eq!(at(data, "/é"), Some("\"ç\""));
        assert_eq!(at(data, "/"), Some("0"));
        assert_eq!(at(data, ""), Some(data.trim()));
        for nowhere in ["/x", "/a/b/3", "/a/b/-", "/a/b/01", "/a/b/+1", "/a/b/", "/a/b/0/c", "/é/x", "a"] {
            assert_eq!(at(data, nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn names_are_compared_unescaped_on_both_sides() {
        assert_eq!(at(r#"{"a\/b":1,"c~d":2,"\u0065":3,"~1":4}"#, "/a~1b"), Some("1"));
        assert_eq!(at(r#"{"c~d":2}"#, "/c~0d"), Some("2"));
        assert_eq!(at(r#"{"\u0065\"":3}"#, "/e\""), Some("3"));
        assert_eq!(at(r#"{"~1":4,"/":5}"#, "/~01"), Some("4"));
    }

    #[test]
    fn the_last_of_duplicate_members_counts() {
        assert_eq!(at(r#"{"a":1,"b":0,"a":2}"#, "/a"), Some("2"));
        assert_eq!(after_set(r#"{"a":1,"a":2}"#, "/a", "3").as_deref(), Some(r#"{"a":1,"a":3}"#));
        assert!(equal(br#"{"a":1,"a":2}"#, br#"{"a":2}"#));
    }

    #[test]
    fn data_that_is_not_json_has_no_values() {
        for bad in
            ["", " ", "{", "{\"a\":1", "{\"a\":1}}", "{\"a\":1} x", "{\"a\":01}", "{\"a\":1,}", "{'a':1}"]
        {
            assert_eq!(at(bad, "/a"), None, "{bad}");
            assert_eq!(at(bad, ""), None, "{bad}");
        }
        assert_eq!(find(b"{\"a\":1,\"b\":\"\xff\"}", "/a"), None, "not UTF-8");
        let deep = format!("{{\"a\":1,\"b\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(at(&deep, "/a"), Some("1"), "nesting does not exhaust the stack");
    }

    #[test]
    fn integers_are_64_bit_and_spelled_as_integers() {
        let cases = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("5.0", None),
            ("5e0", None),
            ("1e3", None),
            ("\"5\"", None),
            ("null", None),
            ("[1]", None),
        ];
        for (text, expected) in cases {
            let data = format!("{{\"n\": {text} }}");
            assert_eq!(find_integer(data.as_bytes(), "/n").map(|found| found.1), expected, "{text}");
        }
        assert_eq!(find_integer(b" 7 ", ""), Some((1..2, 7)), "the whole document can be the integer");
    }

    #[test]
    fn pointers_meet_if_one_leads_on_from_the_other_at_the_border_of_a_name() {
        for (one, other) in
            [("", "/a"), ("", ""), ("/a", "/a/b"), ("/a~1b", "/a~1b/c"), ("/a/0", "/a/0"), ("/", "/")]
        {
            assert!(meet(one, other) && meet(other, one), "{one:?} {other:?}");
        }
        for (one, other) in [("/a", "/ab"), ("/a/b", "/a/c"), ("/a~1b", "/a/b"), ("/", "/a")] {
            assert!(!meet(one, other) && !meet(other, one), "{one:?} {other:?}");
        }
        assert!(is_same_pointer("/a~0/b", "/a~0/b") && is_same_pointer("/~2", "/~02"));
        assert!(!is_same_pointer("/a", "/a/b") && !is_same_pointer("", "/"));
    }

    #[test]
    fn setting_moves_no_other_byte() {
        let data = "{ \"a\" : 1 ,\n  \"b\" : [ 1, 2 ] }";
        assert_eq!(
            after_set(data, "/a", "\"x\"").as_deref(),
            Some("{ \"a\" : \"x\" ,\n  \"b\" : [ 1, 2 ] }")
        );
        assert_eq!(after_set(data, "/b/1", "{}").as_deref(), Some("{ \"a\" : 1 ,\n  \"b\" : [ 1, {} ] }"));
        assert_eq!(
            after_set(data, "/c", "3").as_deref(),
            Some("{ \"a\" : 1 ,\n  \"b\" : [ 1, 2 ] ,\"c\":3}")
        );
        assert_eq!(after_set(" {  } ", "/a~1\"", "1").as_deref(), Some(" {  \"a/\\\"\":1} "));
        assert_eq!(after_set(" 7 ", "", "8").as_deref(), Some(" 8 "));
        assert_eq!(after_set("{\"a\":{}}", "/a/b", "1").as_deref(), Some("{\"a\":{\"b\":1}}"));
        for nowhere in ["/b/2", "/b/-", "/x/y", "/a/x"] {
            assert_eq!(after_set(data, nowhere, "1"), None, "{nowhere}");
        }
    }

    #[test]
    fn values_are_equal_by_what_they_say() {
        let alike = [
            ("1", " 1 "),
            ("0", "-0"),
            ("18446744073709551617", "18446744073709551617"),
            ("1.50", "1.5"),
            ("1e3", "1000.0"),
            (r#""\u00e9""#, "\"é\""),
            (r#"{"a":[1,{"b":null}],"c":true}"#, r#" {"c": true,"a":[1, {"b":null}]}"#),
        ];
        for (one, other) in alike {
            assert!(equal(one.as_bytes(), other.as_bytes()), "{one} and {other}");
        }
        let unlike = [
            ("1", "1.0"),
            ("18446744073709551617", "18446744073709551616"),
            ("\"é\"", "\"e\u{301}\""),
            ("\"1\"", "1"),
            ("true", "false"),
            ("null", "0"),
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,2]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
            ("1e999", "2e999"),
            ("x", "x"),
        ];
        for (one, other) in unlike {
            assert!(!equal(one.as_bytes(), other.as_bytes()), "{one} and {other}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(equal(nested(JSON_DEPTH_MAX).as_bytes(), nested(JSON_DEPTH_MAX).as_bytes()));
        assert!(!equal(nested(JSON_DEPTH_MAX + 2).as_bytes(), nested(JSON_DEPTH_MAX + 2).as_bytes()));
    }
}
