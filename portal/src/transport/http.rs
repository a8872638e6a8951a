//! HTTP/JSON, on the port of gRPC: one route an operation, made from the portal's list.
//!
//! ```text
//!   POST /v1/clients/{cid}/orders          path, query, If-Match ─► members of the request
//!   Idempotency-Key: "…"                   ─► its id              body ─► the other members
//! ```
//!
//! Promises: what a request says is said once: a member that is in the path is not in the body too. A request whose
//! `Idempotency-Key` was seen before is answered as it was then, over whichever transport it came. Every refusal is problem
//! details ([`super::problem`]), those for which there is no operation (404, 405) too.
//!
//! Sources: RFC 9110 (HTTP), 9457 (problem details), draft-ietf-httpapi-idempotency-key-header.
//!
//! Leaves out: bounds on connections and bytes (the crate `admission`), CORS (there is none: browsers of other origins are kept
//! out), and who the caller is.

use std::error::Error as _;
use std::sync::Arc;

use axum::RequestPartsExt as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
    LOCATION, RETRY_AFTER,
};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use percent_encoding::percent_decode_str;
use proto::portal::RequestId;
use serde_json::{Value, json};
use tonic::Status;

use super::body::{Member, is_json, made_ms, merged, object};
use super::openapi;
use super::problem::{MEDIA_TYPE, problem};
use super::resource::{IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_CREATED, Method, OPENAPI, Of, Parameter};
use crate::error::Error;
use crate::handle::Portal;
use crate::limits::REQUEST_BYTES_MAX;
use crate::operation::{Answered, Asked, Effect, Registered, Told};
use crate::session::SESSION_HEADER;

/// When a caller who was told to wait may try again, seconds.
const RETRY_AFTER_S: &str = "1";

/// The routes of a portal's operations.
pub fn router(portal: &Arc<Portal>, service: &'static str, operations: &'static [Registered]) -> Router {
    let mut router = Router::new();
    for operation in operations {
        let portal = Arc::clone(portal);
        let handler = move |request: Request| answer(Arc::clone(&portal), operation, request);
        router = router.route(operation.resource.path.0, on(filter(operation.resource.method), handler));
    }
    let description = Bytes::from(openapi::of(service, operations));
    let described = move |request: Request| {
        let description = description.clone();
        async move {
            // To its end, as every request.
            match axum::body::to_bytes(request.into_body(), REQUEST_BYTES_MAX).await {
                Ok(_) => answered(StatusCode::OK, "application/json", description),
                Err(error) => refused(unread(&error)),
            }
        }
    };
    router.route(OPENAPI, on(MethodFilter::GET, described)).method_not_allowed_fallback(not_allowed)
}

const fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

/// What is answered where there is nothing, neither for HTTP nor for gRPC.
pub async fn nothing_here(request: Request) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("application/grpc")) {
        return Status::unimplemented("").into_http();
    }
    let why = format!("there is nothing at {}; {OPENAPI} says what there is", shown(request.uri()));
    without_operation(StatusCode::NOT_FOUND, "not found", &why)
}

async fn not_allowed(request: Request) -> Response {
    let why = format!("{} has no {}; {OPENAPI} says what there is", shown(request.uri()), request.method());
    without_operation(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", &why)
}

/// A path as it is told, cut to a length.
fn shown(uri: &Uri) -> String {
    uri.path().chars().take(200).collect()
}

fn without_operation(status: StatusCode, title: &str, why: &str) -> Response {
    let document = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": why });
    answered(status, MEDIA_TYPE, document.to_string().into())
}

async fn answer(portal: Arc<Portal>, operation: &'static Registered, request: Request) -> Response {
    let asked = match asked(operation, request).await {
        Ok(asked) => asked,
        Err(error) => return refused(error),
    };
    let Answered { done, token } = operation.run(portal, asked).await;
    let mut response = done.map_or_else(refused, told);
    if let Some(token) = token {
        response.headers_mut().insert(SESSION_HEADER, token.header());
    }
    response
}

/// What a request asks.
async fn asked(operation: &Registered, request: Request) -> Result<Asked, Error> {
    let (mut parts, body) = request.into_parts();
    // To its end, whatever is in it: only then the call has begun, and has room.
    let body = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await.map_err(|error| unread(&error))?;
    let mut members = in_path(&mut parts).await?;
    members.extend(in_query(parts.uri.query().unwrap_or(""), operation.resource.query)?);
    members.extend(if_match(&parts.headers, operation.resource.matches)?);
    if operation.effect == Effect::Changes {
        no_other_condition(&parts.headers)?;
    }
    let body = match operation.resource.method.has_body() {
        true => {
            is_json(only(&parts.headers, CONTENT_TYPE.as_str())?)?;
            object(&body)?
        }
        false if body.is_empty() => "",
        false => return Err(Error::invalid("body", "is not looked at here: leave it out")),
    };
    let session = only(&parts.headers, SESSION_HEADER)?.map(str::to_owned);
    Ok(Asked { text: merged(&members, body), id: id(&parts.headers)?, session })
}

/// Why a body could not be read.
pub(super) fn unread(error: &axum::Error) -> Error {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<Status>().and_then(Error::from_status) {
            return error;
        }
        if cause.is::<http_body_util::LengthLimitError>() {
            return Error::too_large();
        }
        source = cause.source();
    }
    Error::invalid("body", format!("did not come whole: {error}"))
}

async fn in_path(parts: &mut Parts) -> Result<Vec<Member>, Error> {
    let places =
        parts.extract::<RawPathParams>().await.map_err(|error| Error::invalid("path", error.to_string()))?;
    Ok(places.iter().map(|(name, id)| (name.to_owned(), id.into())).collect())
}

pub(super) fn in_query(query: &str, parameters: &[Parameter]) -> Result<Vec<Member>, Error> {
    let mut members: Vec<Member> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded("query", name)?, decoded(name, value)?);
        let Some(parameter) = parameters.iter().find(|one| one.name == name) else {
            let known: Vec<&str> = parameters.iter().map(|one| one.name).collect();
            let known = if known.is_empty() {
                "there are none".to_owned()
            } else {
                format!("known are {}", known.join(", "))
            };
            return Err(Error::invalid(name, format!("is no parameter here; {known}")));
        };
        if members.iter().any(|(one, _)| *one == name) {
            return Err(Error::invalid(name, "is given twice"));
        }
        let value = match parameter.of {
            Of::Text | Of::State | Of::Word(_) => Value::String(value),
            Of::Number | Of::Time => number(&name, &value)?.into(),
            Of::Flag => match value.as_str() {
                "true" => true.into(),
                "false" => false.into(),
                _ => return Err(Error::invalid(name, "is true or false")),
            },
        };
        members.push((name, value));
    }
    Ok(members)
}

fn number(name: &str, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::invalid(name, format!("{text:?} is no whole number")))
}

fn decoded(field: &str, text: &str) -> Result<String, Error> {
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8();
    text.map(|text| text.into_owned()).map_err(|_| Error::invalid(field, "is not UTF-8"))
}

/// The version that the caller saw.
fn if_match(headers: &HeaderMap, is_looked_at: bool) -> Result<Option<Member>, Error> {
    let Some(text) = only(headers, IF_MATCH.as_str())? else { return Ok(None) };
    if !is_looked_at {
        return Err(Error::invalid("if-match", "is not looked at here: leave it out"));
    }
    if text == "*" {
        return Ok(None);
    }
    let etag = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse::<u64>().ok());
    let why = "is the one ETag that was answered, such as \"17\", or *";
    let etag = etag.filter(|etag| *etag > 0).ok_or_else(|| Error::invalid("if-match", why))?;
    Ok(Some(("if_match".to_owned(), etag.into())))
}

/// A condition that is not understood must not be passed over by a change (RFC 9110, 13.2).
fn no_other_condition(headers: &HeaderMap) -> Result<(), Error> {
    match [IF_NONE_MATCH, IF_UNMODIFIED_SINCE].iter().find(|name| headers.contains_key(*name)) {
        Some(name) => {
            Err(Error::invalid(name.as_str(), "is not looked at here: leave it out, or use If-Match"))
        }
        None => Ok(()),
    }
}

/// The request's id: a string of structured fields (RFC 8941) or the bare text.
fn id(headers: &HeaderMap) -> Result<Option<RequestId>, Error> {
    let Some(text) = only(headers, IDEMPOTENCY_KEY)? else { return Ok(None) };
    let id = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if id.is_empty() {
        return Err(Error::invalid(IDEMPOTENCY_KEY, "is empty"));
    }
    let created_ms = match only(headers, IDEMPOTENCY_KEY_CREATED)? {
        Some(text) => i64::try_from(number(IDEMPOTENCY_KEY_CREATED, text)?).unwrap_or(i64::MAX),
        None => made_ms(id),
    };
    Ok(Some(RequestId { id: id.to_owned(), created_ms }))
}

/// The value of a header that comes once at most.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(name) {
            Err(Error::invalid(name, "is given twice"))
        } else {
            Ok(None)
        };
    };
    let text =
        value.to_str().map_err(|_| Error::invalid(name, "has characters that are not printable ASCII"))?;
    Ok(Some(text.trim()))
}

fn told(told: Told) -> Response {
    let status = if told.location.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = answered(status, "application/json", told.text.into());
    let etag = told.etag.map(|etag| (ETAG, format!("\"{etag}\"")));
    let location = told.location.map(|location| (LOCATION, location));
    for (name, text) in etag.into_iter().chain(location) {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer to what was not done.
pub(crate) fn refused(error: Error) -> Response {
    let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answered(status, MEDIA_TYPE, problem(error).to_string().into());
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

fn answered(status: StatusCode, media_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::super::resource::SALES_PAGE;
    use super::*;
    use crate::calendar::UtcOffset;

    #[test]
    fn an_offset_from_utc_is_understood_in_a_query_with_its_sign_as_it_is_and_escaped() {
        for (query, text) in [
            ("utc_offset=+05:30", "+05:30"),
            ("utc_offset=%2B05:30", "+05:30"),
            ("utc_offset=%2b05%3A30", "+05:30"),
            ("utc_offset=-03:00", "-03:00"),
        ] {
            let members = in_query(query, SALES_PAGE).expect(query);
            let [(name, Value::String(value))] = &members[..] else { panic!("{members:?}") };
            let place = UtcOffset::parse(value);
            assert!(name == "utc_offset" && place.is_some() && place == UtcOffset::parse(text), "{query}");
        }
    }
}
