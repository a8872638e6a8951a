//! The administrators' portal: the gRPC service `feira.portal.v1.Admin`, one file a group of operations.
//!
//! ```text
//!   service ──► clients · products · stock        one transaction each (`portal::attempt`)
//!          ├──► orders · newest                     read: listed, shown
//!          ├──► import_order                        one transaction (`portal::order_import`)
//!          ├──► order_changes                       one transaction each (`portal::order_change`, `portal::order_move`)
//!          ├──► shop                                the rules of all portals
//!          ├──► events                              what was done, from a cursor on
//!          ├──► sales                               what was sold in a span of time, added up from the feed
//!          ├──► settle                              what became of an earlier request (`portal::settle`)
//!          ├──► delete_client · delete_product ──► holders: the open orders in the way, listed or worked off
//!          └──► reindex                             the rows by which lists are sorted, made anew
//!   deletions ──► delete_client · delete_product     what a portal began that died
//! ```
//!
//! Promises: every write is one transaction, but for cascades: those set the document to closing, work off what holds it
//! in bounded batches, and delete it last; a cascade that was interrupted is taken up again by the same (or another)
//! request, and by any other admin portal ([`portal::deletion`]). A repeated request id changes nothing twice. A deletion that is refused lists what holds the document. Stock
//! moves inside the log's order, and never below zero.
//!
//! Leaves out: documents, cache, errors, start and stop (the crate `portal`); orders as their clients make them
//! (`client-portal`); proofs of
//! administrators: every caller that reaches the port is one.

mod clients;
mod delete_client;
mod delete_product;
mod deletions;
mod events;
mod holders;
mod import_order;
mod newest;
pub mod operations;
mod order_changes;
mod orders;
mod products;
mod reindex;
mod sales;
mod service;
mod settle;
mod shop;
mod stock;

use std::sync::Arc;

use portal::serve::{Serving, Stop};
use portal::{Config, Portal};

pub use events::EventStream;

/// The name of the gRPC service.
pub const SERVICE: &str = service::NAME;

/// Runs an admin portal until `stop` is ready.
///
/// The future fails if the portal cannot start, or its server failed.
#[must_use]
pub fn serve(config: Config, stop: Stop) -> Serving {
    let service = portal::serve::Service {
        name: service::NAME,
        routes: service::routes,
        operations: operations::ALL,
        tells_events: true,
        tends: Some(|portal| Box::pin(deletions::run(portal))),
        topics: None,
    };
    Box::pin(portal::serve::run(config, stop, service))
}

/// The service without a server, for callers in this process: each call is a request of one portal.
#[must_use]
pub fn admin(
    portal: Arc<Portal>,
) -> impl proto::portal::admin_server::Admin<WatchEventsStream = EventStream> {
    service::Service(portal)
}
