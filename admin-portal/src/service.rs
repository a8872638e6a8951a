//! The service: each RPC goes to the function of its name; errors become statuses in one place, by `portal::status`.

use std::sync::Arc;

use portal::Portal;
use portal::serve::DECODE_BYTES_MAX;
use proto::portal::admin_server::{Admin, AdminServer};
use proto::portal::{
    AdjustStockRequest, Client, DeleteClientRequest, DeleteProductRequest, DeleteResponse, GetClientRequest,
    GetProductRequest, InsertClientRequest, InsertProductRequest, ListClientsResponse, ListProductsResponse,
    ListRequest, Product, UpdateClientRequest, UpdateProductRequest,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::{clients, delete_client, delete_product, products, stock};

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
        let _permit = self.0.admit()?;
        Ok(Response::new(clients::insert_client(&self.0, request.into_inner()).await?))
    }

    async fn update_client(&self, request: Request<UpdateClientRequest>) -> Result<Response<Client>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(clients::update_client(&self.0, request.into_inner()).await?))
    }

    async fn get_client(&self, request: Request<GetClientRequest>) -> Result<Response<Client>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(clients::get_client(&self.0, &request.into_inner()).await?))
    }

    async fn delete_client(
        &self,
        request: Request<DeleteClientRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(delete_client::delete_client(&self.0, request.into_inner()).await?))
    }

    async fn list_clients(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(clients::list_clients(&self.0, &request.into_inner()).await?))
    }

    async fn insert_product(
        &self,
        request: Request<InsertProductRequest>,
    ) -> Result<Response<Product>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(products::insert_product(&self.0, request.into_inner()).await?))
    }

    async fn update_product(
        &self,
        request: Request<UpdateProductRequest>,
    ) -> Result<Response<Product>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(products::update_product(&self.0, request.into_inner()).await?))
    }

    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(products::get_product(&self.0, &request.into_inner()).await?))
    }

    async fn delete_product(
        &self,
        request: Request<DeleteProductRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(delete_product::delete_product(&self.0, request.into_inner()).await?))
    }

    async fn list_products(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(products::list_products(&self.0, &request.into_inner()).await?))
    }

    async fn adjust_stock(&self, request: Request<AdjustStockRequest>) -> Result<Response<Product>, Status> {
        let _permit = self.0.admit()?;
        Ok(Response::new(stock::adjust_stock(&self.0, request.into_inner()).await?))
    }
}
