//! The load of `portal-order`: CreateOrder at the client portals, by clients and of products that the admin portals made
//! beforehand: ids `bench-c-…` and `bench-p-…`.

use std::time::Duration;

use client_portal::operations::CreateOrder;
use futures::{StreamExt, TryStreamExt, stream};
use portal::transport::calling::over_http;
use portal::transport::mqtt_calling::Caller;
use proto::portal::shop_client::ShopClient;
use proto::portal::{CreateOrderRequest, LineChange};
use serde_json::json;
use tokio::time::timeout;

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
use crate::shop::via::{Way, place};

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
    /// To the client portals in turn.
    Grpc(Vec<NamedChannel>),
    Http(Vec<NamedChannel>),
    /// To the broker.
    Mqtt(Vec<Caller>),
}

impl Shop {
    /// A shop for as many callers as the plan has.
    ///
    /// # Errors
    /// No client portal is configured, or an address is none.
    pub fn new(loaded: &Loaded, plan: &Plan) -> Result<Shop, Failure> {
        let config = &loaded.config;
        let portals = &config.client_portals;
        if portals.is_empty() {
            return Err(Failure::usage("no client portal is configured"));
        }
        let callers = plan.clients_max();
        let channels = || {
            let all = portals.iter().cycle().take(callers.min(CONNECTIONS_MAX));
            let connected =
                all.map(|portal| Ok(named_channel::open(nodes::channel(&portal.listen)?, config.whose())));
            connected.collect::<Result<Vec<NamedChannel>, Failure>>()
        };
        let doors = match plan.via {
            Way::Grpc => Doors::Grpc(channels()?),
            Way::Http => Doors::Http(channels()?),
            Way::Mqtt => {
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
        let asking = async {
            match &self.doors {
                Doors::Grpc(channels) => {
                    let channel = channels[caller % channels.len()].clone();
                    ShopClient::new(channel).create_order(request).await
                }
                Doors::Http(channels) => {
                    over_http::<CreateOrder, _>(channels[caller % channels.len()].clone(), request).await
                }
                Doors::Mqtt(callers) => {
                    callers[caller % callers.len()].call::<CreateOrder>(request, self.patience).await
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
