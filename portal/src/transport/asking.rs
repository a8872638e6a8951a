//! The caller's side of HTTP: a message and its request id as a request, and the answer to it as a message.
//!
//! Promise: what [`super::http`] makes of the request is the message again, with the same digest.
//!
//! Leaves out: connections, retries.

use std::collections::BTreeMap;

use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::{HeaderName, HeaderValue, Method as HttpMethod, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proto::portal::RequestId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tonic::Status;

use super::resource::{IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_CREATED, Method, Of, Resource};
use crate::error::Error;

/// A message's members, each as its own JSON.
type Members = BTreeMap<String, Box<RawValue>>;

/// The request of an operation at this place; its path stands for the whole address.
///
/// # Errors
/// A member cannot be in a path or a header: INVALID_ARGUMENT, as the portal would say.
///
/// # Panics
/// If the message has not the members of the path: our own bug.
pub fn request(
    resource: Resource,
    message: &impl Serialize,
    id: Option<&RequestId>,
) -> Result<Request<Vec<u8>>, Error> {
    let text = serde_json::to_string(message).expect("our messages are JSON");
    let mut members: Members = serde_json::from_str(&text).expect("each is an object");
    let mut ids = Vec::new();
    for name in resource.path.names() {
        let id = taken(&mut members, name);
        if id.is_empty() {
            // A path without it is another.
            return Err(Error::invalid(name, "is empty"));
        }
        ids.push(id);
    }
    let mut path = resource.path.filled(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut separator = '?';
    for parameter in resource.query {
        let value = taken(&mut members, parameter.name);
        let is_left_out = match parameter.of {
            Of::Text | Of::State | Of::Word(_) => value.is_empty(),
            Of::Number | Of::Time => value == "0",
            Of::Flag => value == "false",
        };
        if !is_left_out {
            path +=
                &format!("{separator}{}={}", parameter.name, utf8_percent_encode(&value, NON_ALPHANUMERIC));
            separator = '&';
        }
    }
    let mut request = Request::new(Vec::new());
    let mut headers = Vec::new();
    if resource.matches {
        let etag = taken(&mut members, "if_match");
        headers.extend((etag != "0").then(|| (IF_MATCH, format!("\"{etag}\""))));
    }
    if let Some(id) = id.filter(|id| !id.id.is_empty()) {
        // One pair of quotes is taken off there: what is inside, quotes and blanks too, is the id.
        headers.push((HeaderName::from_static(IDEMPOTENCY_KEY), format!("\"{}\"", id.id)));
        headers.push((HeaderName::from_static(IDEMPOTENCY_KEY_CREATED), id.created_ms.to_string()));
    }
    for (name, text) in headers {
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| Error::invalid(name.as_str(), "has characters that no header can have"))?;
        // Each request has another: no compression need remember them.
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    if resource.method.has_body() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = serde_json::to_vec(&members).expect("each of them was JSON");
    }
    *request.method_mut() = method(resource.method);
    *request.uri_mut() = path.parse().map_err(|error| Error::invalid("path", format!("{error}")))?;
    Ok(request)
}

const fn method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::GET,
        Method::Post => HttpMethod::POST,
        Method::Put => HttpMethod::PUT,
        Method::Patch => HttpMethod::PATCH,
        Method::Delete => HttpMethod::DELETE,
    }
}

/// Takes a member out, as text.
fn taken(members: &mut Members, name: &str) -> String {
    let value = members.remove(name).unwrap_or_else(|| panic!("the message has no {name}"));
    match serde_json::from_str(value.get()) {
        Ok(Value::String(text)) => text,
        _ => value.get().to_owned(),
    }
}

/// What an answer of this status (that of HTTP) says: the message, or why there is none. A portal's own error is the status that it
/// sends over gRPC.
///
/// # Errors
/// As the portal says. UNIMPLEMENTED: there is no such operation; UNAVAILABLE: it was not a portal that answered, and what became of
/// the request is not known.
pub fn answer<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, Status> {
    if (200..300).contains(&status) {
        let read = serde_json::from_slice(body);
        return read
            .map_err(|error| Status::unknown(format!("the answer is not what was asked for: {error}")));
    }
    let document: Option<Value> = serde_json::from_slice(body).ok();
    if let Some(error) = document.as_ref().and_then(Error::from_problem) {
        return Err(error.into());
    }
    let detail = document.and_then(|document| document.get("detail")?.as_str().map(str::to_owned));
    let said = detail.unwrap_or_else(|| format!("something else than a portal answered ({status})"));
    Err(if matches!(status, 404 | 405) { Status::unimplemented(said) } else { Status::unavailable(said) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::resource::{CASCADE, PAGE};
    use proto::portal::{DeleteClientRequest, ListOrdersRequest, ModifyOrderRequest};

    #[test]
    fn a_message_is_a_request_with_each_member_in_its_place() {
        let id = RequestId { id: "r-1".into(), created_ms: 5 };
        let resource = Resource::new(Method::Patch, "/v1/clients/{cid}/orders/{oid}").matching();
        let message = ModifyOrderRequest {
            cid: "ana maria".into(),
            oid: "7".into(),
            if_match: 9,
            ..ModifyOrderRequest::default()
        };
        let sent = request(resource, &message, Some(&id)).expect("a request");
        assert_eq!(sent.uri(), "/v1/clients/ana%20maria/orders/7");
        assert_eq!(
            (sent.headers()[IF_MATCH].as_bytes(), sent.body().as_slice()),
            (&b"\"9\""[..], &b"{\"extra\":null,\"lines\":[]}"[..])
        );
        assert_eq!(sent.headers()[IDEMPOTENCY_KEY], "\"r-1\"");
        let list = Resource::new(Method::Get, "/v1/clients/{cid}/orders").with(PAGE);
        let message = ListOrdersRequest { cid: "ana".into(), limit: 3, after: "a&b".into() };
        let sent = request(list, &message, None).expect("a request");
        assert_eq!(
            (sent.uri().to_string().as_str(), sent.body().len()),
            ("/v1/clients/ana/orders?limit=3&after=a%26b", 0)
        );
        let zero = ListOrdersRequest { cid: "ana".into(), limit: 0, after: "0".into() };
        assert_eq!(
            request(list, &zero, None).expect("a request").uri(),
            "/v1/clients/ana/orders?after=0",
            "an id is text, whatever it looks like"
        );
        let deletion = Resource::new(Method::Delete, "/v1/clients/{cid}").with(CASCADE).matching();
        let message = DeleteClientRequest { cid: "ana".into(), cascade: true, ..Default::default() };
        assert_eq!(
            request(deletion, &message, None).expect("a request").uri(),
            "/v1/clients/ana?cascade=true"
        );
    }

    #[test]
    fn an_answer_that_no_portal_gave_is_no_word_of_the_shop() {
        for body in [&b"<html>502</html>"[..], br#"{"status":502,"detail":"upstream timed out"}"#] {
            let status = answer::<ListOrdersRequest>(502, body).expect_err("no portal");
            assert_eq!(status.code(), tonic::Code::Unavailable, "a gateway knows of no outcome");
        }
        let there_is_none = br#"{"type":"about:blank","status":404,"detail":"there is nothing at /x"}"#;
        let status = answer::<ListOrdersRequest>(404, there_is_none).expect_err("nothing there");
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
}
