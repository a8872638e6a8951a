//! The validation of a request before the node ([`front`]), and the alarm when one of its ids speaks of a wrong clock.

use bytes::Bytes;
use proto::check::Violation;
use proto::store::command::Kind;
use proto::store::{Failure, FailureReason, PipelineRequest, Route};
use store_client::failure::invalid;
use store_engine::front::{self, Admitted, Standing as _};

use crate::forward::Away;
use crate::problems::About;
use crate::shared::Shared;

/// The bytes of a client's command.
pub(crate) fn client_command(shared: &Shared, kind: Kind) -> Result<Bytes, Failure> {
    front::client_command(kind, shared).inspect_err(|failure| notice(shared, failure))
}

/// A request of a stream.
pub(super) fn admit(shared: &Shared, request: PipelineRequest) -> Result<Admitted, Failure> {
    front::admit(request, shared).inspect_err(|failure| notice(shared, failure))
}

fn notice(shared: &Shared, failure: &Failure) {
    if failure.reason() != FailureReason::ClocksApart {
        return;
    }
    let problem = &failure.message;
    if shared.problems.notice(About::Ids, format!("an id was refused that {problem}")) {
        tracing::warn!(problem, "an id was refused that was made in this node's future");
    }
}

/// The verdict on a request's fields, and the way to the shard that owns `key`, if that is another one; a request for this shard was
/// meant for it.
pub(super) fn placed<'s>(
    shared: &'s Shared,
    route: Option<&Route>,
    checked: Result<(), Violation>,
    key: &[u8],
    hops: usize,
) -> Result<Option<Away<'s>>, Failure> {
    checked.map_err(|violation| invalid(violation.field, violation.problem))?;
    match shared.away(route, key, hops)? {
        Some(away) => Ok(Some(away)),
        None => shared.check_route(route).map(|()| None),
    }
}

/// The verdict on a request's fields and route.
pub(super) fn validated(
    shared: &Shared,
    route: Option<&Route>,
    checked: Result<(), Violation>,
) -> Result<(), Failure> {
    checked.map_err(|violation| invalid(violation.field, violation.problem))?;
    shared.check_route(route)
}
