//! A bare gRPC server that answers every GetProduct with one product, which it asks of a client portal once: what a portal's answer out
//! of its cache is compared with. `docs/BENCHMARKS.md` has what came out.
//!
//! ```text
//!   cargo run --release -p feira-tests --no-default-features --example echo -- 127.0.0.1:7499 127.0.0.1:7412 &
//!   feira bench get-product --clients 64 --beside 127.0.0.1:7499
//! ```
#![allow(clippy::unwrap_used)]

use proto::portal::shop_client::ShopClient;
use proto::portal::shop_server::{Shop, ShopServer};
use proto::portal::{
    BrowseProductsRequest, BrowseProductsResponse, CreateOrderRequest, GetOrderRequest, ListOrdersRequest,
    ListOrdersResponse, ModifyOrderRequest, Order, OrderRequest, Product, SettleRequest, Settled,
    ShopGetProductRequest,
};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The product that is answered.
struct Echo(Product);

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("an echo of GetProduct alone"))
}

#[tonic::async_trait]
impl Shop for Echo {
    async fn get_product(
        &self,
        _request: Request<ShopGetProductRequest>,
    ) -> Result<Response<Product>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    async fn create_order(&self, _request: Request<CreateOrderRequest>) -> Result<Response<Order>, Status> {
        not_here()
    }

    async fn modify_order(&self, _request: Request<ModifyOrderRequest>) -> Result<Response<Order>, Status> {
        not_here()
    }

    async fn confirm_order(&self, _request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        not_here()
    }

    async fn get_order(&self, _request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        not_here()
    }

    async fn list_orders(
        &self,
        _request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        not_here()
    }

    async fn cancel_order(&self, _request: Request<OrderRequest>) -> Result<Response<Order>, Status> {
        not_here()
    }

    async fn browse_products(
        &self,
        _request: Request<BrowseProductsRequest>,
    ) -> Result<Response<BrowseProductsResponse>, Status> {
        not_here()
    }

    async fn settle(&self, _request: Request<SettleRequest>) -> Result<Response<Settled>, Status> {
        not_here()
    }
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(own), Some(portal)) = (words.next(), words.next()) else {
        panic!(
            "give the address to answer at, and that of a client portal of a shop that feira bench has used"
        );
    };
    let mut shop = ShopClient::connect(format!("http://{portal}")).await.unwrap();
    let asked = ShopGetProductRequest { cid: "bench-c-000".to_owned(), pid: "bench-p-0000".to_owned() };
    let product = shop.get_product(asked).await.expect("feira bench get-product was here").into_inner();
    drop(shop);
    // As the portal's socket is, and nothing else around the service.
    Server::builder()
        .tcp_nodelay(true)
        .add_service(ShopServer::new(Echo(product)))
        .serve(own.parse().expect("host:port"))
        .await
        .unwrap();
}
