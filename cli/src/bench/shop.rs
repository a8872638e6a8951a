//! The load of `portal-order` and `get-product`: CreateOrder and GetProduct at the client portals, by clients and of products that
//! the admin portals made beforehand: ids `bench-c-…` and `bench-p-…`.

use std::time::Duration;

use client_portal::SERVICE;
use client_portal::operations::{CreateOrder, GetProduct};
use futures::{StreamExt, TryStreamExt, stream};
use portal::operation::Operation;
use portal::transport::calling::{over_grpc, over_http};
use portal::transport::mqtt_calling::Caller;
use proto::portal::{CreateOrderRequest, LineChange, ShopGetProductRequest};
use serde_json::json;
use tokio::time::timeout;
use tonic::Request;

use super::kept::Kept;
use super::lane::{Lane, Way};
use super::orders::{SHOPPERS, STOCK};
use super::plan::Plan;
use super::reason;
use super::unary::CONNECTIONS_MAX;
use crate::admin::{clients, products};
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::reach::named_channel::{self, NamedChannel};
use crate::reach::nodes;
use crate::reach::portals::Portals;
use crate::reach::request::request_id;
use crate::shop::via::place;

/// Clients and products under way at once beforehand.
const IN_FLIGHT: usize = 32;

/// Connections to the broker, at most: over each many requests are under way.
const BROKER_CONNECTIONS_MAX: usize = 16;

/// The shop.
pub struct Shop {
    doors: Doors,
    /// How many products are ordered, each as often.
    products: u64,
    /// An operation is given up after it.
    patience: Duration,
}

/// Connections, which callers use in turn; a caller has its own while there are enough.
enum Doors {
    /// To the client portals in turn, or to what is asked beside them.
    Grpc(Vec<NamedChannel>),
    /// To the client portals in turn, over HTTP/1.1.
    Http(Vec<Kept>),
    /// The same over HTTP/2.
    Http2(Vec<NamedChannel>),
    /// To the broker.
    Mqtt(Vec<Caller>),
}

impl Shop {
    /// A shop for as many callers as the plan has, in this lane.
    ///
    /// # Errors
    /// No client portal is configured, or an address is none.
    pub fn new(loaded: &Loaded, plan: &Plan, lane: &Lane) -> Result<Shop, Failure> {
        let config = &loaded.config;
        let portals: Vec<&str> = match lane {
            Lane::Cluster(_) => config.client_portals.iter().map(|portal| &*portal.listen).collect(),
            Lane::Beside(address) => vec![address],
        };
        if portals.is_empty() {
            return Err(Failure::usage("no client portal is configured"));
        }
        let callers = plan.clients_max();
        let each = || portals.iter().cycle().take(callers.min(CONNECTIONS_MAX));
        let channels = || {
            let connected =
                each().map(|address| Ok(named_channel::open(nodes::channel(address)?, config.whose())));
            connected.collect::<Result<Vec<NamedChannel>, Failure>>()
        };
        let doors = match lane {
            Lane::Cluster(Way::Grpc) | Lane::Beside(_) => Doors::Grpc(channels()?),
            Lane::Cluster(Way::Http) => Doors::Http(
                each().map(|address| Kept::new(address, config.whose())).collect::<Result<_, _>>()?,
            ),
            Lane::Cluster(Way::Http2) => Doors::Http2(channels()?),
            Lane::Cluster(Way::Mqtt) => {
                let place = place(&config.broker.listen, loaded)?;
                let count = callers.min(BROKER_CONNECTIONS_MAX);
                Doors::Mqtt((0..count).map(|_| Caller::new(place.clone())).collect())
            }
        };
        let patience = Duration::from_secs(config.tool.patience_seconds);
        Ok(Shop { doors, products: plan.products(), patience })
    }

    /// Makes clients and products, as far as an earlier run has not.
    ///
    /// # Errors
    /// The first that was not made.
    pub async fn prepare(&self, admin: &Portals) -> Result<(), Failure> {
        let one = |number: u64| async move {
            let made = if number < SHOPPERS {
                let data = json!({ "name": format!("Bench {number}") }).to_string();
                clients::insert(admin, &cid(number), &data, None).await.map(drop)
            } else {
                let data =
                    json!({ "description": "A product of the bench", "price": "2.55", "quantity": STOCK });
                products::insert(admin, &pid(number - SHOPPERS), &data.to_string(), None, None)
                    .await
                    .map(drop)
            };
            match made {
                Err(failure) if failure.reason == "ALREADY_EXISTS" => Ok(()),
                made => made,
            }
        };
        let all = stream::iter((0..SHOPPERS + self.products).map(one));
        all.buffer_unordered(IN_FLIGHT).try_for_each(|()| async { Ok(()) }).await
    }

    /// Places an order of one unit of any product, by any client.
    ///
    /// # Errors
    /// The reason in a word.
    pub async fn order(&self, caller: usize) -> Result<(), String> {
        let line =
            LineChange { pid: pid(fastrand::u64(..self.products)), quantity: 1, ..LineChange::default() };
        let request = CreateOrderRequest {
            cid: cid(fastrand::u64(..SHOPPERS)),
            lines: vec![line],
            request: Some(request_id(None)),
            ..CreateOrderRequest::default()
        };
        self.ask::<CreateOrder>(caller, request).await
    }

    /// Looks at any product, as any client.
    ///
    /// # Errors
    /// The reason in a word.
    pub async fn product(&self, caller: usize) -> Result<(), String> {
        let request = ShopGetProductRequest {
            cid: cid(fastrand::u64(..SHOPPERS)),
            pid: pid(fastrand::u64(..self.products)),
        };
        self.ask::<GetProduct>(caller, request).await
    }

    async fn ask<O: Operation>(&self, caller: usize, request: O::Request) -> Result<(), String> {
        let asking = async {
            match &self.doors {
                Doors::Grpc(channels) => {
                    let channel = channels[caller % channels.len()].clone();
                    over_grpc::<O, _>(channel, SERVICE, Request::new(request)).await
                }
                Doors::Http(kept) => over_http::<O, _>(kept[caller % kept.len()].clone(), request).await,
                Doors::Http2(channels) => {
                    over_http::<O, _>(channels[caller % channels.len()].clone(), request).await
                }
                Doors::Mqtt(callers) => {
                    callers[caller % callers.len()].call::<O>(request, self.patience).await
                }
            }
        };
        match timeout(self.patience, asking).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(reason::of_status(&status)),
            Err(_) => Err(reason::NO_ANSWER.to_owned()),
        }
    }
}

fn cid(shopper: u64) -> String {
    format!("bench-c-{shopper:03}")
}

fn pid(product: u64) -> String {
    format!("bench-p-{product:04}")
}
