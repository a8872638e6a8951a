//! The list of the shoppers' operations: each with its place in every transport.

use portal::operation::{Effect, Operation, Registered};
use portal::transport::resource::{Method, PAGE, PRODUCTS_PAGE, Resource};
use portal::{Error, Portal};
use proto::portal::{
    BrowseProductsRequest, BrowseProductsResponse, CreateOrderRequest, GetOrderRequest, ListOrdersRequest,
    ListOrdersResponse, ModifyOrderRequest, Order, OrderRequest, Product, RequestId, SettleRequest, Settled,
    ShopGetProductRequest,
};

use crate::{browse, cancel, confirm, create, list, modify, settle};

/// All of them.
pub const ALL: &[Registered] = &[
    Registered::of::<CreateOrder>(),
    Registered::of::<ModifyOrder>(),
    Registered::of::<ConfirmOrder>(),
    Registered::of::<CancelOrder>(),
    Registered::of::<GetOrder>(),
    Registered::of::<ListOrders>(),
    Registered::of::<BrowseProducts>(),
    Registered::of::<GetProduct>(),
    Registered::of::<Settle>(),
];

/// CreateOrder.
#[derive(Debug)]
pub struct CreateOrder;

impl Operation for CreateOrder {
    const NAME: &'static str = "CreateOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource =
        Resource::new(Method::Post, "/v1/clients/{cid}/orders").making("/v1/clients/{cid}/orders/{oid}");
    type Request = CreateOrderRequest;
    type Response = Order;

    fn id(request: &mut CreateOrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    fn made(order: &Order) -> Vec<&str> {
        vec![&order.cid, &order.oid]
    }

    async fn run(portal: &Portal, request: CreateOrderRequest) -> Result<Order, Error> {
        create::create_order(portal, request).await
    }
}

/// ModifyOrder.
#[derive(Debug)]
pub struct ModifyOrder;

impl Operation for ModifyOrder {
    const NAME: &'static str = "ModifyOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Patch, "/v1/clients/{cid}/orders/{oid}").matching();
    type Request = ModifyOrderRequest;
    type Response = Order;

    fn id(request: &mut ModifyOrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: ModifyOrderRequest) -> Result<Order, Error> {
        modify::modify_order(portal, request).await
    }
}

/// ConfirmOrder.
#[derive(Debug)]
pub struct ConfirmOrder;

impl Operation for ConfirmOrder {
    const NAME: &'static str = "ConfirmOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/confirm");
    type Request = OrderRequest;
    type Response = Order;

    fn id(request: &mut OrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: OrderRequest) -> Result<Order, Error> {
        confirm::confirm_order(portal, request).await
    }
}

/// CancelOrder.
#[derive(Debug)]
pub struct CancelOrder;

impl Operation for CancelOrder {
    const NAME: &'static str = "CancelOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/cancel");
    type Request = OrderRequest;
    type Response = Order;

    fn id(request: &mut OrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: OrderRequest) -> Result<Order, Error> {
        cancel::cancel_order(portal, request).await
    }
}

/// GetOrder.
#[derive(Debug)]
pub struct GetOrder;

impl Operation for GetOrder {
    const NAME: &'static str = "GetOrder";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/clients/{cid}/orders/{oid}");
    type Request = GetOrderRequest;
    type Response = Order;

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: GetOrderRequest) -> Result<Order, Error> {
        list::get_order(portal, &request).await
    }
}

/// ListOrders.
#[derive(Debug)]
pub struct ListOrders;

impl Operation for ListOrders {
    const NAME: &'static str = "ListOrders";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/clients/{cid}/orders").with(PAGE);
    type Request = ListOrdersRequest;
    type Response = ListOrdersResponse;

    async fn run(portal: &Portal, request: ListOrdersRequest) -> Result<ListOrdersResponse, Error> {
        list::list_orders(portal, &request).await
    }
}

/// BrowseProducts.
#[derive(Debug)]
pub struct BrowseProducts;

impl Operation for BrowseProducts {
    const NAME: &'static str = "BrowseProducts";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/clients/{cid}/products").with(PRODUCTS_PAGE);
    type Request = BrowseProductsRequest;
    type Response = BrowseProductsResponse;

    async fn run(portal: &Portal, request: BrowseProductsRequest) -> Result<BrowseProductsResponse, Error> {
        browse::browse_products(portal, &request).await
    }
}

/// GetProduct.
#[derive(Debug)]
pub struct GetProduct;

impl Operation for GetProduct {
    const NAME: &'static str = "GetProduct";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/clients/{cid}/products/{pid}");
    type Request = ShopGetProductRequest;
    type Response = Product;

    fn etag(product: &Product) -> Option<u64> {
        Some(product.etag)
    }

    async fn run(portal: &Portal, request: ShopGetProductRequest) -> Result<Product, Error> {
        browse::get_product(portal, &request).await
    }
}

/// Settle.
#[derive(Debug)]
pub struct Settle;

impl Operation for Settle {
    const NAME: &'static str = "Settle";
    // It may close an id.
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/clients/{cid}/settle");
    type Request = SettleRequest;
    type Response = Settled;

    fn id(request: &mut SettleRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    async fn run(portal: &Portal, request: SettleRequest) -> Result<Settled, Error> {
        settle::settle(portal, request).await
    }
}
