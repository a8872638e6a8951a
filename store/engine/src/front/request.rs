//! Requests: their fields, route and identity are checked, and writes become the bytes of commands.

use bytes::Bytes;
use prost::Message as _;
use proto::check;
use proto::store::command::Kind;
use proto::store::pipeline_request::Request;
use proto::store::{
    Command, Failure, FailureReason, Freshness, GetRequest, OutcomeCommand, PipelineRequest, Route,
    ScanRequest, TxnCommand, scan_request,
};
use store_client::failure::{failure, invalid};

/// What a node knows of itself that decides on requests.
pub trait Standing {
    /// Refuses what is not for this node: another cluster, log, group or ring version, or a group that it is not in.
    ///
    /// # Errors
    /// Why, and whom to ask.
    fn check_route(&self, route: Option<&Route>) -> Result<(), Failure>;
    /// Whether it leads, as far as it knows.
    fn leads(&self) -> bool;
    /// Its wall clock, milliseconds since 1970.
    fn wall_ms(&self) -> i64;
}

/// What a request needs when it is told something.
#[derive(Clone, Debug)]
pub enum PendingRequest {
    /// A transaction or an outcome: the answer is what is told.
    Write,
    /// A read: it is run when it is told that it may be.
    Get(GetRequest),
    /// A scan, likewise.
    Scan(ScanRequest),
}

impl PendingRequest {
    /// Bytes that it holds while it waits, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            PendingRequest::Write => 0,
            PendingRequest::Get(request) => request.key.len(),
            PendingRequest::Scan(request) => {
                let range = match &request.range {
                    Some(scan_request::Range::Prefix(prefix)) => prefix.len(),
                    Some(scan_request::Range::Between(between)) => between.from.len() + between.to.len(),
                    None => 0,
                };
                request.after.len() + range
            }
        }
    }

    /// How fresh a read is to be.
    #[must_use]
    pub fn freshness(&self) -> Option<Freshness> {
        match self {
            PendingRequest::Write => None,
            PendingRequest::Get(request) => request.freshness,
            PendingRequest::Scan(request) => request.freshness,
        }
    }
}

/// A request that the node may have.
#[derive(Debug)]
pub enum Admitted {
    /// A command for the log, encoded.
    Write(Bytes),
    /// A read, which may need the node's word.
    Read(PendingRequest),
}

/// Checks a request of a stream.
///
/// # Errors
/// Its answer: it is wrong, or not for this node.
pub fn admit(request: PipelineRequest, standing: &impl Standing) -> Result<Admitted, Failure> {
    let checked = check::pipeline(&request);
    let request = request.request.ok_or_else(|| invalid("request", "is missing"))?;
    checked.map_err(|violation| invalid(violation.field, violation.problem))?;
    let route = match &request {
        Request::Txn(txn) => txn.route,
        Request::Get(get) => get.route,
        Request::Scan(scan) => scan.route,
        Request::Outcome(outcome) => outcome.route,
        Request::Prepare(_) | Request::Finish(_) | Request::Ask(_) => {
            return Err(invalid("request", "is not served yet: it is of transactions over several groups"));
        }
    };
    standing.check_route(route.as_ref())?;
    let kind = match request {
        Request::Txn(txn) => Kind::Txn(TxnCommand { txn: txn.txn, identity: txn.identity, decide: None }),
        Request::Outcome(outcome) => {
            Kind::Outcome(OutcomeCommand { tag: outcome.tag, identity: outcome.identity })
        }
        Request::Get(get) => return Ok(Admitted::Read(PendingRequest::Get(get))),
        Request::Scan(scan) => return Ok(Admitted::Read(PendingRequest::Scan(scan))),
        Request::Prepare(_) | Request::Finish(_) | Request::Ask(_) => {
            return Err(invalid("request", "is not served yet: it is of transactions over several groups"));
        }
    };
    client_command(kind, standing).map(Admitted::Write)
}

/// The bytes of a command in the log.
#[must_use]
pub fn command_of(kind: Kind) -> Bytes {
    Command { kind: Some(kind) }.encode_to_vec().into()
}

/// The bytes of a client's command, unless its id was made in this node's future: then one of both clocks is wrong, and
/// nobody here can say which. It is not executed here; another node may, or this one when its clock is set. Only the
/// leader asks: from another node the caller is to hear who leads.
///
/// # Errors
/// An id of no time, or of this node's future.
pub fn client_command(kind: Kind, standing: &impl Standing) -> Result<Bytes, Failure> {
    let identity = match &kind {
        Kind::Txn(txn) => txn.identity.as_ref(),
        Kind::Outcome(outcome) => outcome.identity.as_ref(),
        _ => None,
    };
    if let Some(identity) = identity {
        let named = |field: &str| format!("identity.{field}");
        // Nobody's clock, so nobody's alarm.
        check::made_some_time(identity, standing.wall_ms())
            .map_err(|found| invalid(named(&found.field), found.problem))?;
        if standing.leads() {
            check::made_by(identity, standing.wall_ms()).map_err(|found| Failure {
                field: named(&found.field),
                ..failure(FailureReason::ClocksApart, found.problem)
            })?;
        }
    }
    Ok(command_of(kind))
}
