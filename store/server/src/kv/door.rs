//! What stands between a request and the node: its fields and route are checked, and what it asks becomes bytes.

use bytes::Bytes;
use prost::Message as _;
use proto::check::Violation;
use proto::store::command::Kind;
use proto::store::{Command, Failure, Route};
use store_client::failure::invalid;

use crate::shared::Shared;

/// The bytes of a command in the log.
pub(crate) fn command_of(kind: Kind) -> Bytes {
    Command { kind: Some(kind) }.encode_to_vec().into()
}

/// What the door says of a request's fields and route.
pub(super) fn at_door(
    shared: &Shared,
    route: Option<&Route>,
    checked: Result<(), Violation>,
) -> Result<(), Failure> {
    checked.map_err(|violation| invalid(violation.field, violation.problem))?;
    shared.check_route(route)
}
