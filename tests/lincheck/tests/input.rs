//! Input that is no history: each is refused, with its line and what is wrong with it.
#![allow(clippy::unwrap_used)]

use std::io::{BufReader, Cursor, Read};

use feira_lincheck::Limits;
use feira_lincheck::dialect::check::{FileReport, ModelName, check_lines};
use feira_lincheck::dialect::{InputError, LINE_BYTES_MAX};

fn check(text: &str, model: Option<ModelName>) -> Result<FileReport, InputError> {
    check_lines(Cursor::new(text), model, &Limits::default())
}

/// The refusal of a file.
fn refusal(lines: &[&str]) -> String {
    check(&lines.join("\n"), None).unwrap_err().to_string()
}

const WRITE: &str = r#"{"p": 1, "t": "invoke", "f": "write", "v": 1}"#;
const WRITTEN: &str = r#"{"p": 1, "t": "ok", "f": "write"}"#;

#[test]
fn what_is_no_event_is_refused_with_its_line() {
    for (line, what) in [
        ("garbage", "line 2: no event of a history: expected value (column 1)"),
        (r#"{"p": 1, "t": "ok""#, "line 2: no event of a history: EOF while parsing an object"),
        ("[1, 2]", "line 2: no event of a history: "),
        ("\u{0}\u{1}", "line 2: no event of a history: expected value"),
        (r#"{"p": 1, "f": "write"}"#, "missing field `t`"),
        (r#"{"p": -1, "t": "ok", "f": "write"}"#, "invalid value: integer `-1`"),
        (r#"{"p": 1, "t": "done", "f": "write"}"#, "unknown variant `done`"),
        (r#"{"p": 1, "p": 2, "t": "ok", "f": "write"}"#, "duplicate field `p`"),
        (r#"{"p": 2, "t": "invoke", "f": "write"}"#, "v is missing: write has one"),
        (r#"{"p": 2, "t": "invoke", "f": "write", "v": 1.5}"#, "1.5 is no 64-bit integer"),
        (r#"{"p": 2, "t": "invoke", "f": "write", "v": 18446744073709551616}"#, "is no 64-bit integer"),
        (r#"{"p": 2, "t": "invoke", "f": "write", "k": [1], "v": 1}"#, "a key is a string or an integer"),
        (r#"{"p": 2, "t": "invoke", "f": "cas", "v": [1]}"#, "v has 1 values: a cas has [from, to]"),
        (r#"{"p": 2, "t": "invoke", "f": "cas", "v": 1}"#, "v is 1: a cas has [from, to]"),
        (r#"{"p": 2, "t": "invoke", "f": "frobnicate"}"#, "\"frobnicate\", a function of none of the models"),
    ] {
        let said = refusal(&[WRITE, line]);
        assert!(said.starts_with("line 2: ") && said.contains(what), "{line}: {said}");
    }
}

#[test]
fn events_out_of_turn_are_refused() {
    assert_eq!(refusal(&[WRITTEN]), "line 1: process 1 has asked nothing that this could complete");
    assert_eq!(
        refusal(&[WRITE, WRITTEN, "", WRITTEN]),
        "line 4: process 1 has asked nothing that this could complete"
    );
    assert_eq!(
        refusal(&[WRITE, WRITE]),
        "line 2: process 1 asks again, but its call of line 1 has no completion"
    );
    for (other, what) in [
        (r#"{"p": 1, "t": "ok", "f": "read", "v": 1}"#, r#""write", not "read""#),
        (r#"{"p": 1, "t": "ok", "f": "write", "v": 2}"#, "1, not 2"),
        (r#"{"p": 1, "t": "info", "f": "write", "k": "x"}"#, r#"of key "", not "x""#),
    ] {
        let said = refusal(&[WRITE, other]);
        assert_eq!(said, format!("line 2: process 1 asked something else in line 1: {what}"));
    }
}

#[test]
fn answers_must_say_what_they_are_for() {
    for (call, answer, what) in [
        (r#""f": "cas", "v": [1, 2]"#, r#""f": "cas""#, "the ok of a cas says whether it matched"),
        (r#""f": "read""#, r#""f": "read""#, "v is missing: read has one"),
        (r#""f": "append", "v": "a"}"#, "", ""),
        (r#""f": "append", "v": 7"#, "", "v is 7: append has a string"),
        (r#""f": "set", "v": null"#, "", "that stands for absence"),
        (r#""f": "delete-version""#, "", "n is missing: delete-version has a version"),
        (r#""f": "set", "v": 1"#, r#""f": "set""#, "the ok of set says whether it was done"),
        (
            r#""f": "set", "v": 1"#,
            r#""f": "set", "r": false, "n": 4"#,
            "only a write that was done leaves a version",
        ),
        (
            r#""f": "delete""#,
            r#""f": "delete", "r": true, "n": 4"#,
            "only a write that was done leaves a version",
        ),
        (r#""f": "test-and-set", "n": 1, "v": 1"#, r#""f": "test-and-set""#, "says whether it was done"),
    ] {
        let call = format!(r#"{{"p": 1, "t": "invoke", {}}}"#, call.trim_end_matches('}'));
        let answer =
            if answer.is_empty() { String::new() } else { format!(r#"{{"p": 1, "t": "ok", {answer}}}"#) };
        let checked = check(&format!("{call}\n{answer}"), None);
        match checked {
            Ok(_) => assert_eq!(what, "", "{call} {answer}"),
            Err(error) => {
                assert!(!what.is_empty() && error.to_string().contains(what), "{call} {answer}: {error}");
            }
        }
    }
    let records =
        [r#"{"p": 1, "t": "invoke", "f": "get"}"#, r#"{"p": 1, "t": "ok", "f": "get", "v": null, "n": 3}"#];
    assert!(refusal(&records).contains("what is absent has none"), "{}", refusal(&records));
    let put = check(
        "{\"p\": 1, \"t\": \"invoke\", \"f\": \"put\", \"v\": 1}\n{\"p\": 1, \"t\": \"ok\", \"f\": \"put\", \"r\": false}",
        Some(ModelName::Records),
    );
    assert!(put.unwrap_err().to_string().contains("a put is never refused"));
}

#[test]
fn functions_of_two_models_are_refused() {
    let get = r#"{"p": 2, "t": "invoke", "f": "get"}"#;
    let append = r#"{"p": 3, "t": "invoke", "f": "append", "v": "a"}"#;
    let set = r#"{"p": 4, "t": "invoke", "f": "set", "v": "a"}"#;
    for (lines, what) in [
        (
            [WRITE, get],
            r#"line 2: "get" does not go with what is asked before: "write" is of the model cas-register"#,
        ),
        (
            [get, WRITE],
            r#"line 2: "write" does not go with what is asked before: "get" is of the model kv-append"#,
        ),
        (
            [append, set],
            r#"line 2: "set" does not go with what is asked before: "append" is of the model kv-append"#,
        ),
        (
            [set, append],
            r#"line 2: "append" does not go with what is asked before: "set" is of the model records"#,
        ),
    ] {
        assert_eq!(refusal(&lines), what);
    }
    let named = check(append, Some(ModelName::CasRegister)).unwrap_err().to_string();
    assert_eq!(named, r#"line 1: the model cas-register has no function "append""#);
}

#[test]
fn gets_and_puts_alone_are_records_if_they_tell_versions_or_absence() {
    let get = r#"{"p": 2, "t": "invoke", "f": "get"}"#;
    let found =
        |rest: &str| check(&format!("{get}\n{{\"p\": 2, \"t\": \"ok\", \"f\": \"get\", {rest}}}"), None);
    assert_eq!(found(r#""v": """#).unwrap().model, Some(ModelName::KvAppend));
    assert_eq!(found(r#""v": null"#).unwrap().model, Some(ModelName::Records));
    let versioned = found(r#""v": "a", "n": 1"#).unwrap();
    assert_eq!((versioned.model, versioned.word), (Some(ModelName::Records), "not-linearizable"));
}

#[test]
fn a_line_without_end_is_refused_without_being_kept() {
    let endless = BufReader::new(std::io::repeat(b'x').take(1 << 40));
    let error = check_lines(endless, None, &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("line 1: longer than {LINE_BYTES_MAX} bytes"));
    let long =
        format!("{}\n", r#"{"p": 1, "t": "invoke", "f": "write", "v": ""#) + &"x".repeat(LINE_BYTES_MAX);
    assert!(matches!(check(&format!("{WRITE}\n{long}"), None), Err(InputError::NoEvent { line: 2, .. })));
    let deep = format!("{}{}", r#"{"p": 1, "t": "invoke", "f": "write", "v": "#, "[".repeat(100_000));
    assert!(refusal(&[&deep]).contains("recursion limit exceeded"));
}

#[test]
fn what_is_no_text_is_refused() {
    let mut bytes = WRITE.as_bytes().to_vec();
    bytes.extend(b"\n{\"p\": 1, \"t\": \"ok\", \"f\": \"\xff\"}\n");
    let error = check_lines(Cursor::new(bytes), None, &Limits::default()).unwrap_err();
    assert!(error.to_string().starts_with("line 2: no event of a history: invalid unicode"), "{error}");
}

#[test]
fn an_empty_file_fits_every_model() {
    let checked = check("\n \n", None).unwrap();
    assert_eq!((checked.model, checked.operations, checked.word), (None, 0, "linearizable"));
}

#[test]
fn names_of_models_are_read_and_written() {
    for name in ModelName::NAMES {
        assert_eq!(name.parse::<ModelName>().unwrap().to_string(), name);
    }
    assert!("queue".parse::<ModelName>().unwrap_err().contains("cas-register, kv-append, records"));
}
