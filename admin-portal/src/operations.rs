//! The list of the administrators' operations: each with its place in every transport.

use portal::document::order_move::Move;
use portal::operation::{Effect, Operation, Registered};
use portal::transport::resource::{
    CASCADE, CLIENTS_PAGE, Method, ORDERS_PAGE, Resource, STAFF_PRODUCTS_PAGE,
};
use portal::{Error, Portal};
use proto::portal::{
    AdjustStockRequest, Client, DeleteClientRequest, DeleteProductRequest, DeleteResponse, GetClientRequest,
    GetProductRequest, ImportOrderRequest, InsertClientRequest, InsertProductRequest, ListClientsResponse,
    ListProductsResponse, ListRequest, Order, Product, RequestId, StaffGetOrderRequest,
    StaffListOrdersRequest, StaffListOrdersResponse, StaffModifyOrderRequest, StaffMoveRequest,
    StaffOrderRequest, StaffReturnRequest, UpdateClientRequest, UpdateProductRequest,
};

use crate::{clients, delete_client, delete_product, import_order, order_changes, orders, products, stock};

mod events;
mod shop;

pub use events::{GetSales, ListEvents};
pub use shop::{GetShop, Reindex, Settle, UpdateShop};

/// All of them.
pub const ALL: &[Registered] = &[
    Registered::of::<InsertClient>(),
    Registered::of::<UpdateClient>(),
    Registered::of::<GetClient>(),
    Registered::of::<ListClients>(),
    Registered::of::<DeleteClient>(),
    Registered::of::<InsertProduct>(),
    Registered::of::<UpdateProduct>(),
    Registered::of::<GetProduct>(),
    Registered::of::<ListProducts>(),
    Registered::of::<DeleteProduct>(),
    Registered::of::<AdjustStock>(),
    Registered::of::<ListOrders>(),
    Registered::of::<GetOrder>(),
    Registered::of::<ModifyOrder>(),
    Registered::of::<ConfirmOrder>(),
    Registered::of::<CancelOrder>(),
    Registered::of::<PayOrder>(),
    Registered::of::<PackOrder>(),
    Registered::of::<SendOrder>(),
    Registered::of::<ReturnOrder>(),
    Registered::of::<RefundOrder>(),
    Registered::of::<GetShop>(),
    Registered::of::<UpdateShop>(),
    Registered::of::<Reindex>(),
    Registered::of::<ImportOrder>(),
    Registered::of::<ListEvents>(),
    Registered::of::<GetSales>(),
    Registered::of::<Settle>(),
];

/// InsertClient.
#[derive(Debug)]
pub struct InsertClient;

impl Operation for InsertClient {
    const NAME: &'static str = "InsertClient";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/clients").making("/v1/clients/{cid}");
    type Request = InsertClientRequest;
    type Response = Client;

    fn id(request: &mut InsertClientRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(client: &Client) -> Option<u64> {
        Some(client.etag)
    }

    fn made(client: &Client) -> Vec<&str> {
        vec![&client.cid]
    }

    async fn run(portal: &Portal, request: InsertClientRequest) -> Result<Client, Error> {
        clients::insert_client(portal, request).await
    }
}

/// UpdateClient.
#[derive(Debug)]
pub struct UpdateClient;

impl Operation for UpdateClient {
    const NAME: &'static str = "UpdateClient";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Put, "/v1/clients/{cid}").matching();
    type Request = UpdateClientRequest;
    type Response = Client;

    fn id(request: &mut UpdateClientRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(client: &Client) -> Option<u64> {
        Some(client.etag)
    }

    async fn run(portal: &Portal, request: UpdateClientRequest) -> Result<Client, Error> {
        clients::update_client(portal, request).await
    }
}

/// GetClient.
#[derive(Debug)]
pub struct GetClient;

impl Operation for GetClient {
    const NAME: &'static str = "GetClient";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/clients/{cid}");
    type Request = GetClientRequest;
    type Response = Client;

    fn etag(client: &Client) -> Option<u64> {
        Some(client.etag)
    }

    async fn run(portal: &Portal, request: GetClientRequest) -> Result<Client, Error> {
        clients::get_client(portal, &request).await
    }
}

/// ListClients.
#[derive(Debug)]
pub struct ListClients;

impl Operation for ListClients {
    const NAME: &'static str = "ListClients";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/clients").with(CLIENTS_PAGE);
    type Request = ListRequest;
    type Response = ListClientsResponse;

    async fn run(portal: &Portal, request: ListRequest) -> Result<ListClientsResponse, Error> {
        clients::list_clients(portal, &request).await
    }
}

/// DeleteClient.
#[derive(Debug)]
pub struct DeleteClient;

impl Operation for DeleteClient {
    const NAME: &'static str = "DeleteClient";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Delete, "/v1/clients/{cid}").with(CASCADE).matching();
    type Request = DeleteClientRequest;
    type Response = DeleteResponse;

    fn id(request: &mut DeleteClientRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    async fn run(portal: &Portal, request: DeleteClientRequest) -> Result<DeleteResponse, Error> {
        delete_client::delete_client(portal, request).await
    }
}

/// InsertProduct.
#[derive(Debug)]
pub struct InsertProduct;

impl Operation for InsertProduct {
    const NAME: &'static str = "InsertProduct";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/products").making("/v1/products/{pid}");
    type Request = InsertProductRequest;
    type Response = Product;

    fn id(request: &mut InsertProductRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(product: &Product) -> Option<u64> {
        Some(product.etag)
    }

    fn made(product: &Product) -> Vec<&str> {
        vec![&product.pid]
    }

    async fn run(portal: &Portal, request: InsertProductRequest) -> Result<Product, Error> {
        products::insert_product(portal, request).await
    }
}

/// UpdateProduct.
#[derive(Debug)]
pub struct UpdateProduct;

impl Operation for UpdateProduct {
    const NAME: &'static str = "UpdateProduct";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Put, "/v1/products/{pid}").matching();
    type Request = UpdateProductRequest;
    type Response = Product;

    fn id(request: &mut UpdateProductRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(product: &Product) -> Option<u64> {
        Some(product.etag)
    }

    async fn run(portal: &Portal, request: UpdateProductRequest) -> Result<Product, Error> {
        products::update_product(portal, request).await
    }
}

/// GetProduct.
#[derive(Debug)]
pub struct GetProduct;

impl Operation for GetProduct {
    const NAME: &'static str = "GetProduct";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/products/{pid}");
    type Request = GetProductRequest;
    type Response = Product;

    fn etag(product: &Product) -> Option<u64> {
        Some(product.etag)
    }

    async fn run(portal: &Portal, request: GetProductRequest) -> Result<Product, Error> {
        products::get_product(portal, &request).await
    }
}

/// ListProducts.
#[derive(Debug)]
pub struct ListProducts;

impl Operation for ListProducts {
    const NAME: &'static str = "ListProducts";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/products").with(STAFF_PRODUCTS_PAGE);
    type Request = ListRequest;
    type Response = ListProductsResponse;

    async fn run(portal: &Portal, request: ListRequest) -> Result<ListProductsResponse, Error> {
        products::list_products(portal, &request).await
    }
}

/// DeleteProduct.
#[derive(Debug)]
pub struct DeleteProduct;

impl Operation for DeleteProduct {
    const NAME: &'static str = "DeleteProduct";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Delete, "/v1/products/{pid}").with(CASCADE).matching();
    type Request = DeleteProductRequest;
    type Response = DeleteResponse;

    fn id(request: &mut DeleteProductRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    async fn run(portal: &Portal, request: DeleteProductRequest) -> Result<DeleteResponse, Error> {
        delete_product::delete_product(portal, request).await
    }
}

/// AdjustStock.
#[derive(Debug)]
pub struct AdjustStock;

impl Operation for AdjustStock {
    const NAME: &'static str = "AdjustStock";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/products/{pid}/stock/adjustments");
    type Request = AdjustStockRequest;
    type Response = Product;

    fn id(request: &mut AdjustStockRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(product: &Product) -> Option<u64> {
        Some(product.etag)
    }

    async fn run(portal: &Portal, request: AdjustStockRequest) -> Result<Product, Error> {
        stock::adjust_stock(portal, request).await
    }
}

/// ListOrders.
#[derive(Debug)]
pub struct ListOrders;

impl Operation for ListOrders {
    const NAME: &'static str = "ListOrders";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/orders").with(ORDERS_PAGE);
    type Request = StaffListOrdersRequest;
    type Response = StaffListOrdersResponse;

    async fn run(portal: &Portal, request: StaffListOrdersRequest) -> Result<StaffListOrdersResponse, Error> {
        orders::list_orders(portal, &request).await
    }
}

/// GetOrder.
#[derive(Debug)]
pub struct GetOrder;

impl Operation for GetOrder {
    const NAME: &'static str = "GetOrder";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/clients/{cid}/orders/{oid}");
    type Request = StaffGetOrderRequest;
    type Response = Order;

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffGetOrderRequest) -> Result<Order, Error> {
        orders::get_order(portal, &request).await
    }
}

/// ModifyOrder.
#[derive(Debug)]
pub struct ModifyOrder;

impl Operation for ModifyOrder {
    const NAME: &'static str = "ModifyOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Patch, "/v1/clients/{cid}/orders/{oid}").matching();
    type Request = StaffModifyOrderRequest;
    type Response = Order;

    fn id(request: &mut StaffModifyOrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffModifyOrderRequest) -> Result<Order, Error> {
        order_changes::modify_order(portal, request).await
    }
}

/// ConfirmOrder.
#[derive(Debug)]
pub struct ConfirmOrder;

impl Operation for ConfirmOrder {
    const NAME: &'static str = "ConfirmOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource =
        Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/confirm").matching();
    type Request = StaffOrderRequest;
    type Response = Order;

    fn id(request: &mut StaffOrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffOrderRequest) -> Result<Order, Error> {
        order_changes::confirm_order(portal, request).await
    }
}

/// CancelOrder.
#[derive(Debug)]
pub struct CancelOrder;

impl Operation for CancelOrder {
    const NAME: &'static str = "CancelOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource =
        Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/cancel").matching();
    type Request = StaffOrderRequest;
    type Response = Order;

    fn id(request: &mut StaffOrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffOrderRequest) -> Result<Order, Error> {
        order_changes::cancel_order(portal, request).await
    }
}

/// PayOrder.
#[derive(Debug)]
pub struct PayOrder;

impl Operation for PayOrder {
    const NAME: &'static str = "PayOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/pay").matching();
    type Request = StaffMoveRequest;
    type Response = Order;

    fn id(request: &mut StaffMoveRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffMoveRequest) -> Result<Order, Error> {
        order_changes::move_order(portal, request, Move::Pay, "StaffPayOrder").await
    }
}

/// PackOrder.
#[derive(Debug)]
pub struct PackOrder;

impl Operation for PackOrder {
    const NAME: &'static str = "PackOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/pack").matching();
    type Request = StaffMoveRequest;
    type Response = Order;

    fn id(request: &mut StaffMoveRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffMoveRequest) -> Result<Order, Error> {
        order_changes::move_order(portal, request, Move::Pack, "StaffPackOrder").await
    }
}

/// SendOrder.
#[derive(Debug)]
pub struct SendOrder;

impl Operation for SendOrder {
    const NAME: &'static str = "SendOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/send").matching();
    type Request = StaffMoveRequest;
    type Response = Order;

    fn id(request: &mut StaffMoveRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffMoveRequest) -> Result<Order, Error> {
        order_changes::move_order(portal, request, Move::Send, "StaffSendOrder").await
    }
}

/// ReturnOrder.
#[derive(Debug)]
pub struct ReturnOrder;

impl Operation for ReturnOrder {
    const NAME: &'static str = "ReturnOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource =
        Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/return").matching();
    type Request = StaffReturnRequest;
    type Response = Order;

    fn id(request: &mut StaffReturnRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffReturnRequest) -> Result<Order, Error> {
        order_changes::return_order(portal, request).await
    }
}

/// RefundOrder.
#[derive(Debug)]
pub struct RefundOrder;

impl Operation for RefundOrder {
    const NAME: &'static str = "RefundOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource =
        Resource::new(Method::Post, "/v1/clients/{cid}/orders/{oid}/refund").matching();
    type Request = StaffOrderRequest;
    type Response = Order;

    fn id(request: &mut StaffOrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    async fn run(portal: &Portal, request: StaffOrderRequest) -> Result<Order, Error> {
        order_changes::refund_order(portal, request).await
    }
}

/// ImportOrder.
#[derive(Debug)]
pub struct ImportOrder;

impl Operation for ImportOrder {
    const NAME: &'static str = "ImportOrder";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource =
        Resource::new(Method::Post, "/v1/orders").making("/v1/clients/{cid}/orders/{oid}");
    type Request = ImportOrderRequest;
    type Response = Order;

    fn id(request: &mut ImportOrderRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(order: &Order) -> Option<u64> {
        Some(order.etag)
    }

    fn made(order: &Order) -> Vec<&str> {
        vec![&order.cid, &order.oid]
    }

    async fn run(portal: &Portal, request: ImportOrderRequest) -> Result<Order, Error> {
        import_order::import_order(portal, request).await
    }
}
