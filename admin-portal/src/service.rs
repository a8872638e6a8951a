//! The gRPC service: each RPC is the operation of its name.

use std::sync::Arc;

use portal::Portal;
use portal::serve::{DECODE_BYTES_MAX, answered};
use proto::portal::admin_server::{Admin, AdminServer};
use proto::portal::{
    AdjustStockRequest, Client, DeleteClientRequest, DeleteProductRequest, DeleteResponse, GetClientRequest,
    GetProductRequest, GetSalesRequest, GetShopRequest, ImportOrderRequest, InsertClientRequest,
    InsertProductRequest, ListClientsResponse, ListEventsRequest, ListEventsResponse, ListProductsResponse,
    ListRequest, Order, Product, ReindexRequest, ReindexResponse, Sales, Settled, ShopRules,
    StaffGetOrderRequest, StaffListOrdersRequest, StaffListOrdersResponse, StaffModifyOrderRequest,
    StaffMoveRequest, StaffOrderRequest, StaffReturnRequest, StaffSettleRequest, UpdateClientRequest,
    UpdateProductRequest, UpdateShopRequest, WatchEventsRequest,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::events::{self, EventStream};
use crate::operations::{
    AdjustStock, CancelOrder, ConfirmOrder, DeleteClient, DeleteProduct, GetClient, GetOrder, GetProduct,
    GetSales, GetShop, ImportOrder, InsertClient, InsertProduct, ListClients, ListEvents, ListOrders,
    ListProducts, ModifyOrder, PackOrder, PayOrder, RefundOrder, Reindex, ReturnOrder, SendOrder, Settle,
    UpdateClient, UpdateProduct, UpdateShop,
};

/// The name of the gRPC service.
pub(crate) const NAME: &str = "feira.portal.v1.Admin";

pub(crate) struct Service(pub(crate) Arc<Portal>);

/// The routes of the service.
pub(crate) fn routes(portal: Arc<Portal>) -> Routes {
    Routes::new(AdminServer::new(Service(portal)).max_decoding_message_size(DECODE_BYTES_MAX))
}

#[tonic::async_trait]
impl Admin for Service {
    async fn insert_client(&self, request: Request<InsertClientRequest>) -> Result<Response<Client>, Status> {
        answered::<InsertClient>(&self.0, request).await
    }

    async fn update_client(&self, request: Request<UpdateClientRequest>) -> Result<Response<Client>, Status> {
        answered::<UpdateClient>(&self.0, request).await
    }

    async fn get_client(&self, request: Request<GetClientRequest>) -> Result<Response<Client>, Status> {
        answered::<GetClient>(&self.0, request).await
    }

    async fn delete_client(
        &self,
        request: Request<DeleteClientRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        answered::<DeleteClient>(&self.0, request).await
    }

    async fn list_clients(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        answered::<ListClients>(&self.0, request).await
    }

    async fn insert_product(
        &self,
        request: Request<InsertProductRequest>,
    ) -> Result<Response<Product>, Status> {
        answered::<InsertProduct>(&self.0, request).await
    }

    async fn update_product(
        &self,
        request: Request<UpdateProductRequest>,
    ) -> Result<Response<Product>, Status> {
        answered::<UpdateProduct>(&self.0, request).await
    }

    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        answered::<GetProduct>(&self.0, request).await
    }

    async fn delete_product(
        &self,
        request: Request<DeleteProductRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        answered::<DeleteProduct>(&self.0, request).await
    }

    async fn list_products(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        answered::<ListProducts>(&self.0, request).await
    }

    async fn adjust_stock(&self, request: Request<AdjustStockRequest>) -> Result<Response<Product>, Status> {
        answered::<AdjustStock>(&self.0, request).await
    }

    async fn list_orders(
        &self,
        request: Request<StaffListOrdersRequest>,
    ) -> Result<Response<StaffListOrdersResponse>, Status> {
        answered::<ListOrders>(&self.0, request).await
    }

    async fn get_order(&self, request: Request<StaffGetOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<GetOrder>(&self.0, request).await
    }

    async fn modify_order(
        &self,
        request: Request<StaffModifyOrderRequest>,
    ) -> Result<Response<Order>, Status> {
        answered::<ModifyOrder>(&self.0, request).await
    }

    async fn confirm_order(&self, request: Request<StaffOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<ConfirmOrder>(&self.0, request).await
    }

    async fn cancel_order(&self, request: Request<StaffOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<CancelOrder>(&self.0, request).await
    }

    async fn pay_order(&self, request: Request<StaffMoveRequest>) -> Result<Response<Order>, Status> {
        answered::<PayOrder>(&self.0, request).await
    }

    async fn pack_order(&self, request: Request<StaffMoveRequest>) -> Result<Response<Order>, Status> {
        answered::<PackOrder>(&self.0, request).await
    }

    async fn send_order(&self, request: Request<StaffMoveRequest>) -> Result<Response<Order>, Status> {
        answered::<SendOrder>(&self.0, request).await
    }

    async fn return_order(&self, request: Request<StaffReturnRequest>) -> Result<Response<Order>, Status> {
        answered::<ReturnOrder>(&self.0, request).await
    }

    async fn refund_order(&self, request: Request<StaffOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<RefundOrder>(&self.0, request).await
    }

    async fn get_shop(&self, request: Request<GetShopRequest>) -> Result<Response<ShopRules>, Status> {
        answered::<GetShop>(&self.0, request).await
    }

    async fn update_shop(&self, request: Request<UpdateShopRequest>) -> Result<Response<ShopRules>, Status> {
        answered::<UpdateShop>(&self.0, request).await
    }

    async fn reindex(&self, request: Request<ReindexRequest>) -> Result<Response<ReindexResponse>, Status> {
        answered::<Reindex>(&self.0, request).await
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        answered::<ListEvents>(&self.0, request).await
    }

    async fn get_sales(&self, request: Request<GetSalesRequest>) -> Result<Response<Sales>, Status> {
        answered::<GetSales>(&self.0, request).await
    }

    type WatchEventsStream = EventStream;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        Ok(Response::new(events::watch_events(&self.0, request.into_inner()).await?))
    }

    async fn import_order(&self, request: Request<ImportOrderRequest>) -> Result<Response<Order>, Status> {
        answered::<ImportOrder>(&self.0, request).await
    }

    async fn settle(&self, request: Request<StaffSettleRequest>) -> Result<Response<Settled>, Status> {
        answered::<Settle>(&self.0, request).await
    }
}
