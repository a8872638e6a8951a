//! The shoppers' portal: the gRPC service `feira.portal.v1.Shop`, one file a group of operations.
//!
//! Every operation takes the CID, and only registered clients get past it. An order change is one transaction of the
//! store (`portal::change`), which is also what makes 64 clients on one product fair: nobody retries for stock.

mod browse;
mod cancel;
mod confirm;
mod create;
mod list;
mod modify;
mod service;

use std::sync::Arc;

use portal::serve::{Serving, Stop};
use portal::{Config, Portal};

/// Runs a client portal until `stop` is ready.
///
/// The future fails if the portal cannot start, or its server failed.
#[must_use]
pub fn serve(config: Config, stop: Stop) -> Serving {
    Box::pin(portal::serve::run(config, stop, service::NAME, service::routes))
}

/// The service without a server, for whoever calls it in this process: each call is a request of one portal.
#[must_use]
pub fn shop(portal: Arc<Portal>) -> impl proto::portal::shop_server::Shop {
    service::Service(portal)
}
