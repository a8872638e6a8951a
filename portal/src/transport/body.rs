//! A request's JSON, put together of what the transport says of it and its body.
//!
//! Promise: a member that is said in both is there twice, which whoever reads it refuses.

use serde_json::Value;

use crate::error::Error;

/// A member of the request: its name, and its value as JSON.
pub(super) type Member = (String, Value);

/// The inside of the object that a body is; none: nothing is in it.
pub(super) fn object(body: &[u8]) -> Result<&str, Error> {
    let text = str::from_utf8(body);
    let text = text.map_err(|error| Error::invalid("body", format!("is not UTF-8: {error}")))?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Ok("");
    }
    let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    inside.ok_or_else(|| Error::invalid("body", "is not a JSON object"))
}

/// That what is sent is JSON, if the sender says what it is.
pub(super) fn is_json(content_type: Option<&str>) -> Result<(), Error> {
    let media_type = content_type.unwrap_or("application/json").split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Error::invalid("content-type", format!("{media_type:?}; application/json is read")))
}

/// One object of members and what is inside another.
pub(super) fn merged(members: &[Member], inside: &str) -> Vec<u8> {
    let written = "text and numbers are JSON";
    let mut text = Vec::with_capacity(inside.len() + 64 * members.len() + 2);
    text.push(b'{');
    for (at, (name, value)) in members.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, name).expect(written);
        text.push(b':');
        serde_json::to_writer(&mut text, value).expect(written);
    }
    if !inside.trim().is_empty() {
        if !members.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(inside.as_bytes());
    }
    text.push(b'}');
    text
}

/// When a request id was made, milliseconds since 1970, if it says so: a UUID of version 7 does (RFC 9562). 0: it does not.
pub(super) fn made_ms(id: &str) -> i64 {
    let uuid = uuid::Uuid::parse_str(id).ok().filter(|id| id.get_version_num() == 7);
    let made = uuid.and_then(|id| id.get_timestamp()).map(|made| made.to_unix());
    let made_ms = made.and_then(|(seconds, nanos)| {
        i64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(i64::from(nanos) / 1_000_000)
    });
    made_ms.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_an_object_does_not_hide_what_the_transport_said() {
        let path = [("cid".to_owned(), Value::from("ana"))];
        for body in [
            r#"{"lines":[]},{"cid":"bia"}"#,
            r#"{}{"cid":"bia"}"#,
            r#"{"cid":"bia"}"#,
            "{}}",
            r#"{"a":1}, "cid":"bia"}"#,
        ] {
            let text = merged(&path, object(body.as_bytes()).expect("it looks like one"));
            let read = serde_json::from_slice::<proto::portal::CreateOrderRequest>(&text);
            assert!(read.is_err(), "{body}: {read:?}");
        }
        let text = merged(&path, object(b" { } ").expect("empty"));
        assert_eq!(text, br#"{"cid":"ana"}"#);
        assert!(object(b"[]").is_err() && object(&[0xff]).is_err() && object(b"{").is_err());
    }

    #[test]
    fn an_id_that_carries_its_time_needs_no_other() {
        assert_eq!(
            made_ms("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
            1_645_557_742_000,
            "the example of RFC 9562, A.6"
        );
        assert_eq!((made_ms("8e03978e-40d5-43dd-bc93-6894a57f9324"), made_ms("r-1")), (0, 0));
    }
}
