//! Short ways to do what staff and shoppers do, for tests.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Instant;

use proto::portal::admin_client::AdminClient;
use proto::portal::shop_client::ShopClient;
use proto::portal::{
    Client, CreateOrderRequest, GetProductRequest, InsertClientRequest, InsertProductRequest, LineChange,
    Order, Product, RequestId,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

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
    lines
        .iter()
        .map(|(pid, quantity)| LineChange {
            pid: (*pid).to_owned(),
            quantity: *quantity,
            ..LineChange::default()
        })
        .collect()
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
    let request = InsertProductRequest { pid: pid.to_owned(), data, request: request_id(), rules: None };
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
    let request = CreateOrderRequest {
        cid: cid.to_owned(),
        lines: lines(wanted),
        request: request_id(),
        ..CreateOrderRequest::default()
    };
    Ok(shop.create_order(patient(request)).await?.into_inner())
}

/// Orders, and asks again under the same id while the outcome is open: a busy or broken cluster takes its time.
///
/// # Panics
/// If it is not done in time.
pub async fn order_persistently(shop: &mut ShopClient<Channel>, request: &CreateOrderRequest) -> Order {
    let until = Instant::now() + crate::cluster::PATIENCE * 2;
    loop {
        match shop.create_order(patient(request.clone())).await {
            Ok(order) => return order.into_inner(),
            Err(status) => assert!(Instant::now() < until, "no order: {status}"),
        }
    }
}

/// A request for an order, with an id of its own.
#[must_use]
pub fn order_request(cid: &str, wanted: &[(&str, i64)]) -> CreateOrderRequest {
    CreateOrderRequest {
        cid: cid.to_owned(),
        lines: lines(wanted),
        request: request_id(),
        ..CreateOrderRequest::default()
    }
}

/// What a server says when it refuses, read from the wire by nobody's code but ours: the status, and the details of
/// google.rpc.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The gRPC status.
    pub code: Code,
    /// The machine-readable reason; empty if there is none.
    pub reason: String,
    /// What the reason's fields say.
    pub metadata: BTreeMap<String, String>,
    /// Items of a list: what, and what of it.
    pub items: Vec<(String, String)>,
    /// Fields that a `BadRequest` names.
    pub fields: Vec<String>,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// One member of the metadata.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn says(&self, name: &str) -> &str {
        self.metadata.get(name).unwrap_or_else(|| panic!("{name} is not told: {self:?}"))
    }

    /// The status and the reason together, as the error table has them.
    #[must_use]
    pub fn class(&self) -> (Code, &str) {
        (self.code, self.reason.as_str())
    }
}

/// The refusal in an answer.
///
/// # Panics
/// If it is none, or one without a sentence for people.
#[track_caller]
pub fn refusal<T: Debug>(answer: Result<Response<T>, Status>) -> Refusal {
    refused(answer.map(Response::into_inner))
}

/// As [`refusal`], of an answer already taken out.
///
/// # Panics
/// As [`refusal`].
#[track_caller]
pub fn refused<T: Debug>(answer: Result<T, Status>) -> Refusal {
    let status = answer.expect_err("a refusal");
    assert!(!status.message().is_empty(), "a person is told nothing: {status:?}");
    let details = status.get_error_details();
    let info = details.error_info();
    let violations = details.precondition_failure().map(|failure| failure.violations.clone());
    let items = violations.unwrap_or_default().into_iter().map(|one| (one.subject, one.description));
    let bad = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    Refusal {
        code: status.code(),
        reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
        metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
        items: items.collect(),
        fields: bad.into_iter().map(|violation| violation.field).collect(),
        message: status.message().to_owned(),
    }
}
