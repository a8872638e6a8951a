//! The fields of `feira.portal.v1` whose JSON form is not that of their type. The crate that generates the types has this
//! file as a module of its own: it imports none of ours.

/// Fields that hold JSON text: their JSON form is that document, not a string.
pub const DOCUMENTS: [&str; 15] = [
    "Client.data",
    "CreateOrderRequest.extra",
    "DeleteResponse.data",
    "ImportOrderRequest.extra",
    "ImportedLine.extra",
    "InsertClientRequest.data",
    "InsertProductRequest.data",
    "LineChange.extra",
    "ModifyOrderRequest.extra",
    "Order.extra",
    "OrderLine.extra",
    "Product.extra",
    "StaffModifyOrderRequest.extra",
    "UpdateClientRequest.data",
    "UpdateProductRequest.data",
];

/// Fields whose JSON form is the word for the state of an order.
pub const STATES: [&str; 4] =
    ["ImportOrderRequest.state", "Order.state", "OrderSummary.state", "StaffOrderSummary.state"];

/// Fields whose JSON form is the word for the state of an order, and empty for none: any is wanted, or it did not change.
pub const WANTED_STATES: [&str; 2] = ["EventFacts.state", "StaffListOrdersRequest.state"];

/// Fields whose JSON form is the word for the order of a list, and empty for that by id.
pub const SORTS: [&str; 2] = ["BrowseProductsRequest.sort", "ListRequest.sort"];

/// Fields whose JSON form is the word for the state of a client or product, and empty for any.
pub const RECORD_STATES: [&str; 1] = ["ListRequest.state"];
