//! The operation that reads the feed.

use portal::operation::{Effect, Operation};
use portal::transport::resource::{EVENTS_PAGE, Method, Resource};
use portal::{Error, Portal};
use proto::portal::{ListEventsRequest, ListEventsResponse};

use crate::events;

/// ListEvents.
#[derive(Debug)]
pub struct ListEvents;

impl Operation for ListEvents {
    const NAME: &'static str = "ListEvents";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/events").with(EVENTS_PAGE);
    type Request = ListEventsRequest;
    type Response = ListEventsResponse;

    async fn run(portal: &Portal, request: ListEventsRequest) -> Result<ListEventsResponse, Error> {
        events::list_events(portal, request).await
    }
}
