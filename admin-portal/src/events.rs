//! ListEvents and WatchEvents: what was done in the shop, from a cursor on (`portal::feed`).

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use portal::feed::Wanted;
use portal::limits::FEED_WAIT_MS_MAX;
use portal::{Error, Portal};
use proto::portal::{ListEventsRequest, ListEventsResponse, WatchEventsRequest};
use tonic::Status;

/// Pages of events, as they come.
pub type EventStream = BoxStream<'static, Result<ListEventsResponse, Status>>;

pub(crate) async fn list_events(
    portal: &Portal,
    input: ListEventsRequest,
) -> Result<ListEventsResponse, Error> {
    let ListEventsRequest { after, limit, wait_ms, cid, pid, oid } = input;
    if wait_ms > FEED_WAIT_MS_MAX {
        return Err(Error::invalid("wait_ms", format!("{wait_ms} is more than {FEED_WAIT_MS_MAX}")));
    }
    let cursor = portal.feed_cursor(&after).await?;
    portal.events(&cursor, limit, Duration::from_millis(wait_ms.into()), &Wanted { cid, pid, oid }).await
}

/// The first page comes at once, and says where the reader stands. Further ones without events come only if he stands elsewhere since, so that a
/// filter keeps nobody from going on.
pub(crate) async fn watch_events(
    portal: &Arc<Portal>,
    input: WatchEventsRequest,
) -> Result<EventStream, Error> {
    let WatchEventsRequest { after, cid, pid, oid } = input;
    let pages = portal.watch_events(&after, Wanted { cid, pid, oid }).await?;
    let mut told: Option<String> = None;
    let says = move |page: Result<ListEventsResponse, Error>| {
        let is_told = match &page {
            Ok(page) => !page.events.is_empty() || told.as_ref() != Some(&page.next),
            Err(_) => true,
        };
        told = page.as_ref().ok().map(|page| page.next.clone());
        futures::future::ready(is_told.then(|| page.map_err(Status::from)))
    };
    Ok(pages.filter_map(says).boxed())
}
