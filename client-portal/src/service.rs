//! The gRPC service: each RPC is the operation of its name.

use std::sync::Arc;

use portal::Portal;
use portal::serve::{DECODE_BYTES_MAX, answered};
use proto::portal::shop_server::{Shop, ShopServer};
use proto::portal::{
    BrowseProductsRequest, BrowseProductsResponse, CreateOrderRequest, GetOrderRequest, ListOrdersRequest,
    ListOrdersResponse, ModifyOrderRequest, Order, OrderRequest, Product, SettleRequest, Settled,
    ShopGetProductRequest,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::operations::{
    BrowseProducts, CancelOrder, ConfirmOrder, CreateOrder, GetOrder, GetProduct, ListOrders, ModifyOrder,
    Settle,
};

/// The name of the gRPC service.
pub(crate) const NAME: &str = "feira.portal.v1.Shop";

pub(crate) struct Service(pub(crate) Arc<Portal>);

/// The routes of the service.
pub(crate) fn routes(portal: Arc<Portal>) -> Routes {
    Routes::new(ShopServer::new(Service(portal)).max_decoding_message_size(DECODE_BYTES_MAX))
}

#[tonic::async_trait]
impl Shop for Service {
    async fn create_order(&self, request: Request<CreateOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<CreateOrder>(&self.0, request).await
    }

    async fn modify_order(&self, request: Request<ModifyOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<ModifyOrder>(&self.0, request).await
    }

    async fn confirm_order(&self, request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        answered::<ConfirmOrder>(&self.0, request).await
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<GetOrder>(&self.0, request).await
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        answered::<ListOrders>(&self.0, request).await
    }

    async fn cancel_order(&self, request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        answered::<CancelOrder>(&self.0, request).await
    }

    async fn browse_products(
        &self,
        request: Request<BrowseProductsRequest>,
    ) -> Result<Response<BrowseProductsResponse>, Status> {
        answered::<BrowseProducts>(&self.0, request).await
    }

    async fn get_product(
        &self,
        request: Request<ShopGetProductRequest>,
    ) -> Result<Response<Product>, Status> {
        answered::<GetProduct>(&self.0, request).await
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Result<Response<Settled>, Status> {
        answered::<Settle>(&self.0, request).await
    }
}
