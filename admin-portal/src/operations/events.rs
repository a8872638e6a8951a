//! The operations that read the feed.

use portal::operation::{Effect, Operation};
use portal::transport::resource::{EVENTS_PAGE, Method, Resource, SALES_PAGE};
use portal::{Error, Portal};
use proto::portal::{GetSalesRequest, ListEventsRequest, ListEventsResponse, Sales};

use crate::{events, sales};

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

/// GetSales.
#[derive(Debug)]
pub struct GetSales;

impl Operation for GetSales {
    const NAME: &'static str = "GetSales";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/sales").with(SALES_PAGE);
    type Request = GetSalesRequest;
    type Response = Sales;

    async fn run(portal: &Portal, request: GetSalesRequest) -> Result<Sales, Error> {
        sales::get_sales(portal, &request).await
    }
}
