//! The service: each RPC goes to the function of its name; errors become statuses in one place, by `portal::status`.

use std::sync::Arc;

use portal::Portal;
use portal::serve::DECODE_BYTES_MAX;
use proto::portal::shop_server::{Shop, ShopServer};
use proto::portal::{
    BrowseProductsRequest, BrowseProductsResponse, CreateOrderRequest, GetOrderRequest, ListOrdersRequest,
    ListOrdersResponse, ModifyOrderRequest, Order, OrderRequest, Product, ShopGetProductRequest,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::{browse, cancel, confirm, create, list, modify};

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
        let _permit = self.0.admit()?;
        Ok(Response::new(create::create_order(&self.0, request.into_inner()).await?))
    }

    async fn modify_order(&self, request: Request<ModifyOrderRequest>) -> Result<Response<Order>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(modify::modify_order(&self.0, request.into_inner()).await?))
    }

    async fn confirm_order(&self, request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(confirm::confirm_order(&self.0, request.into_inner()).await?))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(list::get_order(&self.0, &request.into_inner()).await?))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(list::list_orders(&self.0, &request.into_inner()).await?))
    }

    async fn cancel_order(&self, request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(cancel::cancel_order(&self.0, request.into_inner()).await?))
    }

    async fn browse_products(
        &self,
        request: Request<BrowseProductsRequest>,
    ) -> Result<Response<BrowseProductsResponse>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(browse::browse_products(&self.0, &request.into_inner()).await?))
    }

    async fn get_product(
        &self,
        request: Request<ShopGetProductRequest>,
    ) -> Result<Response<Product>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(browse::get_product(&self.0, &request.into_inner()).await?))
    }
}
