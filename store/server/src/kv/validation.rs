//! The validation of a request before the node: its fields and route are checked, and that the node is in the group; its
//! command becomes bytes.

use bytes::Bytes;
use prost::Message as _;
use proto::check::{self, Violation};
use proto::store::command::Kind;
use proto::store::{Command, Failure, FailureReason, Route};
use store_client::failure::{failure, invalid};
use store_client::now_ms;
use store_core::Role;

use crate::problems::About;
use crate::shared::Shared;

/// The bytes of a command in the log.
pub(crate) fn command_of(kind: Kind) -> Bytes {
    Command { kind: Some(kind) }.encode_to_vec().into()
}

/// The bytes of a client's command, unless its id was made in this node's future: then one of both clocks is wrong, and
/// nobody here can say which. It is not executed here; another node may, or this one when its clock is set. Only the
/// leader asks: from another node the caller is to hear who leads.
pub(crate) fn client_command(shared: &Shared, kind: Kind) -> Result<Bytes, Failure> {
    let identity = match &kind {
        Kind::Txn(txn) => txn.identity.as_ref(),
        Kind::Outcome(outcome) => outcome.identity.as_ref(),
        _ => None,
    };
    if let Some(identity) = identity {
        // Nobody's clock, so nobody's alarm.
        check::made_some_time(identity, now_ms())
            .map_err(|found| invalid(format!("identity.{}", found.field), found.problem))?;
    }
    if let Some(identity) = identity
        && shared.role.borrow().role == Role::Leader
    {
        check::made_by(identity, now_ms()).map_err(|found| clocks_apart(shared, found))?;
    }
    Ok(command_of(kind))
}

fn clocks_apart(shared: &Shared, found: Violation) -> Failure {
    let text = format!("an id was refused that {}", found.problem);
    if shared.problems.notice(About::Ids, text) {
        tracing::warn!(problem = found.problem, "an id was refused that was made in this node's future");
    }
    let field = format!("identity.{}", found.field);
    Failure { field, ..failure(FailureReason::ClocksApart, found.problem) }
}

/// The verdict on a request's fields and route.
pub(super) fn validated(
    shared: &Shared,
    route: Option<&Route>,
    checked: Result<(), Violation>,
) -> Result<(), Failure> {
    checked.map_err(|violation| invalid(violation.field, violation.problem))?;
    shared.check_route(route)?;
    shared.check_member()
}
