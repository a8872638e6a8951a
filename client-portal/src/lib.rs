//! The shoppers' portal: the gRPC service `feira.portal.v1.Shop`, one file a group of operations.
//!
//! ```text
//!   service ──► create · modify · confirm · cancel   each one transaction (`portal::order_write`, `portal::order_change`)
//!          ├──► settle                               what became of an earlier request (`portal::settle`)
//!          └──► list · browse                        reads through the cache, lists past it
//! ```
//!
//! Promises: every operation takes the CID, and only registered clients get past it, to their own orders only. An order
//! change is one transaction of the store, all or nothing, which is also what makes 64 clients on one product fair:
//! nobody retries for stock. A repeated request id changes nothing twice; what a lost answer left unknown, the same
//! request settles. No refusal rests on the cache alone.
//!
//! Leaves out: documents, cache, errors, start and stop (the crate `portal`); clients, products and stock
//! (`admin-portal`); passwords: knowledge of a CID is enough to be that client.

mod browse;
mod cancel;
mod confirm;
mod create;
mod list;
mod modify;
pub mod operations;
mod service;
mod settle;

use std::sync::Arc;

use portal::serve::{Serving, Stop};
use portal::{Config, Portal};

/// The word of its operations in the topics of requests.
pub const TOPICS: &str = "shop";

/// The name of the gRPC service.
pub const SERVICE: &str = service::NAME;

/// Runs a client portal until `stop` is ready.
///
/// The future fails if the portal cannot start, or its server failed.
#[must_use]
pub fn serve(config: Config, stop: Stop) -> Serving {
    let service = portal::serve::Service {
        name: service::NAME,
        routes: service::routes,
        operations: operations::ALL,
        tells_events: false,
        tends: None,
        topics: Some(TOPICS),
    };
    Box::pin(portal::serve::run(config, stop, service))
}

/// The service without a server, for callers in this process: each call is a request of one portal.
#[must_use]
pub fn shop(portal: Arc<Portal>) -> impl proto::portal::shop_server::Shop {
    service::Service(portal)
}
