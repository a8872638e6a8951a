//! The feed over HTTP as server-sent events: `GET /v1/events/stream`.
//!
//! ```text
//!   GET /v1/events/stream?after=1:17.5&pid=pen          or with the header Last-Event-ID: 1:17.5
//!   id: 1:18.4
//!   data: {"cursor":"1:18.4","did":"created", …}
//! ```
//!
//! Who asks again with the id of the last event that he has (browsers do that by themselves) is given what follows. An `id` without data comes now and then: it says
//! that the portal is there, and where the reader stands. What ends the stream is its last event, `error`, with problem details as its data.
//!
//! Source: the HTML standard, 9.2 (server-sent events).

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use axum::routing::get;
use futures::future::ready;
use futures::{StreamExt as _, stream};
use proto::portal::ListEventsResponse;
use serde_json::Value;

use super::http::{in_query, only, refused, unread};
use super::problem::problem;
use super::resource::{Of, Parameter};
use crate::error::Error;
use crate::feed::Wanted;
use crate::handle::Portal;
use crate::limits::REQUEST_BYTES_MAX;

/// Where it is.
pub const PATH: &str = "/v1/events/stream";
/// The header with the id of the last event that a reader has.
const LAST_EVENT_ID: &str = "last-event-id";
/// The parameters of the query.
pub const PARAMETERS: &[Parameter] = &[
    Parameter { name: "after", of: Of::Text },
    Parameter { name: "cid", of: Of::Text },
    Parameter { name: "pid", of: Of::Text },
    Parameter { name: "oid", of: Of::Text },
];

/// A comment: what is told first, so that the caller has the head of the answer before there is an event, and its admission ends.
const BEGINNING: &[u8] = b":\n\n";

/// Its route.
pub(crate) fn router(portal: &Arc<Portal>) -> Router {
    let portal = Arc::clone(portal);
    Router::new().route(
        PATH,
        get(move |request: Request| {
            let portal = Arc::clone(&portal);
            async move { watched(&portal, request).await.unwrap_or_else(refused) }
        }),
    )
}

async fn watched(portal: &Arc<Portal>, request: Request) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    // To its end, as every request.
    axum::body::to_bytes(body, REQUEST_BYTES_MAX).await.map_err(|error| unread(&error))?;
    let mut members = in_query(parts.uri.query().unwrap_or(""), PARAMETERS)?;
    let mut member = |name: &str| {
        let at = members.iter().position(|(one, _)| one == name)?;
        match members.swap_remove(at).1 {
            Value::String(text) => Some(text),
            _ => None,
        }
    };
    let mut of = |name: &str| member(name).unwrap_or_default();
    let wanted = Wanted { cid: of("cid"), pid: of("pid"), oid: of("oid") };
    // A browser that connects again names what it has; the query still says where it began.
    let after = match only(&parts.headers, LAST_EVENT_ID)? {
        Some(last) if !last.is_empty() => last.to_owned(),
        _ => of("after"),
    };
    let pages = portal.watch_events(&after, wanted).await?;
    let text = pages.map(|page| page.map_or_else(ended, |page| told(&page)));
    let text = stream::once(ready(Bytes::from_static(BEGINNING))).chain(text).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A page of events. At its end is where to go on from, which a browser keeps, without an event: who asked for few, or from now on, has it too.
fn told(page: &ListEventsResponse) -> Bytes {
    let mut text = Vec::new();
    for event in &page.events {
        text.extend_from_slice(format!("id: {}\ndata: ", event.cursor).as_bytes());
        // JSON without indentation has no line's end in it.
        text.extend_from_slice(&serde_json::to_vec(event).expect("our answers are JSON"));
        text.extend_from_slice(b"\n\n");
    }
    if page.events.last().is_none_or(|last| last.cursor != page.next) {
        text.extend_from_slice(format!("id: {}\n\n", page.next).as_bytes());
    }
    text.into()
}

fn ended(error: Error) -> Bytes {
    Bytes::from(format!("event: error\ndata: {}\n\n", problem(error)))
}
