//! The trail of one client, product or order, or of all, page by page.

use portal::id::Oid;
use proto::portal::admin_client::AdminClient;
use proto::portal::{Event, ListEventsRequest, ListEventsResponse};

use crate::admin::paging::{Listing, Part, gather};
use crate::failure::Failure;
use crate::reach::places::READ;
use crate::reach::portals::Portals;

/// Events, the oldest first; `wanted` has no page.
///
/// # Errors
/// FAILED_PRECONDITION: what follows the cursor is kept no more; or as every call.
pub async fn list(
    portals: &Portals,
    wanted: &ListEventsRequest,
    part: Part<'_>,
) -> Result<Listing<Event>, Failure> {
    gather(part, async |limit, after| {
        let message = ListEventsRequest { limit, after, ..wanted.clone() };
        let rpc = |channel, message| async move { AdminClient::new(channel).list_events(message).await };
        let page: ListEventsResponse = portals.send(READ, message, rpc).await?;
        let next = if page.more { page.next } else { String::new() };
        Ok((page.events, next, None))
    })
    .await
}

/// All events of what has this id: an order, else a client and a product.
///
/// # Errors
/// As [`list`].
pub async fn of_id(portals: &Portals, id: &str) -> Result<Vec<Event>, Failure> {
    let of = |wanted: ListEventsRequest| async move { list(portals, &wanted, Part::default()).await };
    let id = id.to_owned();
    if Oid::parse(&id).is_some() {
        return Ok(of(ListEventsRequest { oid: id, ..ListEventsRequest::default() }).await?.items);
    }
    let of_client = of(ListEventsRequest { cid: id.clone(), ..ListEventsRequest::default() }).await?;
    let of_product = of(ListEventsRequest { pid: id, ..ListEventsRequest::default() }).await?;
    let mut events = of_client.items;
    let is_new = |event: &Event| !events.iter().any(|there| there.cursor == event.cursor);
    let more: Vec<Event> = of_product.items.into_iter().filter(is_new).collect();
    events.extend(more);
    events.sort_by_key(|event| (event.at_ms, event.group, event.offset));
    Ok(events)
}
