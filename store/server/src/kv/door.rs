//! What stands between a request and the node: its fields and route are checked, and what it asks becomes bytes.

use bytes::Bytes;
use prost::Message as _;
use proto::check::{self, Violation};
use proto::store::command::Kind;
use proto::store::{Command, Failure, Route};
use store_client::failure::invalid;
use store_client::now_ms;

use crate::shared::Shared;

/// The bytes of a command in the log.
pub(crate) fn command_of(kind: Kind) -> Bytes {
    Command { kind: Some(kind) }.encode_to_vec().into()
}

/// The bytes of a client's command, unless its id was made in this node's future.
pub(crate) fn client_command(kind: Kind) -> Result<Bytes, Failure> {
    let identity = match &kind {
        Kind::Txn(txn) => txn.identity.as_ref(),
        Kind::Outcome(outcome) => outcome.identity.as_ref(),
        _ => None,
    };
    if let Some(identity) = identity {
        let refused = |found: Violation| invalid(format!("identity.{}", found.field), found.problem);
        check::made_by(identity, now_ms()).map_err(refused)?;
    }
    Ok(command_of(kind))
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
