//! The shoppers' portal over each of its transports, with the calls of a gRPC client: a suite that knows one of them knows all.

use std::sync::Arc;
use std::time::Duration;

use client_portal::operations::{
    BrowseProducts, CancelOrder, ConfirmOrder, CreateOrder, GetOrder, GetProduct, ListOrders, ModifyOrder,
};
use portal::operation::Operation;
use portal::transport::calling::{answered_within, over_grpc, over_http};
use portal::transport::mqtt_calling::{Caller, Place};
use proto::portal::{
    BrowseProductsRequest, BrowseProductsResponse, CreateOrderRequest, GetOrderRequest, ListOrdersRequest,
    ListOrdersResponse, ModifyOrderRequest, Order, OrderRequest, Product, ShopGetProductRequest,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::cluster::{Cluster, PATIENCE};

/// How a portal is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// gRPC.
    Grpc,
    /// HTTP/JSON.
    Http,
    /// Request and response over mosquitto.
    Mosquitto,
    /// Request and response over the embedded broker.
    EmbeddedBroker,
}

/// Where requests of shoppers go at a cluster's broker.
///
/// # Panics
/// The broker's address is none.
#[must_use]
pub fn place(cluster: &Cluster) -> Place {
    let broker = cluster.mosquitto.as_ref().map(|own| own.address.to_string());
    let broker = broker.unwrap_or_else(|| cluster.address("broker").to_owned());
    let (host, port) = broker.split_once(':').expect("host:port");
    let port = port.parse().expect("a port");
    let (host, cluster) = (host.to_owned(), "test".to_owned());
    Place { host, port, login: None, cluster, cluster_id: None, service: client_portal::TOPICS.to_owned() }
}

impl Via {
    /// All of them.
    pub const ALL: [Via; 4] = [Via::Grpc, Via::Http, Via::Mosquitto, Via::EmbeddedBroker];
}

/// Says which way it was, if a test fails while this is there.
#[derive(Debug)]
pub struct Told(pub Via);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the shoppers came via {:?}", self.0);
        }
    }
}

/// One portal, asked in one way; over a broker, whichever it chooses.
#[derive(Clone)]
pub struct Shop {
    way: Way,
    patience: Duration,
}

#[derive(Clone)]
enum Way {
    Grpc(Channel),
    Http(Channel),
    Mqtt(Arc<Caller>),
}

impl Shop {
    /// This portal of a cluster.
    #[must_use]
    pub fn new(via: Via, cluster: &Cluster, name: &str) -> Shop {
        let way = match via {
            Via::Grpc => Way::Grpc(cluster.channel(name)),
            Via::Http => Way::Http(cluster.channel(name)),
            Via::Mosquitto | Via::EmbeddedBroker => Way::Mqtt(Arc::new(Caller::new(place(cluster)))),
        };
        Shop { way, patience: PATIENCE }
    }

    /// Waits for an answer no longer than this.
    #[must_use]
    pub fn within(self, patience: Duration) -> Shop {
        Shop { patience, ..self }
    }

    /// Any operation.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn call<O: Operation>(
        &self,
        request: Request<O::Request>,
    ) -> Result<Response<O::Response>, Status> {
        // The caller over a broker keeps the time itself, and says more of it.
        let asking = async {
            match self.way.clone() {
                Way::Grpc(channel) => over_grpc::<O, _>(channel, client_portal::SERVICE, request).await,
                Way::Http(channel) => over_http::<O, _>(channel, request.into_inner()).await,
                Way::Mqtt(caller) => caller.call::<O>(request.into_inner(), self.patience).await,
            }
        };
        answered_within(self.patience + Duration::from_secs(1), asking).await
    }

    /// CreateOrder.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn create_order(
        &mut self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<Order>, Status> {
        self.call::<CreateOrder>(request).await
    }

    /// ModifyOrder.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn modify_order(
        &mut self,
        request: Request<ModifyOrderRequest>,
    ) -> Result<Response<Order>, Status> {
        self.call::<ModifyOrder>(request).await
    }

    /// ConfirmOrder.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn confirm_order(&mut self, request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        self.call::<ConfirmOrder>(request).await
    }

    /// CancelOrder.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn cancel_order(&mut self, request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        self.call::<CancelOrder>(request).await
    }

    /// GetOrder.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn get_order(&mut self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        self.call::<GetOrder>(request).await
    }

    /// ListOrders.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn list_orders(
        &mut self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        self.call::<ListOrders>(request).await
    }

    /// BrowseProducts.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn browse_products(
        &mut self,
        request: Request<BrowseProductsRequest>,
    ) -> Result<Response<BrowseProductsResponse>, Status> {
        self.call::<BrowseProducts>(request).await
    }

    /// GetProduct.
    ///
    /// # Errors
    /// What the portal says.
    pub async fn get_product(
        &mut self,
        request: Request<ShopGetProductRequest>,
    ) -> Result<Response<Product>, Status> {
        self.call::<GetProduct>(request).await
    }
}
