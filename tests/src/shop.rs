//! Short ways to do what staff and shoppers do, for tests.

use proto::portal::admin_client::AdminClient;
use proto::portal::shop_client::ShopClient;
use proto::portal::{
    Client, CreateOrderRequest, GetProductRequest, InsertClientRequest, InsertProductRequest, LineChange,
    Order, Product, RequestId,
};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A request id that no other has.
#[must_use]
pub fn request_id() -> Option<RequestId> {
    let made = store_client::request_identity([0; 16]);
    let Some(proto::store::identity::Id::User(user)) = made.id else { return None };
    let id = user.id.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(RequestId { id, created_ms: user.created_ms })
}

/// Lines of an order.
#[must_use]
pub fn lines(lines: &[(&str, i64)]) -> Vec<LineChange> {
    lines.iter().map(|(pid, quantity)| LineChange { pid: (*pid).to_owned(), quantity: *quantity }).collect()
}

/// A call that may take as long as a failover takes.
pub fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(crate::cluster::PATIENCE);
    request
}

/// Registers a client.
///
/// # Errors
/// What the portal says.
pub async fn insert_client(admin: &mut AdminClient<Channel>, cid: &str) -> Result<Client, Status> {
    let data = format!("{{\"name\":\"{cid}\"}}");
    let request = InsertClientRequest { cid: cid.to_owned(), data, request: request_id() };
    Ok(admin.insert_client(patient(request)).await?.into_inner())
}

/// Puts a product on the shelf.
///
/// # Errors
/// What the portal says.
pub async fn insert_product(
    admin: &mut AdminClient<Channel>,
    pid: &str,
    quantity: i64,
    price: &str,
) -> Result<Product, Status> {
    let data = format!("{{\"description\":\"{pid}\",\"quantity\":{quantity},\"price\":\"{price}\"}}");
    let request = InsertProductRequest { pid: pid.to_owned(), data, request: request_id() };
    Ok(admin.insert_product(patient(request)).await?.into_inner())
}

/// A product as staff see it.
///
/// # Errors
/// What the portal says.
pub async fn product(admin: &mut AdminClient<Channel>, pid: &str) -> Result<Product, Status> {
    Ok(admin.get_product(patient(GetProductRequest { pid: pid.to_owned() })).await?.into_inner())
}

/// Orders.
///
/// # Errors
/// What the portal says.
pub async fn order(
    shop: &mut ShopClient<Channel>,
    cid: &str,
    wanted: &[(&str, i64)],
) -> Result<Order, Status> {
    let request = CreateOrderRequest { cid: cid.to_owned(), lines: lines(wanted), request: request_id() };
    Ok(shop.create_order(patient(request)).await?.into_inner())
}
